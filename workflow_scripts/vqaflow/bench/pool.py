"""Benchmark of pooling: many members with many rows, as `ensemble_probabilities` reads them from results/members.

`vqaflow bench pool --json FILE` writes made-up members into a temporary folder, pools them, and reports seconds and
peak memory of the pooling only. This runs in a separate process and, as a rule does, with one thread for NumPy.

Shapes: N rows, S sources, C choices.
"""

import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.bench.repeated import merged
from vqaflow.ensemble.ensemble_probabilities import ensemble_probabilities
from vqaflow.runtime.files import write_json
from vqaflow.runtime.stage import log
from vqaflow.scoring.order_pooling import log_softmax

LETTERS = ALL_LETTERS[:4]  # of the made-up rows
FOLDS, VIEWS = 5, ("original", "hflip")
HFLIP_LACKS = 0.2  # share of rows
GROUP_ROWS = 2  # rows of one group, on average
THREADS = "OMP_NUM_THREADS"
SETTINGS = {"recipe": "auto", "pooling": "mean", "calibration": "temperature", "seed": 42}


def write_world(folder: Path, members: int, rows: int) -> None:
    """Tables and folds of `rows` training and as many test rows, and tuned members with FOLDS folds and two views."""
    rng = np.random.default_rng(0)
    results = ResultsFolder(folder)
    results.table("train").parent.mkdir()
    ids = {split: [f"{split}_{i:07d}" for i in range(rows)] for split in ("oof", "test")}
    answers = {split: rng.integers(0, len(LETTERS), rows) for split in ids}
    shared = {split: rng.standard_normal((rows, len(LETTERS))) for split in ids}
    fold_N, group_N = np.arange(rows) % FOLDS, rng.integers(0, max(1, rows // GROUP_ROWS), rows)
    letters = np.array(LETTERS)[answers["oof"]]
    texts = {letter: ["-"] * rows for letter in LETTERS}
    pl.DataFrame({"id": ids["oof"], "answer": letters} | texts).write_parquet(results.table("train"))
    pl.DataFrame({"id": ids["test"], "usable": [True] * rows} | texts).write_parquet(results.table("test"))
    pl.DataFrame({"id": ids["oof"], "fold": fold_N, "group": group_N}).write_parquet(results.folds)
    lacks_N = rng.random(rows) < HFLIP_LACKS
    for number in range(members):
        name, strength = f"member{number:02d}", 1.5 + number / members
        out = results.member(name)
        out.folder.mkdir(parents=True)
        note = {"name": name, "kind": "tuned", "views": list(VIEWS), "parts": [f"{k}" for k in range(FOLDS)]}
        write_json(out.note, note | {"seeds": [], "refit": False, "note": "", "minutes": None})

        def made(split: str, strength: float = strength) -> dict[str, pl.Series]:
            return _columns(shared[split], answers[split], strength, lacks_N, rng)

        pl.DataFrame({"id": ids["oof"], "fold": fold_N} | made("oof")).write_parquet(out.views("oof"))
        blocks = [pl.DataFrame({"part": [f"{k}"] * rows, "id": ids["test"]} | made("test")) for k in range(FOLDS)]
        pl.concat(blocks).write_parquet(out.views("test"))


def _columns(
    shared_NC: np.ndarray, answers_N: np.ndarray, strength: float, lacks_N: np.ndarray, rng: np.random.Generator
) -> dict[str, pl.Series]:
    """Log-probabilities of both views: what all members share, some noise, and `strength` for the right choice."""
    columns = {}
    for view in VIEWS:
        logits_NC = shared_NC + 0.7 * rng.standard_normal(shared_NC.shape)
        logits_NC[np.arange(len(answers_N)), answers_N] += strength
        logp_NC = log_softmax(logits_NC)
        if view == "hflip":
            logp_NC[lacks_N] = np.nan
        for number, letter in enumerate(LETTERS):
            columns[f"{view}_{letter}"] = pl.Series(logp_NC[:, number], nan_to_null=True)
    return columns


def pool(folder: Path) -> tuple[float, int, str]:
    """Pool the world in `folder`; returns seconds, this process's peak memory in bytes, and the chosen recipe."""
    began, results = time.monotonic(), ResultsFolder(folder)
    ensemble_probabilities(
        members=[results.member(name).folder for name in results.members()],
        train=results.table("train"),
        test=results.table("test"),
        folds=results.folds,
        ensemble=SETTINGS,
        oof_out=folder / "oof.parquet",
        test_out=folder / "test.parquet",
        recipe_out=folder / "recipe.json",
    )
    seconds = time.monotonic() - began
    chosen = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))["chosen"]
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, chosen


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start in here use one thread for NumPy, as Snakemake has it for a rule."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        os.environ.pop(THREADS)
        if before is not None:
            os.environ[THREADS] = before


def _pool_apart(folder: Path) -> dict[str, Any]:
    """The figures of one pooling in a process of its own, whose peak memory nothing else has raised."""
    with _one_thread(), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        seconds, peak, chosen = executor.submit(pool, folder).result()
    return {"seconds": round(seconds, 1), "peak_gib": round(peak / 2**30, 2), "chosen": chosen}


def bench_pool(*, members: int, rows: int, out: Path | None, runs: int = 1) -> dict[str, Any]:
    """Measure `runs` times and, with `out`, write the figures as JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder, members, rows)
        found = [_pool_apart(folder) for _ in range(runs)]
    figures = {
        "members": members,
        "views": len(VIEWS),
        "folds": FOLDS,
        "training_rows": rows,
        "test_rows": rows,
        "runs": runs,
        **(merged(found, "seconds", ("seconds", "peak_gib")) if runs > 1 else found[0]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "versions": {"python": platform.python_version(), "polars": pl.__version__, "numpy": np.__version__},
    }
    log.info("pooled: %s", json.dumps(figures))
    if out is not None:
        write_json(out, figures)
    return figures
