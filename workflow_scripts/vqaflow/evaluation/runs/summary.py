"""What a run reached, in a few numbers: read from its results folder, whichever version has made it.

Shapes: N rows, C choices.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vqaflow.artifacts.adapter_files import RUN
from vqaflow.artifacts.columns import ALL_LETTERS, probabilities_in
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.members import FOREIGN
from vqaflow.evaluation.compare import read_run
from vqaflow.evaluation.run_settings import json_of, members_of
from vqaflow.reporting.statistics import accuracy_summary, negative_log_likelihood, widest
from vqaflow.runtime.digests import file_digest

TIMED = ("train_adapter", "score_choices")  # rules whose benchmarks count
SHORT = 12  # shown characters of a digest


def summary_of(folder: Path) -> dict[str, Any]:
    """OOF accuracy, interval and n, NLL, members, minutes and the submission's digest of the run in `folder`.

    The accuracy and its interval are computed from ensemble/oof.parquet. Raises UserError if a file is missing.
    """
    at = ResultsFolder(folder)
    rows = read_run(folder)
    p_NC, answers_N = rows[probabilities_in(rows)].to_numpy(), rows["answer"].map(ALL_LETTERS.index).to_numpy()
    summary = accuracy_summary(p_NC.argmax(1) == answers_N, rows["group"].to_numpy())
    return {
        "accuracy": summary["accuracy"],
        "right": summary["right"],
        "n": summary["n"],
        "interval": list(widest(summary)),
        "nll": negative_log_likelihood(p_NC, answers_N),
        "members": members_of(folder),
        "minutes": minutes_of(folder),
        "submission": file_digest(at.submission) if at.submission.is_file() else None,
    }


def minutes_of(folder: Path) -> float | None:
    """The minutes of training and scoring: as the members say, else from Snakemake's benchmarks, else unknown."""
    at = ResultsFolder(folder)
    notes = [json_of(at.member(name).note) for name in at.members()]
    said = [note.get("minutes") for note in notes if note.get("kind") != FOREIGN]  # files took no time here
    if said and all(isinstance(minutes, int | float) for minutes in said):
        return round(float(sum(said)), 1)
    files = [file for rule in TIMED for file in sorted(folder.glob(f"benchmarks/{rule}/**/*.tsv"))]
    if files:
        seconds = [pd.read_csv(file, sep="\t", usecols=["s"])["s"].mean() for file in files]
        return round(float(sum(seconds)) / 60, 1)
    trained = [json_of(run).get("seconds") for run in sorted(folder.glob(f"adapters/**/{RUN}"))]
    return round(sum(trained) / 60, 1) if trained and None not in trained else None


def one_line(summary: Mapping[str, Any]) -> str:
    """A summary in one line."""
    low, high = summary["interval"]
    minutes = "" if summary["minutes"] is None else f", {summary['minutes']:.0f} min"
    return (
        f"OOF {100 * summary['accuracy']:.2f} % [{100 * low:.2f}, {100 * high:.2f}], n = {summary['n']:,}, "
        f"NLL {summary['nll']:.4f}, {', '.join(summary['members'])}{minutes}, submission {short(summary['submission'])}"
    )


def short(digest: str | None) -> str:
    """The start of a digest, enough to tell files apart."""
    return "none" if digest is None else digest[:SHORT]
