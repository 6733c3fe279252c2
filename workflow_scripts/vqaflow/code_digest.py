"""What a stage's code is, as far as its results depend on it: a digest of a file and of all it imports from here.

Taken from the syntax tree without docstrings, so that comments, layout and documentation change nothing, while any
other edit in any module that the stage reaches does. The same code has the same digest in every version of Python.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from vqaflow.files import value_digest

PACKAGE = Path(__file__).parent
NAME = PACKAGE.name
# Fields of syntax nodes that say nothing beside the others, or not in every version of Python.
SILENT = {"ctx", "kind", "type_comment", "type_ignores"}


def code_digest(file: Path | str) -> str:
    """Digest of `file` (a script or a module) and, transitively, of the package's modules that it imports."""
    return value_digest([[path.name, _own_digest(path.read_bytes())] for path in sorted(reachable(Path(file)))])


def module_digest(name: str) -> str:
    """The same for a module of the package, by its name (``"train_adapter"``)."""
    return code_digest(PACKAGE / f"{name}.py")


def reachable(file: Path) -> set[Path]:
    """`file` and every module of the package that it imports, directly or not; imports in functions count."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            names = ["__init__", *_imported(path.read_bytes())]  # the package's own file runs before any of them
            files = [PACKAGE.joinpath(*name.split(".")).with_suffix(".py") for name in names]
            waiting.extend(file for file in files if file.is_file())
    return found


@cache
def _tree(source: bytes) -> ast.Module:
    return ast.parse(source)


@cache
def _own_digest(source: bytes) -> str:
    return value_digest(_meaning(_tree(source)))


@cache
def _imported(source: bytes) -> frozenset[str]:
    """Names of the package's modules that a file with these bytes may itself import."""
    return frozenset(name for node in ast.walk(_tree(source)) for name in _names(node))


def _meaning(node: Any) -> Any:
    """A syntax tree as plain values, without docstrings and without what is empty."""
    if isinstance(node, list):
        return [_meaning(item) for item in node]
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = {name: value for name, value in ast.iter_fields(node) if name not in SILENT and value not in (None, [])}
    if isinstance(node, ast.Constant):
        fields["value"] = node.value  # None is a value here
    elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if node.body and ast.get_docstring(node, clean=False) is not None:
            fields["body"] = node.body[1:] or [ast.Pass()]
    return [type(node).__name__, {name: _meaning(value) for name, value in fields.items()}]


def _names(node: ast.AST) -> Iterator[str]:
    """Names below the package that an import statement may load."""
    if isinstance(node, ast.Import):
        yield from (a.name.removeprefix(f"{NAME}.") for a in node.names if a.name.startswith(f"{NAME}."))
    elif isinstance(node, ast.ImportFrom):
        module = ".".join(filter(None, [NAME if node.level else "", node.module]))
        if module == NAME:
            yield from (alias.name for alias in node.names)
        elif module.startswith(f"{NAME}."):
            yield module.removeprefix(f"{NAME}.")
