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

    The first flip is for `verify` as a whole, the others for its check of bytes.
    """
    passed, count = [], 0
    for path in files_in(results):
        data = path.read_bytes()
        for seed in range(FLIPS):
            place = random.Random(f"{path.name} {seed}").randrange(8 * len(data))
            changed = bytearray(data)
            changed[place // 8] ^= 1 << place % 8
            path.write_bytes(changed)
            count += 1
            if not names(results, path, failed(results) if seed == 0 else failed_bytes(results)):
                passed.append(f"{path.relative_to(results)}, bit {place}")
        path.write_bytes(data)
    assert not passed and count > 100
    print(f"{count} flipped bits in {len(files_in(results))} files, each found and named")


def test_a_file_that_is_cut_short_or_gone_is_found_and_named(results):
    for path in files_in(results):
        data = path.read_bytes()
        for left in (data[: len(data) // 2], None):
            path.unlink()
            if left is not None:
                path.write_bytes(left)
            found = failed(results)
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
