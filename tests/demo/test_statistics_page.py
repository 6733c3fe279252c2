"""docs/statistics.md: each number in its tables is one of the files under docs/benchmarks that it names."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from places import ROOT

PAGE = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
EPOCHS = {
    "last": "last",
    "best accuracy (`keep: best`)": "best accuracy",
    "best cross-entropy": "best cross-entropy",
    "best by the other folds' accuracy": "other folds' accuracy",
    "best by the other folds' cross-entropy": "other folds' cross-entropy",
}
BASES = {"tiny Qwen2.5-VL": "tiny-qwen2_5-vl", "tiny Qwen3-VL": "tiny-qwen3-vl"}
OPTIONS = {
    "the default": "default",
    "three seeds, pooled (`seeds: [42, 43, 44]`)": "several seeds",
    "`refit: true`": "refit",
    "`loraplus_lr_ratio: 4`": "LoRA+ 4",
    "`loraplus_lr_ratio: 16`, a quarter of the rate": "LoRA+ 16, rate / 4",
    "`augment: {mirror: true}`": "mirror",
    "mirror, `loraplus_lr_ratio: 4`": "mirror, LoRA+ 4",
    "`epochs: 12`": "12 epochs",
    "mirror, `epochs: 12`": "mirror, 12 epochs",
    "`teacher`: the stronger base": "soft labels",
    "`teacher`: a copy of itself": "soft labels of itself",
    "mirror, `teacher`: the stronger base": "mirror, soft labels",
    "the stronger base itself (tiny Qwen3-VL)": "stronger base",
}


def measured(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "docs" / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


def table(beginning: str) -> list[list[str]]:
    """The cells of the rows of the table whose header begins so."""
    lines = PAGE[PAGE.index(f"\n{beginning}") + 1 :].splitlines()
    rows = [line for line in lines[2 : next(n for n, line in enumerate(lines) if not line.startswith("|"))]]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def numbers(cells: Iterable[str]) -> list[str]:
    """The numbers of some cells, as they are written."""
    return [found for cell in cells for found in re.findall(r"[+-]?\d+(?:\.\d+)?", cell.replace("−", "-"))]


def require_numbers(cells: Iterable[str], values: Iterable[float], what: str) -> None:
    """Each number in `cells` is the value, rounded to the digits that it has."""
    told, values = numbers(cells), list(values)
    assert len(told) == len(values), (what, told, values)
    for text, value in zip(told, values, strict=True):
        digits = len(text.partition(".")[2])
        assert abs(float(text) - value) <= 0.5 * 10**-digits + 1e-9, (what, text, value)


def test_epochs() -> None:
    found, base = measured("epochs")["judged"], ""
    rows = table("| base | kept epoch |")
    assert len(rows) == len(EPOCHS) * len(BASES)
    for name, kept, *cells in rows:
        base = BASES[name] if name else base
        one = found[base][EPOCHS[kept]]
        less = [] if kept == "last" else [100 * one["less_last"]["accuracy"], 100 * one["standard_error"]["accuracy"]]
        single, mean, held = one["single"], one["mean_of_folds"], one["held_out"]
        values = [single["accuracy"], *less, mean["accuracy"], mean["nll"], held["accuracy"]]
        require_numbers(cells, values, f"{base}, {kept}")


def told_interval(one: Mapping[str, Any]) -> list[float]:
    """Gain and told gain in points."""
    return [100 * one["gain"], 100 * one["gain_told"]]


def test_intervals_of_drawn_demos() -> None:
    found, rows = measured("intervals")["drawn"], table("| base | OOF |")
    assert len(rows) == len(BASES)
    for name, *cells in rows:
        one = found[BASES[name]]
        cells.pop(1)  # the accuracy of one adapter: of each seed alone
        held = [v for key in ("oof", "mean", "score") for v in (20 * one["held"][key], 100 * one["half_width"][key])]
        require_numbers(cells, [one["oof"], one["test"], *told_interval(one), *held], name)


def test_intervals_of_made_scores() -> None:
    found, rows = measured("intervals")["made"], table("| scores | OOF |")
    assert {name for name, *_ in rows} == found.keys()
    for name, *cells in rows:
        one = found[name]
        held = [v for key in ("oof", "mean", "score") for v in (100 * one["held"][key], 100 * one["half_width"][key])]
        require_numbers(cells, [one["oof"], one["test"], *told_interval(one), *held], name)


def test_comparisons() -> None:
    found, rows = measured("comparisons")["found"], table("| wrong in |")
    header = [cell.strip() for cell in re.search(r"^\| wrong in \|.*$", PAGE, re.M)[0].strip("|").split("|")][1:]
    assert set(header) == found.keys() and {name for name, *_ in rows} == found[header[0]].keys()
    for name, *cells in rows:
        require_numbers(cells, [100 * found[case][name][0] for case in header], name)


def p_told(value: float) -> list[float]:
    """A p-value as the page tells it."""
    return [0.001] if value < 0.001 else [value]


def test_options() -> None:
    found, rows = measured("options")["options"], table("| option | OOF |")
    assert {OPTIONS[name.removesuffix(" *")] for name, *_ in rows} == found.keys()
    for name, *cells in rows:
        values = []
        for split in ("oof", "test"):
            one = found[OPTIONS[name.removesuffix(" *")]][split]
            gains = [100 * one["gain"], *p_told(one["p_value"])] if "gain" in one else []
            values += [one["accuracy"], *gains, one["nll"]]
        require_numbers(cells, values, name)


@pytest.mark.parametrize("value", [0.876, 0.8843])
def test_a_number_that_was_not_measured_is_found(value: float) -> None:
    """Else the tables could say anything."""
    with pytest.raises(AssertionError):
        require_numbers(["0.875 (± 1)"], [value, 1.0], "x")
