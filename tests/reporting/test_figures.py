"""Figures: what would break if the font, the bytes or the atomic writing were wrong."""

import subprocess
import sys
import warnings

import pytest
from PIL import Image

from vqaflow.reporting import figures


def draw(path, text="질문 유형: 빨간색, 몇 개인가요? −3 ≤ Høst"):
    figure, axes = figures.new_figure(text)
    axes.bar(["예", "아니요"], [1, -2])
    figures.label_axes(axes, "대답", "rows", "Panel")
    figures.save(figure, path)


def test_korean_letters_have_glyphs(tmp_path, caplog):
    """A missing glyph shows as a box; matplotlib warns of each one, and of a weight that the font seems to lack."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (900, 504) and not caplog.records


def test_what_no_font_has_is_replaced():
    """Choices hold emoji, and simplified Chinese, of which the fonts have a part."""
    assert figures.drawable("한글 日本 ★ 🚗 简") == "한글 日本 ★ ? ?"


def test_equal_figures_are_equal_files(tmp_path):
    """Otherwise a rerun would look like a change to everything that depends on it."""
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failed_figure_leaves_the_old_one(tmp_path):
    class Broken:
        def savefig(self, path, **_):
            path.write_bytes(b"half")
            raise RuntimeError

    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        figures.save(Broken(), target)
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_importing_needs_no_pyplot():
    """pyplot looks for a display and keeps every figure alive."""
    code = "import sys, vqaflow.reporting.figures as f; f.new_figure('x'); sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
