"""The scoring benchmark's command runs anywhere, and what it times computes the library's logits."""

import json

from vqaflow.commands.command_line import main


def test_the_command_runs_on_a_cpu_and_compares_with_the_library(tmp_path, capsys) -> None:
    """A table of times means nothing for a scorer that computes something else."""
    file = tmp_path / "score.json"
    main(["bench", "score", "--shape", "tiny", "--rows", "2", "--json", str(file)])
    found = json.loads(file.read_text(encoding="utf-8"))
    assert all(row["s/row"] > 0 for row in found["whole"] + found["parts"])
    assert {"usual predictor: generate", "ours, float32"} <= {row["what"] for row in found["whole"]}
    errors = [value for name, value in found["checks"].items() if name.endswith("relative error")]
    assert errors and max(errors) < 1e-4
    assert found["machine"]["date"] and "ours, float32" in capsys.readouterr().out
