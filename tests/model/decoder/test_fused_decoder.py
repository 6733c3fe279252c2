"""The fused decoder computes the library's decoder with PEFT's layers, forward and backward, in both token layouts."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import random_qwen
import rows
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import LoraConfig
from vqaflow.model.base import Base
from vqaflow.model.decoder import layouts, projection
from vqaflow.model.decoder.branches import answer_states, pack
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.encoding.orders import all_orders
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.model.vision.windows import image_features

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> list[Row]:
    """Five rows with pictures of different sizes."""
    return rows.make_rows(tmp_path_factory.mktemp("images"))


def adapted(targets: tuple[str, ...]) -> Base:
    """A random model with an adapter whose B is no longer zero."""
    base = Base(random_qwen.model(), random_qwen.processor(), CPU, torch.float32, "none")
    add_adapter(base, LoraConfig(r=4, alpha=8, dropout=0.0, targets=targets), seed=1)
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in trainable(base):
            weight.add_(torch.randn_like(weight) * 0.15)
    return base


def outcome(base: Base, states: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """States and the gradients of a function of them that treats every state differently."""
    weights = torch.linspace(-1, 1, states.numel()).view_as(states)
    return states.detach(), list(torch.autograd.grad((states * weights).sum(), trainable(base)))


def looped_attention(q, k, v, sequences) -> torch.Tensor:
    """What the flash kernel computes, one sequence at a time; told a shorter longest sequence, it would cut it off."""
    cu_q, cu_k, longest_q, longest_k = sequences
    assert (longest_q, longest_k) == (cu_q.diff().max(), cu_k.diff().max())
    parts = []
    for i in range(len(cu_q) - 1):
        qs, ks, vs = q[cu_q[i] : cu_q[i + 1]], k[cu_k[i] : cu_k[i + 1]], v[cu_k[i] : cu_k[i + 1]]
        seen = torch.ones(len(qs), len(ks), dtype=torch.bool).tril(len(ks) - len(qs))
        heads = [t.transpose(0, 1)[None] for t in (qs, ks, vs)]
        parts.append(scaled_dot_product_attention(*heads, attn_mask=seen, enable_gqa=True)[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.fixture
def beside(monkeypatch) -> None:
    """Adapters beside the weights, as on a GPU."""
    monkeypatch.setattr(projection, "extends", lambda weight: weight.is_floating_point())


@pytest.mark.parametrize("layout", [layouts.PaddedLayout, layouts.FlatLayout])
@pytest.mark.parametrize("keep", [0, 1, 2])
@pytest.mark.parametrize(("count", "targets"), [(1, ALL), (4, ALL), (3, ("q_proj", "up_proj", "down_proj"))])
def test_states_and_gradients_are_the_librarys(table, layout, keep, count, targets, monkeypatch) -> None:
    """Fewer passes and less memory must not change what is trained."""
    monkeypatch.setattr(layouts, "flash_attention", looped_attention)
    assert_librarys(table, layout, keep, count, targets)


@pytest.mark.parametrize("layout", [layouts.PaddedLayout, layouts.FlatLayout])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(("count", "targets"), [(1, ALL), (4, ALL), (3, ("q_proj", "up_proj")), (2, ("down_proj",))])
def test_adapters_beside_the_weights_compute_the_same(table, layout, keep, count, targets, monkeypatch, beside) -> None:
    """Saved reads and writes on a GPU must not change what is trained either."""
    monkeypatch.setattr(layouts, "flash_attention", looped_attention)
    assert_librarys(table, layout, keep, count, targets, beside=True)


def assert_librarys(table, layout, keep, count, targets, beside: bool = False) -> None:
    """The decoder's states and gradients are the library's; an adapter changed in between is read again."""
    base = adapted(targets)
    encoder = RowEncoder(base.processor, rows.model_config(), rows.prompt_config())
    encoded = [encoder.encode(row, all_orders("abcd")[:count], rows.VIEW) for row in table]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    features = image_features(base.visual, pixels, [e.grid for e in encoded])
    expected = outcome(base, answer_states(base.language_model, pack(encoded, encoder.image_token, 0), features))
    decoder = FusedDecoder(base)
    kinds = {(p.extra > 0, p.below > 0) for p in decoder.adapted}
    assert kinds <= {(True, False), (False, True)} if beside else kinds == {(False, False)}
    decoder.keep_products(keep)
    packed = layout(encoded, encoder.image_token, CPU, torch.float32)
    got = outcome(base, decoder.answer_states(packed, features))
    torch.testing.assert_close(got[0], expected[0], atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(got[1], expected[1], strict=True):
        scale = theirs.abs().max()
        torch.testing.assert_close(ours / scale, theirs / scale, atol=3e-5, rtol=0)
    assert min(g.abs().max() for g in got[1]) > 0, "every adapter weight must get a gradient"


def test_a_base_with_yarn_is_computed_as_the_library_does(table) -> None:
    """Its rotary embedding has a scale, which is 1 in other bases: without it every logit would be wrong."""
    base = adapted(ALL)
    base.language_model.rotary_emb.attention_scaling = 1.3
    encoder = RowEncoder(base.processor, rows.model_config(), rows.prompt_config())
    encoded = [encoder.encode(row, all_orders("abcd")[:2], rows.VIEW) for row in table]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    features = image_features(base.visual, pixels, [e.grid for e in encoded])
    expected = answer_states(base.language_model, pack(encoded, encoder.image_token, 0), features)
    packed = layouts.make_layout(encoded, encoder.image_token, CPU, torch.float32)
    torch.testing.assert_close(FusedDecoder(base).answer_states(packed, features), expected, atol=1e-5, rtol=1e-5)


def test_joined_weights_leave_the_model_as_it_was(table) -> None:
    """The library's own forward still works, with the same numbers, after the fused decoder was made."""
    base = adapted(ALL)
    encoder = RowEncoder(base.processor, rows.model_config(), rows.prompt_config())
    encoded = [encoder.encode(table[0], ["abcd"], rows.VIEW)]
    features = [torch.randn(int(encoded[0].grid[1] * encoded[0].grid[2] // 4), 64)]
    batch = pack(encoded, encoder.image_token, 0)
    before = answer_states(base.language_model, batch, features)
    FusedDecoder(base)
    assert torch.equal(answer_states(base.language_model, batch, features), before)
