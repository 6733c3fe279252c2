"""Every Qwen family, one row of the matrix each: our logits and gradients are those of the library's own forward.

The reference is a plain forward through the chat template: the processor's output for the whole conversation, one pass
per choice order. All in float32 on the CPU, with random checkpoints (see random_families).
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from qwen_vl_utils.vision_process import fetch_image

import random_families
import rows
from random_families import NAMES
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import LoraConfig
from vqaflow.data.images.decoding import open_image
from vqaflow.model.base import Base, load_base
from vqaflow.model.decoder import projection
from vqaflow.model.decoder.branches import letter_logits, pack
from vqaflow.model.decoder.delta import DeltaBlock
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.decoder.merged_adapters import read_adapter, use_adapter
from vqaflow.model.encoding.orders import all_orders
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.model.pipeline.parts import make_encoder
from vqaflow.runtime.errors import UserError

LETTERS = ALL_LETTERS[:4]

CPU = torch.device("cpu")
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ORDERS = all_orders("abcd")[::6]

every_family = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> list[Row]:
    """Five rows with pictures of different sizes and questions of different lengths."""
    return rows.make_rows(tmp_path_factory.mktemp("images"))


@lru_cache
def plain(name: str) -> Base:
    """A random base without an adapter; tests must not change it."""
    return Base(random_families.network(name), random_families.processor(name), CPU, torch.float32, "none")


def adapted(name: str) -> Base:
    """A random base with an adapter whose B is no longer zero."""
    base = Base(random_families.network(name), random_families.processor(name), CPU, torch.float32, "none")
    add_adapter(base, LoraConfig(r=4, alpha=8, dropout=0.0, targets=ALL), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in trainable(base):
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return base


def encoder_of(base: Base) -> RowEncoder:
    """The base's encoder, as the commands make it."""
    encoder = make_encoder(base, rows.model_config(), rows.prompt_config())
    assert isinstance(encoder, RowEncoder), "these families share the prefix of their orders"
    return encoder


def our_logits(
    base: Base, encoder: RowEncoder, table: Sequence[Row], orders: Sequence[str], adapter: Path | None = None
) -> torch.Tensor:
    """Letters' logits (B, K, 4) from the fused decoder: all rows as one batch, all orders in one pass.

    `adapter` is the folder of an adapter that is merged into the weights, as scoring does.
    """
    encoded = [encoder.encode(row, orders, rows.VIEW) for row in table]
    patches = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    features = base.family.features(base.visual, patches, [row.grid for row in encoded])
    decoder = FusedDecoder(base)
    if adapter is not None:
        use_adapter(decoder, read_adapter(adapter))
    return letter_logits(decoder.states(encoded, features), base.letter_rows(encoder.letter_ids))


def conversation(base: Base, encoder: RowEncoder, row: Row, order: str, answer: str | None = None) -> dict[str, Any]:
    """The processor's output for the conversation as the chat template writes it, up to the answer or with it."""
    rendered = encoder.renderer.render(row, [order])
    said = (rendered.prefix + rendered.branches[0])[len(encoder.renderer.head) : -len(encoder.renderer.tail)]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": encoder.renderer.prompt.system}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": said}]},
    ]
    if answer is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    arguments = {"add_generation_prompt": answer is None}
    if "enable_thinking" in base.processor.chat_template:
        arguments["enable_thinking"] = False
    text = base.processor.apply_chat_template(messages, tokenize=False, **arguments)
    smallest, largest = encoder.model.min_pixels, encoder.model.max_pixels
    picture = {"image": open_image(row.image_file), "min_pixels": smallest, "max_pixels": largest}
    resized = fetch_image(picture, base.processor.image_processor.patch_size)
    return dict(base.processor(text=[text], images=[resized], do_resize=False, return_tensors="pt"))


def library_logits(base: Base, encoder: RowEncoder, table: Sequence[Row], orders: Sequence[str]) -> torch.Tensor:
    """The same (B, K, 4) from the library's own forward, with PEFT's layers if there are any: one pass per order."""

    def one(row: Row, order: str) -> torch.Tensor:
        return base.model(**conversation(base, encoder, row, order)).logits[0, -1, encoder.letter_ids]

    return torch.stack([torch.stack([one(row, order) for order in orders]) for row in table])


def outcome(base: Base, logits_BK4: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits, and the adapter's gradients of a function of them that treats each of them differently."""
    weights = torch.linspace(-1, 1, logits_BK4.numel()).view_as(logits_BK4)
    return logits_BK4.detach(), list(torch.autograd.grad((logits_BK4 * weights).sum(), trainable(base)))


def assert_same(ours: tuple[torch.Tensor, list[torch.Tensor]], theirs: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    """Logits agree to 1e-4, gradients to 1e-4 of each weight's largest one; every weight has some."""
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-4, rtol=0)
    for mine, reference in zip(ours[1], theirs[1], strict=True):
        scale = reference.abs().max()
        assert scale > 0, "every adapter weight must get a gradient"
        torch.testing.assert_close(mine / scale, reference / scale, atol=1e-4, rtol=0)


@every_family
def test_tokens_and_patches_are_the_processors(name: str, table) -> None:
    """Other tokens or pixels than the model saw in its training cost accuracy without any message."""
    base = plain(name)
    encoder = encoder_of(base)
    for row in table:
        for order in ORDERS:
            encoded = encoder.encode(row, [order], rows.VIEW)
            inputs = conversation(base, encoder, row, order)
            assert encoded.prefix_ids + encoded.branch_ids[0] == inputs["input_ids"][0].tolist()
        assert encoded.grid == tuple(inputs["image_grid_thw"][0].tolist())
        assert torch.equal(encoder.pixels(row.image_file, rows.VIEW), inputs["pixel_values"])


@every_family
def test_positions_are_the_networks(name: str, table) -> None:
    """The network derives M-RoPE positions from the tokens; ours are made once per row and shared by its orders."""
    base = plain(name)
    encoder = encoder_of(base)
    for row in table:
        encoded = encoder.encode(row, ORDERS, rows.VIEW)
        for order, branch in zip(ORDERS, encoded.branch_ids, strict=True):
            inputs = conversation(base, encoder, row, order)
            keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
            theirs, _ = base.network.model.get_rope_index(**{key: inputs[key] for key in keys})
            after = (encoded.next_position + torch.arange(len(branch))).expand(3, -1)
            assert torch.equal(torch.cat([encoded.prefix_positions, after], dim=1), theirs[:, 0])


@every_family
@pytest.mark.parametrize("answer", LETTERS)
def test_supervised_position_predicts_the_scored_token(name: str, answer: str, table) -> None:
    """However the template opens and closes the answer's turn, the answer is right after the last prompt token."""
    base = plain(name)
    encoder = encoder_of(base)
    for row in table:
        encoded = encoder.encode(row, ["abcd"], rows.VIEW)
        prompt = encoded.prefix_ids + encoded.branch_ids[0]
        whole = conversation(base, encoder, row, "abcd", answer)["input_ids"][0].tolist()
        assert whole[: len(prompt)] == prompt, "the prompt must be what the model saw as such in its training"
        supervised = int(pack([encoded], encoder.image_token, 0).ends_BK[0, 0])
        assert supervised == len(prompt) - 1
        assert whole[supervised + 1] == encoder.letter_ids[LETTERS.index(answer)]
        assert base.processor.tokenizer.decode(whole[supervised + 1 :]) == answer + "<|im_end|>\n"


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_vl_moe", "qwen3_5"])
def test_a_template_that_always_thinks_is_refused(name: str) -> None:
    """A letter would be scored and trained where a thought should begin."""
    processor = random_families.processor(name, thinking="only")
    base = Base(random_families.network(name), processor, CPU, torch.float32, "none")
    with pytest.raises(UserError, match="opens a thinking block that cannot be switched off. Use the Instruct edition"):
        encoder_of(base)


@every_family
@torch.no_grad()
def test_logits_are_the_librarys_in_every_order(name: str, table) -> None:
    """A score from another function than the published model's is wrong in a way that no one sees."""
    base = plain(name)
    encoder = encoder_of(base)
    ours, theirs = (logits(base, encoder, table[:3], ORDERS) for logits in (our_logits, library_logits))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert (ours[:, 0] - ours[:, 1]).abs().max() > 1e-2, "the orders must differ, or this test could not fail"


@every_family
@torch.no_grad()
def test_one_order_is_the_librarys(name: str, table) -> None:
    """A single order is laid out in another way than several."""
    base = plain(name)
    encoder = encoder_of(base)
    ours, theirs = (logits(base, encoder, table, ["bcda"]) for logits in (our_logits, library_logits))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@every_family
@pytest.mark.parametrize("count", [1, 4])
@torch.no_grad()
def test_a_batch_gives_what_its_rows_give_alone(name: str, count: int, table) -> None:
    """A row's score must not depend on the lengths and pictures of the rows beside it."""
    base = plain(name)
    encoder = encoder_of(base)
    together = our_logits(base, encoder, table, ORDERS[:count])
    alone = torch.cat([our_logits(base, encoder, [row], ORDERS[:count]) for row in table])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    tokens = {encoder.encode(row, ["abcd"], rows.VIEW).tokens for row in table}
    grids = {encoder.encode(row, ["abcd"], rows.VIEW).grid for row in table}
    assert len(tokens) > 3 and len(grids) > 3, "the rows must differ, or this test could not fail"


@every_family
def test_orders_in_one_pass_train_as_one_pass_each(name: str, table) -> None:
    """The shared prefix saves time only; gradients flow through it from all orders."""
    base = adapted(name)
    encoder = encoder_of(base)
    together = outcome(base, our_logits(base, encoder, table[:3], ORDERS))
    passes = [our_logits(base, encoder, table[:3], [order]) for order in ORDERS]
    assert_same(together, outcome(base, torch.cat(passes, dim=1)))


@every_family
@pytest.mark.parametrize("beside", [False, True])
def test_an_adapter_trains_as_with_the_librarys_layers(name: str, beside: bool, table, monkeypatch) -> None:
    """What we train is a plain LoRA of the published model: PEFT's layers give the same logits and gradients.

    beside: with adapters beside the weights, as on a GPU.
    """
    monkeypatch.setattr(projection, "extends", lambda weight: beside)
    base = adapted(name)
    encoder = encoder_of(base)
    ours = outcome(base, our_logits(base, encoder, table[:3], ORDERS))
    base.model.eval()
    theirs = outcome(base, library_logits(base, encoder, table[:3], ORDERS))
    assert_same(ours, theirs)
    with torch.no_grad(), base.model.disable_adapter():
        without = library_logits(base, encoder, table[:1], ORDERS)
    assert (theirs[0][:1] - without).abs().max() > 1e-2, "the adapter must change the logits"


@every_family
@torch.no_grad()
def test_a_saved_adapter_is_the_same_in_scoring_and_in_peft(name: str, table, tmp_path: Path) -> None:
    """An adapter that scoring or other programs read as something else loses what was trained."""
    base, trained = plain(name), adapted(name)
    encoder = encoder_of(base)
    expected = our_logits(trained, encoder, table[:2], ORDERS)
    trained.model.save_pretrained(tmp_path)
    peft = PeftModel.from_pretrained(random_families.network(name), tmp_path)
    loaded = Base(peft, base.processor, CPU, torch.float32, "none")
    scored = our_logits(base, encoder, table[:2], ORDERS, tmp_path)
    torch.testing.assert_close(scored, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(library_logits(loaded, encoder, table[:2], ORDERS), expected, atol=1e-4, rtol=0)
    without = our_logits(base, encoder, table[:2], ORDERS)
    assert (without - expected).abs().max() > 1e-2, "the adapter must change the logits"


@every_family
@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_a_folder_is_loaded_as_it_was_saved(name: str, tied: bool, table, tmp_path: Path) -> None:
    """Checkpoints come in several files, and small ones without a head, which is then the embedding table."""
    folder = random_families.save(name, tmp_path, tied=tied, shard="100KB")
    base = load_base(rows.model_config(base=str(folder)), CPU)
    network = random_families.network(name, tied=tied)
    original = Base(network, random_families.processor(name), CPU, torch.float32, "none")
    ours = our_logits(base, encoder_of(base), table[:2], ORDERS)
    theirs = library_logits(original, encoder_of(original), table[:2], ORDERS)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5"])
@torch.no_grad()
def test_a_bias_of_attentions_projections_counts(name: str, table) -> None:
    """Published checkpoints have none, but the configuration allows it; without it logits are wrong, silently."""
    config = random_families.config(name, False)
    config.text_config.attention_bias = True
    network = type(random_families.network(name))(config).eval().requires_grad_(False)
    network.load_state_dict(random_families.network(name).state_dict(), strict=False)
    for part, weight in network.named_parameters():
        if part.endswith("_proj.bias"):
            weight.normal_(0, 1, generator=torch.Generator().manual_seed(len(part)))
    base = Base(network, random_families.processor(name), CPU, torch.float32, "none")
    encoder = encoder_of(base)
    ours = our_logits(base, encoder, table[:2], ORDERS)
    torch.testing.assert_close(ours, library_logits(base, encoder, table[:2], ORDERS), atol=1e-4, rtol=0)


@pytest.mark.parametrize("targets", [("gate_proj", "up_proj", "down_proj"), ("k_proj",)])
def test_gradients_pass_recurrent_layers_without_adapters(targets: tuple[str, ...]) -> None:
    """A kernel whose backward is wrong must not be used there either: earlier layers' adapters need its gradients."""
    base = Base(random_families.network("qwen3_5"), random_families.processor("qwen3_5"), CPU, torch.float32, "none")
    decoder = FusedDecoder(base)
    assert not any(mixer.gradients for mixer, _ in decoder.layers if isinstance(mixer, DeltaBlock)), "scoring"
    add_adapter(base, LoraConfig(r=4, alpha=8, dropout=0.0, targets=targets), seed=1)
    recurrent = [mixer for mixer, _ in FusedDecoder(base).layers if isinstance(mixer, DeltaBlock)]
    assert (
        recurrent and not any(mixer.parameters for mixer in recurrent) and all(mixer.gradients for mixer in recurrent)
    )
