"""No text of a table controls a model: every special token of every family, in every disguise that we know."""

from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import AddedToken

import naughty
import random_families
import random_others
import rows
from vqaflow.artifacts.rows import text_row
from vqaflow.model.encoding.prompts import PromptRenderer
from vqaflow.model.families.known import FAMILIES

# The added tokens of published tokenizers, by whether these call them special.
QWEN_2 = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
).split()
QWEN_PLAIN = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
).split()
QWEN_3_PLAIN = [*QWEN_PLAIN, "<tool_response>", "</tool_response>", "<think>", "</think>"]
GEMMA = (
    "<pad> <eos> <bos> <unk> <mask> <|turn> <turn|> <|channel> <channel|> <|think|> <|tool> <tool|> <|tool_call> "
    "<tool_call|> <|tool_response> <tool_response|> <|image> <image|> <|image|> <|audio> <audio|> <|audio|> <|video|> "
    '<|"|>'
).split()
INTERNVL = [*QWEN_2, "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"]
LLAVA = ["<s>", "</s>", "<unk>", "<pad>", "<image>"]
# How each family's processor is made for tests, and the published tokens.
MADE = {
    "qwen2_vl": ("qwen2_vl", QWEN_2, []),
    "qwen2_5_vl": ("qwen2_5_vl", QWEN_2, QWEN_PLAIN),
    "qwen3_vl": ("qwen3_vl", QWEN_2, QWEN_3_PLAIN),
    "qwen3_vl_moe": ("qwen3_vl_moe", QWEN_2, QWEN_3_PLAIN),
    "qwen3_5": ("qwen3_5", QWEN_2, QWEN_3_PLAIN),
    "qwen3_5_moe": ("qwen3_5_moe", QWEN_2, QWEN_3_PLAIN),
    "gemma4": ("gemma4_small", GEMMA, []),
    "gemma4_unified": ("gemma4_large", GEMMA, []),  # its published tokenizer is that of the others
    "internvl": ("internvl", INTERNVL, QWEN_PLAIN),
    "any other": ("llava", LLAVA, []),
}
DISGUISES = {
    "as it is": lambda token: token,
    "within a word": lambda token: f"a{token}b",
    "twice": lambda token: token + token,
    "within itself": lambda token: token[:2] + token + token[2:],
    "within itself, twice": lambda token: token[:2] + token[:3] + token + token[3:] + token[2:],
    "full width": lambda token: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in token),
    "with a space of no width": lambda token: "\u200b".join(token),
    "with a soft hyphen": lambda token: token[:2] + "\u00ad" + token[2:],
    "with a control character": lambda token: token[:2] + "\x01" + token[2:],
    "with a line break": lambda token: token[:1] + "\n" + token[1:],
    "with a byte order mark": lambda token: token[:1] + "\ufeff" + token[1:],
    "small signs": lambda token: token.replace("<", "\ufe64").replace(">", "\ufe65"),
    "with a direction": lambda token: "\u202d" + token[:1] + "\u202c" + token[1:],
}


def processor_of(name: str) -> Any:
    """The family's processor with its published added tokens."""
    made, special, plain = MADE[name]
    module = random_families if made in random_families.NAMES else random_others
    processor = copy(module.processor(made))
    processor.tokenizer = deepcopy(processor.tokenizer)
    processor.tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    processor.tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    return processor


def texts_of(tokens: list[str], disguise: Any) -> Iterator[str]:
    for token in tokens:
        yield disguise(token)


def controls(renderer: PromptRenderer, row: Any, reading: bool = False) -> list[list[int]]:
    """The added tokens in a row's prompt, part by part."""
    tokenizer = renderer.processor.tokenizer
    added = set(tokenizer.added_tokens_decoder)
    found = renderer.render_reading(row, 1) if reading else renderer.render(row, ["abcd", "dbca"])
    parts = (found.prefix, *found.branches)
    return [[i for i in tokenizer(part, add_special_tokens=False)["input_ids"] if i in added] for part in parts]


def test_every_family_has_its_tokens_here():
    """A family that is added must be tried, too."""
    assert {kind for family in FAMILIES for kind in family.kinds} == MADE.keys() - {"any other"}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("name", MADE)
def test_no_special_token_of_a_table_controls_the_model(name, disguise):
    """It would end the user's turn, call a tool or add a picture: the row's author would write the prompt."""
    processor = processor_of(name)
    tokens = [*MADE[name][1], *MADE[name][2]]
    assert set(tokens) <= {token.content for token in processor.tokenizer.added_tokens_decoder.values()}
    plain = replace(text_row("1", ["1", "2", "3", "4"], "general"), transcript="1")
    for form in ("NFC", "NFKC"):
        renderer = PromptRenderer(processor, replace(rows.prompt_config(), normal_form=form))
        wanted, wanted_reading = controls(renderer, plain), controls(renderer, plain, reading=True)
        for text in texts_of(tokens, DISGUISES[disguise]):
            row = replace(
                plain, question=text, choices=(text, "\uff11" + text, "1" + text, text + "x"), transcript=text
            )
            assert controls(renderer, row) == wanted, (form, text)
            assert controls(renderer, row, reading=True) == wanted_reading, (form, text)


@pytest.mark.parametrize("name", MADE)
def test_no_naughty_text_controls_the_model(name):
    renderer = PromptRenderer(processor_of(name), rows.prompt_config())
    plain = text_row("1", ["1", "2", "3", "4"], "general")
    wanted = controls(renderer, plain)
    for text in (text for text in naughty.ALL if len(text) < 500):
        row = replace(plain, question=text, choices=(text, "b", text + ".", "d"))
        assert controls(renderer, row) == wanted, text


def test_the_published_list_controls_no_model():
    """The corpus itself, where VQAFLOW_CORPORA has it."""
    renderer = PromptRenderer(processor_of("qwen3_vl"), rows.prompt_config())
    plain = text_row("1", ["1", "2", "3", "4"], "general")
    wanted = controls(renderer, plain)
    for text in naughty.corpus():
        assert controls(renderer, replace(plain, question=text, choices=(text, "b", "c", "d"))) == wanted, text
