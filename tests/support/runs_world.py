"""Finished runs of known quality in a moment: the pool is the plain mean of the members."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from results_world import make_results, member, pool_members, submit
from vqaflow.artifacts.columns import ALL_LETTERS, probability_columns
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.members import Member
from vqaflow.evaluation.runs.kept import KeptRun
from vqaflow.reporting.statistics import accuracy_summary
from vqaflow.runtime.digests import file_digest

LETTERS = ALL_LETTERS[:4]
PROBABILITIES = probability_columns("abcd")


def make_run(
    folder: Path,
    *,
    strength: Mapping[str, float] | None = None,
    members: Mapping[str, Member] | None = None,
    learning_rate: float = 0.002,
    train_rows: int = 240,
    **options: object,
) -> Path:
    """A finished run with members, ensemble, metrics, submission, a log and a benchmark."""
    folder.mkdir(parents=True, exist_ok=True)
    members = members or {"main": member("main", strength=strength or {"original": 2.0})}
    make_results(folder, members=members, train_rows=train_rows, **options)
    (folder / "folds.report.json").write_text(json.dumps({"n": 3, "group_by": ["image", "question"]}), "utf-8")
    pool_members(folder)
    for run in folder.glob("adapters/*/*/run.json"):
        settings = json.loads(run.read_text("utf-8"))
        settings["train"]["learning_rate"] = learning_rate
        run.write_text(json.dumps(settings), "utf-8")
    finish(folder)
    for name in ("logs/train_adapter/main.fold0.log", "tracking/main/fold0/events.1"):
        write(folder / name, "12:00:00 I loss 0.7\n")
    for name in ("train_adapter/main.fold0", "score_choices/main.test.fold0.original"):
        write(folder / "benchmarks" / f"{name}.tsv", "s\th:m:s\n90.0\t0:01:30\n")
    write(folder / "work" / "train" / "checkpoint.bin", "unfinished")
    write(folder / "store" / "ab" / "entry", "stored")
    return folder


def finish(folder: Path) -> None:
    """Ensemble, metrics.json and the checked submission from the members of a results folder."""
    at = ResultsFolder(folder)
    for split in ("oof", "test"):
        frames = [pd.read_parquet(at.member(name).answers(split)) for name in at.members()]
        pooled = frames[0].copy()
        pooled[PROBABILITIES] = sum(frame[PROBABILITIES] for frame in frames) / len(frames)
        at.probabilities(split).parent.mkdir(exist_ok=True)
        pooled.to_parquet(at.probabilities(split), index=False)
    at.recipe.write_text(
        json.dumps({"recipe": "default", "chosen": "mean", "calibration": {"method": "none"}}), "utf-8"
    )
    rows = pd.read_parquet(at.table("train")).merge(pd.read_parquet(at.probabilities("oof")), on="id")
    rows = rows.merge(pd.read_parquet(at.folds)[["id", "group"]], on="id")
    right = rows[PROBABILITIES].to_numpy().argmax(1) == rows["answer"].map(LETTERS.index).to_numpy()
    summary = accuracy_summary(right, rows["group"].to_numpy())
    write(at.metrics, json.dumps({"overall": summary}))
    submit(folder)


def write(path: Path, text: str) -> None:
    """Write a file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def damaged(run: KeptRun) -> list[str]:
    """The files of a kept run that are missing or are not as they were kept."""
    files = run.manifest.get("files", {})
    places = {name: run.folder / name for name in files}
    return [name for name, digest in files.items() if not places[name].is_file() or file_digest(places[name]) != digest]
