"""Imports within the package go only to lower layers, from the commands down to `runtime`, and no package is too large.

To read or change a package, one needs to know only the packages that it may import.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from places import PACKAGE, ROOT, SCRIPTS

# A package imports from earlier lines only. Packages of one line do not import each other.
LAYERS = [
    "runtime",
    "artifacts",
    "config question_types reporting",
    "data",
    "model",
    "plan scoring",
    "training ensemble",
    "search evaluation bench",
    "demo provenance",
    "commands",
]
# The same within a package; "." stands for the modules beside the folders.
INNER_LAYERS = {
    "runtime": [".", "session"],
    "artifacts": ["encodings", "."],
    "data": ["images", ".", "folds", "exploration competition"],
    "ensemble": [".", "submission"],
    "model": ["numerics", "encoding", "vision", "families", ".", "decoder features", "separate", "pipeline"],
    "evaluation": ["pages gallery", "picks", ".", "cards", "export runs verify"],
    "plan": [".", "doctor"],
    "commands": [".", "rules tools handing machines"],
}
ONLY_FOR_COMMANDS = ["bench", "demo"]
MOST_FILES, MOST_LINES, NUMBER_OF_PACKAGES = 20, 400, range(12, 18)
FILES = sorted(PACKAGE.rglob("*.py"))
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def module_name(file: Path) -> str:
    """The name by which a file of the package is imported."""
    return ".".join(file.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in FILES}


def imports(tree: ast.AST, name: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """What the code of module `name` imports anywhere, with the line; relative imports by their full name."""
    parts = name.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield (inner if inner in MODULES else origin), node.lineno


@cache
def imports_of(name: str) -> tuple[tuple[str, int], ...]:
    """The imports of a module of the package, also those in functions and under TYPE_CHECKING."""
    file = MODULES[name]
    return tuple(imports(ast.parse(file.read_text(encoding="utf-8")), name, file.name == "__init__.py"))


def own_imports() -> Iterator[tuple[str, str, str]]:
    """Importing module, imported module of the package, and where the import stands."""
    for name in MODULES:
        for target, line in imports_of(name):
            if target.split(".")[0] == "vqaflow":
                yield name, target, f"{MODULES[name].relative_to(SCRIPTS)}:{line} imports {target}"


def heights(layers: list[str]) -> dict[str, int]:
    """How far up each name of `layers` stands."""
    return {name: height for height, layer in enumerate(layers) for name in layer.split()}


def part(module: str, depth: int) -> str:
    """The folder at `depth` that a module lies in; "." for a module that lies in none."""
    inside = MODULES[module].relative_to(PACKAGE).parts if module in MODULES else (".",)
    return inside[depth] if len(inside) > depth + 1 else "."


@pytest.mark.parametrize(
    ("code", "name", "is_package", "found"),
    [
        ("import vqaflow.model.base", "vqaflow.data.problems", False, "vqaflow.model.base"),
        ("from vqaflow.model import base", "vqaflow.data.problems", False, "vqaflow.model.base"),
        ("from vqaflow.model.base import Base", "vqaflow.data.problems", False, "vqaflow.model.base"),
        ("from ..model import base", "vqaflow.data.problems", False, "vqaflow.model.base"),
        ("from ..model.base import Base", "vqaflow.data", True, "vqaflow.model.base"),
        ("from .problems import Problem", "vqaflow.data", True, "vqaflow.data.problems"),
        ("from . import problems", "vqaflow.data.checks", False, "vqaflow.data.problems"),
        ("def f():\n    import vqaflow.demo.gain", "vqaflow.data.checks", False, "vqaflow.demo.gain"),
        ("if TYPE_CHECKING:\n    from ...demo import gain", "vqaflow.data.folds.groups", False, "vqaflow.demo.gain"),
    ],
)
def test_every_form_of_an_import_is_found(code, name, is_package, found):
    """Else the tests below would pass over the imports written in that form."""
    assert [target for target, _ in imports(ast.parse(code), name, is_package)] == [found]


def test_imports_point_down():
    height = heights(LAYERS)
    assert sorted(height) == PACKAGES, (
        "a package has no layer: readers cannot know what it may import. Add it to LAYERS"
    )
    upwards = [
        where
        for name, target, where in own_imports()
        if (own := part(name, 0)) != "." and own != (other := part(target, 0)) and height.get(other, 99) >= height[own]
    ]
    assert not upwards, "to understand or change the lower package, one would now have to read the upper one"


@pytest.mark.parametrize("package", INNER_LAYERS)
def test_imports_within_a_package_point_down(package):
    height = heights(INNER_LAYERS[package])
    folders = {path.parent.name for path in (PACKAGE / package).glob("*/__init__.py")}
    assert folders | {"."} == set(height), f"a folder of {package} has no layer. Add it to INNER_LAYERS"
    upwards = [
        where
        for name, target, where in own_imports()
        if part(name, 0) == part(target, 0) == package
        and (own := part(name, 1)) != (other := part(target, 1))
        and height[other] >= height[own]
    ]
    assert not upwards, f"the lower folder of {package} cannot be read or changed without the upper one any more"


def test_a_package_whose_folders_import_each_other_is_layered():
    crossing = {part(a, 0) for a, b, _ in own_imports() if part(a, 0) == part(b, 0) and part(a, 1) != part(b, 1)}
    assert crossing == INNER_LAYERS.keys(), (
        "folders of these packages import each other in no order that a reader knows"
    )


def test_nothing_but_commands_imports_the_demo_or_the_benchmarks():
    wrong = [
        where
        for name, target, where in own_imports()
        if (other := part(target, 0)) in ONLY_FOR_COMMANDS and part(name, 0) not in (other, "commands")
    ]
    scripts = {
        file.stem: imports(ast.parse(file.read_text(encoding="utf-8")), file.stem, False)
        for file in SCRIPTS.glob("*.py")
    }
    wrong += [
        f"{name}.py:{line} imports {target}"
        for name, found in scripts.items()
        for target, line in found
        if name != "prepare_demo" and part(target, 0) in ONLY_FOR_COMMANDS
    ]
    assert not wrong, "a user's own run would depend on code that only the demo or the benchmarks need"


def components(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or through others (strongly connected components)."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        found, waiting = set(), list(graph[start])
        while waiting:
            if (name := waiting.pop()) not in found:
                found.add(name)
                waiting += graph[name]
        reached[start] = found
    circles = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in graph if a in reached[a]}
    return [list(circle) for circle in sorted(circles)]


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert components(graph) == [["b", "c"], ["e"]]


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {target for target, _ in imports_of(name) if target in MODULES} for name in MODULES}
    assert not components(graph), "none of these modules can be read, tested or loaded without all others"


def test_names_are_imported_from_where_they_are_defined():
    """A name that passes through a second module may leave that one's digest with the last message that shows it."""
    passed_on = []
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in MODULES:
                origin = ast.parse(MODULES[node.module].read_text(encoding="utf-8"))
                imported = {alias.asname or alias.name for one in origin.body for alias in getattr(one, "names", [])}
                passed_on += [f"{name} from {node.module}: {a.name}" for a in node.names if a.name in imported]
    assert not passed_on


def test_no_import_hides_in_a_string():
    """`importlib` with a module's name would escape the tests above, and the digests of code."""
    hidden = [
        name
        for name, file in MODULES.items()
        if re.search(r"__import__|import_module\(\s*f?[\"']vqaflow", file.read_text(encoding="utf-8"))
    ]
    assert hidden == ["vqaflow.commands.command_line"], "a change of the hidden module would rerun nothing"


@pytest.mark.parametrize("file", [file for file in FILES if file.name == "__init__.py"], ids=module_name)
def test_a_package_says_in_a_sentence_what_it_is_for_and_imports_nothing(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    charter = ast.get_docstring(tree) or ""
    assert re.fullmatch(r"[^\n]+[^.\n]\.", charter) and len(re.findall(r"\.(?=\s|$)", charter)) <= 2, (
        f"{file}: readers look here for the package's purpose, in one line that ends with a full stop"
    )
    if file.parent == PACKAGE:  # it sets what libraries print, before any of them is loaded
        assert {target for target, _ in imports_of("vqaflow")} == {"logging", "warnings"}
    else:
        assert len(tree.body) == 1, f"{file}: code here runs with every import of anything in the package"


def test_every_folder_is_a_package():
    folders = {file.parent for file in FILES}
    bare = [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]
    assert not bare, "setuptools leaves these folders out of a wheel"


def test_the_top_holds_packages_alone():
    files = {file.name for file in PACKAGE.iterdir() if file.is_file()}
    assert files == {"__init__.py", "__main__.py"}, "a reader looks for code in the package whose charter covers it"
    assert len(PACKAGES) in NUMBER_OF_PACKAGES, f"{len(PACKAGES)} packages cannot be taken in at a glance"


def test_no_folder_is_full():
    counts = {folder: len(list(folder.glob("*.py"))) for folder in {file.parent for file in FILES}}
    full = {str(folder): count for folder, count in counts.items() if count > MOST_FILES}
    assert not full, f"a folder with more than {MOST_FILES} files cannot be taken in at a glance: divide it"


def test_no_module_is_long():
    counts = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in MODULES.items()}
    long = {name: count for name, count in counts.items() if count > MOST_LINES}
    assert not long, f"a module of more than {MOST_LINES} lines takes too long to read: divide it"


def test_the_package_does_without_snakemake():
    """It is also used by hand, in notebooks and in installations that have no Snakemake."""
    importing = [f"{name}:{line}" for name in MODULES for target, line in imports_of(name) if "snakemake" in target]
    using = [
        f"{name}:{node.lineno}"
        for name, file in MODULES.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "snakemake"
    ]
    assert not importing + using, "these lines fail wherever Snakemake does not run the code"


def test_no_test_looks_beside_the_repository():
    """A clone has nothing there; real data come from VQAFLOW_REAL_DATA (tests/support/places.py)."""
    beside = re.compile(r"\.\./sha[r]ed|ROOT\.par[e]nt|SCRIPTS\.parents?\b")
    tests = (ROOT / "tests").rglob("*.py")
    outside = [str(file.relative_to(ROOT)) for file in tests if beside.search(file.read_text(encoding="utf-8"))]
    assert not outside, "these tests fail, or are skipped in silence, on every other machine"


def test_the_documentation_repeats_each_charter():
    charters = {
        name: ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text("utf-8"))) for name in PACKAGES
    }
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs" / "code.md").read_text("utf-8"), re.M))
    wrong = {name: rows.get(name) for name, charter in charters.items() if rows.get(name) != charter}
    assert not wrong, "docs/code.md and the package's __init__.py say different things of what belongs there"


def test_the_documentation_names_each_package_below_what_it_imports():
    """A newcomer finds each package there, and may rely on the order."""
    text = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(rows) == PACKAGES, "docs/code.md names packages that do not exist, or leaves some out"
    wrong = [
        where
        for name, target, where in own_imports()
        if part(name, 0) != "." and rows.index(part(target, 0)) > rows.index(part(name, 0))
    ]
    assert not wrong, "docs/code.md says that a package imports only what stands above it"
