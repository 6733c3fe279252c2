"""Finished runs that are kept under a name in results/runs: hard links to what is never changed in place, and copies.

The workflow writes every artifact under another name and then renames it, so that a link goes on showing the old bytes
when a later run replaces the file. Only files that are large and made like that are linked (`LINKED`); all others are
copied, since logs grow, and tables of text may be edited. The store, the base, unfinished work and the demo's images
are left out: a kept run says what it was, but cannot be continued.

Shapes: N rows.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vqaflow.artifacts.columns import ALL_LETTERS, probabilities_in
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.artifacts.reading import read_json, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.ensemble.submission.answers import accepted_of_run
from vqaflow.evaluation.run_settings import settings_of
from vqaflow.evaluation.runs.summary import one_line, summary_of
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import MANIFEST, atomic_folder, read_manifest, write_manifest
from vqaflow.runtime.messages import did_you_mean
from vqaflow.runtime.output_records import RECORDS

RUNS = "runs"
CURRENT = "current"  # the run in the results folder itself
TAKEN = {CURRENT, "keep", "drop"}  # words of the command
NAME = re.compile(r"\w[\w.+-]{0,63}")  # letters of any language
KEPT = ["tables", "folds.parquet", "folds.report.json", "eda", "base.json", "base.*.json", "hpo", "adapters", "scores"]
KEPT += [
    "members",
    "ensemble",
    "evaluation",
    "answers",
    "submission.csv",
    "submission.validated.json",
    "logs",
    "benchmarks",
]
KEPT += ["tracking", "demo/*.csv", RECORDS]
LINKED = {".parquet", ".safetensors", ".png", ".html"}


@dataclass(frozen=True)
class KeptRun:
    """A folder of results/runs and its manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.name


def runs_folder(results: ResultsFolder) -> Path:
    """Where kept runs are."""
    return results.folder / RUNS


def kept_runs(results: ResultsFolder) -> list[KeptRun]:
    """All kept runs, the oldest first; folders without a manifest are not runs."""
    folders = sorted(path.parent for path in runs_folder(results).glob(f"[!.]*/{MANIFEST}"))
    runs = [KeptRun(folder, read_manifest(folder)) for folder in folders]
    return sorted(runs, key=lambda run: (str(run.manifest.get("kept")), run.name))


def find_run(results: ResultsFolder, wanted: str) -> Path:
    """The folder of a kept run, of the current one (`current`), or of another results folder. Raises UserError."""
    if wanted == CURRENT:
        return results.folder
    names = [run.name for run in kept_runs(results)]
    if wanted in names:
        return runs_folder(results) / wanted
    folder = Path(wanted)
    probabilities = ResultsFolder(folder).probabilities("oof")
    if probabilities.is_file():
        return folder
    if folder.is_dir():
        raise UserError(f"{probabilities}: is missing. Give the results folder of a finished run.")
    cure = did_you_mean(wanted, [*names, CURRENT]) if names else "give `current`, or the results folder of another run."
    raise UserError(f"{wanted}: there is no such kept run and no such folder; {cure}")


def keep(results: ResultsFolder, name: str, replace: bool = False) -> str:
    """Keep the finished run in `results` as `name`; returns its line. Raises UserError if it is not finished.

    An older run of this name is replaced only if `replace`, and then as a whole.
    """
    check_name(name)
    folder = runs_folder(results) / name
    if folder.exists() and not replace:
        raise UserError(f"{folder}: exists. Choose another name, `vqaflow runs drop {name}` first, or give --force.")
    check_finished(results)
    with atomic_folder(folder) as partial:
        for source in sources(results):
            take(source, partial / source.relative_to(results.folder))
        try:
            check_finished(ResultsFolder(partial))  # a run that began meanwhile may have replaced a part
            summary = summary_of(partial)
        except UserError as error:  # of a copy that is about to go: the file of this name in the run is meant
            raise UserError(str(error).replace(str(partial), str(results.folder))) from None
        manifest = {
            "kept": time.strftime("%Y-%m-%d %H:%M:%S"),
            "files": {str(file.relative_to(partial)): file_digest(file) for file in files_in(partial)},
            "settings": settings_of(partial),
            "summary": summary,
            "line": one_line(summary),
        }
        write_manifest(partial, manifest)
    return manifest["line"]


def drop(results: ResultsFolder, name: str) -> int:
    """Remove a kept run; returns the bytes that this frees. Raises UserError if there is none of this name."""
    names = [run.name for run in kept_runs(results)]
    if name not in names:
        cure = did_you_mean(name, names) if names else "there are none; `vqaflow runs keep NAME` keeps the current one."
        raise UserError(f"{runs_folder(results)}: it has no run {name!r}; {cure}")
    folder = runs_folder(results) / name
    freed = own_bytes(folder)
    aside = folder.with_name(f".{name}.dropped")  # no run is half there under its name
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    shutil.rmtree(aside)
    return freed


def check_name(name: str) -> None:
    """Raise UserError unless `name` can be a folder's name and no word of the command."""
    if not NAME.fullmatch(name) or name in TAKEN:
        raise UserError(
            f"runs keep {name!r}: cannot be a name. Use letters, digits and . _ + - (at most 64, the first one a "
            f"letter or a digit), and none of {', '.join(sorted(TAKEN))}."
        )


def check_finished(results: ResultsFolder) -> None:
    """Raise UserError unless the run is finished and its last artifacts belong together."""
    validated, again = results.validated, "Run snakemake first."
    if not validated.is_file():
        raise UserError(f"{validated}: is missing, so the run is not finished. {again}")
    report = read_json(validated, "validate_submission", ["sha256"])
    if not results.submission.is_file() or file_digest(results.submission) != report["sha256"]:
        raise UserError(f"{results.submission}: is not the file that {validated.name} speaks of. {again}")
    overall = read_json(results.metrics, "evaluate_oof", ["overall.right", "overall.n"])["overall"]
    if counted(results) != (overall["right"], overall["n"]):
        raise UserError(f"{results.metrics}: is not of {results.probabilities('oof')}. {again}")
    test = read_table(results.probabilities("test"), "ensemble_probabilities")
    best = dict(zip(test["id"], test[probabilities_in(test)].to_numpy().argmax(1).tolist(), strict=True))
    given = submitted(results.submission)
    accepted = accepted_of_run(results.labels, results.table("test"))
    if given.keys() != best.keys() or any(
        ALL_LETTERS[best[row_id]] not in accepted.found(row_id, answer) for row_id, answer in given.items()
    ):
        raise UserError(f"{results.submission}: has other answers than {results.probabilities('test')}. {again}")


def counted(results: ResultsFolder) -> tuple[int, int]:
    """The right answers of the OOF ensemble, and its rows."""
    table = read_table(results.table("train"), "validate_tables", ["id", "answer"])
    oof = read_table(results.probabilities("oof"), "ensemble_probabilities")
    rows: pd.DataFrame = table.merge(oof, on="id")
    right_N = rows[probabilities_in(oof)].to_numpy().argmax(1) == rows["answer"].map(ALL_LETTERS.index).to_numpy()
    return int(right_N.sum()), len(rows)


def submitted(path: Path) -> dict[str, str]:
    """The label of each id in a submission."""
    return {cells[0]: cells[1] for cells in read_csv(path)[1]}


def sources(results: ResultsFolder) -> Iterator[Path]:
    """The files of a run that are kept."""
    for pattern in KEPT:
        for path in sorted(results.folder.glob(pattern)):
            yield from files_in(path)


def files_in(path: Path) -> list[Path]:
    """A file, or all files of a folder that are whole: names with a dot are of jobs that still write."""
    if path.is_file():
        return [path]
    found = [file for file in path.rglob("*") if file.is_file()]
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts))


def take(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy if it may change in place or the disk refuses links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix in LINKED:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another disk, or a file system without links
            pass
    shutil.copy2(source, target)


def own_bytes(folder: Path) -> int:
    """The bytes that dropping a kept run frees: those of files that no other folder links to."""
    states = [file.stat() for file in files_in(folder)]
    return sum(state.st_size for state in states if state.st_nlink == 1)
