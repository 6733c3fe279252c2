"""A change must rerun exactly what depends on it: less is a wrong result, more is hours of GPU time.

The answers are Snakemake's own, of `snakemake -n` over fabricated results (`workflow_world`): one for every key of
config.yaml, and for a module of each package. tests/runtime/test_code_digest.py asks the same of all modules' digests.
"""

import ast
import os
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from places import ROOT, SCRIPTS, loaded_by
from vqaflow.config.check import load_schema
from vqaflow.config.schema_wording import leaves
from workflow_world import Plan, WorkflowWorld, plan_of, snakemake

SCHEMA = load_schema(ROOT / "schemas" / "config.schema.yaml")
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
# One module of each package that rules use, and the one whose figures are a result of some of them alone.
MODULES = [
    "__init__.py",
    "runtime/files.py",
    "artifacts/columns.py",
    "config/sections.py",
    "question_types/features.py",
    "reporting/figures.py",
    "reporting/statistics.py",
    "data/folds/balance.py",
    "data/images/decoding.py",
    "model/encoding/prompts.py",
    "model/decoder/fused_decoder.py",
    "model/base_digest.py",
    "plan/footprint.py",
    "scoring/selection.py",
    "training/loop.py",
    "training/augment.py",
    "ensemble/pooling.py",
    "ensemble/submission/checks.py",
    "search/space.py",
    "evaluation/mistakes.py",
    "demo/prepare_demo.py",
]
# Modules that rules load and no result depends on, and the commands, which rules do not load.
SILENT = ["runtime/stage.py", "runtime/progress.py", "runtime/messages.py", "training/curve.py", "plan/plan_text.py"]
SILENT += ["commands/command_line.py", "commands/rules/train_adapter.py"]
RULES = sorted({path.stem for path in SCRIPTS.glob("*.py")} - {"plan"})  # which prints, and makes nothing
EXTRA_VIEWS = ("fine", "tiles", "native", "read", "blind")
FEW_FOLDS = {"folds": {"n": 2}, "views": {name: {"enabled": True} for name in EXTRA_VIEWS}}
FEW_FOLDS["model"] = {"allow_demo_base": True}
SEARCH = FEW_FOLDS | {"hpo": {"enabled": True, "workers": 1}}


def leaf_paths(section: dict, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to each value of a section that is no section itself."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from leaf_paths(value, (*above, key))
        else:
            yield (*above, key)


PATHS = {".".join(path): path for path in leaf_paths(CONFIG)}
PATHS |= {f"model.{key}": ("model", key) for key in ("allow_demo_base", "devices")}
# Keys of a view that config.yaml leaves out, on one that it has.
PATHS |= {f"views.hflip.{key}": ("views", "hflip", key) for key in ("enabled", "max_pixels", "min_pixels", "when")}
# A teacher is another member, of which there is none here: test_member_staleness.py asks about it.
KEYS = [key for key in PATHS if key != "train.teacher"]
# Keys that add jobs, which run because their outputs are missing; and one that pool_member only writes down: what it
# pools does not come from a blind view.
SHAPING = ["folds.n", "hpo.enabled", "hpo.workers", "views.blind.blind"]
SEARCH_KEYS = [key for key in KEYS if key.startswith("hpo.") and key != "hpo.enabled"]
# Values that a change by kind would not reach: files that must be there, texts of a form, lists that must stay whole.
NEW_VALUES: dict[str, Any] = {
    "data.answers_use": "at least 3",
    "data.train_csv": "mine/table.csv",
    "data.test_csv": "mine/table.csv",
    "data.sample_submission": "mine/table.csv",
    "data.image_root": "mine",
    "data.test_image_root": "mine",
    "model.allow_demo_base": False,
    "model.devices": 1,  # 2 needs another quantization than auto
    "data.encoding": "cp949",
    "data.columns.choices": ["d", "c", "b", "a"],
    "prompt.letters": ["A", "B", "C", "D"],
    "data.answers": {"A": "a"},
    "data.submission_labels": "capitals",
    "data.answers_by": ["answer1", "answer2"],
    "data.more_train": [{"csv": "mine/table.csv"}],
    "ensemble.recipe": "log_mean",
    "folds.n": 3,
    "model.base": "Qwen/Qwen3-VL-8B-Instruct",  # its visual tokens have another size, which explore_data counts by
    "hardware.settings": "mine/settings.yaml",
    "views.hflip.enabled": False,
    "views.hflip.flip": False,
    "views.hflip.max_pixels": 50000,
    "views.hflip.min_pixels": 13000,
    "views.hflip.when": "margin < 0.2",
    **{f"views.{name}.enabled": False for name in EXTRA_VIEWS},
    "views.tiles.tiles": "1x2",
    "train.view": "fine",
    "views.fine.when": "margin < 0.2",
    "hpo.workers": 2,
    "hardware.session_hours": 9,
    "about.authors": [{"name": "x"}],
}


def value_at(key: str) -> Any:
    """The value of config.yaml under a dotted key."""
    value: Any = CONFIG
    for part in PATHS[key]:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def declaration(key: str) -> dict:
    """What the schema says of a key; a search space's entries are listed as one."""
    known = leaves(SCHEMA)
    parts = list(PATHS[key])
    if parts[0] == "views":
        parts[1] = "*"
    while ".".join(parts) not in known:
        parts.pop()
    return known[".".join(parts)]


def another(key: str) -> Any:
    """A value that the schema allows and that is not the present one."""
    if key in NEW_VALUES:
        return NEW_VALUES[key]
    value, schema = value_at(key), declaration(key)
    options = schema.get("enum") or next((part["enum"] for part in schema.get("oneOf", []) if "enum" in part), None)
    if options:
        return next(option for option in options if option not in (value, False))
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        if key.startswith("hpo.space") and "range" in key:
            return [value[0], (value[0] + value[1]) / 2]
        return value[:-1] if len(value) > schema.get("minItems", 0) else [value[0] + 1]
    if isinstance(value, int):
        return value - 1 if value == schema.get("maximum") else value + 1
    if isinstance(value, float):
        return value / 2 or 0.125
    return "x" if value is None else value + "x"


def change_of(key: str) -> dict:
    """The section of a user's file that changes `key`."""
    change = another(key)
    for part in reversed(PATHS[key]):
        change = {part: change}
    return change


def importing(module: str) -> frozenset[str]:
    """Rules whose results depend on `module`, by the standard library's own search through their bytecode.

    The look of figures is not part of what train_adapter and run_trials hand on, though they draw one.
    """
    rules = {rule for rule in RULES if module in IMPORTS[rule]}
    return frozenset(rules - ({"train_adapter", "run_trials"} if module == "reporting/figures.py" else set()))


IMPORTS = {rule: loaded_by(rule) for rule in RULES}


def expected(world: WorkflowWorld, rules: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """What must run when `rules` are stale: they and all that follows; and which of them lie behind no other one."""
    followers = world.followers
    rules &= followers.keys()
    direct = frozenset(rule for rule in rules if not any(rule in followers[other] for other in rules - {rule}))
    return rules.union(*(followers[rule] for rule in rules)), direct


def make_world(folder: Path, settings: dict) -> WorkflowWorld:
    """A world of its own with `settings` over config.yaml, and files that changes may name."""
    options = folder.with_suffix(".yaml")
    options.write_text(yaml.safe_dump(settings), encoding="utf-8")
    world = WorkflowWorld(folder, str(options))
    (folder / "mine" / "table.csv").write_text("id\n")
    (folder / "mine" / "settings.yaml").write_text("{}\n")
    return world


def edited_plans(world: WorkflowWorld, modules: list[str]) -> dict[str, Plan]:
    """The plan after an edit of each of `modules`, one at a time."""
    plans = {}
    for name in modules:
        path = world.folder / "workflow_scripts" / "vqaflow" / name
        source = path.read_text(encoding="utf-8")
        path.write_text(source + "\n\nEDITED = True\n", encoding="utf-8")
        plans[name] = world.plan()
        path.write_text(source, encoding="utf-8")
    return plans


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WorkflowWorld]]:
    """The workflow as it comes, with a search, and with a search and quarantined rows."""
    folder = tmp_path_factory.mktemp("worlds")
    settings = {"plain": FEW_FOLDS, "search": SEARCH, "other": SEARCH | {"data": {"on_bad_row": "quarantine"}}}
    with ThreadPoolExecutor(3) as pool:
        made = dict(zip(settings, pool.map(lambda n: make_world(folder / n, settings[n]), settings), strict=True))
    yield made
    for world in made.values():
        world.close()


@pytest.fixture
def editable(worlds: dict[str, WorkflowWorld], tmp_path: Path) -> Iterator[Callable[[str], WorkflowWorld]]:
    """Gives a copy of a world, to be edited."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(closing(worlds[name].copied(tmp_path / name)))


@pytest.fixture(scope="module")
def plans(worlds: dict[str, WorkflowWorld]) -> dict[str, Plan]:
    """The plan after each change, by key or module, from all cores at once."""
    edited = [*MODULES, *SILENT]
    third = len(edited) // 3

    def plain() -> dict[str, Plan]:
        return {key: worlds["plain"].plan(change_of(key)) for key in KEYS if key not in SEARCH_KEYS}

    def search() -> dict[str, Plan]:
        keys = {key: worlds["search"].plan(change_of(key)) for key in SEARCH_KEYS}
        return keys | edited_plans(worlds["search"], edited[:third])

    with ThreadPoolExecutor(3) as pool:
        parts = [pool.submit(plain), pool.submit(search), pool.submit(edited_plans, worlds["other"], edited[third:])]
        return {name: plan for part in parts for name, plan in part.result().items()}


def test_every_key_says_which_rules_read_it():
    """A key without a declaration would be one whose changes nobody checks; a rule's misspelt name means nothing."""
    assert [key for key, schema in leaves(SCHEMA).items() if "x-rules" not in schema] == []
    assert {rule for schema in leaves(SCHEMA).values() for rule in schema["x-rules"]} <= set(RULES)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_reruns_the_rules_that_read_it(worlds, plans, key):
    """And what follows from them, for no reason further down; a hint about the machine reruns nothing."""
    world = worlds["search" if key in SEARCH_KEYS else "plain"]
    rules, direct = expected(world, frozenset(declaration(key)["x-rules"]))
    if key == "hpo.enabled":
        rules |= {"run_trials", "search_hyperparameters"}
    assert plans[key].rules == rules
    assert plans[key].direct == direct or key in SHAPING


def test_a_search_that_is_off_reruns_nothing(worlds):
    changes: dict = {}
    for key in SEARCH_KEYS:
        *parents, last = PATHS[key]
        section = changes
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = another(key)
    assert worlds["plain"].plan(changes).rules == frozenset()


def test_rows_that_were_too_long_come_back_from_quarantine(worlds):
    """Where a long row only stops the run, there are none to come back."""
    change = {"prompt": {"max_tokens": 9000}}
    assert "validate_tables" in worlds["other"].plan(change).direct
    assert "validate_tables" not in worlds["plain"].plan(change).rules


@pytest.mark.parametrize("key", ["train.epochs", "model.max_pixels", "prompt.system"])
def test_a_search_starts_again_when_what_it_trains_changes(worlds, key):
    rules, direct = expected(worlds["search"], frozenset(declaration(key)["x-rules"]))
    plan = worlds["search"].plan(change_of(key))
    assert (plan.rules, "run_trials" in plan.direct) == (rules, True)


def test_another_view_is_scored_and_no_other_again(worlds, editable):
    """Adding a view must not score again those that there are, nor train, when the quantised base was deleted."""
    world = editable("plain")
    shutil.rmtree(world.folder / "results" / "base", ignore_errors=True)
    plan = world.plan({"views": {"large": {"max_pixels": 100352}}})
    assert plan.jobs["score_choices"] == 4  # two folds and two splits
    pooling = {"pool_member"} | worlds["plain"].followers["pool_member"]
    assert plan.rules == {"score_choices", "explore_data"} | pooling  # explore_data counts its visual tokens


@pytest.mark.parametrize("module", MODULES)
def test_an_edit_reruns_the_rules_that_import_the_module(worlds, plans, module):
    rules, direct = expected(worlds["other"], importing(module))
    assert plans[module].rules == rules
    assert plans[module].direct == direct


@pytest.mark.parametrize("module", SILENT)
def test_an_edit_that_can_change_no_result_reruns_nothing(plans, module):
    """A progress bar or a command's help must not cause another training."""
    assert plans[module].jobs == {}


def test_other_messages_rerun_nothing(editable):
    """After an update that rewords what users read, adapters and scores stay as they are."""
    world = editable("other")
    path = world.folder / "workflow_scripts" / "vqaflow" / "training" / "loop.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.")
    ]
    assert len(calls) > 4
    for call in calls:
        call.args[0] = ast.Constant("Other words.")
    path.write_text(ast.unparse(tree), encoding="utf-8")
    assert world.plan().jobs == {}


def test_a_changed_key_is_named_once(worlds):
    """An edit of one sentence of the prompt dumped all templates once per fold."""
    world = worlds["plain"]
    change = {"prompt": {"system": "Other words."}, "train": {"lora": {"r": 5}}}
    (world.folder / "mine" / "named.yaml").write_text(yaml.safe_dump(change), encoding="utf-8")
    status, printed = world.ask("-n", *world.configured("mine/named.yaml"))
    assert status == 0, printed
    told = printed.splitlines()
    start = told.index("vqaflow: changed since the results were made:")
    assert told[start + 1 :] == ["  prompt.system (train_adapter)", "  train.lora.r (train_adapter)"]
    assert 'prompt.system: "Other words."' in printed and "train.lora.r: 5" in printed
    assert "templates" not in printed and "learning_rate" not in printed


@pytest.mark.parametrize("rule", ["score_choices", "evaluate_oof"])
def test_an_edit_of_a_script_reruns_its_rule(worlds, editable, rule):
    world = editable("plain")
    with (world.folder / "workflow_scripts" / f"{rule}.py").open("a", encoding="utf-8") as script:
        script.write("sorted([])\n")
    plan = world.plan()
    assert plan.rules == {rule} | worlds["plain"].followers[rule]
    assert plan.direct == {rule}


def test_layout_comments_and_docstrings_rerun_nothing(editable):
    """Every file rewritten by `ast.unparse`, which drops comments, with other docstrings; rules with a comment."""
    world = editable("other")
    for path in world.folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body[0] = ast.Expr(ast.Constant("Another docstring."))
        path.write_text(f"# a comment\n{ast.unparse(tree)}\n", encoding="utf-8")
    for path in [world.folder / "Snakefile", *world.folder.glob("rules/*"), *world.folder.glob("envs/*")]:
        path.write_text(path.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    assert world.plan().jobs == {}


def test_the_order_of_keys_reruns_nothing(editable):
    """config.yaml without comments and with all keys the other way round."""

    def turned(value: Any) -> Any:
        return {k: turned(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    world = editable("other")
    config = yaml.safe_dump(turned(CONFIG), sort_keys=False, allow_unicode=True)
    (world.folder / "config.yaml").write_text(config, encoding="utf-8")
    assert world.plan().jobs == {}


@pytest.mark.parametrize("options", [["--cores", "3"], ["--cores", "1", "--resources", "gpu=4"]])
def test_more_cores_or_gpus_rerun_nothing(worlds, options):
    assert worlds["plain"].plan(None, *options).jobs == {}


@pytest.mark.parametrize("profile", ["kaggle-t4x2", "gpu", "slurm"])
def test_another_profile_with_the_same_settings_reruns_nothing(worlds, profile):
    """What was trained on one machine may be scored on another, if the user's file settles what the profiles would."""
    world = worlds["plain"]
    files = ["--configfile", "config.yaml", *world.options]
    status, printed = world.ask("-n", "--profile", f"profiles/{profile}", *files)
    assert status == 0, printed
    assert plan_of(printed).jobs == {}


def test_a_clone_that_carries_the_results_reruns_nothing(worlds, tmp_path):
    """Copied by anything that keeps no times: files that come later than what was made from them."""
    clone = shutil.copytree(worlds["plain"].folder, tmp_path / "clone", copy_function=shutil.copyfile)
    printed = snakemake(clone, "-n", *worlds["plain"].configured())
    assert printed.returncode == 0
    assert plan_of(printed.stdout).jobs == {}


def test_touching_every_file_reruns_nothing(editable):
    lot, world = random.Random(3), editable("search")
    files = [path for path in world.folder.rglob("*") if ".snakemake" not in path.parts]
    lot.shuffle(files)
    for path in files:
        os.utime(path, (lot.uniform(1.7e9, 1.79e9),) * 2)
    assert world.plan().jobs == {}


def test_changed_bytes_of_an_input_rerun_what_follows(worlds, editable):
    """The checksums that cancel newer times must not cancel other bytes."""
    world = editable("search")
    (world.folder / "results" / "folds.parquet").write_bytes(b"others")
    assert world.plan().rules == worlds["search"].followers["make_folds"]


@pytest.mark.parametrize("change", [None, {"train": {"epochs": 9}}, {"folds": {"seed": 1}}])
def test_the_answers_are_those_of_the_command(worlds, change):
    """What is asked of the forking process here, `snakemake -n` says as well, in a process of its own."""
    world = worlds["plain"]
    plan = world.plan(change)
    files = ["mine/change.yaml"] if change else []
    assert plan_of(snakemake(world.folder, "-n", *world.configured(*files)).stdout) == plan
