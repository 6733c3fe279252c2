"""`vqaflow bench growth`: every stage beside the model runs on the made-up competition, and steep growth is named."""

import json
from pathlib import Path

import pytest

from places import takes_minutes
from vqaflow.bench.growth import add_growth, bench_growth, stages


@pytest.mark.slow
@pytest.mark.parametrize("upto", ["make_folds", pytest.param("verify", marks=takes_minutes)])
def test_every_stage_runs_and_is_measured(tmp_path: Path, upto: str) -> None:
    """A stage that ended early would look fast; `verify`, the last, says that the whole run is consistent."""
    out = tmp_path / "growth.json"
    bench_growth([60], out, upto)
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    names = [name for name, *_ in stages()]
    assert [row["stage"] for row in rows] == names[: names.index(upto) + 1]
    assert all(row["CPU seconds"] > 0 and row["peak GiB"] > 0 and row["rows"] == 60 for row in rows)


def test_growth_is_the_exponent_of_the_rows() -> None:
    """A stage that compares all pairs must stand out from one that takes ten times as long for ten times the rows."""
    seconds = {"even": (1.0, 10.0), "pairs": (1.0, 100.0)}
    rows = [
        {"stage": stage, "rows": count, "CPU seconds": took, "peak GiB": 1.0}
        for stage, both in seconds.items()
        for count, took in zip((1000, 10_000), both, strict=True)
    ]
    add_growth(rows)
    found = {row["stage"]: row["growth"] for row in rows if row["rows"] == 10_000}
    assert found == pytest.approx({"even": 1.0, "pairs": 2.0})
    assert all("growth" not in row for row in rows if row["rows"] == 1000)


def test_a_stage_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its seconds until the error would be in the table."""
    monkeypatch.setattr("vqaflow.bench.growth.stages", lambda: iter([("verify", ["verify", "nowhere"], [])]))
    with pytest.raises(RuntimeError, match="verify at 4 rows ended with 1"):
        bench_growth([4], None)
