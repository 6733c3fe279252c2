"""A digest of the code that a stage's results depend on: of a file and of every module of the package that it imports.

The digest is taken from syntax trees, so that comments, layout and docstrings change nothing. What `silence` removes
(the words of log lines and errors, and all that only makes them) changes nothing either. Any other edit, in any module
that the file reaches, does, and so does any edit of a data file in such a module's folder. The same code has the same
digest in every version of Python. docs/staleness.md says more.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.silence import Definition, definitions, is_silent, loaded, silence, without_unused

NOT_IN_DIGESTS = True  # an edit here that matters changes the digests themselves
PACKAGE = Path(__file__).resolve().parents[1]
NAME = PACKAGE.name
DATA = {".css", ".html", ".js", ".json"}  # files that modules read (pyproject.toml: package-data)
# Fields of syntax nodes that add nothing to the others, or that not every version of Python has.
IGNORED = {"ctx", "kind", "type_comment", "type_ignores"}


@dataclass(frozen=True)
class Module:
    """A file's silenced statements, the names that it imports from the package by file, and its names that may go."""

    found: list[Definition]
    imports: dict[Path, frozenset[str]]
    optional: frozenset[str]


def code_digest(file: Path | str) -> str:
    """Digest of `file` (a script or a module) and, transitively, of the package's modules that it imports."""
    found = reachable(Path(file))
    wanted: dict[Path, set[str]] = {path: set() for path in found}
    for path in found:
        for imported, names in _module(path, path.read_bytes()).imports.items():
            wanted.get(imported, set()).update(names)
    parts = [[_name_of(path), _own_digest(path, path.read_bytes(), _optional(path, wanted[path]))] for path in found]
    parts += [[_name_of(path), value_digest(path.read_text(encoding="utf-8"))] for path in data_files(found)]
    return value_digest(sorted(parts))


def data_files(modules: set[Path]) -> set[Path]:
    """All data files in the folders of the package's `modules`, and in folders below them that are not packages.

    They all count, whichever module reads them, so that none can be forgotten.
    """
    folders = list({module.parent for module in modules if module.is_relative_to(PACKAGE)})
    found: set[Path] = set()
    for folder in folders:  # grows while it is walked
        for path in folder.iterdir():
            if path.suffix in DATA:
                found.add(path)
            elif path.is_dir() and not (path / "__init__.py").exists():
                folders.append(path)
    return found


def reachable(file: Path) -> set[Path]:
    """`file` and every module of the package that its results depend on, directly or not.

    Imports in functions count, and so does the `__init__` of each package on the way. Modules that declare
    `NOT_IN_DIGESTS` are left out, and what only they import.
    """
    found: set[Path] = set()
    waiting = [file.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_module(path, path.read_bytes()).imports)
    return found


def _name_of(path: Path) -> str:
    """A file's path within the package, or the name of a script outside of it."""
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name


@cache
def _module(path: Path, source: bytes) -> Module:
    tree = ast.parse(source)
    before = loaded(tree)
    tree = silence(tree, before)
    imports: dict[Path, set[str]] = {}
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)):
        for target, name in _imported(node, path):
            for file in _files(target):
                if not is_silent(file.read_bytes()):
                    imports.setdefault(file, set()).update([name] if file == _files(target)[-1] else [])
    imports.setdefault(PACKAGE / "__init__.py", set())  # the package's own file runs before any of them
    found = definitions(tree, before)
    optional = frozenset(name for one in found for name in one.names)
    return Module(found, {file: frozenset(names) for file, names in imports.items() if file != path}, optional)


def _optional(path: Path, wanted: set[str]) -> frozenset[str]:
    """Those names that others import from a file and that the file itself does not need."""
    optional = _module(path, path.read_bytes()).optional
    return optional if "*" in wanted else optional & wanted


@cache
def _own_digest(path: Path, source: bytes, wanted: frozenset[str]) -> str:
    """Digest of one file, without the optional names that neither it nor others (`wanted`) use."""
    kept = without_unused(_module(path, source).found, wanted)
    return value_digest([_meaning(one.statement) for one in kept])


def _imported(node: ast.AST, path: Path) -> Iterator[tuple[str, str]]:
    """Dotted names below the package that an import statement in `path` loads, each with the name that it takes."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name == NAME or alias.name.startswith(f"{NAME}."):
                yield alias.name.removeprefix(NAME).removeprefix("."), "*"
    elif isinstance(node, ast.ImportFrom):
        base = _base_of(node, path)
        if base is not None:
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                yield (inner, "*") if _files(inner) else (base, alias.name)


def _base_of(node: ast.ImportFrom, path: Path) -> str | None:
    """The dotted name below the package that `from … import` names; None outside the package."""
    if node.level:
        folder = path.parents[node.level - 1]
        if not folder.is_relative_to(PACKAGE):
            return None
        return ".".join([*folder.relative_to(PACKAGE).parts, *filter(None, [node.module])])
    module = node.module or ""
    return module.removeprefix(NAME).removeprefix(".") if module == NAME or module.startswith(f"{NAME}.") else None


@cache
def _files(dotted: str) -> list[Path]:
    """The files that importing the package's module `dotted` runs: each package's `__init__`, then its own."""
    parts = dotted.split(".") if dotted else []
    own = PACKAGE.joinpath(*parts)
    own = own / "__init__.py" if own.is_dir() else own.with_suffix(".py")
    if not own.is_file():
        return []
    above = [PACKAGE.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts))]
    return [file for file in above if file.is_file()] + [own]


def _meaning(node: Any) -> Any:
    """A syntax tree as plain values, without what is empty."""
    if isinstance(node, list):
        return [_meaning(item) for item in node]
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = {name: value for name, value in ast.iter_fields(node) if name not in IGNORED and value not in (None, [])}
    if isinstance(node, ast.Constant):
        fields["value"] = node.value  # None is a value here
    return [type(node).__name__, {name: _meaning(value) for name, value in fields.items()}]
