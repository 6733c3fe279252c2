"""The benchmark's command runs anywhere, and its figures are what it says they are."""

import json

import pytest
import torch

import tiny_shapes
from vqaflow.bench import peers, train, training_bench
from vqaflow.bench.checks import small
from vqaflow.bench.made_rows import MadeFeatures, MadeRows
from vqaflow.bench.random_base import build
from vqaflow.bench.training_bench import TrainingBench, precision_of
from vqaflow.bench.usual_recipe import model_inputs
from vqaflow.commands.command_line import main
from vqaflow.model.lora import add_adapter
from vqaflow.plan.published import PUBLISHED
from vqaflow.plan.shape import Shape

# What the process asks of Unsloth, by the library itself.
UNSLOTH_STAND_IN = """
import torch, transformers

__version__ = "1.2.3"


class Network(torch.nn.Module):
    def __init__(self, inner, r):
        super().__init__()
        self.inner, self.added = inner.requires_grad_(False), torch.nn.Parameter(torch.zeros(r))

    def forward(self, **inputs):
        out = self.inner(**inputs)
        out.loss = out.loss + self.added.sum()
        return out


class FastVisionModel:
    @staticmethod
    def from_pretrained(folder, **options):
        assert options["load_in_16bit"] and not options["load_in_4bit"]
        transformers.AutoProcessor.from_pretrained(folder)
        return transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32), None

    @staticmethod
    def get_peft_model(network, **options):
        assert options["finetune_vision_layers"] is False
        return Network(network, options["r"])

    @staticmethod
    def for_training(network):
        network.train()
"""
# What the process asks of Liger: Transformers' own call of it, whose kernels need a GPU, and which models it knows.
LIGER_STAND_IN = """
from pathlib import Path

def _apply_liger_kernel_to_instance(model):
    Path(__file__).with_name("applied").write_text(type(model).__name__)
"""
OVER_PEFT = "four orders, cached vision: rows x orders/s over Transformers + PEFT"


def test_what_the_checks_find_is_asked_for_once(monkeypatch) -> None:
    """They take as long as half the rows, and find the same in each run."""
    asked = []

    def measured(bench, only, site):
        asked.append(list(only))
        bench.add("ours", 2, 1, True, lambda: (1.0, 1.0))
        return {"adapter digest": "a1"} if "checks" in only else {}

    monkeypatch.setattr(train, "measure_all", measured)
    train.bench_train("tiny", 2, ["ours", "checks"], None, runs=3)
    assert asked == [["ours", "checks"], ["ours"], ["ours"]]


def test_the_command_runs_on_a_cpu_and_writes_all_figures(tmp_path, monkeypatch) -> None:
    """Anyone can check the harness before paying for a GPU."""
    cases = [("ours", 2, 1, False, {}), ("ours", 2, 4, True, {"gradient_checkpointing": "auto"})]
    monkeypatch.setattr(train, "our_cases", lambda made: cases)
    monkeypatch.setattr(training_bench, "REPEATS", {"cpu": 1})
    file = tmp_path / "train.json"
    command = ["bench", "train", "--shape", "tiny", "--batch", "2", "--only", "usual", "ours", "--runs", "2"]
    main([*command, "--json", str(file)])
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [row["recipe"].split(",")[0] for row in found["rows"]] == ["usual recipe", "usual recipe", "ours", "ours"]
    assert all(row["s/row"] > 0 and "error" not in row for row in found["rows"])
    assert found["runs"] == 2 and all(row["spread"]["s/row"]["min"] == row["s/row"] for row in found["rows"])
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
    monkeypatch.setattr(train, "our_cases", lambda made: cases)
    monkeypatch.setattr(training_bench, "REPEATS", {"cpu": 1})
    monkeypatch.setattr(training_bench, "TARGETS", training_bench.TARGETS[:4])
    file = tmp_path / "train.json"
    train.bench_train("other", 2, None, file, visual=24)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [row["recipe"] for row in found["rows"]] == [train.PEFT, train.LIGER, train.UNSLOTH, "ours", "ours"]
    others = [found["rows"].pop(1) for _ in range(2)]
    for row in others:
        assert "trains on GPUs only" in row["error"], "what cannot run here says why, and the others go on"
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


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A benchmark that takes its CPU for a GPU, and a folder in which a package `unsloth` can be written."""
    monkeypatch.setitem(PUBLISHED, "other", tiny_shapes.config("qwen3_vl"))
    made = TrainingBench("other", torch.device("cpu"), 2, visual=24)
    monkeypatch.setattr(peers, "on_gpu", lambda bench: True)
    site = tmp_path / "site"
    site.mkdir()
    return made, site


def test_unsloth_runs_in_its_own_process_and_packages(stand_in) -> None:
    """Its row holds its version and its figures; the process gets a whole checkpoint and the other recipes' rows."""
    made, site = stand_in
    (site / "unsloth.py").write_text(UNSLOTH_STAND_IN, encoding="utf-8")
    made.add(train.UNSLOTH, 2, 1, False, lambda: peers.measure_peer(made, "unsloth", site))
    row = made.results[0]
    assert "error" not in row and row["version"] == "1.2.3" and row["s/row"] > 0
    lora = training_bench.train_config().lora
    assert row["adapter weights"] == lora.r and len(row["losses"]) > 3


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen3_5"])
def test_liger_runs_in_its_own_process_and_packages(stand_in, kind, monkeypatch) -> None:
    """Its row holds what it was measured with, its kernels were applied, and its adapters are where ours are."""
    monkeypatch.setitem(PUBLISHED, "other", tiny_shapes.config(kind))
    _, site = stand_in
    made = TrainingBench("other", torch.device("cpu"), 2, visual=24)
    package, about = site / "liger_kernel" / "transformers", site / "liger_kernel-9.8.7.dist-info"
    for folder in (package, about):
        folder.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("", encoding="utf-8")
    (package / "__init__.py").write_text(LIGER_STAND_IN, encoding="utf-8")
    known = f"MODEL_TYPE_TO_APPLY_LIGER_FN = {{{made.config['model_type']!r}: None}}\n"
    (package / "monkey_patch.py").write_text(known, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: liger-kernel\nVersion: 9.8.7\n", encoding="utf-8")
    made.add(train.LIGER, 2, 1, False, lambda: peers.measure_peer(made, "liger", site))
    row = made.results[0]
    assert "error" not in row and row["version"] == "9.8.7" and row["s/row"] > 0
    assert row["versions"]["torch"] == torch.__version__ and (package / "applied").read_text().startswith("Qwen3")
    lora, base = training_bench.train_config().lora, build(made.config, made.device, "none", made.dtype)
    add_adapter(base, lora, 1)
    assert row["adapter weights"] == sum(w.numel() for w in base.model.parameters() if w.requires_grad)
    assert len(row["losses"]) > 3
    (package / "monkey_patch.py").write_text("MODEL_TYPE_TO_APPLY_LIGER_FN = {}", encoding="utf-8")
    made.add(train.LIGER, 2, 1, False, lambda: peers.measure_peer(made, "liger", site))
    assert "Liger has no kernels for " in made.results[1]["error"], "else Transformers alone would be measured"


@pytest.mark.parametrize("package", [None, "raise RuntimeError('this card is too old')"])
def test_unsloth_that_cannot_run_says_why(stand_in, package, capfd) -> None:
    """A missing package or a refusal costs the row only, and its reason stands in the row."""
    made, site = stand_in
    if package:
        (site / "unsloth.py").write_text(package, encoding="utf-8")
    made.add(train.UNSLOTH, 2, 1, False, lambda: peers.measure_peer(made, "unsloth", site))
    assert ("this card is too old" if package else "No module named 'unsloth'") in made.results[0]["error"]


def test_ours_is_compared_with_unsloth_in_no_more_memory() -> None:
    """A step that takes more memory than Unsloth's is another trade, not a faster one."""

    def row(recipe: str, rate: float, peak: float, orders: int = 1) -> dict[str, object]:
        times = {"s/row": orders / rate, "rows/s": rate / orders, "row·orders/s": rate}
        return {"recipe": recipe, "batch": 4, "orders": orders, "vision": "every step", "peak GiB": peak, **times}

    rows = [row(train.UNSLOTH, 10, 18), row("ours", 13, 17), row("ours, nothing recomputed", 20, 30)]
    found = train.summary(rows)
    assert found["one order, tower in every step: rows x orders/s over Unsloth"] == 1.3
    made = TrainingBench("tiny", torch.device("cpu"), 4)
    assert not any(case[0] == train.IN_THE_SAME for case in train.our_cases(made))
    made.results.append(rows[0])
    limits = [case[-1]["limit_gib"] for case in train.our_cases(made) if case[0] == train.IN_THE_SAME]
    assert len(limits) == 4 and set(limits) == {18}


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
