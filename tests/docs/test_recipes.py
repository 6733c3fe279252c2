"""docs/recipes: what a page shows is what a reader gets, at the size of a small model and a few rows."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs_pages import example
from places import takes_minutes
from workflow_world import copy_workflow

RECIPES = example("recipes")
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in RECIPES.pages()}
# In place of what a page says for real models, cards and tables.
SMALL = {
    "model": {"base": "assets/tiny-qwen2_5-vl", "allow_demo_base": True, "quantization": "auto"},
    "train": {"epochs": 1, "batch_size": 8, "accumulation": 1, "trackers": [], "max_minutes": 0},
    "folds": {"n": 2},
}
KINDS = ("view", "objective", "teacher", "augment")  # keys of `train` that make it another kind of run
SIZES = {"min_pixels": 12544, "max_pixels": 50176}
ROWS = {"train_rows": 24, "test_rows": 12}


def small(settings: Any) -> Any:
    """A page's settings with small bases and pictures at every level."""
    if not isinstance(settings, dict):
        return settings
    changed = {key: small(value) for key, value in settings.items() if key not in ("revision", "compute_dtype")}
    changed |= {key: value for key, value in SIZES.items() if key in changed}
    if "base" in changed:
        changed["base"] = "assets/tiny-qwen3-vl" if "Qwen3-VL" in changed["base"] else "assets/tiny-qwen2_5-vl"
    return changed


def small_settings(page: str) -> dict[str, Any]:
    """The my.yaml of a page at small size."""
    settings = small(yaml.safe_load(RECIPES.SETTINGS.search(page)[1]))
    # What only fits a training to its card is left out, so that pages of the same kind share their adapters.
    settings["train"] = {key: value for key, value in settings.get("train", {}).items() if key in KINDS}
    for section, changes in SMALL.items():
        settings[section] = settings.get(section, {}) | changes
    settings["model"] |= SIZES | {"compute_dtype": "auto"}
    return settings


def commands(page: str) -> list[str]:
    """The commands of a page, without what they say of themselves."""
    return [re.split(r"\s{2,}#", line)[0] for line in RECIPES.COMMANDS.search(page)[1].splitlines()]


def run(command: str, folder: Path) -> str:
    """Run a page's command in `folder`; what it printed."""
    program, *arguments = shlex.split(command)
    if program == "printf":
        text, sign, file = arguments
        assert sign == ">"
        (folder / file).write_text(text)
        return ""
    start = [sys.executable, *{"python": [], "vqaflow": ["-m", "vqaflow"]}.get(program, ["-m", program])]
    environment = os.environ | {"PYTHONPATH": str(folder / "workflow_scripts"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*start, *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow beside a small competition, with a table that five people answered."""
    folder = copy_workflow(tmp_path_factory.mktemp("recipes") / "workflow")
    (folder / "my.yaml").write_text(yaml.safe_dump({"data": {"demo": ROWS}}))
    run("vqaflow prepare_demo --config my.yaml", folder)
    shutil.move(folder / "results" / "demo", folder / "data")
    with (folder / "data" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name != "answer"]
    people = [[row["answer"]] * 4 + ["abcd"[number % 4]] for number, row in enumerate(rows[:8])]
    told = [[f"dev{row['id']}", *(row[name] for name in columns if name != "id")] for row in rows[:8]]
    lines = [row + answers for row, answers in zip(told, people, strict=True)]
    header = ["id", *(name for name in columns if name != "id"), *RECIPES.PEOPLE]
    RECIPES.write_table(folder / "data" / "dev.csv", header, lines)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_recipe_are_planned(name, evening):
    """Its settings are taken, its profile is there, and its targets are known."""
    (evening / "my.yaml").write_text(yaml.safe_dump(small_settings(PAGES[name]), allow_unicode=True))
    planned = 0
    for command in commands(PAGES[name]):
        if command.startswith("python "):  # what a friend would send
            (evening / "text_model").mkdir(exist_ok=True)
            for split in ("oof", "test"):
                (evening / "text_model" / f"{split}.csv").touch()
        elif command.startswith("snakemake "):
            planned += "submission" in run(command.replace("snakemake ", "snakemake -n ", 1), evening)
        elif not command.startswith("vqaflow "):
            run(command, evening)
    assert planned, "no command ends with a submission"


@takes_minutes
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_recipe_run(name, evening):
    """With the page's own settings, its last command ends with a valid submission."""
    (evening / "my.yaml").write_text(yaml.safe_dump(small_settings(PAGES[name]), allow_unicode=True))
    (evening / "results" / "submission.validated.json").unlink(missing_ok=True)
    for command in commands(PAGES[name]):
        run(command, evening)
    assert (evening / "results" / "submission.validated.json").is_file()


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The competition of the pages' plans."""
    folder = tmp_path_factory.mktemp("plans")
    RECIPES.make_folder(folder)
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_the_plan_is_what_the_command_prints(name, planned):
    """Readers rent a card by it."""
    assert RECIPES.filled(PAGES[name], planned) == PAGES[name], "python docs/examples/recipes.py"


def test_the_index_names_every_recipe():
    index = (RECIPES.FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\w+)\.md\)", index)) == set(PAGES)


def test_no_page_shows_this_machine():
    """Nor a message of a plan that failed."""
    for name, text in PAGES.items():
        assert not re.search(r"/(tmp|root|home|work|kaggle)/|Traceback|error:", text), name
