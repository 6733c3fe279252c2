"""Separate passes of the library's forward: Gemma 4, InternVL and a class that no family module names."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

import random_others
from random_others import library_logits
from rows import VIEW, make_rows, model_config
from vqaflow.artifacts.rows import Row
from vqaflow.model.base import Base, load_base
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.families.generic import adapted_modules
from vqaflow.model.separate.decoder import PassDecoder, require_same_forward
from vqaflow.model.separate.encoder import PassEncoder
from vqaflow.model.separate.inputs import PassInputs
from vqaflow.runtime.errors import UserError

ORDERS = ["abcd", "cdab", "dbca"]
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def letters(decoder: PassDecoder, encoder: PassEncoder, rows: list[Row], orders: list[str]) -> torch.Tensor:
    """Letters' logits (B, K, 4) from the separate passes."""
    encoded = [encoder.encode(row, orders, VIEW) for row in rows]
    inputs = PassInputs(decoder.base, encoder, VIEW).of(list(zip(rows, encoded, strict=True)))
    base = decoder.base
    return letter_logits(decoder.states(encoded, inputs), base.letter_rows(encoder.letter_ids), base.softcap)


def add_adapter(base: Base) -> list[torch.nn.Parameter]:
    """Put an adapter on `base` that changes its output; returns the adapter's weights."""
    names = adapted_modules(base.network, TARGETS)
    torch.manual_seed(1)
    base.model = get_peft_model(base.network, LoraConfig(r=4, lora_alpha=8, target_modules=names))
    with torch.no_grad():
        for name, weight in base.model.named_parameters():
            if ".lora_B." in name:
                weight.normal_(0, 0.1)
    return [weight for weight in base.model.parameters() if weight.requires_grad]


@pytest.mark.parametrize("name", random_others.NAMES)
@torch.no_grad()
def test_letters_equal_the_plain_forward(name: str, tmp_path: Path) -> None:
    """Else scores would come from another prompt, picture or head than the model's own."""
    base, encoder = random_others.base(name), random_others.encoder(name)
    rows = make_rows(tmp_path, 3)
    found = letters(PassDecoder(base), encoder, rows, ORDERS)
    wanted = torch.stack(
        [torch.stack([library_logits(base, encoder, row, o)[encoder.letter_ids] for o in ORDERS]) for row in rows]
    )
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert found.std(dim=1).min() > 1e-3, "the orders must matter, or the test shows nothing"


@pytest.mark.parametrize("name", random_others.NAMES)
@torch.no_grad()
def test_batched_equals_single(name: str, tmp_path: Path) -> None:
    """Else a row's score would depend on the rows beside it."""
    base, encoder, rows = random_others.base(name), random_others.encoder(name), make_rows(tmp_path, 5)
    batched = letters(PassDecoder(base, rows_per_pass=7), encoder, rows, ORDERS[:2])
    single = torch.cat([letters(PassDecoder(base, rows_per_pass=1), encoder, [row], ORDERS[:2]) for row in rows])
    torch.testing.assert_close(batched, single, atol=1e-4, rtol=1e-4)


def test_passes_are_computed_together(tmp_path: Path) -> None:
    """Else scoring would be several times slower than it can be."""
    base, encoder, rows = random_others.base("internvl"), random_others.encoder("internvl"), make_rows(tmp_path, 2)
    sizes: list[int] = []
    base.network.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    letters(PassDecoder(base, rows_per_pass=4), encoder, rows, ORDERS)
    assert sizes == [4, 2]
    sizes.clear()
    encoder.together = False
    letters(PassDecoder(base, rows_per_pass=4), encoder, rows, ORDERS)
    assert sizes == [1] * 6


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", random_others.NAMES)
def test_gradients_equal_those_of_plain_passes(name: str, checkpointing: bool, tmp_path: Path) -> None:
    """Else training would go another way than Transformers + PEFT, or change weights outside the adapter."""
    base, encoder, rows = random_others.base(name), random_others.encoder(name), make_rows(tmp_path, 2)
    adapter = add_adapter(base)

    wanted = torch.stack(
        [torch.stack([library_logits(base, encoder, row, o)[encoder.letter_ids] for o in ORDERS]) for row in rows]
    )
    wanted.log_softmax(-1)[..., 0].sum().backward()
    wanted_grads = [weight.grad.clone() for weight in adapter]
    for weight in adapter:
        weight.grad = None

    if checkpointing:
        base.network.gradient_checkpointing_enable({"use_reentrant": False})
        base.model.train()
    letters(PassDecoder(base, rows_per_pass=4), encoder, rows, ORDERS).log_softmax(-1)[..., 0].sum().backward()
    for weight, grad in zip(adapter, wanted_grads, strict=True):
        torch.testing.assert_close(weight.grad, grad, atol=1e-4 * grad.abs().max().item(), rtol=1e-3)
    assert sum(grad.abs().max() > 0 for grad in wanted_grads) > len(adapter) / 2
    others = [name for name, weight in base.model.named_parameters() if weight.grad is not None]
    assert len(others) == len(adapter) and all(".lora_" in name for name in others)


@pytest.mark.parametrize("name", random_others.NAMES)
def test_a_trained_adapter_is_used_completely(name: str, tmp_path: Path) -> None:
    """Else scoring would silently use the base, or a part of the adapter."""
    base, encoder, rows = random_others.base(name), random_others.encoder(name), make_rows(tmp_path, 2)
    with torch.no_grad():
        before = letters(PassDecoder(base), encoder, rows, ORDERS)
    optimizer = torch.optim.AdamW(add_adapter(base), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (-letters(PassDecoder(base), encoder, rows, ORDERS).log_softmax(-1)[..., 0].mean()).backward()
        optimizer.step()
    with torch.no_grad():
        trained = letters(PassDecoder(base), encoder, rows, ORDERS)
        base.model.save_pretrained(tmp_path / "adapter")

        fresh = random_others.base(name)
        decoder = PassDecoder(fresh)
        decoder.use(tmp_path / "adapter")
        torch.testing.assert_close(letters(decoder, encoder, rows, ORDERS), trained, atol=1e-4, rtol=1e-4)
        decoder.use(tmp_path / "adapter")
        torch.testing.assert_close(letters(decoder, encoder, rows, ORDERS), trained, atol=1e-4, rtol=1e-4)
        decoder.use(None)
        torch.testing.assert_close(letters(decoder, encoder, rows, ORDERS), before, atol=1e-5, rtol=1e-5)
        assert (trained - before).abs().max() > 1e-2

        plain = random_others.base(name)
        plain.model = PeftModel.from_pretrained(plain.model, tmp_path / "adapter")
        own = library_logits(plain, encoder, rows[0], ORDERS[1])[encoder.letter_ids]
        torch.testing.assert_close(own, trained[0, 1], atol=1e-4, rtol=1e-4)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    """PEFT would leave out the tensors that have no place, with a warning at most."""
    donor = random_others.base("gemma4_large")
    add_adapter(donor)
    donor.model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="trained on another base: it changes .*Set model.base"):
        PassDecoder(random_others.base("gemma4_small")).use(tmp_path / "adapter")


def test_an_adapter_that_peft_loads_in_part_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of PEFT that reads other names would score with the base instead of the adapter."""
    donor = random_others.base("internvl")
    add_adapter(donor)
    donor.model.save_pretrained(tmp_path / "adapter")
    base = random_others.base("internvl")
    load = PeftModel.from_pretrained

    def load_in_part(*args: Any, **options: Any) -> PeftModel:
        model = load(*args, **options)
        next(weight for name, weight in model.named_parameters() if ".lora_B." in name).data.zero_()
        return model

    monkeypatch.setattr(PeftModel, "from_pretrained", load_in_part)
    with pytest.raises(UserError, match=r"did not load the adapter completely \(1 tensors"):
        PassDecoder(base).use(tmp_path / "adapter")


@pytest.mark.parametrize("name", random_others.NAMES)
def test_known_and_unknown_classes_pass_the_check(name: str) -> None:
    """Else a model that works would be refused."""
    base, encoder = random_others.base(name), random_others.encoder(name)
    require_same_forward(base, encoder)
    assert encoder.together


def test_a_head_with_something_of_its_own_is_refused() -> None:
    """A class that scales its logits would be scored and trained with other logits than its own."""
    base, encoder = random_others.base("llava"), random_others.encoder("llava")
    base.network.lm_head.register_forward_hook(lambda module, args, out: out * 0.9)
    with pytest.raises(UserError, match="LlavaForConditionalGeneration cannot be used: the logits of its own forward"):
        require_same_forward(base, encoder)


def test_a_model_that_does_not_see_the_picture_is_refused() -> None:
    """Its answers would be guesses from the text."""
    base, encoder = random_others.base("llava"), random_others.encoder("llava")
    base.network.model.multi_modal_projector.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    with pytest.raises(UserError, match="picture has no influence"):
        require_same_forward(base, encoder)


def test_a_forward_that_fails_is_refused_by_name() -> None:
    """A traceback from inside the library would not say that the model is not supported."""
    base, encoder = random_others.base("llava"), random_others.encoder("llava")
    base.network.model.forward = lambda input_ids, attention_mask, use_cache: None
    with pytest.raises(UserError, match="LlavaForConditionalGeneration cannot be used: its forward does not take"):
        require_same_forward(base, encoder)


def test_passes_that_do_not_batch_are_computed_one_by_one() -> None:
    """A network whose batches give other results than its single passes must not be run in batches."""
    base, encoder = random_others.base("internvl"), random_others.encoder("internvl")
    forward = base.network.model.forward

    def forward_without_masks(**inputs: Any) -> Any:
        made = forward(**inputs)
        made.last_hidden_state = made.last_hidden_state + made.last_hidden_state.mean(dim=0, keepdim=True)
        return made

    base.network.model.forward = forward_without_masks
    require_same_forward(base, encoder)
    assert not encoder.together


def test_a_letter_inside_another_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its logits would be those of a token that never follows the prompt."""
    base, encoder = random_others.base("llava"), random_others.encoder("llava")
    encoder.letter_ids = encoder.letter_ids[::-1]
    with pytest.raises(UserError, match="does not put the answer's letter right after the prompt"):
        require_same_forward(base, encoder)


def test_a_network_without_a_body_is_refused() -> None:
    """A bare text model has no hidden states to take without its head."""
    network = SimpleNamespace(base_model=None)
    network.base_model = network
    base = SimpleNamespace(network=network)
    with pytest.raises(UserError, match="no part without its head"):
        PassDecoder(base)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", random_others.NAMES)
def test_nf4_leaves_all_but_the_decoders_layers_alone(name: str, tmp_path: Path) -> None:
    """A quantised head or tower gives nonsense, also in a class of which nothing is known beforehand."""
    random_others.save(name, tmp_path / "base")
    base = load_base(model_config(base=str(tmp_path / "base"), quantization="nf4"), torch.device("cpu"))
    layers = f"{base.family.decoder}.layers."
    kinds = {
        name: type(module).__name__ for name, module in base.network.named_modules() if hasattr(module, "in_features")
    }
    assert {kind for name, kind in kinds.items() if not name.startswith(layers)} == {"Linear"}
    assert "Linear4bit" in {kind for name, kind in kinds.items() if name.startswith(layers)}
