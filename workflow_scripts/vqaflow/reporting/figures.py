"""One look for all figures: size, palette, and a font that has Korean letters.

Figures are made without pyplot: no display and no state outside the figure is involved. Fonts come from the package
koreanize-matplotlib (NanumGothic, SIL Open Font License). The package is not imported, since that would change every
figure of the process.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path

FONT = "NanumGothic"
# Okabe and Ito's palette, which people with any kind of colour vision can distinguish.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#7F7F7F", "#F0E442")
MUTED = "#9AA0A6"

STYLE: dict[str, Any] = {
    "font.family": [FONT, "DejaVu Sans"],  # the second has characters that the first lacks
    "font.size": 10,
    "axes.unicode_minus": False,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "grid.color": "#E3E6EA",
    "legend.frameon": False,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
}
DPI = 120


@cache
def use_style() -> None:
    """Register the font and set the style, once per process."""
    spec = find_spec("koreanize_matplotlib")
    if spec is None or spec.origin is None:
        raise UserError("figures: the package koreanize-matplotlib is missing. Install requirements.lock.")
    fonts = Path(spec.origin).parent / "fonts"
    for file, weight in ((f"{FONT}.ttf", 400), (f"{FONT}Bold.ttf", 700)):  # the files do not name their weights
        entry = font_manager.FontEntry(fname=str(fonts / file), name=FONT, weight=weight, size="scalable")
        font_manager.fontManager.ttflist.append(entry)
    matplotlib.rcParams.update(STYLE)


def drawable(text: str) -> str:
    """`text` with a ``?`` for each character that the fonts lack (emoji, simplified Chinese), instead of a box."""
    known = known_characters()
    return "".join(character if ord(character) in known else "?" for character in text)


@cache
def known_characters() -> frozenset[int]:
    """The code points that a figure can show."""
    use_style()
    files = [font_manager.findfont(family) for family in STYLE["font.family"]]
    return frozenset(point for file in files for point in get_font(file).get_charmap())


def new_figure(
    title: str, rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.5, 4.2), **options: Any
) -> tuple[Figure, Any]:
    """A titled figure of `size` inches and its axes: one `Axes`, or an array of them as `Figure.subplots` returns."""
    use_style()
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(rows, columns, **options)


def label_axes(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Label both axes, with their units, and give the panel its title."""
    axes.set(xlabel=x, ylabel=y, title=title)


def heatmap(axes: Axes, values: np.ndarray, rows: Any, columns: Any, texts: list[list[str]], top: float = 1.0) -> None:
    """Draw a matrix with a text in each cell; NaN cells stay empty."""
    axes.imshow(values, cmap="Blues", vmin=0, vmax=top)
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            dark = values[row, column] > 0.6 * top
            axes.text(column, row, text, ha="center", va="center", size=8, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)


def save(figure: Figure, path: Path | str) -> None:
    """Write `figure` as PNG, atomically; equal figures give equal bytes."""
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
