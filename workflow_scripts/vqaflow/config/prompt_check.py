"""Checks of the section prompt: are its fields filled in, and does it ask for the letters that it shows?"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from string import Formatter
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.config.prompt_fields import fields
from vqaflow.runtime.messages import nearest

CHOICE = ("letter", "text")
KNOWN = (*CHOICE, "question", "choices", "transcript")
DOUBLED = "or double its braces if it is text"
JOINED = r"\s*(?:[,/·、]|,?\s*or\b|,?\s*and\b|,?\s*또는|이나)\s*"  # between two letters that a text names
ALPHABETS = ("abcd", "ABCD", "1234", "가나다라", "①②③④", "ⓐⓑⓒⓓ", "㉠㉡㉢㉣", "ㄱㄴㄷㄹ")


def prompt_problems(where: str, prompt: Mapping[str, Any]) -> Iterator[str]:
    """Problems of a section prompt, worded as `KEY: WHAT. CURE.`; `where` is the path to it, with its dot."""
    yield from islice(_choice_format_problems(f"{where}choice_format", prompt["choice_format"]), 1)
    for kind, template in prompt["templates"].items():
        yield from _template_problems(f"{where}templates.{kind}", template)
    yield from _once(f"{where}read", prompt["read"], "question")
    yield from _once(f"{where}transcript", prompt["transcript"], "transcript")
    yield from _line_problems(f"{where}transcript", prompt["transcript"])
    for name in (name for name in fields(prompt["system"]) if name in KNOWN):
        what = f"{{{name}}} is not filled in here"
        yield f"{where}system: {what}. Delete it; fields belong into {where}templates and {where}choice_format."
    texts = {"system": prompt["system"]} | {f"templates.{kind}": text for kind, text in prompt["templates"].items()}
    for key, text in texts.items():
        yield from _letter_problems(f"{where}{key}", text, prompt.get("letters"), where)


def _choice_format_problems(where: str, choice_format: str) -> Iterator[str]:
    """Problems of the one text that is a format of str.format: its braces are doubled if they are text."""
    yield from _line_problems(where, choice_format)
    try:
        parts = [part[1:] for part in Formatter().parse(choice_format) if part[1] is not None]
    except ValueError:
        cure = "Delete it, or double braces that are text: {{ and }}."
        yield f"{where}: {choice_format!r} has a brace that belongs to no field. {cure}"
        return
    for name, form, conversion in parts:
        if name not in CHOICE:
            yield _unknown(where, name, CHOICE)
        elif form or conversion:
            whole = f"{{{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}"
            yield f"{where}: {whole} would show the {name} otherwise than it is. Write {{{name}}}."
    for name in CHOICE:
        if name not in [part[0] for part in parts]:
            yield f"{where}: {choice_format!r} lacks the field {{{name}}}. Add it."


def _template_problems(where: str, template: str) -> Iterator[str]:
    found = fields(template)
    if problem := next(_fields_problems(where, template, ("question", "choices")), None):
        yield problem
    elif found.count("question") != 1 or found.count("choices") != 1 or "\n{choices}" not in template:
        yield (
            f"{where}: needs {{question}} once and, at the start of a line, {{choices}} once, "
            "since all choice orders share the text before the choices. Change the template."
        )
    elif found.index("question") > found.index("choices"):
        yield f"{where}: {{question}} must come before {{choices}}. Swap them."


def _once(where: str, text: str, name: str) -> Iterator[str]:
    """Problems of a text with one field."""
    if problem := next(_fields_problems(where, text, (name,)), None):
        yield problem
    elif fields(text).count(name) != 1:
        yield f"{where}: needs {{{name}}} once. Change it."


def _fields_problems(where: str, text: str, known: Collection[str]) -> Iterator[str]:
    """Fields that nothing is filled in for, and known ones with a brace too many."""
    yield from (_unknown(where, name, known) for name in fields(text) if name not in known)
    for name in known:
        if odd := re.search(rf"\{{\{{{name}\}}(?!\}})|(?<!\{{)\{{{name}\}}\}}", text):
            yield f"{where}: {odd[0]} has a brace too many. Write {{{name}}}."


def _unknown(where: str, name: str, known: Collection[str]) -> str:
    meant = next((field for field in known if re.fullmatch(rf"\W*{field}\b.*", name)), None) or nearest(name, known)
    cure = f"Write {{{meant}}}, {DOUBLED}." if meant else f"Delete it, {DOUBLED}."
    names = " and ".join(f"{{{field}}}" for field in known)
    return f"{where}: nothing is filled in for {{{name}}}, only for {names}. {cure}"


def _line_problems(where: str, text: str) -> Iterator[str]:
    if len(f"{text}.".splitlines()) > 1:
        yield f"{where}: {text!r} has a line break. Write it in one line, in YAML without | or >."


def _letter_problems(where: str, text: str, letters: Sequence[Any] | None, section: str) -> Iterator[str]:
    """A text that names the first letters of another alphabet than the one that the prompt shows, as in "A, B or C"."""
    shown = [str(letter) for letter in letters or ALL_LETTERS]
    for alphabet in ALPHABETS:
        named = re.search(_names_letters(alphabet), text)
        if named and not set(alphabet[:2]) <= set(shown):
            what = f"asks for {named[0].strip()!r}, but the choices are shown as {', '.join(shown[:4])}"
            yield f"{where}: {what}. Write these, or set {section}letters: [{', '.join(alphabet)}]."
            return


def _names_letters(alphabet: str) -> str:
    """The pattern of texts that list an alphabet's letters: "A, B, C or D", "A-D", "A or B", "ABCD"."""
    a, b, c, d = alphabet
    ways = [JOINED.join(alphabet), alphabet]
    if not a.isdigit():  # "in 1-4 words" is about something else
        ways += [JOINED.join((a, b, c)), rf"{a}\s*[~–-]\s*[{c}{d}]", f"{a} (?:to|부터) {d}", f"{a} (?:or|또는) {b}"]
    return rf"(?<!\w)(?:{'|'.join(ways)})(?![^\W가-힣])"
