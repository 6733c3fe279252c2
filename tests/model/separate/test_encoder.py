"""Texts, letters and sizes of rows whose choice orders are computed in separate passes."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken

import random_others
from rows import VIEW, make_rows, model_config, prompt_config
from vqaflow.config.sections import ViewConfig
from vqaflow.model.families import gemma4, internvl
from vqaflow.model.families.generic import generic_family
from vqaflow.model.separate.encoder import PassEncoder
from vqaflow.model.separate.inputs import PassInputs
from vqaflow.runtime.errors import UserError

ORDERS = ["abcd", "cdab"]
LARGE = {"min_pixels": 28 * 28, "max_pixels": 60 * 60}


@pytest.mark.parametrize("changes", [{}, LARGE])
@pytest.mark.parametrize("name", random_others.NAMES)
def test_tokens_are_counted_without_the_image(name: str, changes: dict[str, int], tmp_path: Path) -> None:
    """Batches are cut by these numbers: too small a count would overfill the GPU."""
    encoder = random_others.encoder(name, **changes)
    for row in make_rows(tmp_path, 5):
        encoded = encoder.encode(replace(row, image_file="missing.png"), ORDERS, VIEW)
        (inputs,) = PassInputs(random_others.base(name), encoder, VIEW).of([(row, encoded)])
        lengths = [made["input_ids"].shape[1] for made in inputs.passes]
        assert encoded.tokens == sum(lengths)
        marks = (inputs.passes[0]["input_ids"] == encoder.processor.image_token_id).sum().item()
        assert 0 <= encoded.grid[2] - marks + 1 <= 2, "all but the placeholder, and up to two marks around the image"


def test_each_size_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A processor without a count of its own must not process an image for each encoding of a row."""
    monkeypatch.setattr(type(random_others.processor("llava")), "_get_num_multimodal_tokens", None)
    encoder, (row, *_) = random_others.encoder("llava"), make_rows(tmp_path, 1)
    runs: list[str] = []
    run = encoder.run
    monkeypatch.setattr(encoder, "run", lambda *args: runs.append(args[1]) or run(*args))
    first = encoder.encode(row, ORDERS, VIEW)
    assert len(runs) == 1
    assert encoder.encode(row, ORDERS, VIEW) == first
    assert len(runs) == 1


def test_a_count_that_ignores_the_resolution_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some processors' own counts leave out the arguments they are called with."""
    cls = type(random_others.processor("internvl"))
    count = cls._get_num_multimodal_tokens
    monkeypatch.setattr(cls, "_get_num_multimodal_tokens", lambda self, image_sizes, **_: count(self, image_sizes))
    encoder, (row, *_) = random_others.encoder("internvl", max_pixels=3 * 56 * 56), make_rows(tmp_path, 1)
    row = replace(row, width=700, height=150)
    assert encoder.encode(row, ORDERS, VIEW).grid[2] == 4 * 4 + 2 - 1, "three tiles, the overview and two marks"


@pytest.mark.parametrize("name", random_others.NAMES)
def test_texts_show_the_choices_in_their_orders(name: str, tmp_path: Path) -> None:
    """Logits are mapped back by the orders: other texts would give the scores to other choices."""
    encoder, (row, *_) = random_others.encoder(name), make_rows(tmp_path, 1)
    first, second = encoder.encode(row, ORDERS, VIEW).texts
    a, b, c, d = row.choices
    assert f"a. {a}\nb. {b}\nc. {c}\nd. {d}\n" in first
    assert f"a. {c}\nb. {d}\nc. {a}\nd. {b}\n" in second


@pytest.mark.parametrize("name", random_others.NAMES)
def test_text_from_a_table_does_not_become_a_special_token(name: str, tmp_path: Path) -> None:
    """A question about markup such as <image> or </s> must not add a picture or end the turn."""
    encoder, (row, *_) = random_others.encoder(name), make_rows(tmp_path, 1)
    special = encoder.processor.image_token
    plain = encoder.encode(row, ORDERS, VIEW)
    odd = replace(row, question=f"{row.question} {special} <eos></s><turn|>", choices=(special, *row.choices[1:]))
    encoded = encoder.encode(odd, ORDERS, VIEW)
    for text, other in zip(encoded.texts, plain.texts, strict=True):
        for token in encoder.renderer.special:
            assert text.count(token) == other.count(token), token
    PassInputs(random_others.base(name), encoder, VIEW).of([(odd, encoded)])


def test_gemma_takes_the_largest_budget_that_fits() -> None:
    """max_pixels decides how much of the memory and time a picture takes."""
    processor = SimpleNamespace(patch_size=16, pooling_kernel_size=3)
    budgets = [
        gemma4.image_options(processor, 0, pixels)["max_soft_tokens"]
        for pixels in (1, 140 * 2304 - 1, 140 * 2304, 10**6, 10**8)
    ]
    assert budgets == [70, 70, 140, 280, 1120]


def test_internvl_takes_the_tiles_that_fit() -> None:
    """max_pixels decides how much of the memory and time a picture takes."""
    processor = SimpleNamespace(size={"height": 448, "width": 448})
    tile = 448 * 448
    assert internvl.image_options(processor, 0, tile - 1) == {
        "crop_to_patches": False,
        "min_patches": 1,
        "max_patches": 1,
    }
    assert internvl.image_options(processor, 2 * tile, 6 * tile) == {
        "crop_to_patches": True,
        "min_patches": 2,
        "max_patches": 6,
    }


@pytest.mark.parametrize("name", ["gemma4_large", "internvl"])
def test_a_view_with_more_pixels_has_more_visual_tokens(name: str, tmp_path: Path) -> None:
    """Else a view that config.yaml asks for would silently be the same as the first."""
    encoder, (row, *_) = random_others.encoder(name), make_rows(tmp_path, 1)
    row = replace(row, width=400, height=400)
    few = encoder.encode(row, ORDERS, ViewConfig(max_pixels=100 * 100)).grid[2]
    many = encoder.encode(row, ORDERS, ViewConfig(max_pixels=400 * 400)).grid[2]
    assert many > 2 * few


def test_unknown_classes_get_pictures_of_at_most_max_pixels() -> None:
    """Their processors know nothing of config's resolution policy."""
    encoder = random_others.encoder("llava", max_pixels=10_000)
    assert encoder.fitted_size(80, 100, VIEW) == (80, 100)
    width, height = encoder.fitted_size(4000, 3000, VIEW)
    assert 9_500 < width * height <= 10_000
    assert width / height == pytest.approx(4 / 3, rel=0.02)
    assert random_others.encoder("internvl", max_pixels=10_000).fitted_size(4000, 3000, VIEW) == (4000, 3000)


def test_a_letter_of_several_tokens_is_refused() -> None:
    """Its logit would say nothing: the token that the answer starts with may be shared."""
    tokenizer = random_others.byte_tokenizer(
        type(random_others.processor("llava").tokenizer), ["<unk>", "<s>", "</s>", "<pad>", "<image>"], {}
    )
    tokenizer.add_tokens([AddedToken(":a", special=False, normalized=False)])
    processor = _with(random_others.processor("llava"), tokenizer=tokenizer)
    with pytest.raises(UserError, match="no single token for the answer 'a'"):
        PassEncoder(processor, model_config(), prompt_config(), generic_family("llava"))


def test_a_checkpoint_without_a_chat_template_is_refused() -> None:
    """Base editions have none: the prompt's form would be a guess."""
    processor = _with(random_others.processor("llava"), chat_template=None)
    with pytest.raises(UserError, match="has no chat template"):
        PassEncoder(processor, model_config(), prompt_config(), generic_family("llava"))


def _with(processor: Any, **changes: Any) -> Any:
    """A copy of `processor` with other attributes."""
    changed = copy.copy(processor)
    vars(changed).update(changes)
    return changed
