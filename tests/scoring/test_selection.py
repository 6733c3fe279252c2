"""A view with its own pixels scores exactly the rows whose pictures it changes, as each family resizes."""

import shutil
from dataclasses import asdict
from pathlib import Path

import huggingface_hub
import pytest

import random_others
import rows
from vqaflow.config.sections import ViewConfig
from vqaflow.scoring import selection
from vqaflow.scoring.selection import RowsToScore, Task, select_rows

SIZES = [(64, 64), (100, 110), (120, 130), (300, 200), (90, 400), (0, 0)]
LIMITS = {"min_pixels": 3136, "max_pixels": 19600}


def selected(base: str, folder: Path, main: str = "original", **view: int) -> list[int]:
    """The places in SIZES of the rows that a view selects, beside the main view."""
    table = rows.make_table(folder, len(SIZES)).assign(flip_unsafe=False, usable=True)
    table["width"], table["height"] = zip(*SIZES, strict=True)
    table.to_parquet(folder / "table.parquet")
    model = asdict(rows.model_config(base=base, **LIMITS))
    task = Task.of("view", model, asdict(rows.prompt_config()), asdict(ViewConfig(**view)), "identity", main)
    places = {row_id: i for i, row_id in enumerate(table["id"])}
    return [places[row.id] for row in select_rows(RowsToScore(folder / "table.parquet", None, 0), task)]


@pytest.mark.parametrize(
    ("name", "view", "kept"),
    [
        ("gemma4_small", {"max_pixels": 25000}, [0, 1, 2, 3, 4]),  # 140 soft tokens instead of 70
        ("gemma4_small", {"max_pixels": 20000}, []),  # 70 as in the original view
        ("gemma4_small", {"min_pixels": 6000}, []),
        ("internvl", {"max_pixels": 12544}, [0, 1, 2, 3, 4]),  # up to 4 tiles instead of 6
        ("internvl", {"max_pixels": 19000}, []),
        ("llava", {"max_pixels": 12544}, [2, 3, 4]),
        ("llava", {"max_pixels": 40000}, [3, 4]),
        ("llava", {"min_pixels": 12544}, []),  # nothing enlarges images there
    ],
)
def test_rows_are_those_whose_pictures_change(name: str, view: dict, kept: list[int], tmp_path: Path) -> None:
    """Rows judged by the Qwen families' resizing were left out although their pictures change, or counted twice."""
    random_others.config(name).save_pretrained(tmp_path / "base")
    random_others.processor(name).save_pretrained(tmp_path / "base")
    assert selected(str(tmp_path / "base"), tmp_path, **view) == kept


def test_qwen_models_keep_the_rows_of_another_size(tmp_path: Path) -> None:
    """Their rows are judged one by one."""
    base = str(rows.ROOT / "assets" / "tiny-qwen2_5-vl")
    assert selected(base, tmp_path, max_pixels=12544) == [2, 3, 4]


def test_beside_another_main_view_every_image_is_shown(tmp_path: Path) -> None:
    """Images were left out since they look as in the original view, which then nobody scores."""
    base = str(rows.ROOT / "assets" / "tiny-qwen2_5-vl")
    assert selected(base, tmp_path, main="tiles", max_pixels=12544) == [*range(len(SIZES))]


def test_a_downloaded_base_is_of_the_family_in_its_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub name says nothing of the family, and a machine without network scores what has been downloaded."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(selection, "family_in", lambda _: pytest.fail("the hub was asked"))
    folder, commit = tmp_path / "hub" / "models--someone--my-korean-vlm-7b", "c" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    random_others.config("llava").save_pretrained(folder / "snapshots" / commit)
    assert selected("someone/my-korean-vlm-7b", tmp_path, min_pixels=12544) == []
    tiny = rows.ROOT / "assets" / "tiny-qwen2_5-vl" / "config.json"
    shutil.copy(tiny, folder / "snapshots" / commit)
    assert selected("someone/my-korean-vlm-7b", tmp_path, max_pixels=12544) == [2, 3, 4]
