"""A digest changes with whatever can change a result, and with nothing else.

What is expected is worked out here in another way than by the code itself: which modules a rule loads by the standard
library's search through bytecode, and what a message is by following the text of each call.
"""

import ast
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from places import SCRIPTS, loaded_by
from vqaflow.runtime import code_digest as module
from vqaflow.runtime.code_digest import code_digest, reachable

RULES = sorted({path.stem for path in SCRIPTS.glob("*.py")} - {"plan"})  # which prints, and makes nothing
MODULES = sorted(path.relative_to(SCRIPTS / "vqaflow").as_posix() for path in (SCRIPTS / "vqaflow").rglob("*.py"))
# Files whose code is in the store's keys, which outlive a run.
KEYS = ("training/train_adapter.py", "scoring/score_choices.py", "search/trial.py", "model/encoding/row_encoder.py")
# What rules load, and no result depends on; each file says so itself.
NO_RESULT = {
    "plan/cards.py",
    "plan/plan_text.py",
    "runtime/analysis.py",
    "runtime/artifact_store.py",
    "runtime/code_digest.py",
    "runtime/hours_left.py",
    "runtime/locks.py",
    "runtime/messages.py",
    "runtime/output_records.py",
    "runtime/process_start.py",
    "runtime/progress.py",
    "runtime/run_watch.py",
    "runtime/secrets.py",
    "runtime/silence.py",
    "runtime/stage.py",
    "scoring/others.py",
    "training/curve.py",
    "training/trackers.py",
}
Mutation = Callable[[ast.AST], tuple[str, Any] | None]  # a field of a node and its new value


class Package:
    """A copy of the scripts and the package, to edit, and its digests."""

    def __init__(self, folder: Path) -> None:
        self.scripts = shutil.copytree(SCRIPTS, folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        self.folder = self.scripts / "vqaflow"

    def digests(self) -> dict[str, str]:
        """The digest of each rule, and of each file that stands in the store's keys."""
        module._files.cache_clear()
        rules = {rule: code_digest(self.scripts / f"{rule}.py") for rule in RULES}
        return rules | {f"key of {name}": code_digest(self.folder / name) for name in KEYS}

    def reached(self) -> dict[str, set[str]]:
        """The modules in each of these digests."""
        files = {rule: self.scripts / f"{rule}.py" for rule in RULES}
        files |= {f"key of {name}": self.folder / name for name in KEYS}
        return {name: {module._name_of(path) for path in reachable(file)} for name, file in files.items()}

    def edited(self, name: str, source: str) -> dict[str, str]:
        """The digests with other text in a module, which is then put back."""
        path = self.folder / name
        before = path.read_text(encoding="utf-8")
        path.write_text(source, encoding="utf-8")
        try:
            return self.digests()
        finally:
            path.write_text(before, encoding="utf-8")

    def source(self, name: str) -> str:
        """The text of a module."""
        return (self.folder / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """One copy for the module; `code_digest` looks at it instead of the package that is imported."""
    copy = Package(tmp_path_factory.mktemp("package"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PACKAGE", copy.folder)
        module._module.cache_clear()
        module._own_digest.cache_clear()
        yield copy
    module._files.cache_clear()


@pytest.fixture(scope="module")
def before(package: Package) -> dict[str, str]:
    """The digests of the package as it is."""
    return package.digests()


# --- what a module's messages are, found by following calls ---


def is_message_call(node: ast.AST) -> bool:
    """A log call, an error, a progress bar, or a declaration of an option."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func).split(".")
    is_log = name[0] == "log" and name[-1] in ("debug", "info", "warning", "error", "exception", "critical")
    return (
        is_log
        or name[-1] in ("ArgumentParser", "add_argument", "print")
        or name[-1] in ("ProgressBar", "damaged", "UnreadableTable")
        or name[-1].endswith(("Error", "Problem", "NotFinite"))
    )


def words_of(call: ast.Call) -> list[ast.expr]:
    """The arguments that are words: two exceptions begin with data, a code word and, in one of them, a line."""
    return call.args[{"UnreadableTable": 2, "ImageProblem": 1}.get(ast.unparse(call.func), 0) :]


def message_nodes(tree: ast.AST) -> set[ast.AST]:
    """Every node within a message, an exception that is raised, or an assertion's words."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        if is_message_call(node):
            roots += [*words_of(node), *node.keywords]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            roots += [*words_of(node.exc), *node.exc.keywords]
        elif isinstance(node, ast.Assert) and node.msg is not None:
            roots.append(node.msg)
    return {inner for root in roots for inner in ast.walk(root)}


def only_in_messages(scope: ast.AST) -> set[str]:
    """Names that a function, or a module's top level, reads in messages and nowhere else."""
    inside = message_nodes(scope)
    reads = [node for node in ast.walk(scope) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    elsewhere = {node.id for node in reads if node not in inside}
    return {node.id for node in reads if node in inside} - elsewhere


def only_in_message_values(tree: ast.Module) -> Iterator[ast.AST]:
    """The values of variables and constants that only messages read."""
    for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))]:
        names = only_in_messages(scope)
        for node in scope.body if scope is tree else ast.walk(scope):
            if isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) and t.id in names for t in node.targets):
                yield node.value
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id in names:
                yield node.value
            if isinstance(node, ast.For) and is_table(node):
                for target, *values in zip(node.target.elts, *(row.elts for row in node.iter.elts), strict=True):
                    if isinstance(target, ast.Name) and target.id in names:
                        yield from values


def is_table(loop: ast.For) -> bool:
    """Whether it is a loop such as ``for name, words in (("a", "b"), ("c", "d"))``."""
    rows = loop.iter.elts if isinstance(loop.iter, ast.Tuple) else []
    return bool(rows) and all(isinstance(part, ast.Tuple) for part in (loop.target, *rows))


def looked_up(value: ast.AST) -> Iterator[ast.AST]:
    """What a value is computed from and is not text: keys, and arguments of calls that are not messages."""
    for node in ast.walk(value):
        if isinstance(node, ast.Subscript):
            yield node.slice
        elif isinstance(node, ast.Call):
            yield from (*node.args, *node.keywords)


def message_strings(tree: ast.Module) -> list[ast.Constant]:
    """The texts of messages, and of the variables and constants that only messages read."""
    found = message_nodes(tree)
    for value in only_in_message_values(tree):
        found |= set(ast.walk(value)) - {inner for part in looked_up(value) for inner in ast.walk(part)}
    return [node for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """The docstrings' constants."""
    return {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
    }


def reworded(source: str) -> str:
    """A module with other words in every message, other docstrings, and none of its comments and layout."""
    tree = ast.parse(source)
    for node in [*message_strings(tree), *docstrings(tree)]:
        node.value = f"{node.value} in other words"
    return ast.unparse(tree)


@pytest.mark.parametrize("name", MODULES)
def test_other_words_change_no_digest(package: Package, before: dict[str, str], name: str) -> None:
    """After an update that corrects a message, every adapter would be trained again."""
    source = package.source(name)
    assert package.edited(name, reworded(source)) == before


def test_the_words_of_messages_are_found() -> None:
    """The test above would pass if it reworded nothing."""
    source = (SCRIPTS / "vqaflow" / "data" / "images" / "decoding.py").read_text(encoding="utf-8")
    assert reworded(source).count("in other words") > 20


# --- edits that change a result ---

SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Div}
SWAPPED |= {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
SWAPPED |= {ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And}
SWAPPED |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is}


def change_number(node: ast.AST) -> tuple[str, Any] | None:
    """A number's field and another value."""
    is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return ("value", node.value + 1) if is_number else None


def change_operator(node: ast.AST) -> tuple[str, Any] | None:
    """An operator's field and another one of the same kind."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPPED:
        return "op", SWAPPED[type(node.op)]()
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        return "ops", [SWAPPED[type(node.ops[0])](), *node.ops[1:]]
    return None


def change_string(node: ast.AST) -> tuple[str, Any] | None:
    """A text's field and another text."""
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return ("value", node.value + "x") if is_text else None


def edits(source: str, change: Mutation) -> Iterator[tuple[str, str]]:
    """A module once for each number, operator or text that is in no message: with that one changed, and what it is."""
    tree = ast.parse(source)
    spared = message_nodes(tree) | docstrings(tree)
    spared |= {inner for value in only_in_message_values(tree) for inner in ast.walk(value)}
    for node in ast.walk(tree):
        if node not in spared and (changed := change(node)):
            field, value = changed
            old = getattr(node, field)
            setattr(node, field, value)
            yield ast.unparse(tree), f"{node.lineno}: {ast.unparse(node)}"
            setattr(node, field, old)


def first_edits() -> Iterator[Any]:
    """For each module that a rule uses, its first number, operator and text that is in no message, changed."""
    used = {module._name_of(path) for rule in RULES for path in reachable(SCRIPTS / f"{rule}.py")}
    for name in (name for name in MODULES if name in used):
        source = (SCRIPTS / "vqaflow" / name).read_text(encoding="utf-8")
        for change in (change_number, change_operator, change_string):
            if edit := next(edits(source, change), None):
                yield pytest.param(name, *edit, id=f"{name}:{edit[1]}")


@pytest.mark.parametrize(("name", "text", "line"), list(first_edits()))
def test_an_edit_changes_the_digests_of_those_that_use_it(
    package: Package, before: dict[str, str], name: str, text: str, line: str
) -> None:
    """A result would be kept that the new code does not give."""
    users = {key for key, modules in package.reached().items() if name in modules}
    after = package.edited(name, text)
    assert {key for key in before if before[key] != after[key]} == users, line


@pytest.mark.parametrize("change", [change_number, change_operator])
@pytest.mark.parametrize(
    "name", ["training/loop.py", "scoring/scorer.py", "model/decoder/fused_decoder.py", "scoring/selection.py"]
)
def test_no_number_or_operator_of_the_core_is_overlooked(package: Package, name: str, change: Mutation) -> None:
    """Every one of them, not the first alone."""
    path = package.folder / name
    source = package.source(name)

    def own(text: str) -> str:
        return module._own_digest(path, text.encode(), module._optional(path, {"*"}))

    overlooked = [line for text, line in edits(source, change) if own(text) == own(source)]
    assert not overlooked


# --- which modules count ---


@pytest.mark.parametrize("rule", RULES)
def test_every_module_that_a_rule_loads_counts_but_those_that_say_they_do_not(rule: str) -> None:
    """A module that is loaded and not counted is one whose edits give old results for new ones."""
    counted = {module._name_of(path) for path in reachable(SCRIPTS / f"{rule}.py")} - {f"{rule}.py"}
    assert counted <= loaded_by(rule)
    only_told = {"reporting/figures.py", "reporting/closing_line.py", "reporting/__init__.py"}  # where they only tell
    assert loaded_by(rule) - counted <= NO_RESULT | only_told
    assert not counted & NO_RESULT


def test_figures_count_where_they_are_the_result() -> None:
    """The style of figures belongs to the evaluation, not to an adapter, although its curve is drawn in it."""
    counted = {
        rule: {path.name for path in reachable(SCRIPTS / f"{rule}.py")} for rule in ("evaluate_oof", "train_adapter")
    }
    assert "figures.py" in counted["evaluate_oof"] and "figures.py" not in counted["train_adapter"]


@pytest.fixture
def little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `vqaflow` of a few files, and a script that imports it in every way that there is."""
    files = {
        "__init__.py": "",
        "a/__init__.py": "SETTING = 1",
        "a/one.py": "def f():\n    return 1",
        "a/two.py": "from .one import f\nfrom . import three",
        "a/three.py": "X = 3",
        "b/__init__.py": "",
        "b/late.py": "Y = 4",
        "b/whole.py": "Z = 5",
        "b/unused.py": "W = 6",
    }
    for name, text in files.items():
        path = tmp_path / "vqaflow" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    script = "from vqaflow.a import two\nimport vqaflow.b.whole\ndef g():\n    from vqaflow.b import late\n"
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "vqaflow")
    module._files.cache_clear()
    yield tmp_path
    module._files.cache_clear()


@pytest.mark.parametrize(
    "name", ["a/__init__.py", "a/one.py", "a/three.py", "b/__init__.py", "b/late.py", "b/whole.py"]
)
def test_every_kind_of_import_is_followed(little: Path, name: str) -> None:
    """`from . import`, `from package import module`, imports in functions, the `__init__` of packages on the way."""
    old = code_digest(little / "script.py")
    (little / "vqaflow" / name).write_text("OTHER = 7", encoding="utf-8")
    assert code_digest(little / "script.py") != old


def test_a_module_that_nothing_imports_does_not_count(little: Path) -> None:
    old = code_digest(little / "script.py")
    (little / "vqaflow" / "b" / "unused.py").write_text("W = 7", encoding="utf-8")
    assert code_digest(little / "script.py") == old


def test_equal_modules_of_other_names_are_told_apart(little: Path) -> None:
    """Two files swap their content: the names that others import stand for other things."""
    one, three = little / "vqaflow/a/one.py", little / "vqaflow/a/three.py"
    old = code_digest(little / "script.py")
    texts = one.read_text(), three.read_text()
    one.write_text(texts[1])
    three.write_text(texts[0])
    assert code_digest(little / "script.py") != old


SOURCE = "def f(a, b=1):\n    '''Doc.'''\n    return g(a + b, 'text')\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("b=1", "b=2"),
        ("a + b", "a - b"),
        ("'text'", "'test'"),
        ("'text'", "None"),
        ("def f", "async def f"),
        ("def f", "@g\ndef f"),
        ("return", "yield"),
        ("'''Doc.'''", "f'''Doc.'''"),
        ("(a, b", "(b, a"),
    ],
)
def test_no_edit_of_meaning_is_overlooked(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "x.py"
    file.write_text(SOURCE, encoding="utf-8")
    before = code_digest(file)
    file.write_text(SOURCE.replace(old, new), encoding="utf-8")
    assert code_digest(file) != before


# Code, a part of it that may matter although a message shows it, and what to put there (GONE leaves nothing).
GONE = "log.info()"
KEPT = [
    ("def f(x):\n    y = g(x)\n    log.info('%s', y)\n    return x", "y = g(x)", GONE),
    ("def f(x):\n    what = 'word'\n    log.info(what)\n    return what", "'word'", "'other'"),
    ("def f(x):\n    global y\n    y = 1\n    log.info(y)", "y = 1", "y = 2"),
    ("def f(x):\n    x.kind = 'kind'\n    raise ValueError(x.kind)", "'kind'", "'other'"),
    ("LIMIT = 1\nlog.info(LIMIT)\nX = LIMIT", "LIMIT = 1", "LIMIT = 2"),
    ("def f(x):\n    if x > 1:\n        raise ValueError('large')", "x > 1", "x > 2"),
    ("def f(x):\n    for a, b in ((1, 'one'), (2, 'two')):\n        g(a, b)\n        log.info(b)", "'one'", "'other'"),
    ("def f(log):\n    log.append('one')", "'one'", "'other'"),
    # No message reads it: it stands there for its effect.
    ("def f(x):\n    _ = x.lazy\n    return x", "_ = x.lazy", GONE),
    # In place, on what other names mean too.
    ("def f(grad):\n    grad *= 2", "grad *= 2", GONE),
    ("def f(x):\n    bias = x[0]\n    bias -= 5.0\n    return x", "x[0]", "x[1]"),
    ("def f(x):\n    bias = x[0]\n    bias -= 5.0\n    log.info(bias)\n    return x", "x[0]", "x[1]"),
    ("def f(x, y):\n    z = x\n    z += [y]\n    log.info(z)\n    return x", "z += [y]", GONE),
    ("def f(x, y):\n    z = 'a'\n    z, y = x, y\n    z += y\n    log.info(z)\n    return x", "z += y", GONE),
    ("def f(z, y):\n    z += y\n    z = 'a'\n    log.info(z)", "z += y", GONE),
    # Calls that move an iterator or call a function.
    ("def f(x):\n    first = next(x)\n    log.info(first)\n    return x", "first = next(x)", GONE),
    ("def f(x):\n    a, b = next(x), 1\n    log.info(a)\n    return b", "next(x)", "0"),
    ("def f(x):\n    n: int = x.pop()\n    log.info(n)\n    return x", "n: int = x.pop()", GONE),
    ("def f(x):\n    for a, b in ((1, x.pop()), (2, x)):\n        g(a)\n        log.info(b)", "x.pop()", "x"),
    ("def f(x, g):\n    s = sorted(x, key=g)\n    log.info(s)\n    return x", "s = sorted(x, key=g)", GONE),
    ("def f(rng, x):\n    drawn = list(map(rng.random, x))\n    log.info(drawn)", "rng.random", "rng.normal"),
    ("def f(path, to):\n    moved = path.replace(to)\n    log.info(moved)", "moved = path.replace(to)", GONE),
    # What raises decides which handler runs, and what is compared decides which branch.
    ("def f(d):\n    try:\n        v = d['a']\n        log.info(v)\n    except E:\n        return 0", "'a'", "'b'"),
    ("def f(m):\n    state = m.a() if m.mode == 'train' else m.b()\n    log.info(state)", "'train'", "'eval'"),
    (
        "def f():\n    class A:\n        seed = 3\n    seed = 1\n    log.info(seed)\n    return A",
        "seed = 3",
        "seed = 4",
    ),
    ("def f(x):\n    log.info((n := len(x)))\n    return n", "len(x)", "len(x[1:])"),
    ("def f(x, handle):\n    print(x, file=handle)", "print(x, file=handle)", GONE),
    # Code words and lines are data.
    ("def f(x):\n    raise UnreadableTable('kind', 1, what, cure)", "'kind'", "'other'"),
    ("def f(x):\n    raise UnreadableTable('kind', 1, what, cure)", "1", "2"),
    ("def f(x):\n    problem = ImageProblem('kind', what, cure)\n    return problem", "'kind'", "'other'"),
]


@pytest.mark.parametrize(("source", "old", "new"), KEPT)
def test_what_is_in_doubt_counts(tmp_path: Path, source: str, old: str, new: str) -> None:
    """Only what messages alone read is left out, and only where leaving it out can change nothing else."""
    file = tmp_path / "x.py"
    file.write_text(source, encoding="utf-8")
    before = code_digest(file)
    file.write_text(source.replace(old, new, 1), encoding="utf-8")
    assert source.count(old) and code_digest(file) != before


# --- data files ---


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("evaluation/gallery/page.html", {"evaluate_oof", "show_answers"}),
        ("evaluation/gallery/page.css", {"evaluate_oof", "show_answers"}),
        ("evaluation/gallery/page.js", {"evaluate_oof", "show_answers"}),
        ("question_types/weights.json", {"validate_tables"}),
    ],
)
def test_a_data_file_belongs_to_the_rules_that_use_its_folder(
    package: Package, before: dict[str, str], name: str, rules: set[str]
) -> None:
    after = package.edited(name, package.source(name) + " ")
    assert {digest for digest in before if after[digest] != before[digest]} == rules


def test_a_new_data_file_need_not_be_named(package: Package, before: dict[str, str]) -> None:
    """It counts where it lies; what a package of its own holds below is that package's."""
    new = package.folder / "ensemble" / "submission" / "new.json"
    new.write_text("{}", encoding="utf-8")
    try:
        after = package.digests()
    finally:
        new.unlink()
    changed = {digest for digest in before if after[digest] != before[digest]}
    assert changed == {
        "answer_zero_shot",
        "write_submission",
        "validate_submission",
        "compare_runs",
        "evaluate_oof",
    }  # they read submissions
