"""The position that the loss supervises predicts exactly the token whose logit the scorer reads."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor

import random_qwen
import rows
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.model.decoder.branches import answer_states, letter_logits, pack
from vqaflow.model.encoding.orders import all_orders, scoring_orders
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.vision.windows import image_features

TINY_BASE = rows.ROOT / "assets" / "tiny-qwen2_5-vl"


def published() -> object:
    """A processor with the behaviour of the published Qwen2.5-VL chat template."""
    return random_qwen.processor()


def shipped() -> object:
    """The tiny base's own processor."""
    if not TINY_BASE.exists():
        pytest.skip("assets/tiny-qwen2_5-vl is not built yet")
    return AutoProcessor.from_pretrained(TINY_BASE)


def conversation_ids(processor, encoder: RowEncoder, row: dict, answer: str, order: str = "abcd") -> list[int]:
    """Token ids of the whole conversation as the chat template writes it, the assistant's turn closed by it."""
    rendered = encoder.renderer.render(row, [order])
    user_text = (rendered.prefix + rendered.branches[0])[len(encoder.renderer.head) : -len(encoder.renderer.tail)]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": encoder.renderer.prompt.system}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": user_text}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]
    text = processor.apply_chat_template(messages, tokenize=False)
    image = random_qwen.image(0, row.width, row.height)
    size = {"shortest_edge": encoder.model.min_pixels, "longest_edge": encoder.model.max_pixels}
    return processor(text=[text], images=[image], images_kwargs={"size": size})["input_ids"][0]


@pytest.mark.parametrize("make_processor", [published, shipped])
@pytest.mark.parametrize("answer", "abcd")
def test_supervised_position_predicts_the_scored_token(make_processor, answer: str, tmp_path: Path) -> None:
    """However the template closes the turn, the answer is right after the last prompt token."""
    processor = make_processor()
    encoder = RowEncoder(processor, rows.model_config(), rows.prompt_config())
    for row in rows.make_rows(tmp_path):
        encoded = encoder.encode(row, ["abcd"], rows.VIEW)
        prompt = encoded.prefix_ids + encoded.branch_ids[0]
        conversation = list(conversation_ids(processor, encoder, row, answer))
        assert conversation[: len(prompt)] == prompt, "the prompt must be what the model saw as such in its training"
        supervised = int(pack([encoded], encoder.image_token, 0).ends_BK[0, 0])
        assert supervised == len(prompt) - 1
        scored_token = encoder.letter_ids["abcd".index(answer)]
        assert conversation[supervised + 1] == scored_token
        assert processor.tokenizer.decode([scored_token]) == answer


@pytest.mark.parametrize("make_processor", [published, shipped])
def test_labelling_the_last_tokens_misses_the_answer(make_processor, tmp_path: Path) -> None:
    """The seed labels the last n tokens of the conversation; the template ends with an end token and a newline."""
    processor = make_processor()
    encoder = RowEncoder(processor, rows.model_config(), rows.prompt_config())
    row = rows.make_rows(tmp_path, 1)[0]
    conversation = list(conversation_ids(processor, encoder, row, "b"))
    answer_ids = processor.tokenizer("b", add_special_tokens=False)["input_ids"]
    assert conversation[-len(answer_ids) :] != answer_ids
    assert processor.tokenizer.decode(conversation[-2:]) == "<|im_end|>\n"


def test_logits_are_those_of_the_library_at_the_answer_position(tmp_path: Path) -> None:
    """The scorer's four numbers are the library's full-vocabulary logits there, in every choice order."""
    processor, network = random_qwen.processor(), random_qwen.model()
    encoder = RowEncoder(processor, rows.model_config(), rows.prompt_config())
    row = rows.make_rows(tmp_path, 2)[1]
    pixels = encoder.pixels(row.image_file, rows.VIEW)
    orders = all_orders("abcd")[::6]
    encoded = encoder.encode(row, orders, rows.VIEW)
    features = image_features(network.model.visual, [pixels], [encoded.grid])
    batch = pack([encoded], encoder.image_token, 0)
    rows_4H = network.lm_head.weight[encoder.letter_ids]
    ours = letter_logits(answer_states(network.model.language_model, batch, features), rows_4H)[0]
    for k, order in enumerate(orders):
        theirs = rows.library_logits(network, encoder, row, order)[-1, encoder.letter_ids]
        torch.testing.assert_close(ours[k], theirs, atol=1e-4, rtol=0)
    assert (ours[0] - ours[1]).abs().max() > 1e-2, "the orders must differ, or this test could not fail"


@pytest.mark.parametrize("shown", [None, "ABCDEFGHIJ"])
@pytest.mark.parametrize("choices", range(2, 11))
@pytest.mark.parametrize("make_processor", [published, shipped])
def test_letters_tokens_and_positions_agree_for_any_number_of_choices(
    make_processor, choices: int, shown: str | None, tmp_path: Path
) -> None:
    """The token of position i is that of the letter which the prompt shows there, right after the prompt."""
    processor = make_processor()
    prompt = replace(rows.prompt_config(), letters=shown and tuple(shown))
    encoder = RowEncoder(processor, rows.model_config(), prompt, choices=choices)
    assert len(encoder.letter_ids) == len(set(encoder.letter_ids)) == choices
    row = rows.make_rows(tmp_path, 1, choices)[0]
    for order in scoring_orders("cyclic", ALL_LETTERS[:choices]):
        rendered = encoder.renderer.render(row, [order])
        lines = rendered.branches[0].splitlines()[:choices]
        encoded = encoder.encode(row, [order], rows.VIEW)
        for position, original in enumerate(order):
            letter = (shown or ALL_LETTERS)[position]
            assert lines[position] == f"{letter}. {row.choices[ALL_LETTERS.index(original)]}"
            told = conversation_ids(processor, encoder, row, letter, order)
            at = len(encoded.prefix_ids + encoded.branch_ids[0])
            assert list(told[:at]) == encoded.prefix_ids + encoded.branch_ids[0]
            assert told[at] == encoder.letter_ids[position]
