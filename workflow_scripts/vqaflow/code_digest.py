"""What a stage's code is, as far as its results depend on it: a digest of a file and of all it imports from here.

Taken from the syntax tree without docstrings, so that comments, layout and documentation change nothing, while any
other edit in any module that the stage reaches does.
"""

import ast
from functools import cache
from pathlib import Path

from vqaflow.files import file_digest, value_digest

PACKAGE = Path(__file__).parent
NAME = PACKAGE.name


def code_digest(file: Path | str) -> str:
    """Digest of `file` (a script or a module) and, transitively, of the package's modules and data that it uses."""
    reached = sorted(reachable(Path(file)))
    return value_digest([[path.name, _own_digest(path)] for path in reached])


def module_digest(name: str) -> str:
    """The same for a module of the package, by its name (``"train_adapter"``)."""
    return code_digest(PACKAGE / f"{name}.py")


def reachable(file: Path) -> set[Path]:
    """`file` and every file of the package that it imports or names, directly or not."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_mentions(path))
    return found


@cache
def _tree(path: Path) -> ast.Module:
    tree = ast.parse(path.read_bytes(), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
                node.body[0].value.value = ""
    return tree


@cache
def _own_digest(path: Path) -> str:
    return value_digest(ast.dump(_tree(path))) if path.suffix == ".py" else file_digest(path)


@cache
def _mentions(path: Path) -> list[Path]:
    """The package's files that `path` itself imports, and its data files that it names in a string."""
    if path.suffix != ".py":
        return []
    modules: set[str] = set()
    data: set[Path] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module == NAME:
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{NAME}."):
            modules.add(node.module.removeprefix(f"{NAME}."))
        elif isinstance(node, ast.Import):
            modules |= {a.name.removeprefix(f"{NAME}.") for a in node.names if a.name.startswith(f"{NAME}.")}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "/" in node.value:
            data.add(PACKAGE / node.value)
    files = [PACKAGE / f"{module}.py" for module in modules]
    return sorted(f for f in files if f.is_file()) + sorted(f for f in data if _is_package_file(f))


def _is_package_file(path: Path) -> bool:
    try:
        return path.is_file() and path.resolve().is_relative_to(PACKAGE)
    except (OSError, ValueError):  # a string that is no path at all
        return False
