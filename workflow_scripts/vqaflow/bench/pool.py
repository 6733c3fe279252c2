"""Benchmark of pooling: a million test rows in twelve score files, as `ensemble_probabilities` reads them.

`vqaflow bench pool --json FILE` writes made-up scores into a temporary folder, pools them, and reports seconds and peak
memory of the pooling only (it runs in a separate process).

Shapes: N rows, K choice orders, C = 4 choices.
"""

import json
import multiprocessing
import platform
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vqaflow.artifacts.columns import LETTERS, LOGITS
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.ensemble.ensemble_probabilities import ensemble_probabilities
from vqaflow.model.encoding.orders import scoring_orders
from vqaflow.runtime.files import write_json
from vqaflow.runtime.stage import log

FOLDS, VIEWS, TRAIN_ROWS = 3, ("original", "hflip", "view2", "view3"), 3000
SETTINGS = {
    "recipe": "auto",
    "order_pooling": "geometric",
    "pooling": "mean",
    "calibration": "temperature",
    "seed": 42,
}


def write_world(folder: Path, test_rows: int, orders: list[str]) -> None:
    """Tables, folds and scores: FOLDS x VIEWS files for test, and as many small ones for OOF."""
    rng = np.random.default_rng(0)
    ids = {"train": [f"train_{i:07d}" for i in range(TRAIN_ROWS)], "test": [f"test_{i:07d}" for i in range(test_rows)]}
    answers = rng.integers(0, 4, TRAIN_ROWS)
    results = ResultsFolder(folder)
    results.table("train").parent.mkdir()
    letters = [LETTERS[i] for i in answers]
    pl.DataFrame({"id": ids["train"], "answer": letters}).write_parquet(results.table("train"))
    pl.DataFrame({"id": ids["test"], "usable": [True] * test_rows}).write_parquet(results.table("test"))
    fold_N = np.arange(TRAIN_ROWS) % FOLDS
    pl.DataFrame({"id": ids["train"], "fold": fold_N, "group": np.arange(TRAIN_ROWS)}).write_parquet(results.folds)
    for fold in range(FOLDS):
        for view in VIEWS:
            rows = np.flatnonzero(fold_N == fold)
            logits_NKC = rng.standard_normal((len(rows), len(orders), 4), np.float32)
            logits_NKC[np.arange(len(rows)), :, answers[rows]] += 1.5
            write_scores(results.scores("oof", fold, view), [ids["train"][i] for i in rows], logits_NKC)
            logits_NKC = rng.standard_normal((test_rows, len(orders), 4), np.float32)
            write_scores(results.scores("test", fold, view), ids["test"], logits_NKC, orders)


def write_scores(path: Path, ids: list[str], logits_NKC: np.ndarray, orders: list[str] | None = None) -> None:
    """One score file."""
    orders = orders or scoring_orders(logits_NKC.shape[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"id": np.repeat(np.array(ids, dtype=object), len(orders)), "order": orders * len(ids)}
    pl.DataFrame(columns | {name: logits_NKC[:, :, i].ravel() for i, name in enumerate(LOGITS)}).write_parquet(path)


def pool(folder: Path) -> tuple[float, int]:
    """Pool the world in `folder`; returns seconds and this process's peak memory in bytes."""
    began, results = time.monotonic(), ResultsFolder(folder)
    ensemble_probabilities(
        scores=results.all_scores(),
        train=results.table("train"),
        test=results.table("test"),
        folds=results.folds,
        ensemble=SETTINGS,
        oof_out=folder / "oof.parquet",
        test_out=folder / "test.parquet",
        recipe_out=folder / "recipe.json",
    )
    return time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def bench_pool(*, test_rows: int, orders: str | int, out: Path | None) -> dict[str, Any]:
    """Measure and, with `out`, write the figures as JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder, test_rows, scoring_orders(orders))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
            seconds, peak = executor.submit(pool, folder).result()
    figures = {
        "test_rows": test_rows,
        "files": FOLDS * len(VIEWS),
        "orders": len(scoring_orders(orders)),
        "seconds": round(seconds, 1),
        "peak_gib": round(peak / 2**30, 2),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "polars": pl.__version__, "numpy": np.__version__},
    }
    log.info("pooled: %s", json.dumps(figures))
    if out is not None:
        write_json(out, figures)
    return figures
