"""A name such as logits_BK4 is read without guessing: the module's docstring says what B and K are."""

import ast
import re
from pathlib import Path

import pytest

from places import PACKAGE

SHAPED = re.compile(r"_?[a-z]\w*_(\d*[A-Z][A-Z0-9]*)")  # at the end of a name that is not a constant
OF_PEFT = {"lora_A", "lora_B"}  # matrices, as the library calls them
MODULES = sorted(PACKAGE.rglob("*.py"))


def names_in(tree: ast.Module) -> set[str]:
    """All names of variables, attributes and arguments."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.arg | ast.keyword):
            found.add(node.arg or "")
    return found - OF_PEFT


def legend_of(tree: ast.Module) -> str:
    """The module docstring's paragraph that starts with `Shapes:`."""
    paragraphs = (ast.get_docstring(tree) or "").split("\n\n")
    return next((paragraph for paragraph in paragraphs if paragraph.startswith("Shapes:")), "")


def unexplained(source: str) -> dict[str, str]:
    """The shape letters that the legend of a module does not explain, each with a name that has it."""
    tree = ast.parse(source)
    explained = set(re.findall(r"\b[A-Z]\b", legend_of(tree).removeprefix("Shapes:")))
    shaped = {name: found[1] for name in sorted(names_in(tree)) if (found := SHAPED.fullmatch(name))}
    letters = {letter: name for name, shape in shaped.items() for letter in shape if letter.isalpha()}
    return {letter: name for letter, name in letters.items() if letter not in explained}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_shape_letters_are_explained(file: Path) -> None:
    """A reader must not search other files for what a letter counts."""
    missing = unexplained(file.read_text(encoding="utf-8"))
    assert not missing, f"add to the line `Shapes: …` at the end of the module's docstring: {missing}"


def test_a_letter_without_a_legend_is_found() -> None:
    """Of names with shapes only: constants and PEFT's matrices have none."""
    assert unexplained("logits_BK4 = x.lora_A\nMAX_SIZE_GB = 1") == {"B": "logits_BK4", "K": "logits_BK4"}
    assert unexplained('"""Text.\n\nShapes: B rows.\n"""\ndef f(logits_BK4): ...') == {"K": "logits_BK4"}
