"""The benchmark's command runs anywhere, and its figures are what it says they are."""

import json

import pytest
import torch

from vqaflow.bench import train as bench_train
from vqaflow.bench import training_bench
from vqaflow.bench.made_rows import MadeRows
from vqaflow.bench.training_bench import TrainingBench
from vqaflow.bench.usual_recipe import model_inputs
from vqaflow.commands.command_line import main
from vqaflow.plan.shape import SHAPES


def test_the_command_runs_on_a_cpu_and_writes_all_figures(tmp_path, monkeypatch) -> None:
    """Anyone can check the harness before paying for a GPU."""
    cases = [("ours", 2, 1, False, {}), ("ours", 2, 4, True, {"gradient_checkpointing": "auto"})]
    monkeypatch.setattr(bench_train, "our_cases", lambda made: cases)
    monkeypatch.setattr(training_bench, "REPEATS", {"cpu": 1})
    file = tmp_path / "train.json"
    main(["bench", "train", "--shape", "tiny", "--batch", "2", "--only", "usual", "ours", "--json", str(file)])
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [row["recipe"].split(",")[0] for row in found["rows"]] == ["usual recipe", "usual recipe", "ours", "ours"]
    assert all(row["s/row"] > 0 and "error" not in row for row in found["rows"])
    assert torch.__version__.startswith(found["machine"]["torch"]) and found["machine"]["date"]
    four = found["rows"][-1]
    assert four["row·orders/s"] == pytest.approx(4 * four["rows/s"])


def test_a_recipe_that_cannot_run_is_a_row_and_not_the_end(capsys) -> None:
    """A library that is not installed costs its row only."""
    made = TrainingBench("tiny", torch.device("cpu"), 1)

    def fail() -> tuple[float, float]:
        raise ImportError("No module named 'trl'")

    made.add("TRL SFTTrainer", 1, 1, False, fail)
    assert "trl" in made.results[0]["error"]


def test_recipes_get_the_same_rows() -> None:
    """Or the comparison would mean nothing: the library's inputs hold the tokens and images that ours encodes."""
    made = TrainingBench("tiny", torch.device("cpu"), 3)
    inputs = model_inputs(made, 3)
    for i in range(3):
        encoded = made.made.encoded(i, 1)
        assert inputs["input_ids"][i].tolist() == encoded.prefix_ids + encoded.branch_ids[0]
    assert inputs["pixel_values"].shape == (3 * made.made.patches, 1176)
    assert (inputs["labels"] != -100).sum(1).tolist() == [1, 1, 1]


def test_rows_have_the_stated_size() -> None:
    """768 visual and 164 text tokens; four orders add three times the choices only."""
    made = MadeRows(SHAPES["7b"])
    assert (made.visual, made.tokens(1), made.tokens(4)) == (768, 932, 1124)
    assert made.encoded(0, 4).tokens == 1124


def test_an_unknown_benchmark_names_the_known_ones(capsys) -> None:
    """A typo must not end in a traceback."""
    with pytest.raises(SystemExit) as ended:
        main(["bench", "trian"])
    assert ended.value.code == 2
    assert "train" in capsys.readouterr().err
