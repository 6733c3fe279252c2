"""score_choices scores the right rows, whatever the batches, and goes on where it was killed."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from PIL import Image

import rows
import scoring_world
from scoring_world import save_adapter, save_run
from vqaflow.artifacts.adapter_files import adapter_digest
from vqaflow.artifacts.columns import logit_columns
from vqaflow.artifacts.rows import all_asked, rows_of
from vqaflow.artifacts.score_files import Logits, ScoreFile, read_about, read_logits, row_index
from vqaflow.config.sections import ModelConfig, ViewConfig, section
from vqaflow.model.base import load_base
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.encoding.orders import inverse
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features import stream as feature_stream
from vqaflow.runtime import versions
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.scoring import score_choices as stage_module
from vqaflow.scoring.score_choices import score_choices
from vqaflow.scoring.selection import margins_of

LOGITS = logit_columns("abcd")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> scoring_world.ScoringWorld:
    """One base, adapter and table for the module; tests write their outputs elsewhere."""
    return scoring_world.ScoringWorld(tmp_path_factory.mktemp("world"))


def scored(world: scoring_world.ScoringWorld, out: Path, **changes) -> pd.DataFrame:
    """The scores that the stage writes."""
    score_choices(**world.arguments(out=out / "scores.parquet", work=out / "work", **changes))
    return pd.read_parquet(out / "scores.parquet")


@pytest.fixture(scope="module")
def original(world, tmp_path_factory) -> pd.DataFrame:
    """The original view's scores of all rows in the four cyclic orders."""
    return scored(world, tmp_path_factory.mktemp("original"))


def test_scores_follow_the_contract(world, original) -> None:
    """The ensemble reads these columns, in the table's order, each row in each order."""
    assert list(original.columns) == ["id", "order", *LOGITS]
    assert original["id"].tolist() == world.table["id"].repeat(4).tolist()
    assert original["order"].tolist() == ["abcd", "bcda", "cdab", "dabc"] * len(world.table)
    assert original[LOGITS].dtypes.eq(np.float32).all()
    assert np.isfinite(original[LOGITS].to_numpy()).all()


def test_batch_size_changes_nothing(world, original, tmp_path) -> None:
    """hardware.score_batch_tokens is a hint: a small card must give the same submission."""
    single = scored(world, tmp_path, batch_tokens=1)
    np.testing.assert_allclose(single[LOGITS], original[LOGITS], atol=1e-4)


def test_row_order_changes_nothing(world, original, tmp_path) -> None:
    """A shuffled CSV gives each row the same bits."""
    changed = world.with_table(world.table.sample(frac=1, random_state=3), tmp_path)
    shuffled = scored(changed, tmp_path).set_index(["id", "order"])
    shuffled = shuffled.loc[pd.MultiIndex.from_frame(original[["id", "order"]])]
    assert np.array_equal(shuffled[LOGITS], original[LOGITS])


@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_are_the_librarys_on_either_padding_side(world, original, side) -> None:
    """A plain forward of the library with PEFT, padded as one likes, must find the same logits: nothing is lost in
    packing orders into one pass, in fused layers, or in merged weights."""
    settings = section(ModelConfig, world.model)
    base = load_base(settings)
    encoder = RowEncoder(base.processor, settings, rows.prompt_config())
    network = PeftModel.from_pretrained(base.network, world.adapter).eval()
    network.get_base_model().model.visual.config._attn_implementation = "sdpa"
    for order in ("abcd", "cdab"):
        encoded = [encoder.encode(row, [order], rows.VIEW) for row in rows_of(world.table)]
        ids = [row.prefix_ids + row.branch_ids[0] for row in encoded]
        longest = max(map(len, ids))
        pads = [[0] * (longest - len(i)) for i in ids]
        padded = [pad + i if side == "left" else i + pad for i, pad in zip(ids, pads, strict=True)]
        lengths = [len(i) for i in ids]
        real = [[int(at >= longest - n if side == "left" else at < n) for at in range(longest)] for n in lengths]
        batch = torch.tensor(padded)
        with torch.no_grad():
            logits = network(
                input_ids=batch,
                attention_mask=torch.tensor(real),
                mm_token_type_ids=(batch == encoder.image_token).long(),
                pixel_values=torch.cat([encoder.pixels(file, rows.VIEW) for file in world.table["image_file"]]),
                image_grid_thw=torch.tensor([row.grid for row in encoded]),
            ).logits
        last = [-1 if side == "left" else n - 1 for n in lengths]
        shown = torch.stack([row[at, encoder.letter_ids] for row, at in zip(logits, last, strict=True)])
        expected = shown[:, inverse(order)]
        np.testing.assert_allclose(original.loc[original["order"] == order, LOGITS], expected, atol=1e-4)


def test_permuting_choices_permutes_scores(world, tmp_path) -> None:
    """Over all 24 orders it makes no difference which letter a choice had: logits go with the choice."""
    table = world.table.head(3)
    moved = table.rename(columns=dict(zip("abcd", "cadb", strict=True)))
    straight = scored(world.with_table(table, tmp_path), tmp_path / "straight", orders="all")
    permuted = scored(world.with_table(moved, tmp_path), tmp_path / "permuted", orders="all")
    mean = straight.groupby("id")[LOGITS].mean().to_numpy()
    theirs = permuted.groupby("id")[[f"logit_{x}" for x in "cadb"]].mean().to_numpy()
    np.testing.assert_allclose(theirs, mean, atol=1e-4)
    assert np.ptp(mean, axis=1).min() > 1e-3, "equal logits could not show a permutation"


def test_oof_scores_only_its_fold(world, tmp_path) -> None:
    """A row scored by an adapter that saw it would make OOF a lie."""
    scores = scored(world, tmp_path, folds=world.folder / "folds.parquet", part="0")
    assert set(scores["id"]) == set(world.folds.loc[world.folds["fold"] == 0, "id"])


def test_flip_leaves_unsafe_and_unusable_rows_out(world, original, tmp_path) -> None:
    """Mirroring must not turn left into right; a quarantined row has no picture to score."""
    table = world.table.assign(flip_unsafe=[i == 2 for i in range(10)], usable=[i != 5 for i in range(10)])
    flipped = scored(world.with_table(table, tmp_path), tmp_path, view={"flip": True}, name="hflip")
    assert set(table["id"]) - set(flipped["id"]) == {"row_2", "row_5"}
    same = original[original["id"].isin(flipped["id"])]
    assert np.abs(flipped[LOGITS].to_numpy() - same[LOGITS].to_numpy()).max() > 1e-3


def test_a_view_leaves_out_the_images_that_it_would_not_resize(world, tmp_path) -> None:
    """The same pixels scored as a second view would count these rows twice in the pool, and cost the time again."""
    settings = section(ModelConfig, world.model)
    encoder = RowEncoder(load_base(settings).processor, settings, rows.prompt_config())
    sizes = world.table[["width", "height"]].itertuples(index=False)
    grids = {
        row_id: encoder.grid_of(*size, rows.VIEW)[1:] for row_id, size in zip(world.table["id"], sizes, strict=True)
    }
    areas = {row_id: high * wide for row_id, (high, wide) in grids.items()}
    limit = sorted(areas.values())[len(areas) // 2] * 14 * 14
    scores = scored(world, tmp_path, view={"max_pixels": limit}, name="coarse")
    left = set(scores["id"])
    assert left == {row_id for row_id, area in areas.items() if area * 14 * 14 > limit}
    assert left and left != set(areas)


def test_hflip_swaps_left_and_right(world, tmp_path) -> None:
    """Upside down it would be a view that no photograph shows, and scores would suffer in silence."""
    settings = section(ModelConfig, world.model)
    encoder = RowEncoder(load_base(settings).processor, settings, rows.prompt_config())
    file = Path(world.table["image_file"][0])
    mirrored = tmp_path / "mirrored.png"
    Image.fromarray(np.ascontiguousarray(np.asarray(Image.open(file).convert("RGB"))[:, ::-1])).save(mirrored)
    seen, wanted = encoder.pixels(file, ViewConfig(flip=True)), encoder.pixels(mirrored, ViewConfig())
    # What lies left and right in a patch depends on where the resizer's filter begins.
    assert (seen - wanted).abs().mean() < 0.02 * (encoder.pixels(file, ViewConfig()) - wanted).abs().mean()


def test_a_pass_that_does_not_fit_is_halved_and_gives_each_row_its_own(world, original, tmp_path, monkeypatch) -> None:
    """Halves joined the wrong way round would give rows each other's scores."""
    real = FusedDecoder.answer_states

    def short_of_memory(self, layout, features):
        if len(features) > 1:
            raise torch.OutOfMemoryError
        return real(self, layout, features)

    monkeypatch.setattr(FusedDecoder, "answer_states", short_of_memory)
    halved = scored(world, tmp_path)
    np.testing.assert_allclose(halved[LOGITS], original[LOGITS], atol=1e-4)


def test_when_scores_only_small_margins(world, original, tmp_path) -> None:
    """The fine view costs many tokens: only the rows that need it get it."""
    original.to_parquet(tmp_path / "original.parquet")
    file = ScoreFile("main", "oof", "0", "original", tmp_path / "original.parquet")
    margins = margins_of(read_logits(file, row_index(world.table["id"].tolist())))
    limit = float(np.median(margins))
    fine = {"min_pixels": 150 * 150, "max_pixels": 200 * 200, "when": f"margin < {limit:.9f}"}
    scores = scored(world, tmp_path, view=fine, name="fine", margins_from=tmp_path / "original.parquet")
    assert set(scores["id"]) == set(world.table["id"][margins < limit])
    same = original[original["id"].isin(scores["id"])]
    assert np.abs(scores[LOGITS].to_numpy() - same[LOGITS].to_numpy()).max() > 1e-3, "more pixels must be seen"


@pytest.mark.parametrize(
    ("name", "rule"),
    [("table", "validate_tables"), ("folds", "make_folds"), ("margins_from", "score_choices")],
)
def test_inputs_that_are_missing_or_damaged_are_told_with_their_rule(world, tmp_path, name, rule) -> None:
    """Who scores by hand would get a traceback of pandas, and not learn what to run before."""
    given = tmp_path / "given.parquet"
    changes = {"view": {"when": "margin < 0.3"}, "name": "fine"} | {name: given}
    with pytest.raises(UserError, match=rf"given\.parquet: is missing\. Run the rule {rule}\."):
        scored(world, tmp_path, **changes)
    world.table[["question"]].to_parquet(given)
    given.write_bytes(given.read_bytes()[:-9])
    with pytest.raises(UserError, match=rf"given\.parquet: is damaged.* run the rule {rule} again"):
        scored(world, tmp_path, **changes)


def test_no_row_gives_an_empty_typed_table(world, original, tmp_path) -> None:
    """A view that no row wants is still an artifact that the ensemble can read."""
    original.to_parquet(tmp_path / "original.parquet")
    views = {"when": "margin < 0"}
    none = scored(world, tmp_path, view=views, name="fine", margins_from=tmp_path / "original.parquet")
    assert none.empty and none.dtypes.equals(original.dtypes)


@pytest.mark.parametrize("when", ["margin <", "margin > 0.3", "entropy < 1", "margin < x"])
def test_an_unreadable_condition_is_named(world, tmp_path, when: str) -> None:
    """A typo in `when` must not select everything or nothing."""
    with pytest.raises(UserError, match=r"views\.fine\.when"):
        scored(world, tmp_path, view={"when": when}, name="fine", margins_from=tmp_path / "x")


def test_margin_is_the_gap_of_pooled_probabilities() -> None:
    """Geometric mean over orders, softmax, best less second best; computed by hand here."""
    probabilities = np.array(
        [[[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]], [[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]]]
    )
    margins = margins_of(Logits(("abcd", "bcda"), np.ones(2, bool), np.log(probabilities) + 3))
    assert margins == pytest.approx([0, 0.1], abs=1e-6)


def test_killed_job_resumes_at_the_last_finished_shard(world, original, tmp_path, monkeypatch) -> None:
    """Hours of a GPU must not be lost, and the bits must be those of an undisturbed run."""
    from vqaflow.scoring.scorer import Scorer

    monkeypatch.setattr(stage_module, "SHARD_ROWS", 4)
    undisturbed = scored(world, tmp_path / "whole")
    real, sizes = Scorer.score, []

    def dies_in_the_third_shard(self, items, *rest):
        sizes.append(len(items))
        if len(sizes) == 5:  # two probes, two shards
            raise KeyboardInterrupt
        return real(self, items, *rest)

    monkeypatch.setattr(Scorer, "score", dies_in_the_third_shard)
    with pytest.raises(KeyboardInterrupt):
        scored(world, tmp_path / "killed")
    assert not (tmp_path / "killed" / "scores.parquet").exists()
    assert len(list((tmp_path / "killed" / "work").glob("*.parquet"))) == 2
    sizes[:] = [0] * 10
    resumed = scored(world, tmp_path / "killed")
    assert sizes[10:] == [4, 4, 2], "two probes, then only the shard that was not finished"
    pd.testing.assert_frame_equal(resumed, undisturbed, check_exact=True)
    assert not (tmp_path / "killed" / "work").exists()


KILLED = """
import pickle, sys, time
from vqaflow.scoring import score_choices as stage, scorer as scoring
stage.SHARD_ROWS = 2
real = scoring.Scorer.score
def slow(self, items, *rest):
    time.sleep(0.5)
    return real(self, items, *rest)
scoring.Scorer.score = slow
stage.score_choices(**pickle.load(open(sys.argv[1], "rb")))
"""


def test_a_job_that_the_system_kills_goes_on(world, original, tmp_path, monkeypatch) -> None:
    """The out-of-memory killer and a notebook's time limit leave no time to say goodbye."""
    from vqaflow.scoring.scorer import Scorer

    out, work = tmp_path / "scores.parquet", tmp_path / "work"
    (tmp_path / "job").write_bytes(pickle.dumps(world.arguments(out=out, work=work)))
    environment = os.environ | {"PYTHONPATH": str(rows.ROOT / "workflow_scripts")}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "job"], env=environment, stderr=subprocess.PIPE
    )
    while process.poll() is None and len(list(work.glob("[!.]*.parquet"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not out.exists()
    monkeypatch.setattr(stage_module, "SHARD_ROWS", 2)
    real, sizes = Scorer.score, []
    monkeypatch.setattr(
        Scorer, "score", lambda self, items, *rest: sizes.append(len(items)) or real(self, items, *rest)
    )
    resumed = scored(world, tmp_path)
    assert sum(sizes[2:]) <= len(world.table) - 4, "the two probes, then only shards that were not finished"
    np.testing.assert_allclose(resumed[LOGITS], original[LOGITS], atol=1e-4)


def test_equal_inputs_are_scored_once(world, tmp_path, monkeypatch) -> None:
    """Going back to an earlier configuration, or an adapter trained again to the same bytes, takes seconds."""
    from vqaflow.scoring.scorer import Scorer

    store, arguments = Store(tmp_path / "store", 1), world.arguments()
    first = scored(world, tmp_path / "first", store=store)

    def never(*_: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(Scorer, "score", never)
    again = scored(world, tmp_path / "again", store=store, batch_tokens=64)
    pd.testing.assert_frame_equal(again, first, check_exact=True)
    changes = [
        {"orders": "identity"},
        {"view": {"flip": True}, "name": "hflip"},
        {"view": {"min_pixels": 200 * 200, "max_pixels": 250 * 250}, "name": "fine"},
        {"part": "1", "folds": world.folder / "folds.parquet"},
        {"prompt": asdict(arguments["task"].prompt) | {"system": "Answer otherwise."}},
        {"model": world.model | {"max_pixels": 112 * 112}},
    ]
    for change in changes:
        with pytest.raises((AssertionError, UserError), match=r"scored again|the adapter was trained with"):
            scored(world, tmp_path / "changed", store=store, **change)


@pytest.mark.parametrize("package", ["transformers", "qwen-vl-utils"])
def test_another_release_of_what_makes_the_inputs_scores_anew(world, tmp_path, monkeypatch, package) -> None:
    """After an update of the locked packages, the store would give the scores that older pixels or positions had."""
    from vqaflow.scoring.scorer import Scorer

    store = Store(tmp_path / "store", 1)
    scored(world, tmp_path / "first", store=store)
    patch_release = {package: f"{version(package)}.post1"}
    monkeypatch.setattr(versions, "version", lambda name: patch_release.get(name) or version(name))

    def scores_again(*_: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(Scorer, "score", scores_again)
    with pytest.raises(AssertionError, match="scored again"):
        scored(world, tmp_path / "updated", store=store)


FROM_STORE = """
import pickle, sys
from vqaflow.scoring.score_choices import score_choices
score_choices(**pickle.load(open(sys.argv[1], "rb")))
sys.exit("torch" in sys.modules)
"""


def test_what_the_store_has_needs_no_torch(world, tmp_path) -> None:
    """A run whose scores are all there would load it for seconds, fold by fold and view by view."""
    store = Store(tmp_path / "store", 1)
    first = scored(world, tmp_path / "first", store=store)
    out = tmp_path / "scores.parquet"
    (tmp_path / "job").write_bytes(pickle.dumps(world.arguments(out=out, work=tmp_path / "work", store=store)))
    environment = os.environ | {"PYTHONPATH": str(rows.ROOT / "workflow_scripts")}
    assert subprocess.run([sys.executable, "-c", FROM_STORE, tmp_path / "job"], env=environment).returncode == 0
    pd.testing.assert_frame_equal(pd.read_parquet(out), first, check_exact=True)


def test_another_fold_takes_the_features_from_the_disk(world, original, tmp_path, monkeypatch) -> None:
    """All folds score the test rows: the tower, a fifth of the work, need not run for each of them."""
    kept = {"vision": tmp_path / "vision", "vision_gb": 1}
    scored(world, tmp_path / "first", **kept)
    assert len(list((tmp_path / "vision").glob("*/*.safetensors"))) == world.table["sha256"].nunique()

    def never(*_: object) -> None:
        raise AssertionError("the tower ran again")

    monkeypatch.setattr(feature_stream, "finite_features", never)
    again = scored(world, tmp_path / "again", **kept)
    np.testing.assert_allclose(again[LOGITS], original[LOGITS], atol=1e-4)
    with pytest.raises(AssertionError, match="the tower ran again"):
        scored(world, tmp_path / "flipped", view={"flip": True}, name="hflip", **kept)


def test_features_take_no_more_disk_than_is_allowed(world, tmp_path) -> None:
    """A notebook's disk is small; a full one must not end a job."""
    vision = tmp_path / "vision"
    vision.mkdir()
    (vision / "of_an_earlier_run").write_bytes(bytes(2000))
    scored(world, tmp_path, vision=vision, vision_gb=1e-6)
    assert not list(vision.glob("*/*.safetensors"))


def test_a_stale_shard_is_never_reused(world, tmp_path, monkeypatch) -> None:
    """After the adapter was trained again, shards of the older one in the work folder are other scores."""
    from vqaflow.scoring.scorer import Scorer

    arguments = world.arguments(out=tmp_path / "a.parquet", work=tmp_path / "work")
    monkeypatch.setattr(stage_module.shutil, "rmtree", lambda *a, **k: None)
    score_choices(**arguments)
    adapter = scoring_world.save_adapter(tmp_path / "adapter", seed=2)
    scoring_world.save_run(adapter, world.model, held_out=world.held_out)
    changed = arguments | {"adapter": adapter, "out": tmp_path / "b.parquet"}
    calls, real = [], Scorer.score
    monkeypatch.setattr(
        Scorer, "score", lambda self, items, *rest: calls.append(len(items)) or real(self, items, *rest)
    )
    score_choices(**changed)
    assert calls == [4, 4, 10]
    assert not pd.read_parquet(tmp_path / "a.parquet").equals(pd.read_parquet(tmp_path / "b.parquet"))


@pytest.mark.parametrize("what", ["code_digest", "base_digest"])
def test_shards_of_older_code_or_of_another_base_are_never_reused(world, tmp_path, monkeypatch, what) -> None:
    """A killed scoring that goes on after an update, or with other weights at the same path, would mix two scorings."""
    from vqaflow.scoring.scorer import Scorer

    arguments = world.arguments(out=tmp_path / "a.parquet", work=tmp_path / "work")
    monkeypatch.setattr(stage_module.shutil, "rmtree", lambda *a, **k: None)
    score_choices(**arguments)
    monkeypatch.setattr(stage_module, what, lambda _: "another")
    calls, real = [], Scorer.score
    monkeypatch.setattr(
        Scorer, "score", lambda self, items, *rest: calls.append(len(items)) or real(self, items, *rest)
    )
    score_choices(**arguments | {"out": tmp_path / "b.parquet"})
    assert calls == [4, 4, 10]


def test_shards_of_another_precision_are_never_reused(world, tmp_path, monkeypatch) -> None:
    """`auto` is float16 on one machine and bfloat16 on the next: half a table of each would be one file of scores."""
    from vqaflow.model import stored_base
    from vqaflow.scoring.scorer import Scorer

    open_base = stored_base.open_base
    arguments = world.arguments(out=tmp_path / "a.parquet", work=tmp_path / "work")
    monkeypatch.setattr(stage_module.shutil, "rmtree", lambda *a, **k: None)
    score_choices(**arguments)
    calls, real = [], Scorer.score
    monkeypatch.setattr(
        Scorer, "score", lambda self, items, *rest: calls.append(len(items)) or real(self, items, *rest)
    )
    for dtype, expected in (("float32", [4, 4]), ("bfloat16", [4, 4, 10])):
        calls[:] = []
        monkeypatch.setattr(
            stored_base,
            "open_base",
            lambda model, *rest, d=dtype, **more: open_base(replace(model, compute_dtype=d), *rest, **more),
        )
        score_choices(**arguments | {"out": tmp_path / f"{dtype}.parquet"})
        assert calls == expected


def test_an_adapter_that_changes_nothing_stops_the_job(world, tmp_path) -> None:
    """An adapter whose weights never trained, or never loaded, would score as the bare base in silence."""
    idle = scoring_world.save_adapter(tmp_path / "idle", size=0)
    scoring_world.save_run(idle, world.model, held_out=world.held_out)
    with pytest.raises(UserError, match="changes no logit"):
        scored(world, tmp_path, adapter=idle)
    assert not (tmp_path / "scores.parquet").exists()


def test_a_non_finite_logit_names_the_row(world, tmp_path, monkeypatch) -> None:
    """NaN must not become a probability; the message leads to the row."""
    from vqaflow.scoring import scorer as scoring

    real, one_pass, batch_ids = scoring.letter_logits, scoring.Scorer._letter_logits, []

    def noted(self, batch, features):
        batch_ids[:] = [item.row.id for item in batch]
        return one_pass(self, batch, features)

    def poisoned(*arguments):
        logits = real(*arguments)
        logits[-1, 0, 2] = float("nan")
        return logits

    monkeypatch.setattr(scoring.Scorer, "_letter_logits", noted)
    monkeypatch.setattr(scoring, "letter_logits", poisoned)
    with pytest.raises(UserError, match=r"row 'row_\d'.*compute_dtype") as error:
        scored(world, tmp_path)
    assert len(batch_ids) > 1, "with one row in a pass, any row would be the right one"
    assert f"row {batch_ids[-1]!r}" in str(error.value)


def test_the_untuned_base_scores_all_rows(world, original, tmp_path) -> None:
    """A first submission needs no adapter and no fold; its logits are those of the library without PEFT."""
    scores = scored(world, tmp_path, adapter=None, part="base")
    assert list(scores["id"].unique()) == world.table["id"].tolist()
    assert np.abs(scores[LOGITS].to_numpy() - original[LOGITS].to_numpy()).max() > 1e-2, "an adapter was used"
    nothing = save_adapter(tmp_path / "nothing", size=0.0)
    save_run(nothing, world.model, held_out=world.held_out)
    with pytest.raises(UserError, match="the adapter changes no logit"):
        scored(world, tmp_path, adapter=nothing)


def test_scores_say_what_was_scored_and_what_it_cost(world, tmp_path) -> None:
    """A file that was copied to another fold's place, or comes from other rows, is found by its own words."""
    out, cost = tmp_path / "a.parquet", tmp_path / "a.json"
    score_choices(**world.arguments(out=out, cost=cost, work=tmp_path / "work"))
    about = read_about(out)
    assert about["adapter"] == adapter_digest(world.adapter)
    assert about["rows"] == value_digest(all_asked(rows_of(world.table)))
    told = json.loads(cost.read_text(encoding="utf-8"))
    assert told["seconds"] > 0 and (told["rows"], told["orders"]) == (len(world.table), 4)
    score_choices(**world.arguments(out=out, cost=cost, work=tmp_path / "work", adapter=None, part="base"))
    assert read_about(out)["adapter"] is None
    pd.read_parquet(out).to_parquet(out)
    with pytest.raises(UserError, match="is damaged"):
        read_about(out)
