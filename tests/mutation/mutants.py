"""Do the tests of the numeric core notice if its code is wrong? A command that changes the code and runs them.

A mutant is a module with one small change: another operator, comparison, number or condition, or a statement less. The
module's quick tests are run on it. If they pass, the mutant survived: a test is missing, or the change changes nothing.

    python tests/mutation/mutants.py --sample 150 --seed 0
    python tests/mutation/mutants.py --only ensemble/pooling.py

The libraries are loaded once, and each mutant is a fork of that process: it costs little more than its tests.
"""

import argparse
import ast
import copy
import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "workflow_scripts" / "vqaflow"
# The numeric core: each module with its quick tests. A test that starts processes would not see the mutant.
CORE = {
    "data/folds/balance.py": ("data/folds/test_make_folds.py",),
    "data/folds/groups.py": ("data/folds/test_make_folds.py",),
    "data/folds/make_folds.py": ("data/folds/test_make_folds.py",),
    "ensemble/calibration.py": ("ensemble/test_calibration.py",),
    "ensemble/pooling.py": ("ensemble/test_pooling.py",),
    "ensemble/sharpening.py": ("ensemble/test_sharpening.py",),
    "model/encoding/orders.py": ("model/encoding/test_orders.py",),
    "reporting/agreement.py": ("reporting/test_agreement.py",),
    "reporting/measures.py": ("reporting/test_measures.py",),
    "reporting/risk_coverage.py": ("reporting/test_risk_coverage.py",),
    "reporting/sign_flips.py": ("reporting/test_sign_flips.py",),
    "reporting/statistics.py": ("reporting/test_statistics.py",),
    "scoring/order_pooling.py": ("ensemble/test_order_pooling.py",),
    "training/objective.py": ("training/test_objective.py",),
    "training/targets.py": ("training/test_targets.py",),
}
LIBRARIES = ("torch", "pandas", "scipy.stats", "scipy.optimize", "sklearn.model_selection", "PIL.Image", "pytest")
TIMES_LONGER, LEAST_SECONDS = 5, 30  # a mutant that takes longer than this hangs, which a user would notice
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
OPPOSITES = {"min": "max", "any": "all", "argmax": "argmin", "floor": "ceil", "logical_and": "logical_or"}
OPPOSITES |= {after: before for before, after in OPPOSITES.items()}
LEVELS = {"debug", "info", "warning", "error"}
# Parts that change no number: types, messages, and checks of our own mistakes.
SKIPPED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """A change of a module: the number of the node in its walk, which change of this node, and both in words."""

    module: str
    node: int
    variant: int
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.before}  ->  {self.after}"


def nodes_of(tree: ast.Module) -> list[ast.AST]:
    """The nodes that may be changed, in a fixed order."""
    found: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, SKIPPED) or _is_log(node) or _is_text(node):
            return
        found.append(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child)

    visit(tree)
    return found


def _is_log(node: ast.AST) -> bool:
    """Whether a statement is a call of the log."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def changes_of(node: ast.AST) -> Iterator[Callable[[ast.AST], None]]:
    """The changes that a node can get, each in place."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            if type(operator) in COMPARISONS:
                yield lambda n, i=i: n.ops.__setitem__(i, COMPARISONS[type(n.ops[i])]())
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        yield lambda n: setattr(n, "op", OPERATORS[type(n.op)]())
    elif isinstance(node, ast.BoolOp):
        yield lambda n: setattr(n, "op", ast.And() if isinstance(n.op, ast.Or) else ast.Or())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield lambda n: setattr(n, "op", ast.UAdd()) if isinstance(n.op, ast.USub) else _unwrap_not(n)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda n: setattr(n, "value", not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield lambda n: setattr(n, "value", n.value + 1)
    elif isinstance(node, ast.Name | ast.Attribute):
        key = "id" if isinstance(node, ast.Name) else "attr"
        if getattr(node, key) in OPPOSITES:
            yield lambda n, key=key: setattr(n, key, OPPOSITES[getattr(n, key)])
    if isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Compare):
        yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    for i, child in enumerate(getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []):
        if isinstance(child, ast.AugAssign) or (
            isinstance(child, ast.Expr) and not (_is_log(child) or _is_text(child))
        ):
            yield lambda n, i=i: n.body.__setitem__(i, ast.Pass())


def _unwrap_not(node: ast.UnaryOp) -> None:
    """`not x` becomes `not not x`, which is as true as x."""
    node.operand = ast.UnaryOp(ast.Not(), node.operand)


def mutants_of(module: str) -> list[Mutant]:
    """All mutants of a module of the core."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    return [
        Mutant(module, number, variant, getattr(node, "lineno", 0), *_words(node, change))
        for number, node in enumerate(nodes_of(tree))
        for variant, change in enumerate(changes_of(node))
    ]


def _words(node: ast.AST, change: Callable[[ast.AST], None]) -> tuple[str, str]:
    """A node's first line that differs, before and after a change."""
    changed = copy.deepcopy(node)
    change(changed)
    before, after = (ast.unparse(ast.fix_missing_locations(one)).splitlines() for one in (node, changed))
    at = next((i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), 0)
    return before[at].strip(), after[at].strip()


def mutated(mutant: Mutant) -> Any:
    """The code of a mutant, compiled."""
    file = PACKAGE / mutant.module
    tree = ast.parse(file.read_text(encoding="utf-8"))
    node = nodes_of(tree)[mutant.node]
    list(changes_of(node))[mutant.variant](node)
    for made in ast.walk(tree):  # a statement that took another's place
        ast.copy_location(made, made) if hasattr(made, "lineno") else None
    return compile(ast.fix_missing_locations(tree), str(file), "exec")


class Exchange(MetaPathFinder):
    """Imports a mutant in place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = f"vqaflow.{mutant.module.removesuffix('.py').replace('/', '.')}"
        self.file, self.code = PACKAGE / mutant.module, mutated(mutant)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The specification of the mutant, for its name alone."""
        if name != self.name:
            return None
        loader = SourceFileLoader(name, str(self.file))
        loader.get_code = lambda _: self.code  # type: ignore[method-assign]
        return spec_from_file_location(name, self.file, loader=loader)


def run_tests(tests: Sequence[str], mutant: Mutant | None, seconds: float) -> tuple[str, float]:
    """Run tests on a mutant (None: on the code as it is) in a fork: "passed", "failed" or "too long", and the seconds.

    A mutant that ends the tests in any other way failed.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_child(tests, mutant)
    while time.monotonic() - began < seconds:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "passed" if status == 0 else "failed", time.monotonic() - began
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too long", time.monotonic() - began


def _be_child(tests: Sequence[str], mutant: Mutant | None) -> None:
    """Run the tests in this process, silently, and end it with their status."""
    os.setpgrp()
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    try:
        if mutant:
            sys.meta_path.insert(0, Exchange(mutant))
        import pytest

        files = [str(ROOT / "tests" / test) for test in tests]
        options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
        status = int(pytest.main([*options, *files]))
    except BaseException:
        status = 1
    os._exit(min(status, 255))


def sample(count: int | None, seed: int, modules: Sequence[str] = tuple(CORE)) -> list[Mutant]:
    """Mutants of `modules`: all, or `count` that the seed draws."""
    found = [mutant for module in modules for mutant in mutants_of(module)]
    if count is None or count >= len(found):
        return found
    order = random.Random(seed).sample(range(len(found)), count)
    return [found[i] for i in sorted(order)]


def survivors(file: Path) -> list[Mutant]:
    """The mutants that survived in an earlier run, whose code is still the same."""
    known = {mutant for module in CORE for mutant in mutants_of(module)}
    told = json.loads(file.read_text(encoding="utf-8"))
    fields = Mutant.__dataclass_fields__
    found = [Mutant(**{name: one[name] for name in fields}) for one in told if one["end"] == "passed"]
    return [mutant for mutant in found if mutant in known]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, metavar="N", help="how many mutants (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: 0)")
    parser.add_argument("--only", nargs="+", choices=[*CORE], default=[*CORE], metavar="MODULE", help="of the core")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write each mutant and its end to FILE")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only what survived in FILE, written by --json")
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(PACKAGE.parent), str(ROOT / "tests" / "support"), str(ROOT)]
    chosen, ends = sample(given.sample, given.seed, given.only), []
    if given.again:
        chosen = survivors(given.again)
    for name in LIBRARIES:
        importlib.import_module(name)
    usual: dict[str, float] = {}
    for module in dict.fromkeys(mutant.module for mutant in chosen):
        end, usual[module] = run_tests(CORE[module], None, 900)
        print(f"{module}: its tests take {usual[module]:.1f} s", flush=True)
        if end != "passed":
            raise SystemExit(f"{module}: its tests do not pass on the code as it is ({end}). Mend them first.")
    for number, mutant in enumerate(chosen, 1):
        allowed = max(LEAST_SECONDS, TIMES_LONGER * usual[mutant.module])
        end, seconds = run_tests(CORE[mutant.module], mutant, allowed)
        ends.append({**vars(mutant), "end": end, "seconds": round(seconds, 1)})
        if end == "passed":
            print(f"survived  {mutant}", flush=True)
        if number % 10 == 0:
            print(f"{number} of {len(chosen)}", flush=True)
        if given.json:
            given.json.write_text(json.dumps(ends, indent=1) + "\n", encoding="utf-8")
    survived = sum(one["end"] == "passed" for one in ends)
    print(f"{len(ends) - survived} of {len(ends)} mutants were noticed; {survived} survived")


if __name__ == "__main__":
    main()
