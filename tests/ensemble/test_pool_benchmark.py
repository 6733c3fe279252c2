"""`vqaflow bench pool` measures what the workflow runs."""

import json
import os

from vqaflow.bench.pool import bench_pool


def test_the_benchmark_pools_made_up_members(tmp_path):
    figures = bench_pool(members=3, rows=60, out=tmp_path / "pool.json", runs=2)
    assert json.loads((tmp_path / "pool.json").read_text(encoding="utf-8")) == figures
    assert (figures["members"], figures["training_rows"], figures["test_rows"]) == (3, 60, 60)
    assert figures["seconds"] > 0 and 0 < figures["peak_gib"] < 4
    assert figures["chosen"]
    spread = figures["spread"]["seconds"]
    assert figures["spread"]["runs"] == 2 and spread["min"] == figures["seconds"] <= spread["max"]


def test_it_leaves_the_environment_as_it_was(monkeypatch):
    """Threads of NumPy are limited in the measured process alone."""
    for before in ("7", None):
        if before is None:
            monkeypatch.delenv("OMP_NUM_THREADS")
        else:
            monkeypatch.setenv("OMP_NUM_THREADS", before)
        bench_pool(members=1, rows=30, out=None)
        assert os.environ.get("OMP_NUM_THREADS") == before
