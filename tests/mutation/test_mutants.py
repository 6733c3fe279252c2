"""The mutator itself: it changes what it says, and it tells tests that bite from tests that do not."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from places import ROOT

sys.path.insert(0, str(Path(__file__).parent))
import mutants  # noqa: E402


def test_every_mutant_is_other_code_that_compiles() -> None:
    """A mutant that is the same code would count as one that no test can notice."""
    for module in mutants.CORE:
        found = mutants.mutants_of(module)
        assert len(found) > 10, f"{module} has hardly any"
        assert all(mutant.before != mutant.after for mutant in found)
        plain = compile((mutants.PACKAGE / module).read_text(encoding="utf-8"), "plain", "exec")
        for mutant in found[::20]:
            assert mutants.mutated(mutant) != plain, str(mutant)


def test_a_seed_draws_the_same_mutants() -> None:
    """The score in the documentation is of a sample that anybody can draw again."""
    assert mutants.sample(20, 3) == mutants.sample(20, 3) != mutants.sample(20, 4)


def test_words_for_people_are_not_changed() -> None:
    tree = ast.parse(
        "def f(x: int = 1):\n    '''Add 1.'''\n    log.info('%d', 3)\n    assert x > 0\n    raise E(f'{x + 1}')"
    )
    changed = {ast.unparse(node) for node in mutants.nodes_of(tree) if list(mutants.changes_of(node))}
    assert changed == {"1"}, "only the default may change"


def test_tests_that_bite_are_told_from_tests_that_do_not(tmp_path: Path) -> None:
    """On a module of the core: its own tests notice that a maximum became a minimum, an empty test does not."""
    (tmp_path / "test_nothing.py").write_text("import vqaflow.reporting.agreement\ndef test_nothing():\n    pass\n")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:4]; import mutants; "
        "m = next(m for m in mutants.mutants_of('model/encoding/orders.py') if '==' in m.before or '!=' in m.before); "
        "print([mutants.run_tests([file], one, 300)[0] for file in (sys.argv[4], 'model/encoding/test_orders.py') "
        "for one in (None, m)])"
    )
    paths = [ROOT / "tests" / "mutation", ROOT / "workflow_scripts", ROOT / "tests" / "support"]
    command = [sys.executable, "-c", code, *map(str, paths), str(tmp_path / "test_nothing.py")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert run.stdout.strip() == "['passed', 'passed', 'passed', 'failed']", run.stdout + run.stderr
