"""A digest of the code that a stage's results depend on: of a file and of every module of the package that it imports.

The digest is taken from syntax trees, so that comments, layout and docstrings change nothing. What `silence` removes
(the words of log lines and errors, and all that only makes them) changes nothing either. Any other edit, in any module
that the file reaches, does, and so does any edit of a data file in such a module's folder. The same code has the same
digest in every version of Python. docs/staleness.md says more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vqaflow.runtime.analysis import analysis_of
from vqaflow.runtime.digests import text_digest, value_digest
from vqaflow.runtime.silence import Definition, is_silent, without_unused

NOT_IN_DIGESTS = True  # an edit here that matters changes the digests themselves
PACKAGE = Path(__file__).resolve().parents[1]
NAME = PACKAGE.name
DATA = {".css", ".html", ".js", ".json"}  # files that modules read (pyproject.toml: package-data)


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
    analysis = analysis_of(path, source)
    imports: dict[Path, set[str]] = {}
    for level, module, taken in analysis.imports:
        for target, name in _imported(level, module, taken, path):
            for file in _files(target):
                if not is_silent(file.read_bytes()):
                    imports.setdefault(file, set()).update([name] if file == _files(target)[-1] else [])
    imports.setdefault(PACKAGE / "__init__.py", set())  # the package's own file runs before any of them
    optional = frozenset(name for one in analysis.found for name in one.names)
    return Module(analysis.found, {file: frozenset(names) for file, names in imports.items() if file != path}, optional)


def _optional(path: Path, wanted: set[str]) -> frozenset[str]:
    """Those names that others import from a file and that the file itself does not need."""
    optional = _module(path, path.read_bytes()).optional
    return optional if "*" in wanted else optional & wanted


@cache
def _own_digest(path: Path, source: bytes, wanted: frozenset[str]) -> str:
    """Digest of one file, without the optional names that neither it nor others (`wanted`) use."""
    kept = without_unused(_module(path, source).found, wanted)
    return text_digest(f"[{','.join(one.meaning for one in kept)}]")


def _imported(level: int, module: str, taken: str, path: Path) -> Iterator[tuple[str, str]]:
    """The dotted name below the package that an import in `path` loads, with the name that it takes."""
    if not taken:
        if module == NAME or module.startswith(f"{NAME}."):
            yield module.removeprefix(NAME).removeprefix("."), "*"
        return
    base = _base_of(level, module, path)
    if base is not None:
        inner = f"{base}.{taken}".lstrip(".")
        yield (inner, "*") if _files(inner) else (base, taken)


def _base_of(level: int, module: str, path: Path) -> str | None:
    """The dotted name below the package that `from … import` names; None outside the package."""
    if level:
        folder = path.parents[level - 1]
        if not folder.is_relative_to(PACKAGE):
            return None
        return ".".join([*folder.relative_to(PACKAGE).parts, *filter(None, [module])])
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
