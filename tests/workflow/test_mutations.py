"""One bit, or one field, of every file of a finished results folder: `vqaflow verify` finds it and names the file.

The folder is that of a real run, and its files are listed as they lie there: a new artifact that nobody checks fails.
"""

import json
import random
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from places import IS_LONG
from vqaflow.artifacts.adapter_files import write_run
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.verify.byte_checks import check_bytes
from vqaflow.evaluation.verify.results import Results
from vqaflow.evaluation.verify.verify import CHECKS, verify
from vqaflow.runtime.errors import UserError
from workflow_world import finished_workflow

pytestmark = pytest.mark.slow
# What is no artifact: what jobs print and cost, what they resume from, and the store, which checks itself before use.
OTHERS = ("logs", "benchmarks", "work", "store", "tracking")
FLIPS = 8  # of bits in each file
WHOLE = 1 if IS_LONG else 6  # every so many files, all of `verify`; else its check of bytes


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A copy of a finished run's folder to damage, restored by each test."""
    made = finished_workflow(tmp_path_factory.getbasetemp())
    return Path(shutil.copytree(made / "results", tmp_path_factory.mktemp("mutated") / "results"))


def files_in(results: Path) -> list[Path]:
    """The files of a results folder, one image of each of the demo's folders for all."""
    found = [path for path in sorted(results.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    kept = [path for path in found if path.relative_to(results).parts[0] not in OTHERS]
    images = {path.parent: path for path in kept if path.suffix == ".png" and "demo" in path.parts}
    return [path for path in kept if path.parent not in images or path == images[path.parent]]


def failed(results: Path) -> dict[str, str]:
    return {name: text for name, state, text in verify(results) if state == "FAILED"}


def failed_bytes(results: Path) -> dict[str, str]:
    """What the check of bytes alone finds."""
    try:
        return {"": check_bytes(Results(ResultsFolder(results)))}
    except UserError as error:
        return {"bytes": str(error)}


def names(results: Path, path: Path, found: dict[str, str]) -> bool:
    """Whether a message names the file, or, of an image, its row's path."""
    return any(path.relative_to(results.parent).as_posix() in text for text in found.values())


def test_the_run_passes(results):
    assert {name: state for name, state, _ in verify(results)} == dict.fromkeys(CHECKS, "ok")


def test_one_flipped_bit_of_any_file_is_found_and_named(results):
    """Of adapters, run.json, metrics, folds and tables, flipped bits had passed.

    The first flip of some files is for `verify` as a whole, the others for its check of bytes.
    """
    passed, count = [], 0
    for number, path in enumerate(files_in(results)):
        data = path.read_bytes()
        for seed in range(FLIPS):
            place = random.Random(f"{path.name} {seed}").randrange(8 * len(data))
            changed = bytearray(data)
            changed[place // 8] ^= 1 << place % 8
            path.write_bytes(changed)
            count += 1
            if not names(results, path, (failed_bytes if seed or number % WHOLE else failed)(results)):
                passed.append(f"{path.relative_to(results)}, bit {place}")
        path.write_bytes(data)
    assert not passed and count > 100
    print(f"{count} flipped bits in {len(files_in(results))} files, each found and named")


def test_a_file_that_is_cut_short_or_gone_is_found_and_named(results):
    for number, path in enumerate(files_in(results)):
        data = path.read_bytes()
        for left in (data[: len(data) // 2], None):
            path.unlink()
            if left is not None:
                path.write_bytes(left)
            found = (failed_bytes if number % WHOLE else failed)(results)
            is_demo = path.relative_to(results).parts[0] == "demo" or path.name == "prepare_demo.json"
            is_record = path.relative_to(results).parts[0] == "digests"
            assert (
                names(results, path, found)
                or (left is None and is_demo)  # the demo may be deleted once one's own tables are used
                or (left is None and is_record and "has no record in" in found.get("bytes", ""))
            ), (path, found)
        path.write_bytes(data)


def exchange(one: Path, other: Path) -> None:
    """Two files or folders under each other's name."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def field(path: Path, change) -> None:
    """A JSON file with one field changed."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def signed(folder: Path, **changes: object) -> None:
    """An adapter whose run.json was written again with other settings, as if training had written it."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    write_run(folder, {key: value for key, value in run.items() if key not in ("files", "digest")} | changes)


def alpha(results: Path) -> None:
    field(results / "adapters/main/fold0/adapter_config.json", lambda c: c.update(lora_alpha=2 * c["lora_alpha"]))


def regrouped(results: Path) -> None:
    path = results / "folds.parquet"
    folds = pd.read_parquet(path)
    write_parquet(folds.assign(group=range(len(folds)), fold=folds.index % 2), path)


def retable(name: str, change) -> object:
    """A parquet file with another content, written as its rule writes it."""

    def harm(results: Path) -> None:
        write_parquet(change(pd.read_parquet(results / name)), results / name)

    return harm


def other_answer(table: pd.DataFrame) -> pd.DataFrame:
    """The first row's answer is another letter."""
    return table.assign(answer=[{"a": "b"}.get(table["answer"][0], "a"), *table["answer"][1:]])


def rerun(**changes: object) -> object:
    """The adapter of fold 1 with other facts in run.json, signed as if training had written them."""
    return lambda results: signed(results / "adapters/main/fold1", **changes)


def resettled(section: str, **changes: object) -> object:
    """The same for the keys of one section of run.json."""

    def harm(results: Path) -> None:
        folder = results / "adapters/main/fold1"
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        signed(folder, **{section: run[section] | changes})

    return harm


def json_field(name: str, **changes: object) -> object:
    """A JSON file with other values of its first level; a value that is a mapping is merged."""

    def change(said: dict) -> None:
        for key, value in changes.items():
            said[key] = said[key] | value if isinstance(value, dict) else value

    return lambda results: field(results / name, change)


def cut(name: str) -> object:
    """A page without its end."""
    return lambda results: (results / name).write_bytes((results / name).read_bytes()[:-300])


# What is wrong although each file is whole, and the check that finds it by what the files say.
WRONG = {
    "lora_alpha": (alpha, "adapters", r"adapter_config.json: is not the file that training wrote"),
    "adapters exchanged": (
        lambda r: exchange(r / "adapters/main/fold0", r / "adapters/main/fold1"),
        "adapters",
        "is that of another fold: it may have seen the rows of fold 0",
    ),
    "weights exchanged": (
        lambda r: exchange(*(r / f"adapters/main/fold{i}/adapter_model.safetensors" for i in (0, 1))),
        "adapters",
        "adapter_model.safetensors: is not the file that training wrote",
    ),
    "an adapter trained otherwise": (
        lambda r: signed(r / "adapters/main/fold1", prompt={"system": "x"}),
        "adapters",
        "differs from that of",
    ),
    "scores exchanged": (
        lambda r: exchange(*(r / f"scores/main/test/fold{i}/original.parquet" for i in (0, 1))),
        "scores",
        "made by another adapter than",
    ),
    "folds dealt again": (regrouped, "folds", "share the same image, or the same question|the groups of"),
    "base's note cut": (lambda r: (r / "base.main.json").write_text("{"), "bases", "base.main.json: is damaged"),
    "a label": (retable("tables/train.parquet", other_answer), "adapters", "trained on other rows or labels than are"),
    "run.json: digest of the rows": (
        rerun(data="0" * 64),
        "adapters",
        "fold1/run.json: the adapter was trained on other",
    ),
    "run.json: held-out rows": (rerun(held_out="0" * 64), "adapters", "trained with other folds"),
    "run.json: number of rows": (rerun(rows=7), "adapters", "trained on 7 rows, not on those outside fold 1"),
    "run.json: rows left out": (rerun(rows_left_out=7), "adapters", "not on those outside fold 1"),
    "run.json: rows that measured": (rerun(validation_rows=7), "adapters", "was measured on 7 rows"),
    "run.json: precision": (rerun(dtype="float64"), "adapters", "trained with dtype float64"),
    "run.json: seed": (resettled("train", seed=7), "adapters", "train.seed differs"),
    "run.json: learning rate": (resettled("train", learning_rate=1.0), "adapters", "train.learning_rate differs"),
    "run.json: teacher's weight": (resettled("train", teacher_weight=0.9), "adapters", "train.teacher_weight differs"),
    "run.json: pixels": (resettled("parity", max_pixels=7), "adapters", "parity.max_pixels differs"),
    "OOF scores exchanged": (
        lambda r: exchange(*(r / f"scores/main/oof/fold{i}/original.parquet" for i in (0, 1))),
        "scores",
        "on which this fold's adapter was trained|made by another adapter than",
    ),
    "scores of OOF and of test rows exchanged": (
        lambda r: exchange(*(r / f"scores/main/{split}/fold0/original.parquet" for split in ("oof", "test"))),
        "scores",
        r"fold0/original.parquet: ",
    ),
    "folds exchanged": (
        retable("folds.parquet", lambda folds: folds.assign(fold=1 - folds["fold"])),
        "adapters",
        "is that of another fold",
    ),
    "groups by the image alone": (json_field("folds.report.json", group_by=["image"]), "folds", "the groups of"),
    "a member without a fold": (json_field("members/main/member.json", parts=["0"]), "members", "but must be 0, 1"),
    "a member with a teacher": (
        lambda r: field(r / "members/main/member.json", lambda said: said.update(teacher="main")),
        "adapters",
        "trained on other rows, labels or teacher's answers",
    ),
    "probabilities of OOF and of test rows exchanged": (
        lambda r: exchange(r / "ensemble/oof.parquet", r / "ensemble/test.parquet"),
        "ensemble",
        "oof.parquet: ",
    ),
    "recipe.json: rows that are right": (
        json_field("ensemble/recipe.json", nested={"right": 1}),
        "ensemble",
        "but 1 by",
    ),
    "metrics.json: interval": (
        json_field("evaluation/metrics.json", overall={"wilson": [0.1, 0.2]}),
        "evaluation",
        "metrics.json: overall.wilson.0 is not what",
    ),
    "metrics.json: cross-entropy": (
        json_field("evaluation/metrics.json", measures={"nll": {"value": 0.01, "bootstrap": None}}),
        "evaluation",
        "metrics.json: measures.nll.* is not what",
    ),
    "metrics.json: what to expect": (
        json_field("evaluation/metrics.json", expected={"accuracy": 0.999}),
        "evaluation",
        "metrics.json: expected.accuracy is not what",
    ),
    "proof: accuracy": (
        json_field("submission.validated.json", oof={"accuracy": 0.999}),
        "submission",
        "its accuracy is not the one in metrics.json",
    ),
    "a page of mistakes cut": (cut("evaluation/mistakes.html"), "evaluation", "mistakes.html: is cut off"),
    "a gallery cut": (cut("answers/test_answers.html"), "submission", "test_answers.html: is cut off"),
    "a gallery's excerpt cut": (cut("answers/test_answers_excerpt.html"), "submission", "excerpt.html: is cut off"),
    "overlap with test hidden": (
        lambda r: field(r / "folds.report.json", lambda f: f["in_test"]["exact"].update(train_rows=10**6)),
        "folds",
        "folds.report.json",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_together_is_found_without_the_records(results, tmp_path, case):
    """Whoever makes the records again after a change still cannot make it pass."""
    copy = Path(shutil.copytree(results, tmp_path / "results", ignore=shutil.ignore_patterns("work", "store")))
    harm, check, message = WRONG[case]
    harm(copy)
    found = failed(copy)
    assert re.search(message, found[check]), found


def test_a_replaced_image_is_found_and_named(results):
    image = next(path for path in files_in(results) if path.suffix == ".png" and "demo" in path.parts)
    data = image.read_bytes()
    image.write_bytes(data + b"\0")
    assert "was replaced or changed since the tables were made" in failed(results)["images"]
    image.write_bytes(data)
