"""A module's syntax tree without texts for people: only code that can change a result is left.

Removed are docstrings, log calls, prints, the arguments of exceptions and of progress bars, messages of assertions, and
then, repeatedly, local variables and imports that nothing reads any more. If it is not certain that
code cannot change a result, it stays: too much only causes a rerun, too little could leave a wrong result in place.
"""

import ast
import builtins
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

from vqaflow.runtime.digests import value_text

NOT_IN_DIGESTS = True  # as code_digest
MARKER = "NOT_IN_DIGESTS"  # how a module says that no result depends on it
LOGGER, LEVELS = "log", {"debug", "info", "warning", "error", "exception", "critical"}
SHOWN_ONLY = {"print", "ProgressBar"}  # their arguments are shown, and nothing else
# Classes whose arguments are messages.
EXCEPTIONS = {
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
}
EXCEPTIONS |= {"UserError", "NotFinite", "OutOfMemory", "UnreadableTable", "ImageProblem", "PixelProblem"}
CODES = {"UnreadableTable": 2, "ImageProblem": 1}  # how many of an exception's arguments are data: a code word, a line
# Calls without an effect: an assignment that only they make, and that nothing reads, can go.
PURE = set("len str repr sorted min max sum round list tuple set dict range type".split())
PURE |= {"some", "nearest", "did_you_mean"}
PURE_METHODS = set("join format items keys values split strip lower upper removeprefix".split())
PURE_METHODS |= set("most_common tolist to_list splitlines rpartition isoformat".split())
# Fields of syntax nodes that add nothing to the others, or that not every version of Python has.
IGNORED = {"ctx", "kind", "type_comment", "type_ignores"}
Scope = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def is_silent(source: bytes) -> bool:
    """Whether a module declares ``NOT_IN_DIGESTS = True`` at its top level."""
    if MARKER.encode() not in source:
        return False
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return any(ast.unparse(node) == f"{MARKER} = True" for node in assigned)


def silence(tree: ast.Module, before: Counter[str]) -> ast.Module:
    """The module `tree`, changed in place, without what only people read; `before` counts the names that it reads."""
    read_before = {id(node): _names_in(node)[0] for node in ast.walk(tree) if isinstance(node, Scope)}
    tree = _Silencer().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, Scope):
            _drop_unread_locals(node, read_before[id(node)])
    _drop_unread_imports(tree, before)
    return tree


@dataclass(frozen=True)
class Definition:
    """A statement at a module's top level: what it says (a line of JSON), and which names it reads.

    `names` are those that it defines, if it may go.
    """

    meaning: str
    reads: Counter[str]
    names: tuple[str, ...]


def definitions(tree: ast.Module, before: Counter[str]) -> list[Definition]:
    """The statements of a silenced module. Those may go whose names it read `before`: then only messages used them."""
    return [Definition(value_text(_meaning(node)), loaded(node), tuple(_removable(node, before))) for node in tree.body]


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


def without_unused(found: list[Definition], wanted: frozenset[str]) -> list[Definition]:
    """What is left of a module without constants and functions that nothing in it reads and that are not `wanted`."""
    while True:
        reads = sum((definition.reads for definition in found), Counter())
        kept = [one for one in found if not one.names or not _is_unused(one, reads, wanted)]
        if len(kept) == len(found):
            return kept
        found = kept


def loaded(tree: ast.AST) -> Counter[str]:
    """How often each name is read in `tree`."""
    return Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))


def _removable(node: ast.stmt, before: Counter[str]) -> list[str]:
    """The names that a top-level statement defines, if the module read each `before`, and it does nothing else."""
    names: list[str] = []
    if isinstance(node, Scope) and not node.decorator_list:
        names = [node.name]
    elif isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) for t in node.targets) and _is_pure(node.value):
        names = [target.id for target in node.targets]
    return names if all(before[name] for name in names) else []


def _is_unused(one: Definition, reads: Counter[str], wanted: frozenset[str]) -> bool:
    """Whether nothing but the statement itself (a function may call itself) reads its names."""
    return all(reads[name] <= one.reads[name] and name not in wanted for name in one.names)


class _Silencer(ast.NodeTransformer):
    """Removes what only people read, statement by statement."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | Scope) and node.body and _is_text(node.body[0]):
            node.body = node.body[1:]
        return _with_body(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:  # noqa: N802
        """Log calls and prints go."""
        if isinstance(node.value, ast.Call) and _is_output(node.value):
            return None
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:  # noqa: N802
        """Which kind of error is raised stays, not what it says."""
        if isinstance(node.exc, ast.Call):
            node.cause = None
            if ast.unparse(node.exc.func) not in CODES:
                node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:  # noqa: N802
        """The message goes."""
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802
        """The arguments of errors that are raised elsewhere, and of progress bars, go, except code words."""
        if isinstance(node.func, ast.Name) and (node.func.id in SHOWN_ONLY or node.func.id in EXCEPTIONS):
            node.args, node.keywords = node.args[: CODES.get(node.func.id, 0)], []
        return self.generic_visit(node)


def _with_body(node: ast.AST) -> ast.AST:
    """`node` with a `pass` where all its statements went."""
    if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
        node.body = [ast.Pass()]
    return node


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_output(call: ast.Call) -> bool:
    function = call.func
    if any(keyword.arg == "file" for keyword in call.keywords):  # print into a file
        return False
    if any(isinstance(node, ast.NamedExpr) for node in ast.walk(call)):
        return False
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name) and function.value.id == LOGGER and function.attr in LEVELS
    return isinstance(function, ast.Name) and function.id == "print"


def _drop_unread_locals(function: Scope, read_before: set[str]) -> None:
    """Assignments to local names that only what was removed has read, where they have no other effect."""
    while True:
        read, stored = _names_in(function)
        remover = _Remover((stored - read) & read_before)
        if remover.names:
            remover.visit(function)
        if not remover.removed:
            return


def _names_in(function: Scope) -> tuple[set[str], set[str]]:
    """Names that a function reads (or shares with others), and names that it stores into."""
    read: set[str] = set()
    stored: set[str] = set()
    augmented: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            (stored if isinstance(node.ctx, ast.Store) else read).add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            augmented.add(node.target.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            read.update(node.names)
    # ``a += b`` may change in place what other names mean too, unless `a` is a text.
    return read | (augmented - _texts(function)), stored


def _texts(function: Scope) -> set[str]:
    """Names that a function gives nothing but texts: they are no parameters, and not bound in another way."""
    written: Counter[str] = Counter()
    bound: Counter[str] = Counter()
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound[node.id] += 1
        elif isinstance(node, ast.arg):
            bound[node.arg] += 1
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            bound[node.target.id] -= 1
        elif isinstance(node, ast.Assign) and _is_written(node.value):
            written.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return {name for name, times in written.items() if times == bound[name]}


def _is_written(value: ast.AST) -> bool:
    """Whether a value is a text that stands in the code."""
    if isinstance(value, ast.IfExp):
        return _is_written(value.body) and _is_written(value.orelse)
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))


class _Remover(ast.NodeTransformer):
    """Removes assignments to `names` within a function, and their positions in loops over literal tuples."""

    def __init__(self, names: set[str]) -> None:
        self.names, self.removed = names, False

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt] | None:  # noqa: N802
        """Whole assignments, and the parts of ``a, b = x, y`` that are not read."""
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Tuple) and _is_matched(target, node.value):
            kept = [i for i, part in enumerate(target.elts) if not self._goes(part, node.value.elts[i])]
            if len(kept) < len(target.elts):
                self.removed = True
                target.elts, node.value.elts = ([side.elts[i] for i in kept] for side in (target, node.value))
                return node if kept else None
            return node
        if all(self._goes(target, node.value) for target in node.targets):
            self.removed = True
            return None
        if all(isinstance(target, ast.Name) and target.id in self.names for target in node.targets):
            node.value = _Wordless().visit(node.value)  # what it calls may have an effect
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | None:  # noqa: N802
        """The same for ``a += x``; `names` hold such an `a` only if it is a text."""
        if self._goes(node.target, node.value):
            self.removed = True
            return None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:  # noqa: N802
        """The same for ``a: int = x``."""
        if node.value is not None and self._goes(node.target, node.value):
            self.removed = True
            return None
        return node

    def visit_For(self, node: ast.For) -> ast.AST:  # noqa: N802
        """The positions of a loop over literal tuples whose names are not read."""
        rows = node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List) else []
        if isinstance(node.target, ast.Tuple) and rows and all(_is_matched(node.target, row) for row in rows):
            places = range(len(node.target.elts))
            gone = [i for i in places if all(self._goes(node.target.elts[i], row.elts[i]) for row in rows)]
            if gone and len(gone) < len(node.target.elts):
                self.removed = True
                for part in (node.target, *rows):
                    part.elts = [element for i, element in enumerate(part.elts) if i not in gone]
        return self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> ast.AST:  # noqa: N802
        """What raises decides which handler runs, so nothing goes from the body."""
        for part in (node.handlers, node.orelse, node.finalbody):
            part[:] = [kept for kept in map(self.visit, part) if kept is not None]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:  # noqa: N802
        """Names in the body of a class are its attributes."""
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        return _with_body(super().generic_visit(node))

    def _goes(self, target: ast.AST, value: ast.AST) -> bool:
        return isinstance(target, ast.Name) and target.id in self.names and _is_pure(value)


class _Wordless(ast.NodeTransformer):
    """Takes the words out of a value that nothing reads; what it calls and looks up stays."""

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802
        """The arguments of a call are not words."""
        return node

    visit_Subscript = visit_Compare = visit_Call

    def visit_Constant(self, node: ast.Constant) -> ast.AST:  # noqa: N802
        """A text goes."""
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:  # noqa: N802
        """Of an f-string, the values stay."""
        values = [self.visit(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
        return ast.Tuple(values, ast.Load())


def _is_matched(target: ast.Tuple, value: ast.AST) -> bool:
    """Whether `value` is a literal with an element for each of `target`'s, none of them starred."""
    if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
        return False
    return not any(isinstance(part, ast.Starred) for part in (*target.elts, *value.elts))


def _is_pure(value: ast.AST) -> bool:
    """Whether computing `value` can change nothing but the name that it is given."""
    for node in ast.walk(value):
        if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
        if isinstance(node, ast.Call) and (_calls_key(node) or not (_is_pure_call(node.func) or _is_pure_map(node))):
            return False
    return True


def _is_pure_map(call: ast.Call) -> bool:
    """Whether a call is ``map(function, …)`` with a function that is pure."""
    return isinstance(call.func, ast.Name) and call.func.id == "map" and _is_pure_call(call.args[0])


def _calls_key(call: ast.Call) -> bool:
    """Whether a call such as ``sorted(rows, key=function)`` calls a function that may not be pure."""
    keys = [keyword.value for keyword in call.keywords if keyword.arg == "key"]
    return any(not isinstance(key, ast.Lambda) and not _is_pure_call(key) for key in keys)


def _is_pure_call(function: Any) -> bool:
    if isinstance(function, ast.Name):
        return function.id in PURE or function.id in EXCEPTIONS
    return isinstance(function, ast.Attribute) and function.attr in PURE_METHODS


def _drop_unread_imports(tree: ast.Module, before: Counter[str]) -> None:
    """Names that were imported only for messages; a statement that imports nothing else is removed."""
    now = loaded(tree)
    if now.keys() == before.keys():
        return

    class Importless(ast.NodeTransformer):
        def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:  # noqa: N802
            node.names = [alias for alias in node.names if now[_bound(alias)] or not before[_bound(alias)]]
            return node if node.names else None

        def generic_visit(self, node: ast.AST) -> ast.AST:
            return _with_body(super().generic_visit(node))

    Importless().visit(tree)


def _bound(alias: ast.alias) -> str:
    """The name that an import statement binds."""
    return alias.asname or alias.name
