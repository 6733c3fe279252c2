"""FP8 weights: their values and products against naive forms, scoring and training against the library, refusals."""

import pytest
import torch
from peft import PeftModel

import random_qwen
import rows
import scoring_world
from vqaflow.artifacts.reading import read_json
from vqaflow.config.sections import LoraConfig, ModelConfig
from vqaflow.model import store_base as stage_module
from vqaflow.model import stored_base
from vqaflow.model.base import Base, compute_dtype, load_base, quantization
from vqaflow.model.decoder.branches import answer_states, pack
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.decoder.merged_adapters import read_adapter, use_adapter
from vqaflow.model.decoder.projection import Projection
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.fp8_linear import Fp8Linear, quantize_linears
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.model.numerics import fp8
from vqaflow.model.vision.windows import image_features
from vqaflow.runtime.errors import UserError

CPU = torch.device("cpu")
ORDERS = ["abcd", "bcda"]
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> ModelConfig:
    """The section `model` of a random base on disk, in FP8."""
    folder = scoring_world.save_base(tmp_path_factory.mktemp("base"))
    return rows.model_config(base=str(folder), quantization="fp8")


def naive_scale(values: torch.Tensor) -> float:
    """The least power of two that brings all values to at most 448, by trying."""
    largest = float(values.abs().max())
    return next(2.0**e for e in range(-120, 120) if largest <= 448 * 2.0**e)


def naive_rounded(value: float) -> float:
    """The nearest number with four significant bits (even on a tie), or a multiple of 2^-9 below the normal range."""
    if value == 0:
        return 0.0
    exponent = max(torch.tensor(value).abs().log2().floor().item(), -6)
    step = 2.0 ** (exponent - 3)
    return round(value / step) * step


def test_rows_are_rounded_to_four_bits_beside_the_least_power_of_two() -> None:
    """A wrong scale would cut off the largest values, which say the most, or lose the small ones."""
    torch.manual_seed(0)
    x = torch.randn(6, 32) * torch.tensor([1.0, 300, 1e-5, 7e4, 448, 3])[:, None]
    x[4], x[5, 0] = x[4].clamp(-448, 448), 448 * 2.0**5
    x[4, 0] = 448
    quantized, scale = fp8.quantized_rows(x)
    for row, values, factor in zip(x, quantized.float(), scale[:, 0].tolist(), strict=True):
        assert factor == naive_scale(row) or (row.abs().max() == 448 * factor / 2)
        assert values.tolist() == [naive_rounded(value / factor) for value in row.tolist()]


def test_rows_of_zeros_and_bad_numbers_stay_what_they_are() -> None:
    """A row of zeros must not become NaN; NaN and infinity must reach the check that names the row."""
    x = torch.tensor([[0.0] * 4, [1.0, float("nan"), 0, 0], [1.0, float("inf"), 0, 0], [1.0, 2, 3, 4]])
    quantized, scale = fp8.quantized_rows(x)
    found = quantized.float() * scale
    assert found[0].tolist() == [0.0] * 4 and found[3].tolist() == x[3].tolist()
    assert found[1].isnan().any() and found[2].isnan().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_the_naive_sum_of_rounded_values(dtype) -> None:
    """On a GPU the same call runs on FP8 units; what it must give there is this."""
    torch.manual_seed(1)
    weight, x, bias = (torch.randn(size, dtype=dtype) for size in ((8, 16), (3, 16), (8,)))
    rounded, scale = fp8.quantized_rows(weight)
    found = fp8.product(fp8.quantized_rows(x), rounded, scale, bias, torch.float32)
    for n in range(3):
        sx = naive_scale(x[n])
        for o in range(8):
            sw = naive_scale(weight[o])
            terms = [
                naive_rounded(a / sx) * sx * naive_rounded(b / sw) * sw
                for a, b in zip(x[n].tolist(), weight[o].tolist(), strict=True)
            ]
            assert float(found[n, o]) == pytest.approx(sum(terms) + float(bias[o]), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_hold_fp8_weights_exactly(dtype) -> None:
    """So training in 16 bits and scoring in FP8 multiply by the same weights."""
    weight, scale = fp8.quantized_rows(torch.randn(16, 64) * 0.02)
    assert torch.equal(fp8.expanded(weight, scale, dtype).float(), weight.float() * scale)


def test_only_the_decoders_linears_become_fp8(model) -> None:
    """Tower, embeddings and head keep their precision."""
    base = load_base(model, CPU)
    kinds = {name: type(m).__name__ for name, m in base.network.named_modules() if isinstance(m, torch.nn.Linear)}
    assert {name for name, kind in kinds.items() if kind == "Fp8Linear"} == {n for n in kinds if ".layers." in n}
    assert base.quantization == "fp8" and base.dtype is torch.float32
    assert base.visual.dtype is torch.float32 and base.head.weight.dtype is torch.float32


def encoded_rows(base: Base, model: ModelConfig, folder):
    """Three encoded rows, packed too, and their image features."""
    encoder = RowEncoder(base.processor, model, rows.prompt_config())
    table = rows.make_rows(folder, 3)
    encoded = [encoder.encode(row, ORDERS, rows.VIEW) for row in table]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    with torch.no_grad():
        features = image_features(base.visual, pixels, [e.grid for e in encoded])
    return encoded, pack(encoded, encoder.image_token, 0), features


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """‖found - wanted‖ / ‖wanted‖."""
    return float((found - wanted).norm() / wanted.norm())


@torch.no_grad()
def test_scoring_is_the_librarys_layers_with_rounded_products(model, tmp_path) -> None:
    """Shared prefixes, joined projections and the adapter beside them compute what one linear after the other does."""
    adapter = scoring_world.save_adapter(tmp_path / "adapter")
    base = load_base(model, CPU)
    encoded, batch, features = encoded_rows(base, model, tmp_path)
    plain = answer_states(base.language_model, batch, features)
    tuned = Base(PeftModel.from_pretrained(base.model, adapter).eval(), None, CPU, base.dtype, "fp8")
    expected = answer_states(tuned.language_model, batch, features)
    decoder = FusedDecoder(load_base(model, CPU))
    without = decoder.states(encoded, features)
    use_adapter(decoder, read_adapter(adapter))
    found = decoder.states(encoded, features)
    # A value that lies between two FP8 numbers may be rounded to either, and what follows differs by more.
    assert error(without, plain) < 0.03 and error(found, expected) < 0.03
    assert error(expected, plain) > 0.3


@torch.no_grad()
def test_an_adapter_beside_fp8_weights_is_not_rounded_with_them() -> None:
    """Merged into FP8 weights, the small changes of an adapter after few steps would be rounded away."""
    torch.manual_seed(3)
    linears = [Fp8Linear(torch.randn(size, 32), torch.randn(size)) for size in (48, 16)]
    projection, x = Projection(linears), torch.randn(5, 32)
    residual = torch.randn(5, 64)
    before = projection.forward(x, projection.weight(x), residual)
    a, b = torch.randn(8, 32) * 1e-3, torch.randn(64, 8)
    projection.delta = (a, b)
    after = projection.forward(x, projection.weight(x), residual)
    torch.testing.assert_close(after - before, x @ a.T @ b.T, atol=1e-5, rtol=1e-3)
    expected = torch.cat([linear(x) for linear in linears], dim=1) + residual
    torch.testing.assert_close(before, expected, atol=1e-5, rtol=1e-5)


def test_training_on_fp8_weights_has_the_gradients_of_the_expanded_ones(model, tmp_path) -> None:
    """Training must not go through rounded activations, which have no gradient."""
    outcomes = []
    for is_fused in (True, False):
        base = load_base(model, CPU)
        encoded, batch, features = encoded_rows(base, model, tmp_path)
        if not is_fused:  # plain linears with the values of the FP8 ones
            for name, module in list(base.network.named_modules()):
                if isinstance(module, Fp8Linear):
                    plain = torch.nn.Linear(module.in_features, module.out_features, module.bias is not None)
                    plain.weight.data = fp8.expanded(module.weight, module.scale_O1, torch.float32)
                    if module.bias is not None:
                        plain.bias.data = module.bias.data
                    parent, _, last = name.rpartition(".")
                    setattr(base.network.get_submodule(parent), last, plain.requires_grad_(False))
        add_adapter(base, LoraConfig(r=4, alpha=8, dropout=0.0, targets=TARGETS), seed=1)
        torch.manual_seed(2)
        with torch.no_grad():
            for weight in trainable(base):
                weight.add_(torch.randn_like(weight) * 0.15)
        found = (
            FusedDecoder(base).states(encoded, features)
            if is_fused
            else answer_states(base.language_model, batch, features)
        )
        scales = torch.linspace(-1, 1, found.numel()).view_as(found)
        outcomes.append([found.detach(), *torch.autograd.grad((found * scales).sum(), trainable(base))])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_librarys_layers_train_on_fp8_weights(model, tmp_path) -> None:
    """With LoRA dropout the library's layers are trained: their gradients reach through FP8 linears."""
    base = load_base(model, CPU)
    _, batch, features = encoded_rows(base, model, tmp_path)
    add_adapter(base, LoraConfig(r=4, alpha=8, dropout=0.0, targets=TARGETS), seed=1)
    states = answer_states(base.language_model, batch, features)
    grads = torch.autograd.grad(states.square().sum() + states.sum(), trainable(base))
    assert all(grad.isfinite().all() for grad in grads) and any(grad.abs().max() > 0 for grad in grads)


def gpu(monkeypatch, capability: tuple[int, int], name: str) -> torch.device:
    """A device that says it is a GPU of this capability."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    return torch.device("cuda")


@pytest.mark.parametrize(("capability", "name"), [((7, 5), "Tesla T4"), ((8, 0), "NVIDIA A100"), ((8, 6), "RTX 3090")])
def test_a_card_without_fp8_is_refused_with_a_cure(model, monkeypatch, capability, name) -> None:
    """Emulated on such a card it would be slower than what it replaces."""
    device = gpu(monkeypatch, capability, name)
    with pytest.raises(UserError, match=rf"model\.quantization: {name} has no FP8 units.*Use none, or nf4"):
        quantization(model, device)


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (12, 0)])
def test_a_card_with_fp8_computes_in_bfloat16(model, monkeypatch, capability) -> None:
    """Its FP8 units give bfloat16, also where `auto` would be float16."""
    device = gpu(monkeypatch, capability, "NVIDIA L4")
    auto = rows.model_config(base=model.base, quantization="fp8", compute_dtype="auto")
    assert quantization(auto, device) == "fp8" and compute_dtype(auto, device) is torch.bfloat16
    other = rows.model_config(base=model.base, quantization="fp8", compute_dtype="float16")
    with pytest.raises(
        UserError, match=r"model\.compute_dtype: FP8 products give bfloat16, not float16\. Use bfloat16"
    ):
        compute_dtype(other, device)


def test_sizes_that_fp8_units_do_not_take_are_refused() -> None:
    """Otherwise the first product fails with a message of the library's."""
    network = random_qwen.model()
    base = Base(network, None, CPU, torch.float32, "none")
    network.model.language_model.layers[0].mlp.gate_proj = torch.nn.Linear(64, 24)
    with pytest.raises(UserError, match=r"gate_proj has 24 outputs and 64 inputs.*multiples of 16\. Use none or nf4"):
        quantize_linears(network, base.family, {"": "cuda"})


def test_no_copy_is_stored_and_the_record_says_so(model, monkeypatch, tmp_path) -> None:
    """Quantising takes no longer than reading a copy would."""
    for module in (stage_module, stored_base):
        monkeypatch.setattr(module, "best_device", lambda: CPU)
    settings = {"base": model.base, "revision": None, "quantization": "fp8", "compute_dtype": "auto"}
    stage_module.store_base(settings, tmp_path / "bases", tmp_path / "base.json")
    assert read_json(tmp_path / "base.json", "store_base", ["quantization", "folder"])["folder"] is None
    assert stored_base.open_base(model, tmp_path / "bases").quantization == "fp8"
    assert not (tmp_path / "bases").exists()
