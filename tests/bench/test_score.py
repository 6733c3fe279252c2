"""The scoring benchmark's command runs anywhere, and what it times computes the library's logits."""

import json

import pytest

import tiny_shapes
from vqaflow.bench import strongest
from vqaflow.bench.score import bench_score
from vqaflow.commands.command_line import main
from vqaflow.plan.published import PUBLISHED


def test_the_command_runs_on_a_cpu_and_compares_with_the_library(tmp_path, capsys) -> None:
    """A table of times means nothing for a scorer that computes something else."""
    file = tmp_path / "score.json"
    main(["bench", "score", "--shape", "tiny", "--rows", "2", "--runs", "2", "--json", str(file)])
    found = json.loads(file.read_text(encoding="utf-8"))
    assert all(row["s/row"] > 0 for row in found["whole"] + found["parts"])
    assert {row["spread"]["runs"] for row in found["whole"] + found["parts"]} == {2}
    first, *others = found["whole"]
    assert all(row["times the usual"] == first["s/row"] / row["s/row"] for row in others)
    rows = {row["what"] for row in found["whole"]}
    assert {"usual predictor: generate", "ours, float32", strongest.NAME} <= rows
    errors = [value for name, value in found["checks"].items() if name.endswith("relative error")]
    assert errors and max(errors) < 1e-4
    assert found["machine"]["date"] and "ours, float32" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen3_5"])
def test_other_families_are_compared_with_the_library(kind, tmp_path, monkeypatch) -> None:
    """Four orders in one pass are four plain passes of the library's forward; the grouped tower is the library's."""
    monkeypatch.setitem(PUBLISHED, "other", tiny_shapes.config(kind))
    file = tmp_path / "score.json"
    bench_score("other", 2, None, None, file, visual=24)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [row["what"] for row in found["whole"]] == ["last position of a batched forward", "ours, float32"]
    parts = {row["part"] for row in found["parts"]}
    assert {"tower as shipped", "tower, images grouped", "tower, fused"} <= parts
    errors = [value for name, value in found["checks"].items() if name.endswith("relative error")]
    assert len(errors) == 6 and max(errors) < 1e-4
    assert found["checks"]["standard deviation of the logits in float32"] > 0.01
