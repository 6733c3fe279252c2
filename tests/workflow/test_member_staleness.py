"""A change of one member must run that member again and the pool, and nothing of the others.

The answers are Snakemake's own, of `snakemake -n` over fabricated results (`workflow_world`).
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from workflow_world import WorkflowWorld

SETTINGS = {
    "folds": {"n": 2},
    "model": {"max_pixels": 602112},  # as in a real run: under the demo's, validate_tables looks for very thin images
    "members": {
        "main": {"views": {"hflip": {"enabled": False}}},
        "other": {"model": {"base": "assets/tiny-qwen3-vl"}, "seeds": [1, 2], "refit": True},
        "untuned": {"train": "none"},
        "friend": {"probabilities": {"oof": "mine/oof.csv", "test": "mine/test.csv"}},
    },
}
# What runs of each member if all of it does: adapters, then score files (views times parts, OOF and test).
MAIN = {"train": 2, "score": 1 * (2 + 2), "pool": 1}
OTHER = {"train": 2 * 2 + 2, "score": 2 * (4 + 6), "pool": 1}
UNTUNED = {"score": 2 * (1 + 1), "pool": 1}
POOL = {"ensemble_probabilities", "evaluate_oof", "write_submission", "show_answers", "validate_submission"}
WORDS = {
    "base": r"Quantising the base model of (\w+)",
    "train": r"Training the adapter of (\w+)",
    "score": r"Scoring \w+ rows, (\w+)",
    "pool": r"Pooling the scores of (\w+)",
    "trial": r"Trying training parameters of (\w+)",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkflowWorld]:
    """Four members, one of each kind, all finished."""
    folder = tmp_path_factory.mktemp("members")
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    made = WorkflowWorld(folder / "world", str(settings), finished=False)
    for name in ("oof.csv", "test.csv", "others.csv"):
        (made.folder / "mine" / name).write_text(f"id\n{name}\n", encoding="utf-8")
    made.fabricate()
    yield made
    made.close()


def runs(world: WorkflowWorld, change: dict) -> tuple[dict[str, dict[str, int]], set[str]]:
    """What would run after `change`: the jobs of each member by their kind, and the rules of no member."""
    (world.folder / "mine" / "change.yaml").write_text(yaml.safe_dump(change), encoding="utf-8")
    status, printed = world.ask("-n", *world.configured("mine/change.yaml"))
    assert status == 0, printed
    by_member: dict[str, Counter] = {}
    for kind, words in WORDS.items():
        for name in re.findall(words, printed):
            by_member.setdefault(name, Counter())[kind] += 1
    table = printed[printed.index("Job stats") :] if "Job stats" in printed else ""
    rules = {line.split()[0] for line in table.split("\n\n")[0].splitlines()[3:-1]}
    of_members = {"store_base", "train_adapter", "score_choices", "pool_member", "run_trials"}
    return {name: dict(jobs) for name, jobs in by_member.items()}, rules - of_members - {"all"}


def member(name: str, **entry: object) -> dict:
    return {"members": {name: entry}}


def test_finished_members_run_nothing(world):
    assert runs(world, {}) == ({}, set())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (member("main", train={"epochs": 9}), {"main": MAIN}),
        (member("main", orders="all"), {"main": {"score": 4, "pool": 1}}),
        (member("main", prompt={"system": "Answer."}), {"main": MAIN}),
        (member("other", train={"lora": {"r": 4}}), {"other": OTHER}),
        (member("other", model={"max_pixels": 700000}), {"other": OTHER}),
        (member("other", views={"hflip": {"enabled": False}}), {"other": {"pool": 1}}),
        (member("untuned", orders="identity"), {"untuned": UNTUNED}),
        (member("untuned", model={"base": "assets/tiny-qwen3-vl"}), {"untuned": {"base": 1} | UNTUNED}),
        (member("friend", probabilities={"oof": "mine/others.csv"}), {"friend": {"pool": 1}}),
    ],
    ids=str,
)
def test_a_change_of_a_member_runs_that_member_and_the_pool(world, change, expected):
    assert runs(world, change) == (expected, POOL)


def test_another_seed_trains_its_adapters_alone(world):
    """Two folds and all rows; those of the other seeds stay."""
    ran, rules = runs(world, member("other", seeds=[1, 2, 3]))
    assert ran == {"other": {"train": 3, "score": 2 * (2 + 3), "pool": 1}} and rules == POOL


def test_a_refit_trains_no_fold_again(world):
    ran, rules = runs(world, member("main", refit=True))
    assert ran == {"main": {"train": 1, "score": 1, "pool": 1}} and rules == POOL


@pytest.mark.parametrize(
    ("entry", "jobs"),
    [
        ({"orders": "all"}, {"base": 1, "train": 2, "score": 8, "pool": 1}),
        ({"train": "none", "orders": "all"}, {"base": 1, "score": 4, "pool": 1}),
        ({"probabilities": {"oof": "mine/others.csv", "test": "mine/others.csv"}}, {"pool": 1}),
    ],
)
def test_a_new_member_runs_alone(world, entry, jobs):
    assert runs(world, member("fifth", **entry)) == ({"fifth": jobs}, POOL)


def test_a_member_that_is_left_out_runs_nothing_but_the_pool(world):
    """Its files stay, so that it comes back at no cost."""
    assert runs(world, {"members": {"friend": None}}) == ({}, POOL)


def test_a_section_runs_the_members_that_do_not_override_the_key(world):
    ran, _ = runs(world, {"train": {"epochs": 9}})
    assert ran == {"main": MAIN, "other": OTHER}
    ran, _ = runs(world, {"train": {"seed": 9}})
    assert ran == {"main": MAIN}, "`seeds` replace train.seed"
    ran, _ = runs(world, {"model": {"base": "assets/tiny-qwen3-vl"}})
    assert ran == {"main": {"base": 1} | MAIN, "untuned": {"base": 1} | UNTUNED}


def test_how_orders_are_pooled_scores_nothing_again(world):
    ran, rules = runs(world, {"ensemble": {"order_pooling": "arithmetic"}})
    assert ran == {name: {"pool": 1} for name in SETTINGS["members"]} and rules == POOL


def test_other_bytes_of_a_file_of_probabilities_run_the_pool(world, tmp_path):
    """A friend's new file under the same name must not be overlooked."""
    copy = world.copied(tmp_path / "copy")
    (copy.folder / "mine" / "oof.csv").write_text("id\nnew\n", encoding="utf-8")
    try:
        assert runs(copy, {}) == ({"friend": {"pool": 1}}, POOL)
    finally:
        copy.close()


def test_a_search_is_for_each_member_that_trains(world):
    ran, rules = runs(world, {"hpo": {"enabled": True, "workers": 1}})
    assert {name: jobs["trial"] for name, jobs in ran.items() if "trial" in jobs} == {"main": 1, "other": 1}
    assert "search_hyperparameters" in rules and "untuned" not in ran


def test_a_bad_member_is_named_before_anything_runs(world):
    (world.folder / "mine" / "change.yaml").write_text(
        yaml.safe_dump(member("fifth", probabilities={"oof": "mine/no.csv", "test": "mine/test.csv"})), encoding="utf-8"
    )
    status, printed = world.ask("-n", *world.configured("mine/change.yaml"))
    assert status != 0 and "members.fifth.probabilities.oof: there is no file mine/no.csv" in printed


def test_one_member_names_its_files_as_the_contract_does(world):
    paths = [str(path.relative_to(world.folder)) for path in Path(world.folder).glob("results/**/*") if path.is_file()]
    for path in (
        "results/adapters/main/fold0/adapter_model.safetensors",
        "results/adapters/other/fold1-seed2/run.json",
        "results/adapters/other/foldall-seed1/log.csv",
        "results/scores/main/oof/fold0/original.parquet",
        "results/scores/untuned/test/foldbase/hflip.parquet",
        "results/members/friend/oof.parquet",
        "results/base.untuned.json",
    ):
        assert path in paths


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("results/scores/main/oof/foldall/original.parquet", "main has no foldall here. It has 0, 1."),
        ("results/adapters/main/foldall", "main has no foldall here. It has 0, 1."),
        ("results/adapters/other/fold0", "other has no fold0 here. It has 0-seed1"),
        ("results/adapters/untuned/fold0", "untuned has no fold0 here. It has none."),
        ("results/scores/untuned/test/fold0/original.parquet", "untuned has no fold0 here. It has base."),
        ("results/base.friend.json", "friend comes from files: it has no base."),
    ],
)
def test_a_target_that_its_member_does_not_have_is_refused(world, target, words):
    """An adapter on all rows must never score the rows that it was trained on as if they were out of fold."""
    status, printed = world.ask("-n", *world.configured(), "--", target)
    assert status != 0 and f"error: {words}" in printed and "Traceback" not in printed


def test_a_view_that_only_another_member_has_is_refused(world):
    """It ended in a KeyError."""
    change = {"members": {"other": {"views": {"large": {"max_pixels": 100352}}}}}
    (world.folder / "mine" / "change.yaml").write_text(yaml.safe_dump(change), encoding="utf-8")
    target = "results/scores/main/oof/fold0/large.parquet"
    status, printed = world.ask("-n", *world.configured("mine/change.yaml"), "--", target)
    assert status != 0 and "error: main has no view large here. It has original." in printed
    assert "Traceback" not in printed


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkflowWorld]:
    """A member that learned from an untuned one, both finished."""
    folder = tmp_path_factory.mktemp("taught")
    members = {"main": SETTINGS["members"]["main"] | {"train": {"teacher": "untuned"}}, "untuned": {"train": "none"}}
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS | {"members": members}), encoding="utf-8")
    made = WorkflowWorld(folder / "world", str(folder / "settings.yaml"), finished=False)
    made.fabricate()
    yield made
    made.close()


def test_a_change_of_the_teacher_trains_its_pupil_again(taught):
    """Soft labels of yesterday's teacher would be told as today's."""
    assert runs(taught, {}) == ({}, set())
    assert runs(taught, member("untuned", orders="identity")) == ({"untuned": UNTUNED, "main": MAIN}, POOL)
    assert runs(taught, member("main", train={"teacher_weight": 0.9})) == ({"main": MAIN}, POOL)
    assert runs(taught, member("main", train={"teacher": None})) == ({"main": MAIN}, POOL)


def test_a_search_learns_from_the_teacher_too(taught):
    ran, _ = runs(taught, {"hpo": {"enabled": True, "workers": 1}})
    assert ran["main"]["trial"] == 1 and "untuned" not in ran
