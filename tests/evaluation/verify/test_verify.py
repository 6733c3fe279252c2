"""The check of a results folder: a whole one passes, and each kind of damage or disagreement is found and named."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results_world import make_whole_run, several_members
from vqaflow.artifacts.adapter_files import DIGEST, RUN, write_run
from vqaflow.artifacts.adapter_files import FILES as FILES_OF_RUN
from vqaflow.artifacts.parts import fold_of
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.rows import contents
from vqaflow.artifacts.score_files import read_about, write_scores
from vqaflow.commands.command_line import main
from vqaflow.evaluation.verify.model_checks import require_equal_conditions
from vqaflow.evaluation.verify.verify import CHECKS, verify
from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.training.rows import FoldRows

P = ["p_a", "p_b", "p_c", "p_d"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_whole_run(tmp_path_factory.mktemp("run") / "results")


@pytest.fixture(scope="module")
def finished_several(tmp_path_factory):
    """A run with a member of each kind."""
    folder = tmp_path_factory.mktemp("run") / "results"
    folder.mkdir()
    return make_whole_run(folder, members=several_members(folder))


@pytest.fixture
def results(finished, tmp_path):
    """A copy to damage."""
    return shutil.copytree(finished, tmp_path / "results")


@pytest.fixture
def several(finished_several, tmp_path):
    """A copy of the run with several members."""
    return shutil.copytree(finished_several, tmp_path / "results")


def failures(results, **options):
    """What is found by what the artifacts say: that their bytes are others than their rules wrote is left out."""
    found = {name: text for name, state, text in verify(results, **options) if state == "FAILED"}
    found.pop("bytes", None)
    return found


def test_a_finished_run_passes(finished):
    assert [(name, state) for name, state, _ in verify(finished)] == [(name, "ok") for name in CHECKS]
    assert failures(finished, sample=finished / "sample_submission.csv") == {}


def test_a_finished_run_of_several_members_passes(finished_several):
    found = {name: (state, text) for name, state, text in verify(finished_several)}
    assert {state for state, _ in found.values()} == {"ok"}, found
    assert found["adapters"][1].startswith("11 adapters of 2 members")
    assert found["members"][1].startswith("friend (file, its origin is not checked), main (tuned)")


def test_verifying_changes_nothing(finished):
    before = {path: file_digest(path) for path in finished.rglob("*") if path.is_file()}
    list(verify(finished))
    assert {path: file_digest(path) for path in finished.rglob("*") if path.is_file()} == before


FILES = {
    "tables/train.parquet": "tables",
    "tables/test.parquet": "tables",
    "tables/problems.csv": "tables",
    "eda/summary.json": "exploration",
    "eda/types.png": "exploration",
    "folds.parquet": "folds",
    "folds.report.json": "folds",
    "adapters/main/fold1/adapter_model.safetensors": "adapters",
    "adapters/main/fold1/adapter_config.json": "adapters",
    "adapters/main/fold1/run.json": "adapters",
    "adapters/main/fold1/log.csv": "adapters",
    "adapters/main/fold1/curve.png": "adapters",
    "scores/main/oof/fold0/original.parquet": "scores",
    "scores/main/test/fold2/hflip.parquet": "scores",
    "members/main/oof.parquet": "members",
    "members/main/test.parquet": "members",
    "members/main/oof_views.parquet": "members",
    "members/main/test_views.parquet": "members",
    "members/main/member.json": "members",
    "ensemble/oof.parquet": "ensemble",
    "ensemble/test.parquet": "ensemble",
    "ensemble/recipe.json": "ensemble",
    "evaluation/metrics.json": "evaluation",
    "evaluation/coverage.png": "evaluation",
    "evaluation/mistakes.html": "evaluation",
    "evaluation/mistakes_excerpt.html": "evaluation",
    "evaluation/picks.html": "evaluation",
    "evaluation/members.png": "evaluation",
    "submission.csv": "submission",
    "submission.validated.json": "submission",
}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(results, name):
    (results / name).unlink()
    check, found = next(iter(failures(results).items()))
    assert check == FILES[name]
    assert name.rsplit("/", 1)[-1] in found or name.rsplit("/", 1)[0] in found
    assert any(cure in found for cure in ("Run the rule", "rain it again", "Score it")), found


@pytest.mark.parametrize("name", sorted(set(FILES) - {"tables/problems.csv"}))
def test_a_cut_off_file_is_named(results, name):
    """What a full disk or an interrupted copy leaves."""
    data = (results / name).read_bytes()
    (results / name).write_bytes(data[: len(data) // 2])
    check, found = next(iter(failures(results).items()))
    assert check == FILES[name] and name in found


@pytest.mark.parametrize(
    "name",
    [
        "folds.report.json",
        "members/main/member.json",
        "ensemble/recipe.json",
        "evaluation/metrics.json",
        "submission.validated.json",
    ],
)
def test_json_of_another_kind_is_named(results, name):
    (results / name).write_text("{}")
    (found,) = failures(results).values()
    assert name in found and "is damaged (it has no" in found


def frame(change):
    def edit(path):
        table = pd.read_parquet(path)
        if "scores" in path.parts:  # what it says of itself stays
            write_scores(change(table), read_about(path), path)
        else:
            change(table).to_parquet(path, index=False)

    return edit


def about(**changes):
    def edit(path):
        write_scores(pd.read_parquet(path), read_about(path) | changes, path)

    return edit


def values(**changes):
    def edit(path):
        value = json.loads(path.read_text())
        for key, new in changes.items():
            *parents, last = key.split("__")
            inner = value
            for parent in parents:
                inner = inner[parent]
            inner[last] = new
        if path.name == RUN:  # as if training had written it
            write_run(path.parent, {key: entry for key, entry in value.items() if key not in (FILES_OF_RUN, DIGEST)})
        else:
            path.write_text(json.dumps(value))

    return edit


def swapped(table, column, first=0, second=-1):
    """Two rows of `table` with their values of `column` exchanged."""
    cells = table[column].to_numpy().copy()
    cells[[first, second]] = cells[[second, first]]
    return table.assign(**{column: cells})


def double_first(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))


def other_answer(path):
    lines = path.read_text().splitlines(keepends=True)
    row_id, answer = lines[1].strip().split(",")
    lines[1] = f"{row_id},{'b' if answer == 'a' else 'a'}\n"
    path.write_text("".join(lines))


def sharper(table):
    p = table[P].to_numpy() ** 2
    return table.assign(**dict(zip(P, (p / p.sum(1, keepdims=True)).T, strict=True)))


DISAGREEMENTS = {
    "wrong answer letter": ("tables/train.parquet", frame(lambda t: t.assign(answer="e")), "tables", "damaged"),
    "lost column": ("tables/test.parquet", frame(lambda t: t.drop(columns="sha256")), "tables", "sha256"),
    "shared id": (
        "tables/test.parquet",
        frame(lambda t: t.assign(id=["train_0000", *t["id"][1:]])),
        "tables",
        "'train_0000' are in both tables",
    ),
    "lost row of folds": ("folds.parquet", frame(lambda t: t[1:]), "folds", "'train_0000' are missing from this file"),
    "row twice in folds": (
        "folds.parquet",
        frame(lambda t: pd.concat([t, t[:1]])),
        "folds",
        "'train_0000' are missing from this file",
    ),
    "group over folds": (
        "folds.parquet",
        frame(lambda t: t.assign(fold=[1 - min(t["fold"][0], 1), *t["fold"][1:]])),
        "folds",
        "share the same group but not a fold",
    ),
    "image over folds": (
        "folds.parquet",
        frame(lambda t: swapped(t.assign(group=range(len(t))), "fold", 0, 5)),
        "folds",
        "share the same image, or the same question and choices, but not a fold",
    ),
    "a group for each row, and folds in turn": (
        "folds.parquet",
        frame(lambda t: t.assign(group=range(len(t)), fold=np.arange(len(t)) % 3)),
        "folds",
        r"'train_0000', .* share the same image, or the same question .* \(30 such groups\)",
    ),
    "a group for each row": (
        "folds.parquet",
        frame(lambda t: t.assign(group=range(len(t)))),
        "folds",
        "the groups of 119 rows .* are not those that the training table",
    ),
    "rows of one question over folds": (
        "tables/train.parquet",
        frame(lambda t: t.assign(**{c: [t[c][4], *t[c][1:]] for c in ("question", "a", "b", "c", "d")})),
        "folds",
        "'train_0000', .*'train_0004'.* share the same image, or the same question",
    ),
    "copies over folds": (
        "folds.report.json",
        values(copies__joined=[{"row": "train_0000", "copy": "train_0004", "how": "saved again"}]),
        "folds",
        "'train_0000', .*'train_0004'.* share the same image, or the same question",
    ),
    "copy of a row that is not there": (
        "folds.report.json",
        values(copies__joined=[{"row": "train_0000", "copy": "gone", "how": "saved again"}]),
        "folds",
        "rows 'gone' are not in the training table",
    ),
    "other number of folds": ("folds.report.json", values(n=4), "folds", "not 0 to 3"),
    "adapter of other rows": (
        "adapters/main/fold2/run.json",
        values(held_out="x"),
        "adapters",
        "may have seen the rows of fold 2",
    ),
    "adapter of another prompt": (
        "adapters/main/fold2/run.json",
        values(parity__prompt="y"),
        "adapters",
        r"parity\.prompt differs from that of",
    ),
    "answers that were changed after training": (
        "tables/train.parquet",
        frame(lambda t: t.assign(answer=[{"a": "b"}.get(t["answer"][0], "a"), *t["answer"][1:]])),
        "adapters",
        r"fold1/run\.json: the adapter was trained on other rows or labels than are there now \(.*train\.parquet\)",
    ),
    "a question that was changed after training": (
        "tables/train.parquet",
        frame(lambda t: t.assign(question=["?", *t["question"][1:]])),
        "adapters",
        r"fold1/run\.json: the adapter was trained on other rows or labels than are there now",
    ),
    "score of another fold's row": (
        "scores/main/oof/fold0/original.parquet",
        frame(lambda t: t.assign(id=t["id"].replace("train_0000", "train_0004"))),
        "scores",
        "'train_0004'.*in another fold, on which this fold's adapter was trained",
    ),
    "unscored row": ("scores/main/test/fold1/original.parquet", frame(lambda t: t[4:]), "scores", "no scores for rows"),
    "score that is not a number": (
        "scores/main/test/fold1/hflip.parquet",
        frame(lambda t: t.assign(logit_b=np.inf)),
        "scores",
        "not a finite number",
    ),
    "scores of another adapter": (
        "scores/main/test/fold1/original.parquet",
        about(adapter="x"),
        "scores",
        "made by another adapter than .*adapters/main/fold1",
    ),
    "scores of other rows": (
        "scores/main/oof/fold1/original.parquet",
        about(rows="x"),
        "scores",
        "rows that have changed",
    ),
    "other scores": (
        "scores/main/test/fold1/original.parquet",
        frame(lambda t: t.assign(logit_a=-t["logit_a"])),
        "members",
        r"test_views\.parquet: rows .* do not follow from the scores",
    ),
    "other OOF scores": (
        "scores/main/oof/fold1/hflip.parquet",
        frame(lambda t: t.assign(logit_a=-t["logit_a"])),
        "members",
        r"oof_views\.parquet: rows .* do not follow from the scores",
    ),
    "other answers of a member": (
        "members/main/test.parquet",
        frame(lambda t: sharper(t)),
        "members",
        r"main/test\.parquet: rows .* are not the mean of its views",
    ),
    "member of other folds": (
        "members/main/member.json",
        values(parts=["0", "1"]),
        "members",
        "its parts are 0, 1, but must be 0, 1, 2",
    ),
    "member under another name": ("members/main/member.json", values(name="b"), "members", "of another member, b"),
    "probabilities above 1": (
        "ensemble/oof.parquet",
        frame(lambda t: t.assign(p_a=t["p_a"] + 0.1)),
        "ensemble",
        "do not have probabilities that sum to 1",
    ),
    "rows in another order": ("ensemble/test.parquet", frame(lambda t: t[::-1]), "ensemble", "not those of the table"),
    "other probabilities": ("ensemble/test.parquet", frame(sharper), "ensemble", "do not follow from the members"),
    "other OOF answers": (
        "ensemble/oof.parquet",
        frame(lambda t: t.assign(p_a=0.25, p_b=0.25, p_c=0.25, p_d=0.25)),
        "ensemble",
        "rows of oof.parquet are right, but",
    ),
    "other folds in OOF": (
        "ensemble/oof.parquet",
        frame(lambda t: t.assign(fold=(t["fold"] + 1) % 3)),
        "ensemble",
        "not those of folds.parquet",
    ),
    "other temperature": (
        "ensemble/recipe.json",
        values(calibration__learned={"temperature": 3.0}),
        "ensemble",
        "do not follow from the members",
    ),
    "old numbers of a member": (
        "evaluation/metrics.json",
        values(members__each__main__right=3),
        "evaluation",
        "says 3 rows of the member main are right",
    ),
    "old metrics": ("evaluation/metrics.json", values(overall__right=3), "evaluation", "says 3 of 120 rows are right"),
    "another interval": (
        "evaluation/metrics.json",
        values(overall__wilson=[0.1, 0.2]),
        "evaluation",
        r"overall\.wilson\.0 is not what oof\.parquet and recipe\.json give",
    ),
    "another cross-entropy": (
        "evaluation/metrics.json",
        values(measures__nll=0.01),
        "evaluation",
        r"measures\.nll.* is not what",
    ),
    "more of a type right": (
        "evaluation/metrics.json",
        values(by_type__ocr__right=1),
        "evaluation",
        r"by_type\.ocr\.right is not what",
    ),
    "another expectation": (
        "evaluation/metrics.json",
        values(expected__accuracy=0.99),
        "evaluation",
        r"expected\.accuracy is not what",
    ),
    "a gallery that is cut off": (
        "answers/test_answers.html",
        lambda path: path.write_bytes(path.read_bytes()[:-300]),
        "submission",
        r"test_answers\.html: is cut off\. Run the rule show_answers again",
    ),
    "an adapter of another seed": (
        "adapters/main/fold2/run.json",
        values(train__seed=7),
        "adapters",
        r"train\.seed differs from that of",
    ),
    "an adapter measured on other rows": (
        "adapters/main/fold2/run.json",
        values(validation_rows=3),
        "adapters",
        "was measured on 3 rows, but fold 2 has 40",
    ),
    "edited submission": ("submission.csv", other_answer, "submission", "its sha256 is not the one in"),
    "old accuracy in the proof": (
        "submission.validated.json",
        values(oof__accuracy=0.99),
        "submission",
        "its accuracy is not the one in metrics.json",
    ),
}


@pytest.mark.parametrize("case", DISAGREEMENTS)
def test_a_disagreement_is_named(results, case):
    name, harm, check, message = DISAGREEMENTS[case]
    harm(results / name)
    found = failures(results)
    assert next(iter(found)) == check
    with pytest.raises(UserError, match=message):
        raise UserError(found[check])


@pytest.mark.parametrize(
    ("key", "usual", "other", "setting"),
    [
        ("quantization", "none", "nf4", "model.quantization"),
        ("dtype", "float16", "bfloat16", "model.compute_dtype"),
    ],
)
def test_folds_of_different_precision_are_refused(results, key, usual, other, setting):
    """`auto` depends on the card: folds trained on two kinds of cards would be pooled as if they were one model's."""
    runs = [results / "adapters" / "main" / f"fold{fold}" / "run.json" for fold in range(3)]
    for run in runs:
        values(**{key: usual})(run)
    assert failures(results) == {}
    values(**{key: other})(runs[2])
    assert failures(results)["adapters"] == (
        f"{runs[2]}: trained with {key} {other}, but {runs[0].parent} with {usual}: auto depends on the card. "
        f"Set {setting} to one value and train all folds again."
    )


def test_a_base_may_have_moved_between_trainings(results):
    """The first adapter came from the store: its run.json names the folder that the base had then."""
    values(model__base="elsewhere/the-same-base")(results / "adapters" / "main" / "fold1" / "run.json")
    assert failures(results) == {}


def test_adapters_of_several_seeds_may_differ_in_it():
    """The seed 0 is one, too."""
    runs = {
        Path(f"fold0-seed{seed}"): {"parity": {}, "model": {}, "prompt": {}, "train": {"seed": seed}} for seed in (7, 0)
    }
    require_equal_conditions(runs)
    with pytest.raises(UserError, match=r"train\.seed differs"):
        require_equal_conditions({Path(f"fold{number}"): run for number, run in enumerate(runs.values())})


def test_members_may_be_of_different_precision(several):
    """A 4-bit model beside one in bfloat16 is a good pair; within a member, all folds must be alike."""
    for path in several.glob("adapters/main/*/run.json"):
        values(quantization="nf4", parity__base="another")(path)
    assert failures(several) == {}
    values(parity__base="a third")(several / "adapters" / "main" / "fold1-seed2" / "run.json")
    assert "parity.base differs" in failures(several)["adapters"]


SEVERAL = {
    "adapter on all rows that lacks some": (
        "adapters/main/foldall-seed1/run.json",
        values(rows=100),
        "adapters",
        "foldall-seed1/run.json: the adapter was trained on 100 rows, not on those outside",
    ),
    "untuned scores by an adapter": (
        "scores/untuned/oof/foldbase/original.parquet",
        about(adapter="x"),
        "scores",
        "made by another adapter than none",
    ),
    "someone's probabilities changed": (
        "members/friend/oof_views.parquet",
        frame(lambda t: swapped(t, "file_a").pipe(swapped, "file_b").pipe(swapped, "file_c").pipe(swapped, "file_d")),
        "members",
        "friend/oof.parquet: rows .* are not the mean of its views",
    ),
    "lost seed": (
        "scores/main/oof/fold0-seed2/original.parquet",
        lambda path: path.unlink(),
        "scores",
        "fold0-seed2/original.parquet: is missing",
    ),
}


def taught_by(results, member, teacher):
    """As if `member` had learned from what `teacher` says."""
    at = ResultsFolder(results)
    values(teacher=teacher)(at.member(member).note)
    for folder in (results / "adapters" / member).iterdir():
        fold = fold_of(folder.name.removeprefix("fold"))
        _, targets = FoldRows(at.table("train"), at.folds, fold, teacher=at.teacher(teacher)).split()
        values(data=value_digest(contents(targets.rows)))(folder / RUN)


def test_answers_of_a_teacher_that_were_changed_after_training_are_named(several):
    """Else a pupil would pass whose teacher says something else by now, or another member is said to be it."""
    taught_by(several, "other", "untuned")
    assert failures(several) == {}
    values(teacher="main")(several / "members/other/member.json")
    told = failures(several)["adapters"]
    assert "adapters/other/fold0/run.json: the adapter was trained on other rows, labels or teacher's answers" in told
    assert "members/main/oof.parquet). Delete " in told
    values(teacher="untuned")(several / "members/other/member.json")
    frame(lambda t: swapped(t, "p_a").pipe(swapped, "p_b").pipe(swapped, "p_c").pipe(swapped, "p_d"))(
        several / "members/untuned/oof.parquet"
    )
    assert "members/untuned/oof.parquet). Delete " in failures(several)["adapters"]


@pytest.mark.parametrize("case", SEVERAL)
def test_a_disagreement_among_members_is_named(several, case):
    name, harm, check, message = SEVERAL[case]
    harm(several / name)
    found = failures(several)
    assert next(iter(found)) == check
    with pytest.raises(UserError, match=message):
        raise UserError(found[check])


def test_what_is_left_of_members_and_views_that_are_no_longer_used_does_not_count(results):
    """Snakemake deletes no files: those of an earlier configuration stay, and would fail the checks for ever."""
    shutil.copytree(results / "members" / "main", results / "members" / "old")
    shutil.copytree(results / "adapters" / "main" / "fold0", results / "adapters" / "main" / "fold0-seed9")
    (results / "adapters" / "old" / "fold0").mkdir(parents=True)
    other = results / "scores" / "main" / "oof" / "fold0" / "native.parquet"
    shutil.copy(results / "scores" / "main" / "oof" / "fold0" / "original.parquet", other)
    assert failures(results) == {}


@pytest.mark.parametrize(
    ("harm", "message"), [(other_answer, "have a different answer"), (double_first, "duplicate ids")]
)
def test_a_submission_that_was_edited_and_signed_again_is_found(results, harm, message):
    harm(results / "submission.csv")
    values(sha256=file_digest(results / "submission.csv"))(results / "submission.validated.json")
    assert message in failures(results)["submission"]


@pytest.fixture
def searched(results):
    """A run whose parameters were searched."""
    (results / "hpo" / "main" / "figures").mkdir(parents=True)
    (results / "hpo" / "main" / "best.yaml").write_text("parameters: {learning_rate: 0.001}\n")
    with closing(sqlite3.connect(results / "hpo" / "main" / "study.db")) as database:
        database.execute("CREATE TABLE trials (number INTEGER)")
        database.execute("INSERT INTO trials VALUES (0)")
        database.commit()
    shutil.copy(results / "eda" / "types.png", results / "hpo" / "main" / "figures" / "history.png")
    return results


def test_a_search_is_checked_if_there_was_one(searched):
    found = {name: (state, text) for name, state, text in verify(searched)}
    assert found["search"] == ("ok", "main: 1 trials; best: learning_rate 0.001")


@pytest.mark.parametrize("name", ["hpo/main/best.yaml", "hpo/main/study.db", "hpo/main/figures/history.png"])
@pytest.mark.parametrize("data", [b"", b"\x89no"])
def test_a_damaged_search_is_named(searched, name, data):
    (searched / name).write_bytes(data)
    (found,) = failures(searched).values()
    assert name in found and "Delete it and run the rule search_hyperparameters again" in found


def test_the_sample_s_order_is_compared(results):
    sample = results / "sample_submission.csv"
    header, *lines = sample.read_text().splitlines(keepends=True)
    sample.write_text(header + "".join(lines[::-1]))
    assert failures(results) == {}
    assert "order: row 1" in failures(results, sample=sample)["submission"]


def test_what_cannot_be_checked_is_skipped_with_the_reason(results):
    (results / "folds.parquet").unlink()
    states = {name: (state, found) for name, state, found in verify(results)}
    assert states["scores"] == ("skipped", "because folds failed")
    assert states["submission"] == ("skipped", "because ensemble failed") and states["exploration"][0] == "ok"


def test_command_prints_one_line_per_check_and_exits(results, monkeypatch, capsys):
    main(["verify", str(results)])
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["ok", name] for name in CHECKS]
    (results / "submission.csv").unlink()
    with pytest.raises(SystemExit) as end:
        main(["verify", str(results)])
    assert end.value.code == 1
    *_, submission, _cards, bytes_ = capsys.readouterr().out.splitlines()
    assert submission.startswith("FAILED")
    assert submission.endswith("submission.csv: is missing. Run the rule write_submission.")
    assert bytes_.startswith("FAILED") and "submission.csv: is missing (see " in bytes_


def test_no_folder_is_said(tmp_path):
    with pytest.raises(UserError, match="Give the results folder"):
        list(verify(tmp_path / "nothing"))
