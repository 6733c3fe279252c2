"""What Snakemake's users ask of a workflow from the command line works here as well."""

import resource
from collections.abc import Iterator
from contextlib import closing

import pytest

from workflow_world import WorkflowWorld, copy_small_workflow, plan_of, snakemake


def make_world(factory: pytest.TempPathFactory, finished: bool) -> Iterator[WorkflowWorld]:
    world = WorkflowWorld(factory.mktemp("targets") / "workflow", finished=finished)
    yield world
    world.close()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkflowWorld]:
    """The workflow as it comes, with fabricated results."""
    yield from make_world(tmp_path_factory, True)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkflowWorld]:
    """The workflow before its first run."""
    yield from make_world(tmp_path_factory, False)


def asked(world: WorkflowWorld, *arguments: str) -> str:
    status, printed = world.ask(*arguments)
    assert status == 0, printed
    return printed


def test_one_fold_is_trained_alone(empty):
    """For a first look, or on the second notebook."""
    plan = empty.plan(None, "results/adapters/main/fold1")
    before = ["prepare_demo", "validate_tables", "make_folds", "store_base"]
    assert plan.jobs == dict.fromkeys([*before, "train_adapter"], 1)


def test_one_view_is_scored_alone(finished, tmp_path):
    with closing(finished.copied(tmp_path / "workflow")) as lacking:
        (lacking.folder / "results/scores/main/test/fold0/hflip.parquet").unlink()
        plan = lacking.plan(None, "results/scores/main/test/fold0/hflip.parquet")
    assert plan.jobs == {"score_choices": 1}


@pytest.mark.parametrize(
    ("target", "last"),
    [
        ("results/tables/train.parquet", "validate_tables"),
        ("results/eda/summary.json", "explore_data"),
        ("results/folds.parquet", "make_folds"),
        ("results/evaluation/metrics.json", "evaluate_oof"),
        ("results/submission.csv", "write_submission"),
    ],
)
def test_an_artifact_is_made_by_its_path(empty, target, last):
    """With what it needs, and nothing that comes later."""
    plan = empty.plan(None, target)
    assert plan.jobs[last] == 1
    assert not plan.rules & empty.followers[last]


def test_a_rule_is_forced_with_what_follows(finished):
    plan = finished.plan(None, "--forcerun", "score_choices")
    assert plan.rules == {"score_choices"} | finished.followers["score_choices"]
    assert plan.jobs["score_choices"] == 12


def test_until_stops_early(empty):
    assert empty.plan(None, "--until", "make_folds").rules == {"prepare_demo", "validate_tables", "make_folds"}


def test_a_plan_says_what_would_run(empty):
    printed = asked(empty, "-n", "-p")
    assert "Training the adapter of main, fold 2" in printed
    assert plan_of(printed).jobs["score_choices"] == 12


@pytest.mark.parametrize(
    ("options", "first"),
    [
        (["--dag"], "digraph snakemake_dag {"),
        (["--rulegraph"], "digraph snakemake_dag {"),
        (["--rulegraph", "mermaid-js"], "flowchart TB"),
        (["--dag", "mermaid-js"], "flowchart TB"),
    ],
)
def test_the_graph_can_be_drawn(finished, options, first):
    """As the README pipes it into `dot`: nothing of ours stands among the graph's lines."""
    command = snakemake(finished.folder, *options, "--quiet")
    assert command.returncode == 0
    graph = command.stdout[command.stdout.index(first) :]
    assert "score_choices" in graph and "train_adapter" in graph


def test_the_summary_tells_each_file(finished):
    printed = asked(finished, "--summary")
    assert "results/adapters/main/fold0/adapter_model.safetensors" in printed
    assert "no update" in printed


def test_help_tells_every_target_in_a_sentence(empty):
    """And each of them is one: its path can be asked for."""
    printed = asked(empty, "help", "--cores", "1")
    lines = printed[printed.index("Targets, ") : printed.index("After a run:")].splitlines()
    assert lines.pop(2).startswith("  (none) "), "what runs without a target"
    targets = dict(line.split(maxsplit=1) for line in lines[1:])
    assert len(targets) >= 8 and all(len(told) > 10 for told in targets.values())
    for target in targets.keys() - {"results/hpo/main/best.yaml", "zero_shot"}:
        assert empty.plan(None, target).jobs, target


def test_merged_is_made_only_if_asked_for(empty, finished):
    """Each checkpoint takes as much of the disk as the base: nobody gets one unasked."""
    assert "merge_adapter" not in empty.plan(None).rules
    assert finished.plan(None, "merged").jobs == {"merged": 1, "merge_adapter": 3}
    assert finished.plan(None, "results/merged/main/fold1").jobs == {"merge_adapter": 1}


def test_an_untuned_member_answers_before_anything_is_trained(empty):
    """For a first submission in minutes; the training rows are not scored for it."""
    plan = empty.plan({"members": {"untuned": {"train": "none"}}}, "zero_shot")
    before = ["prepare_demo", "validate_tables", "store_base"]
    assert plan.jobs == dict.fromkeys([*before, "answer_zero_shot", "zero_shot"], 1) | {"score_choices": 2}


def test_a_first_submission_without_an_untuned_member_says_what_to_add(empty):
    status, printed = empty.ask("-n", "zero_shot")
    assert status != 0 and "error: members: none is untuned." in printed and "`untuned: {train: none}`" in printed


def test_jobs_run_the_package_beside_the_snakefile(tmp_path):
    """A user who has two checkouts, or an installed version too, gets the results of the code that lies here."""
    folder = copy_small_workflow(tmp_path / "workflow")
    module = folder / "workflow_scripts/vqaflow/demo/prepare_demo.py"
    text = module.read_text(encoding="utf-8")
    assert text.count('log.info("demo: ') == 1
    module.write_text(text.replace('log.info("demo: ', 'log.info("the copy: '), encoding="utf-8")
    done = snakemake(folder, "--cores", "1", "results/demo/train.csv")
    assert done.returncode == 0, done.stdout
    assert "the copy: 60 training" in (folder / "results/logs/prepare_demo.log").read_text(encoding="utf-8")


def test_planning_takes_seconds(finished):
    """Six of a processor's, half of them for digests of the code; with many more, nobody looks before running."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert snakemake(finished.folder, "-n").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
