"""Views for small text, blind views, and rows without an image, scored by the stage as the workflow runs it."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import rows
import scoring_world
from places import ROOT
from vqaflow.artifacts.columns import ALL_LETTERS, logit_columns
from vqaflow.artifacts.score_files import TRANSCRIPT, ScoreFile, read_logits, read_transcripts, row_index
from vqaflow.config.sections import PromptConfig, ViewConfig, section
from vqaflow.data.images.decoding import inspect_image
from vqaflow.data.images.pictures import ZOOM, pictures_of
from vqaflow.model.features import stream as feature_stream
from vqaflow.model.pipeline import reading
from vqaflow.runtime.artifact_store import Store
from vqaflow.scoring.score_choices import score_choices

LETTERS = ALL_LETTERS[:4]
LOGITS = logit_columns("abcd")

VIEWS: dict[str, dict[str, Any]] = {
    "tiles": {"tiles": "2x2"},
    "tiles_flip": {"tiles": "2x2", "flip": True},
    "native": {"pixels": "native", "max_pixels": 60 * 60},  # these pictures are between the limits
    "read": {"read": True, "read_tokens": 6},
    "tiles_read": {"tiles": "1x2", "read": True, "read_tokens": 6},
    "blind": {"blind": "text"},
    "grey": {"blind": "grey"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> scoring_world.ScoringWorld:
    """One base, adapter and table for the module; tests write their outputs elsewhere."""
    return scoring_world.ScoringWorld(tmp_path_factory.mktemp("world"), 6)


def scored(world: scoring_world.ScoringWorld, out: Path, **changes: Any) -> pd.DataFrame:
    """The scores that the stage writes; an argument of None takes the world's own."""
    score_choices(**world.arguments(out=out / "scores.parquet", work=out / "work", **changes))
    return pd.read_parquet(out / "scores.parquet")


@pytest.fixture(scope="module")
def original(world, tmp_path_factory) -> pd.DataFrame:
    """The original view's scores."""
    return scored(world, tmp_path_factory.mktemp("original"))


@pytest.mark.parametrize("name", VIEWS)
def test_each_view_changes_the_scores(name: str, world, original, tmp_path: Path) -> None:
    """A view that shows the same as the original one would count an opinion twice and cost time for nothing."""
    found = scored(world, tmp_path, name=name, view=VIEWS[name]).set_index("id")
    assert np.isfinite(found[LOGITS].to_numpy()).all() and len(found) >= 4
    same = original.set_index("id").loc[found.index.unique()]
    assert np.abs(found[LOGITS].to_numpy() - same[LOGITS].to_numpy()).max() > 1e-3
    assert (TRANSCRIPT in found) == bool(VIEWS[name].get("read"))


def test_the_keys_of_older_views_stay(world, original, tmp_path: Path) -> None:
    """A new key of views or of the prompt would compute all scores of a user's store again, for days."""
    prompt = asdict(rows.prompt_config())
    assert ViewConfig(flip=True, max_pixels=9).rendering() == {"flip": True, "pixels": [None, 9]}
    assert set(section(PromptConfig, prompt).content(False)) == {"normal_form", "system", "choice_format", "templates"}
    store = Store(tmp_path / "store", 1)
    first = scored(world, tmp_path / "first", store=store)
    taken = list((tmp_path / "store").rglob("*"))
    changed = prompt | {"read": "Other words: {question}", "transcript": "{transcript}"}
    second = scored(world, tmp_path / "second", store=store, prompt=changed)
    assert list((tmp_path / "store").rglob("*")) == taken, "what asks for text is no part of a view that does not read"
    pd.testing.assert_frame_equal(first, second)


def test_a_gated_view_pays_for_unsure_rows_only(world, original, tmp_path: Path, monkeypatch) -> None:
    """Reading takes the time of dozens of passes: it must not be spent on rows that are sure already."""
    original.to_parquet(tmp_path / "original.parquet")
    read: list[str] = []
    transcribe = reading.transcribe
    monkeypatch.setattr(
        reading, "transcribe", lambda some, *a: read.extend(row.id for row in some) or transcribe(some, *a)
    )
    margins = {"name": "read", "margins_from": tmp_path / "original.parquet", "vision": tmp_path / "vision"}
    every = scored(world, tmp_path / "every", view=VIEWS["read"] | {"when": "margin < 1.1"}, **margins)
    assert set(read) == set(world.table["id"]) == set(every["id"])
    read.clear()
    file = ScoreFile("", "", "0", "original", tmp_path / "original.parquet")
    margin = np.sort(np.diff(np.sort(_probabilities(file, world.table["id"]), axis=1)[:, -2:], axis=1)[:, 0])
    few = scored(world, tmp_path / "few", view=VIEWS["read"] | {"when": f"margin < {margin[2]:.6f}"}, **margins)
    assert set(few["id"]) < set(every["id"]) and not read, "what was read once is kept"


def _probabilities(file: ScoreFile, ids: pd.Series) -> np.ndarray:
    """The geometric mean over the orders, normalised."""
    logits = read_logits(file, row_index(ids.tolist())).logits_NKC.astype(float)
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    p = np.exp(logp.mean(1))
    return p / p.sum(1, keepdims=True)


def test_transcripts_are_the_untuned_bases(world, tmp_path: Path) -> None:
    """An adapter that has learned to answer with a letter reads a letter; and every fold would read anew."""
    tuned = scored(world, tmp_path / "tuned", name="read", view=VIEWS["read"])
    untuned = scored(world, tmp_path / "untuned", name="read", view=VIEWS["read"], adapter=None, vision=tmp_path / "v")
    assert tuned[TRANSCRIPT].tolist() == untuned[TRANSCRIPT].tolist()
    assert (tuned[LOGITS].to_numpy() != untuned[LOGITS].to_numpy()).any()
    file = ScoreFile("main", "oof", "0", "read", tmp_path / "tuned" / "scores.parquet")
    assert read_transcripts(file) == dict(zip(tuned["id"], tuned[TRANSCRIPT], strict=True))


def test_a_row_without_an_image_is_asked_by_its_text(world, original, tmp_path: Path, caplog) -> None:
    """Equal probabilities would answer it with the letter a, and no other view can show it."""
    gone = world.table["id"] == "row_2"
    table = world.table.assign(
        usable=~gone,
        width=world.table["width"].mask(gone, 0),
        height=world.table["height"].mask(gone, 0),
        sha256=world.table["sha256"].mask(gone),
    )
    other = world.with_table(table, tmp_path)
    with caplog.at_level("INFO", logger="vqaflow"):
        found = scored(other, tmp_path / "main")
    assert [record.getMessage() for record in caplog.records if "no usable image" in record.getMessage()] == [
        "1 of 6 rows have no usable image: they are asked by question and choices alone (see problems.csv)"
    ]
    blind = scored(world, tmp_path / "blind", name="blind", view=VIEWS["blind"])
    pairs = [(frame[frame["id"] == "row_2"][LOGITS].to_numpy(), frame) for frame in (found, blind)]
    np.testing.assert_allclose(pairs[0][0], pairs[1][0], atol=1e-4)
    rest = found["id"] != "row_2"
    np.testing.assert_allclose(found[rest][LOGITS], original[original["id"] != "row_2"][LOGITS], atol=1e-4)
    assert "row_2" not in set(scored(other, tmp_path / "tiles", name="tiles", view=VIEWS["tiles"])["id"])


def test_the_whole_image_of_tiles_is_the_original_views_feature(world, tmp_path: Path, monkeypatch) -> None:
    """Features are kept by what they show: the same picture must not run through the tower for every view."""
    kept = {"vision": tmp_path / "vision", "vision_gb": 1}
    scored(world, tmp_path / "one", **kept)
    before = {file.name for file in (tmp_path / "vision").rglob("*.safetensors")}
    computed: list[int] = []
    compute = feature_stream.finite_features
    monkeypatch.setattr(
        feature_stream,
        "finite_features",
        lambda c, v, p, grids, r: computed.extend(grids) or compute(c, v, p, grids, r),
    )
    scored(world, tmp_path / "two", name="tiles", view=VIEWS["tiles"], **kept)
    after = {file.name for file in (tmp_path / "vision").rglob("*.safetensors")}
    assert len(computed) == len(after - before) == 4 * 6 and before < after
    computed.clear()
    scored(world, tmp_path / "three", name="tiles_read", view=VIEWS["tiles"] | VIEWS["read"], **kept)
    assert not computed, "the request to read and the question show the same pictures"


@pytest.mark.parametrize(("size", "shape"), [((400, 300), "2x2"), ((101, 57), "3x2"), ((64, 64), "1x6")])
def test_tiles_cover_the_image_and_overlap_as_told(size, shape) -> None:
    """A column of pixels between two tiles may hold the digit that is asked for."""
    view = ViewConfig(tiles=shape, overlap=0.2)
    whole, *tiles = pictures_of(*size, view)
    assert (whole.width, whole.height, whole.box) == (*size, None)
    seen = np.zeros(size[::-1], int)
    for tile in tiles:
        left, top, right, bottom = tile.box
        assert (tile.width, tile.height) == (ZOOM * (right - left), ZOOM * (bottom - top))
        seen[top:bottom, left:right] += 1
    assert seen.min() == 1 and seen.max() > 1 and len(tiles) == np.prod(view.shape)
    first, second = tiles[0].box, tiles[1].box
    if view.shape[1] > 1:
        side = size[0] / view.shape[1]
        assert first[2] - second[0] == pytest.approx(0.2 * side, abs=1)


def test_images_too_thin_for_tiles_are_shown_whole(world, tmp_path: Path) -> None:
    """A tile of 400 x 1 pixels would be resized to nothing, or refused by the resizer."""
    assert len(pictures_of(3000, 20, ViewConfig(tiles="4x1"))) == 1
    assert len(pictures_of(3000, 300, ViewConfig(tiles="1x4"))) == 5


@pytest.mark.skipif("VQAFLOW_REAL_DATA" not in os.environ, reason="VQAFLOW_REAL_DATA names no folder of real data")
@pytest.mark.parametrize("base", ["tiny-qwen2_5-vl", "tiny-qwen3-vl"])
def test_real_photographs_run_through_every_view(base: str, tmp_path: Path) -> None:
    """Photographs of phones have sizes, shapes and Korean questions that made-up rows do not."""
    folder = Path(os.environ["VQAFLOW_REAL_DATA"]) / "recycling2026"
    tables = [pd.read_csv(folder / f"{name}.csv", dtype=str) for name in ("train", "dev", "test")]
    table = pd.concat([t[[(folder / path).is_file() for path in t["path"]]] for t in tables], ignore_index=True)
    facts = [inspect_image(folder / path, 10**8) for path in table["path"]]
    table = table[["id", "question", *LETTERS]].assign(
        image_file=[str(folder / path) for path in table["path"]],
        sha256=[fact.sha256 for fact in facts],
        width=[fact.width for fact in facts],
        height=[fact.height for fact in facts],
        qtype="general",
        flip_unsafe=False,
        usable=True,
    )
    assert len(table) == 26
    table.to_parquet(tmp_path / "table.parquet")
    tokens = {}
    for name, view in {"original": {}, **VIEWS}.items():
        given = {
            "table": tmp_path / "table.parquet",
            "folds": None,
            "part": "base",
            "margins_from": None,
            "name": name,
            "view": view | ({"read_tokens": 16} if view.get("read") else {}),
            "adapter": None,
            "model": asdict(rows.model_config(base=str(ROOT / "assets" / base), min_pixels=12544, max_pixels=50176)),
            "prompt": asdict(rows.prompt_config()),
            "orders": "identity",
            "out": tmp_path / f"{name}.parquet",
            "cost": tmp_path / f"{name}.json",
            "work": tmp_path / "work",
            "bases": tmp_path / "bases",
            "store": Store(tmp_path / "store", 0),
            "vision": tmp_path / "vision",
            "vision_gb": 1,
            "batch_tokens": 4096,
        }
        score_choices(**scoring_world.scoring(**given))
        found = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert list(found["id"]) == list(table["id"]) and np.isfinite(found[LOGITS].to_numpy()).all()
        tokens[name] = found
    assert len({frame[LOGITS].to_numpy().tobytes() for frame in tokens.values()}) == len(tokens)
