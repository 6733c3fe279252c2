"""Messages to users have one form, WHERE: WHAT. CURE.; one without a cure leaves its reader alone with the problem."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from places import PACKAGE

RAISED = {"UserError", "OutOfMemory", "NotFinite"}
# The reason of a pruned trial in study.db, beside its parameters.
NOT_SHOWN = {"the adapter's weights became NaN or infinite in the last step."}
VALUE = "…"  # stands for what a message fills in; a message may end with one, and it may hold the cure
# What says that something is to be done, but not what.
EMPTY_CURES = re.compile(r"\b(Change it|Fix it|Try again|Check your input)\.$")


def text_of(node: ast.expr) -> str:
    """A message as the code has it, with `VALUE` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else VALUE for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return VALUE


def messages() -> Iterator[tuple[str, str]]:
    """Where each message to users stands, and its text."""
    for file in sorted(Path(PACKAGE).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED and node.args:
                if (text := text_of(node.args[0])) not in {VALUE, *NOT_SHOWN}:
                    yield f"{file.relative_to(PACKAGE)}:{node.lineno}", text


MESSAGES = dict(messages())


def test_there_are_messages_to_look_at():
    assert len(MESSAGES) > 200


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("does not say where: WHERE: WHAT. CURE.", re.compile(r"…|[^:\n]+(: |…)")),
        ("does not end like a sentence", re.compile(r"(?s).*[.?…]$")),
        ("is not on one line", re.compile(r"[^\n]*(\n(  - |\s{8})?…)?$")),
    ],
    ids=["where", "end", "line"],
)
def test_a_message_has_the_form(what, pattern):
    wrong = {where: text for where, text in MESSAGES.items() if not pattern.match(text)}
    assert not wrong, what


def test_a_message_has_a_cure():
    """One sentence is the problem; the next says what to do."""
    said = {where: text.partition(": ")[2] or text for where, text in MESSAGES.items()}
    one = {where: text for where, text in said.items() if VALUE not in text and not re.search(r"[.;:] \S", text)}
    idle = {where: text for where, text in MESSAGES.items() if EMPTY_CURES.search(text)}
    assert not one and not idle, "these say what is wrong, but not what to do"
