"""The benchmark's command runs anywhere, and its figures are what it says they are."""

import json

import pytest
import torch

import tiny_shapes
from vqaflow.bench import train as bench_train
from vqaflow.bench import training_bench
from vqaflow.bench.checks import small
from vqaflow.bench.made_rows import MadeFeatures, MadeRows
from vqaflow.bench.random_base import build
from vqaflow.bench.training_bench import TrainingBench, precision_of
from vqaflow.bench.usual_recipe import model_inputs
from vqaflow.commands.command_line import main
from vqaflow.plan.published import PUBLISHED
from vqaflow.plan.shape import Shape

OVER_PEFT = "four orders, cached vision: rows x orders/s over Transformers + PEFT"


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
    over = found["summary"]["four orders, cached vision: rows x orders/s over the usual recipe"]
    assert over == four["row·orders/s"] / min(row["row·orders/s"] for row in found["rows"][:2])


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen3_5", "qwen3_vl_moe"])
def test_other_families_are_measured_and_checked(kind, tmp_path, monkeypatch) -> None:
    """Times mean something only if both recipes run and ours computes what the library computes."""
    monkeypatch.setitem(PUBLISHED, "other", tiny_shapes.config(kind))
    cases = [("ours", 2, 1, False, {}), ("ours", 2, 4, True, {})]
    monkeypatch.setattr(bench_train, "our_cases", lambda made: cases)
    monkeypatch.setattr(training_bench, "REPEATS", {"cpu": 1})
    monkeypatch.setattr(training_bench, "TARGETS", training_bench.TARGETS[:4])
    file = tmp_path / "train.json"
    bench_train.bench_train("other", 2, None, file, visual=24)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [row["recipe"] for row in found["rows"]] == [bench_train.PEFT, "ours", "ours"]
    assert all(row["s/row"] > 0 and "error" not in row for row in found["rows"])
    errors = [value for name, value in found["checks"].items() if name.endswith("relative error")]
    assert len(errors) == 8 and max(errors) < 1e-4
    assert found["checks"]["adapters after 20 steps, run twice: bit-identical"] is True
    assert found["row"].startswith("24 visual") and found["summary"][OVER_PEFT] > 0


def test_a_random_model_has_the_librarys_buffers_and_initial_values() -> None:
    """Wrong rotary frequencies or decay rates make other numbers and, in half precision, NaN."""
    import transformers

    from vqaflow.plan.shape import library_config

    for kind in ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_5_moe"):
        config = tiny_shapes.config(kind)
        made = build(config, torch.device("cpu"), "none", torch.bfloat16).network
        theirs = transformers.AutoModelForImageTextToText.from_config(library_config(config))
        buffers = dict(theirs.named_buffers())
        assert [name for name, _ in made.named_buffers()] == list(buffers)
        assert all(torch.equal(value, buffers[name]) for name, value in made.named_buffers())
        weights = dict(theirs.named_parameters())
        for name, weight in made.named_parameters():
            assert weight.shape == weights[name].shape and weight.dtype is torch.bfloat16
            if name.endswith("A_log"):
                assert weight.isfinite().all() and -5 < weight.min() and weight.max() < 3 and weight.std() > 0
            elif weight.ndim < 2:
                assert torch.equal(weight.float(), weights[name]), name
            else:
                assert weight.std() > 0.01, f"{name}: experts too are random"


def test_tied_tables_are_made_once() -> None:
    """A model with one table would take another gigabyte."""
    config = tiny_shapes.config("qwen3_vl") | {"tie_word_embeddings": True}
    network = build(config, torch.device("cpu"), "none", torch.float32).network
    assert network.lm_head.weight is network.model.language_model.embed_tokens.weight


def test_precisions_are_those_of_the_models_use() -> None:
    """A Qwen2.5-VL as on a T4, the others as they are trained: bfloat16, unquantised."""
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert precision_of("7b", gpu, None) == (torch.float16, "nf4")
    assert precision_of("qwen3.5-27b", gpu, None) == (torch.bfloat16, "none")
    assert precision_of("qwen3-vl-8b", gpu, "nf4") == (torch.bfloat16, "nf4")
    assert precision_of("qwen3-vl-8b", cpu, None) == (torch.float32, "none")


def test_the_checked_model_is_small_but_has_all_parts() -> None:
    """On a GPU the checks use the published widths; a check without DeepStack or attention would check nothing."""
    stacked, mixed = Shape.of(small(PUBLISHED["qwen3-vl-8b"])), Shape.of(small(PUBLISHED["qwen3.5-9b"]))
    assert stacked.hidden == 4096 and stacked.levels == 2 and len(stacked.layers) == 3
    assert [layer.channels > 0 for layer in mixed.layers] == [True, True, True, False]
    assert max(stacked.weights, mixed.weights) < 1.5e9


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
    for name, grid, values, width in (
        ("7b", (1, 48, 64), 1176, 3584),
        ("qwen3-vl-8b", (1, 48, 64), 1536, 4 * 4096),
        ("qwen3.5-9b", (1, 48, 64), 1536, 4096),
    ):
        made = MadeRows(PUBLISHED[name])
        assert (made.visual, made.tokens(1), made.tokens(4)) == (768, 932, 1124)
        assert made.encoded(0, 4).tokens == 1124 and made.encoded(0, 1).grid == grid == made.grid
        assert made.pixels(1)[0].shape == (48 * 64, values) and made.features(1)[0].shape == (768, width)
    assert MadeRows(PUBLISHED["qwen3.5-27b"], 1024).grid == (1, 64, 64)


def test_made_features_are_as_wide_as_the_towers() -> None:
    """Cached vision must hand the decoder DeepStack's levels too."""
    made = MadeRows(tiny_shapes.config("qwen3_vl"), 24)
    base = build(made.config, torch.device("cpu"), "none", torch.float32)
    items = [(row, made.encoded(i, 1)) for i, row in enumerate(made.rows(2))]
    for cached in (True, False):
        assert [f.shape for f in MadeFeatures(base, made, cached).of(items)] == [(24, 4 * 64)] * 2


def test_an_unknown_benchmark_names_the_known_ones(capsys) -> None:
    """A typo must not end in a traceback."""
    with pytest.raises(SystemExit) as ended:
        main(["bench", "trian"])
    assert ended.value.code == 2
    assert "train" in capsys.readouterr().err
