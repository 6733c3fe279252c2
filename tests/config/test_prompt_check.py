"""config.prompt_check and prompt_fields: mistakes in prompt texts are told before anything runs, one line each."""

import copy
from string import Formatter
from typing import Any

import pytest
import yaml

from places import ROOT
from vqaflow.config.check import check_config
from vqaflow.config.prompt_fields import fields, filled, split_at
from vqaflow.runtime.errors import UserError

SCHEMA = ROOT / "schemas" / "config.schema.yaml"
DEMO = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
CHOICES = "only for {letter} and {text}."
TEXTS = "only for {question} and {choices}."
DELETE = "Delete it, or double its braces if it is text."
ONCE = (
    "needs {question} once and, at the start of a line, {choices} once, since all choice orders share the text before "
    "the choices. Change the template."
)


def problem(key: str, value: Any, **more: Any) -> str:
    """The one line about `prompt.{key}`, without its key; empty if it passes. `more` replaces keys beside it."""
    config = copy.deepcopy(DEMO)
    config["prompt"] |= more
    *path, last = key.split(".")
    section = config["prompt"]
    for part in path:
        section = section[part]
    section[last] = value
    try:
        check_config(config, SCHEMA)
    except UserError as error:
        (line,) = str(error).splitlines()
        assert line.startswith(f"config: prompt.{key}: ")
        return line.removeprefix(f"config: prompt.{key}: ")
    return ""


@pytest.mark.parametrize(
    ("choice_format", "message"),
    [
        ("{letter}. {text} {unit}", f"nothing is filled in for {{unit}}, {CHOICES} {DELETE}"),
        ("{letter} {text} {}", f"nothing is filled in for {{}}, {CHOICES} {DELETE}"),
        ("{0}. {1}", f"nothing is filled in for {{0}}, {CHOICES} {DELETE}"),
        ("{letter}. {question} {text}", f"nothing is filled in for {{question}}, {CHOICES} {DELETE}"),
        (
            "{letter}. {txt}",
            f"nothing is filled in for {{txt}}, {CHOICES} Write {{text}}, or",
        ),
        ("{Letter}. {text}", f"nothing is filled in for {{Letter}}, {CHOICES} Write {{letter}}, or"),
        ("{ letter }. {text}", f"nothing is filled in for {{ letter }}, {CHOICES} Write {{letter}}, or"),
        ("{letter}. {text.x}", f"nothing is filled in for {{text.x}}, {CHOICES} Write {{text}}, or"),
        ("{letter}. {text[0]}", f"nothing is filled in for {{text[0]}}, {CHOICES} Write {{text}}, or"),
        ("{letter}. {text!r}", "{text!r} would show the text otherwise than it is. Write {text}."),
        ("{letter}. {text:.3}", "{text:.3} would show the text otherwise than it is. Write {text}."),
        ("{letter:{text}} {text}", "{letter:{text}} would show the letter otherwise than it is. Write {letter}."),
        (
            "{letter}. {text}}",
            "'{letter}. {text}}' has a brace that belongs to no field. Delete it, or double",
        ),
        ("{letter}. {text} {", "'{letter}. {text} {' has a brace that belongs to no field. Delete it, or double"),
        ("{letter}. {text", "'{letter}. {text' has a brace that belongs to no field. Delete it, or double"),
        ("{letter} {text!}", "'{letter} {text!}' has a brace that belongs to no field. Delete it, or double"),
        ("{{letter}}. {{text}}", "'{{letter}}. {{text}}' lacks the field {letter}. Add it."),
        ("{letter}.", "'{letter}.' lacks the field {text}. Add it."),
        ("{letter}. {text}\n", "'{letter}. {text}\\n' has a line break. Write it in one line, in YAML without | or >."),
        ("{letter}.\u2028{text}", "'{letter}.\\u2028{text}' has a line break. Write it in one line"),
    ],
)
def test_a_choice_format_that_cannot_be_filled_in_is_named(choice_format, message):
    """Else the first training ends in a KeyError after the base was loaded, or choices are cut without a word."""
    assert problem("choice_format", choice_format).startswith(message)


@pytest.mark.parametrize("choice_format", ["{letter}. {text}", "{{{letter}}} {text}", "${letter}$ {text} ({letter})"])
def test_a_choice_format_that_can_be_filled_in_passes(choice_format):
    assert problem("choice_format", choice_format) == ""


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{question}\n{choices}\n{unit}", f"nothing is filled in for {{unit}}, {TEXTS} {DELETE}"),
        ("{question}\n{choices}\n{text}", f"nothing is filled in for {{text}}, {TEXTS} {DELETE}"),
        ("{question}\n{choices}\n\\boxed{a}", f"nothing is filled in for {{a}}, {TEXTS} {DELETE}"),
        ("{}\n{choices}", f"nothing is filled in for {{}}, {TEXTS} {DELETE}"),
        ("{Question}\n{choices}", f"nothing is filled in for {{Question}}, {TEXTS} Write {{question}}, or"),
        ("{question:.9}\n{choices}", f"nothing is filled in for {{question:.9}}, {TEXTS} Write {{question}}, or"),
        ("{question!r}\n{choices}", f"nothing is filled in for {{question!r}}, {TEXTS} Write {{question}}, or"),
        ("{question[0]}\n{choices}", f"nothing is filled in for {{question[0]}}, {TEXTS} Write {{question}}, or"),
        ("{question}}\n{choices}", "{question}} has a brace too many. Write {question}."),
        ("{question}\n{{choices}", "{{choices} has a brace too many. Write {choices}."),
        ("{{question}}\n{choices}", ONCE),
        ("{question}\n{choices}\n{choices}", ONCE),
        ("{question} {choices}", ONCE),
        ("\n{choices}\n{question}", "{question} must come before {choices}. Swap them."),
    ],
)
def test_a_template_whose_fields_are_not_filled_in_is_named(template, message):
    """The model would read the name of the field, in every row, without a word to the user."""
    assert problem("templates.ocr", template).startswith(message)


@pytest.mark.parametrize(
    "template",
    ['{question}\n{choices}\nAs {"answer": "…"}', "{question}\n{choices}\n\\boxed{{a}}", "{question}\n{choices}\n}"],
)
def test_other_braces_in_a_template_are_text(template):
    assert problem("templates.ocr", template) == ""


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("read", "{question} {choices}", f"nothing is filled in for {{choices}}, only for {{question}}. {DELETE}"),
        ("read", "Copy it.", "needs {question} once. Change it."),
        (
            "transcript",
            "{question}: {transcript}",
            "nothing is filled in for {question}, only for {transcript}.",
        ),
        ("transcript", "{transcript}\n", "'{transcript}\\n' has a line break. Write it in one line"),
        (
            "system",
            "Answer {question}",
            "{question} is not filled in here. Delete it; fields",
        ),
    ],
)
def test_other_texts_have_their_own_fields(key, text, message):
    """A field of another text is a mistake in this one."""
    assert problem(key, text).startswith(message)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Answer A, B, C or D.", "A, B, C or D"),
        ("Answer with a letter (A/B/C/D).", "A/B/C/D"),
        ("A~D 중 하나로 답하세요.", "A~D"),
        ("Answer A to D.", "A to D"),
        ("One of ABCD:", "ABCD"),
        ("A or B?", "A or B"),
        ("가, 나, 다, 라 중 하나", "가, 나, 다, 라"),
        ("Write 1, 2, 3 or 4.", "1, 2, 3 or 4"),
        ("①, ②, ③, ④", "①, ②, ③, ④"),
    ],
)
def test_a_text_that_asks_for_other_letters_is_named(text, named):
    """The model is told to write A while the scores read the token of a: accuracy is lost without a message."""
    message = f"asks for '{named}', but the choices are shown as a, b, c, d. Write these, or set prompt.letters: ["
    assert problem("templates.ocr", f"{{question}}\n{{choices}}\n{text}").startswith(message)
    assert problem("system", text).startswith(message)
    start = "①" if "①" in named else named[0]
    letters = next(list(alphabet) for alphabet in ("ABCD", "가나다라", "1234", "①②③④") if start in alphabet)
    assert problem("system", text, letters=letters) == ""


@pytest.mark.parametrize(
    "text",
    ["Answer a, b, c or d.", "Write 1-4 words.", "A cat, B. Dog", "Vitamin A and C", "사가, 나비"],
)
def test_a_text_that_asks_for_no_other_letters_passes(text):
    assert problem("system", text) == ""


def test_fields_are_filled_in_as_by_str_format():
    """A question with braces of its own is text, and doubled braces are single ones."""
    text, values = "{question} {{unit}} {transcript}", {"question": "{transcript} {{x}}", "transcript": "{question}"}
    assert filled(text, values) == text.format(**values) == "{transcript} {{x}} {unit} {question}"
    assert fields(text) == [name for _, name, _, _ in Formatter().parse(text) if name] == ["question", "transcript"]
    assert split_at("{question} {{choices}}\n{choices}!", "choices") == ("{question} {{choices}}\n", "!")
    assert filled('{"a": {"b": 1}} }{', {}) == '{"a": {"b": 1}} }{'
