"""Two modules of one workflow, as docs/other_folder.md shows it: run really up to the folds, and planned to the end."""

import re
from pathlib import Path

import pytest
import yaml

from given_folders import given, rows
from places import ROOT
from workflow_world import copy_workflow, plan_of, snakemake

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs/other_folder.md").read_text(encoding="utf-8")
SNAKEFILE = next(text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "module april" in text)
# Snakemake shows a rule's message instead of its resources.
SHOWN = """
if workflow.is_main_process:
    given = workflow.get_rule("april_train_adapter")
    print("resources:", *(f"{name}={given.resources[name]}" for name in ("gpu", "mem_mb")))
    print("params:", *sorted(name for name, _ in given.params.items()))
"""
OWN = {f"{name}_csv": f"data/{name}.csv" for name in ("train", "test")}
OWN |= {"sample_submission": "data/sample_submission.csv", "image_root": "data"}
APRIL = {
    "data": OWN,
    "members": {"other": {"probabilities": {"oof": "data/oof.csv", "test": "data/test_answers.csv"}}},
    "hardware": {"settings": "profiles/gpu/settings.yaml"},
}
MODULE = 'module {name}:\n    snakefile: "{place}/Snakefile"\n    config: {config}\n\n'
ALL_RULES = "use rule * from {name} as {name}_*\n\n"
MAY = {"data": {"demo": {"train_rows": 30, "test_rows": 6}}}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two modules, with folds of both; april's tables are the user's own, may's the demo's."""
    folder = tmp_path_factory.mktemp("both")
    given(folder / "data", rows("train", count=12, answers="abcd"))
    (folder / "data/oof.csv").touch()
    (folder / "data/test_answers.csv").touch()
    (folder / "Snakefile").write_text(SNAKEFILE.replace("/opt/vqaflow", str(ROOT)) + SHOWN, encoding="utf-8")
    (folder / "settings.yaml").write_text(yaml.safe_dump({"april": APRIL, "may": MAY}), encoding="utf-8")
    options = ["--workflow-profile", str(ROOT / "profiles/default"), "--cores", "1"]
    done = snakemake(folder, *options, "april/results/folds.parquet", "may/folds.parquet")
    (folder / "printed").write_text(done.stdout, encoding="utf-8")
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def planned(both: Path) -> str:
    """What a dry run of the rest prints."""
    done = snakemake(both, "-n", "--workflow-profile", str(ROOT / "profiles/default"))
    assert done.returncode == 0 and "Traceback" not in done.stdout, done.stdout
    return done.stdout


def test_results_follow_the_prefix_and_the_users_files_do_not(both):
    """Everything of a module is in its place, also what jobs write besides their outputs."""
    assert not (both / "results").exists() and not (both / "april/data").exists()
    for place in (both / "april/results", both / "may"):
        for name in ("tables/train.parquet", "digests/make_folds.json", "logs/make_folds.log", "work/image_times.json"):
            assert (place / name).is_file(), f"{place / name} is missing"
    assert (both / "may/demo/train.csv").is_file() and not (both / "april/results/demo").exists()


def test_a_run_says_once_how_far_it_is_and_begins_and_ends_for_both(both):
    """Each module has a listener's plan, but there is one listener: a second one would say the time twice."""
    lines = (both / "printed").read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if re.match(r"\d+ of \d+ steps", line)]
    assert told and all(line.count(" in ") == 1 for line in told), told
    assert lines.count("vqaflow: done") == 2


def test_nothing_that_was_made_is_made_again(planned):
    """Params that held the places of results would differ between calls, and rerun everything."""
    jobs = plan_of(planned).jobs
    assert not {name for name in jobs if name.endswith(("validate_tables", "make_folds", "prepare_demo"))}, jobs
    assert "changed since" not in planned


def test_both_modules_are_planned_to_their_end(planned):
    jobs = plan_of(planned).jobs
    for rule in ("train_adapter", "score_choices", "evaluate_oof", "validate_submission"):
        assert jobs[f"april_{rule}"] and jobs[f"may_{rule}"], rule
    assert "april/results/scores/main/" in planned and " may/scores/main/" in planned
    assert "may_store_base" in jobs and "april_store_base" not in jobs, "profiles/gpu/settings.yaml: quantization none"
    assert "april/data/" not in planned and "localrules directive" not in planned


def test_a_rule_gets_other_resources_and_keeps_its_own_settings(planned):
    """What a script needs must not be lost with the resources that the caller replaces."""
    assert re.search(r"^resources: gpu=\D*1\D.*mem_mb=\D*64000\D", planned, re.MULTILINE), planned
    params = re.search(r"^params: (.*)$", planned, re.MULTILINE)[1].split()
    assert {"results", "store", "store_gb", "train", "model"} <= set(params)
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "workflow_scripts").glob("*.py")]
    assert not [text for text in sources if "snakemake.resources" in text]


def test_a_single_rule_is_taken_alone(tmp_path):
    """Without `use rule *`, the other rules do not exist when it is read."""
    module = MODULE.format(name="vqa", place=ROOT, config={})
    taken = "use rule evaluate_oof from vqa as measure\n\nuse rule show_answers from vqa as show\n"
    (tmp_path / "Snakefile").write_text(module + taken, encoding="utf-8")
    done = snakemake(tmp_path, "--list-rules")
    assert done.returncode == 0 and {"measure", "show"} <= set(done.stdout.split()), done.stdout


def test_two_versions_in_one_run_are_refused(tmp_path):
    """Jobs of the second one would silently run with the first one's package."""
    other = copy_workflow(tmp_path / "other")
    text = "".join(
        (MODULE + ALL_RULES).format(name=name, place=place, config={})
        for name, place in (("one", ROOT), ("two", other))
    )
    (tmp_path / "Snakefile").write_text(text, encoding="utf-8")
    done = snakemake(tmp_path, "-n")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert f"error: {other}: the same run also uses the workflow in {ROOT}" in done.stdout, done.stdout


def test_a_modules_settings_are_checked(tmp_path):
    """A misspelt key of one module must not run with a default."""
    module = (MODULE + ALL_RULES).format(name="vqa", place=ROOT, config={"fold": {"n": 4}})
    (tmp_path / "Snakefile").write_text(module, encoding="utf-8")
    done = snakemake(tmp_path, "-n")
    assert done.returncode != 0 and "Traceback" not in done.stdout and "did you mean 'folds'" in done.stdout, (
        done.stdout
    )
