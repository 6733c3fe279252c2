"""The plan of a whole run: a user decides by it whether a session's hours are enough, and what to change."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import yaml

from places import ROOT
from vqaflow.commands.command_line import main
from vqaflow.config.loading import load_config
from vqaflow.config.members import members_of
from vqaflow.config.sections import replace_keys
from vqaflow.plan.cards import BY_NAME, card_named, card_of
from vqaflow.plan.evening import (
    Data,
    Job,
    Speed,
    changes_of,
    disk_gb,
    hours_lines,
    in_place_of,
    jobs_of,
    jobs_of_run,
    makespan,
    shorter_lines,
)
from vqaflow.plan.shape import published
from vqaflow.runtime.errors import UserError

KAGGLE = load_config(ROOT / "config.yaml", ROOT / "profiles" / "kaggle-t4x2" / "settings.yaml")
SHAPE = published("7b")
DATA = Data(3000, 2000, 3, [(1280, 960)] * 10)
T4 = Speed(14.7, 24e12)


def member(**changes):
    config = {**KAGGLE, "train": replace_keys(KAGGLE["train"], changes)}
    return members_of(config)["main"]


def jobs(speed: Speed = T4, data: Data = DATA, **changes) -> list[Job]:
    return jobs_of(member(**changes), SHAPE, data, speed)


def hours_of(found: list[Job], stage: str) -> float:
    return sum(job.seconds for job in found if job.stage == stage) / 3600


def naive_makespan(found: list[Job], cards: int) -> float:
    """The shortest of all orders in which the jobs may be handed out."""
    best = float("inf")
    for order in permutations(found):
        free, done = [0.0] * cards, {}
        for job in order:
            if not set(job.after) <= done.keys():
                break
            start = max([min(free), *(done[name] for name in job.after)])
            free[free.index(min(free))] = done[job.name] = start + job.seconds
        else:
            best = min(best, max(done.values()))
    return best


def test_every_job_is_planned():
    """A plan of one training told 8 hours of a run that took 17."""
    found = jobs()
    assert [job.stage for job in found].count("train") == 3
    assert len({job.name for job in found if job.stage == "score"}) == 2 * 2 * 3  # views, splits, folds
    trained = {job.name for job in found if job.stage == "train"}
    assert all(set(job.after) <= trained and len(job.after) == 1 for job in found if job.stage == "score")


def test_a_refit_adapter_and_an_untuned_base_have_their_jobs():
    config = KAGGLE | {"members": {"main": {"refit": True, "seeds": [1, 2]}, "base": {"train": "none"}}}
    members = members_of(config)
    tuned, untuned = (jobs_of(members[name], SHAPE, DATA, T4) for name in ("main", "base"))
    assert [job.stage for job in tuned].count("train") == (3 + 1) * 2
    longest = max(tuned, key=lambda job: job.seconds)
    assert longest.name.startswith("main all"), "all rows take longer than a fold's"
    assert {job.stage for job in untuned} == {"score"} and all(job.after == () for job in untuned)
    assert len(untuned) == 2 * 2


def test_views_are_planned_as_they_are_scored():
    """Blind views have no test rows, the main view all rows whatever its `when` says, and tiles more features."""
    shown = {"tiles": {"tiles": "2x2", "when": "margin < 0.3"}, "blind": {"blind": "text"}}
    config = KAGGLE | {"views": {"original": {}} | shown, "members": {"main": {}}}
    config |= {"train": KAGGLE["train"] | {"view": "tiles", "cache_vision": "disk"}}
    tiled = members_of(config)["main"]
    names = [job.name for job in jobs_of(tiled, SHAPE, DATA, T4) if job.stage == "score"]
    assert len(names) == 2 * 3 + 3 and not any(name.endswith("test blind") for name in names)
    without = replace(tiled, views=tiled.views | {"tiles": {"tiles": "2x2"}})
    assert jobs_of(tiled, SHAPE, DATA, T4) == jobs_of(without, SHAPE, DATA, T4)
    one = replace(tiled, train=tiled.train | {"view": "original"})
    sizes = [disk_gb([m], {"main": SHAPE}, DATA, T4)["image features"] for m in (tiled, one)]
    assert sizes[0] > 3 * sizes[1]


def test_a_view_that_reads_is_planned_with_its_reading():
    """Writing 64 tokens per row takes longer than scoring it; each row is read once, for all folds."""
    view = {"enabled": True, "read": True, "read_tokens": 64}

    def planned(read: dict, main: str = "original", speed: Speed = T4) -> list[Job]:
        config = KAGGLE | {"views": {"original": {}, "read": read}, "members": {"main": {}}}
        config |= {"train": KAGGLE["train"] | {"view": main}}
        return jobs_of(members_of(config)["main"], SHAPE, DATA, speed)

    def reading(**options) -> dict[str, float]:
        """Seconds by job that 63 of the 64 tokens take, beyond that they are shown."""
        quiet = planned(view | {"read_tokens": 1}, **options)
        return {a.name: a.seconds - b.seconds for a, b in zip(planned(view, **options), quiet, strict=True)}

    more = reading()
    assert more["main 0 oof read"] > 1000 * 63 * 28 * 0.002  # a thousand rows of a fold, 28 layers
    assert more["main 0 test read"] > 5 * more["main 1 test read"]
    assert more["main 0"] == more["main 0 oof original"] == 0
    trained = reading(main="read")
    assert trained["main 0"] > 2.5 * more["main 0 oof read"] > 20 * trained["main 0 oof read"]
    gated = planned(view | {"when": "margin < 0.3"})
    assert sum(job.seconds for job in gated) < sum(job.seconds for job in planned(view))
    assert sum(reading(speed=Speed(14.7, 24e12, 20e9)).values()) > 1.3 * sum(more.values())


@pytest.mark.parametrize("cards", [1, 2, 3])
def test_jobs_wait_for_their_adapter_and_for_a_card(cards):
    """With two cards a run takes at least as long as a training and its scoring, and as half of all."""
    found = [Job("m", "train", "t0", 5), Job("m", "train", "t1", 3), Job("m", "train", "t2", 3)]
    found += [Job("m", "score", f"s{i}", 1.5, (f"t{i}",)) for i in range(3)]
    span, best = makespan(found, cards), naive_makespan(found, cards)
    assert best <= span <= 1.25 * best
    assert makespan(found, 1) == pytest.approx(sum(job.seconds for job in found))
    assert makespan([], cards) == 0


def test_hours_follow_the_card_the_rows_and_the_epochs():
    """Planning an 80 GB card with a T4's rate told 8.4 hours in place of half an hour."""
    slow, fast = hours_of(jobs(), "train"), hours_of(jobs(Speed(79.1, 750e12)), "train")
    assert 5 < slow / fast < 750 / 24
    assert hours_of(jobs(epochs=6), "train") == pytest.approx(2 * slow, rel=0.1)
    more = Data(6000, 2000, 3, DATA.sizes)
    assert hours_of(jobs(data=more), "train") == pytest.approx(2 * slow, rel=0.1)
    assert hours_of(jobs(data=Data(3000, 8000, 3, DATA.sizes)), "score") > 2 * hours_of(jobs(), "score")


def test_changes_are_named_with_what_they_save():
    """Each saves what it says: the plan of the changed member is that much shorter."""
    lines = list(shorter_lines([member(gradient_checkpointing=True)], {"main": SHAPE}, DATA, T4))
    assert 2 <= len(lines) <= 4 and "gradient_checkpointing: auto" in lines[1] and "the same steps" in lines[1]
    whole = sum(job.seconds for job in jobs(gradient_checkpointing=True)) / 3600
    assert f"in place of {whole:.1f}" in lines[1]
    once = next(change for change in changes_of(member()) if "epochs" in change.keys)
    assert once.member.train["epochs"] == 1 and once.keys == "train: {epochs: 1}"


@pytest.mark.parametrize(
    ("shorter", "whole", "words"),
    [
        (3600, 36000, "1.0 h in place of 10.0"),
        (1000, 1070, "17 minutes in place of 18"),
        (60, 300, "0.02 h in place of 0.08"),
        (10, 12, "10 seconds in place of 12"),
    ],
)
def test_what_a_change_saves_is_seen(shorter, whole, words):
    """`0.3 h in place of 0.3` says that the change is of no use."""
    assert in_place_of(shorter, whole) == words


def test_what_does_not_fit_is_not_advised():
    """A larger batch that runs out of memory would shorten nothing."""
    small = Speed(7.5, 24e12)
    told = "\n".join(shorter_lines([member()], {"main": SHAPE}, DATA, small))
    assert "batch_size" not in told


def test_every_change_is_a_setting_that_the_schema_takes(tmp_path):
    """A user pastes it into my.yaml."""
    from vqaflow.config.loading import checked_config

    profile, own, file = (
        ROOT / "profiles" / "kaggle-t4x2" / "settings.yaml",
        tmp_path / "own.yaml",
        tmp_path / "my.yaml",
    )
    own.write_text("train: {gradient_checkpointing: true, cache_vision: 'off'}")
    for change in changes_of(members_of(checked_config(profile, own))["main"]):
        file.write_text(change.keys)
        told = members_of(checked_config(profile, own, file))["main"]
        assert (told.train, told.views, told.orders) == (change.member.train, change.member.views, change.member.orders)
        assert told.model == change.member.model


def test_cards_by_name_and_by_memory():
    assert card_named("H200").gib > card_named("a100-80").gib
    assert card_of(80).name == "a100-80" and card_of(15).name == "t4" and card_of(140).name == "h200"
    assert BY_NAME["t4"].bfloat16 is False
    with pytest.raises(UserError, match="did you mean 'h100'"):
        card_named("h10")


def printed(capsys, tmp_path: Path, *options: str) -> str:
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump({"model": {"base": "Qwen/Qwen3-VL-8B-Instruct"}, "train": {"batch_size": 4}}))
    main(["plan", "--config", str(file), *options])
    return capsys.readouterr().out


def test_the_command_tells_the_card_and_the_session(capsys, tmp_path):
    told = printed(capsys, tmp_path, "--card", "h100", "--session", "0.05")
    assert "card: H100 80 GB, 79.1 GiB, products of 750 TFLOP/s (measured)" in told
    assert "the whole run: 1 card" in told and "sessions of 0.05 hours" in told
    told = printed(capsys, tmp_path, "--vram", "80", "--tflops", "100", "--session", "12")
    assert "100 TFLOP/s (given)" in told and "with 1 card it fits into 12 hours" in told


def test_memory_alone_takes_the_speed_of_the_card_that_has_it(capsys, tmp_path):
    assert "products of 234 TFLOP/s (assumed" in printed(capsys, tmp_path, "--vram", "80")


def test_kaggles_profile_knows_its_sessions(capsys, tmp_path):
    profile = ROOT / "profiles" / "kaggle-t4x2" / "settings.yaml"
    main(["plan", "--config", str(profile), "--card", "t4"])
    told = capsys.readouterr().out
    assert "into 12 hours" in told or "of 12 hours" in told


def test_a_training_on_two_cards_waits_for_both() -> None:
    """Else the plan would promise that a second training runs beside it."""
    shared = [Job("main", "train", f"main {fold}", 10.0, cards=2) for fold in range(2)]
    scored = Job("main", "score", "main 0 oof original", 4.0, ("main 0",))
    assert makespan(shared, 2) == 20.0
    assert makespan([*shared, scored], 2) == 24.0
    assert makespan(shared, 4) == 10.0


def test_the_hours_on_fewer_cards_than_a_training_needs_are_not_told() -> None:
    """With one card such a run stops at its first training."""
    shared = [Job("main", "train", "main 0", 3600.0, cards=2)]
    told = "\n".join(hours_lines(shared, None))
    assert "2 cards 1.0 h, 4 cards 1.0 h" in told and "1 card " not in told


def planned(members: dict, **sections: object) -> list[Job]:
    """The jobs of a run with these members, in two folds."""
    found = members_of(KAGGLE | sections | {"members": members})
    with_base = [one for one in found.values() if one.kind != "file"]
    return jobs_of_run(with_base, dict.fromkeys(found, SHAPE), replace(DATA, folds=2), T4)


def waits(found: list[Job]) -> dict[str, set[str]]:
    return {job.name: set(job.after) for job in found}


def seconds_of(found: list[Job], *names: str) -> float:
    """The longest of the jobs whose names start so, with what follows a space."""
    return max(job.seconds for job in found if any(f"{job.name} ".startswith(f"{name} ") for name in names))


def test_a_pupil_is_planned_after_all_that_its_teacher_says() -> None:
    """Else the plan of a run with a teacher would promise about half of its hours on several cards."""
    views = {"original": {}, "blind": {"blind": "text"}}
    found = planned({"main": {"train": {"teacher": "strong"}}, "strong": {"train": {"teacher": None}}}, views=views)
    said = {f"strong {fold} {split} original" for fold in "01" for split in ("oof", "test")}
    assert waits(found)["main 0"] == waits(found)["main 1"] == said, "not its blind view, which answers nothing"
    assert waits(found)["strong 0"] == set() and waits(found)["main 0 oof original"] == {"main 0"}
    rounds = ["strong 0", "strong 1"], ["strong 0 oof original", "strong 0 test original"], ["main 0"], ["main 0 oof"]
    longest = [seconds_of(found, *names) for names in rounds[:3]] + [seconds_of(found, "main 0 oof", "main 0 test")]
    assert makespan(found, 16) == pytest.approx(sum(longest))


def test_a_teacher_that_is_a_file_is_there_already() -> None:
    """Nobody waits for it; a plan that did would never end."""
    files = {"probabilities": {"oof": "oof.csv", "test": "test.csv"}}
    found = planned({"main": {"train": {"teacher": "friend"}}, "friend": files})
    assert waits(found)["main 0"] == set() and makespan(found, 4) > 0


def test_a_refit_is_planned_after_the_folds_of_its_seed() -> None:
    """Their logs say how many epochs it trains: it cannot run beside them."""
    found = planned({"main": {"refit": True, "seeds": [1, 2]}})
    assert waits(found)["main all-seed2"] == {"main 0-seed2", "main 1-seed2"}
    assert waits(found)["main 0-seed2"] == set()
    alone = planned({"main": {"refit": True}})
    trained = {job.name: job.seconds for job in alone if job.stage == "train"}
    scored = max(job.seconds for job in alone if job.after == ("main all",))
    assert makespan(alone, 16) == pytest.approx(
        max(trained["main 0"], trained["main 1"]) + trained["main all"] + scored
    )


def test_a_view_for_unsure_rows_is_planned_after_the_main_view() -> None:
    """Which rows are unsure is known by the main view's scores of the same rows."""
    views = {"original": {}, "hflip": {"flip": True, "when": "margin < 0.3"}}
    found = planned({"main": {}, "base": {"train": "none"}}, views=views)
    assert waits(found)["main 1 oof hflip"] == {"main 1", "main 1 oof original"}
    assert waits(found)["base base test hflip"] == {"base base test original"}
    assert waits(found)["base base test original"] == set()


def test_the_hours_count_who_waits_for_whom() -> None:
    """Two folds of a teacher (4 s), scored (1 s), then two of a pupil (3 s), scored (1 s), then its refit (5 s)."""
    found = [Job("t", "train", f"t {i}", 4) for i in range(2)]
    found += [Job("t", "score", f"t {i} oof", 1, (f"t {i}",)) for i in range(2)]
    found += [Job("p", "train", f"p {i}", 3, ("t 0 oof", "t 1 oof")) for i in range(2)]
    found += [Job("p", "score", f"p {i} oof", 1, (f"p {i}",)) for i in range(2)]
    found += [Job("p", "train", "p all", 5, ("t 0 oof", "t 1 oof", "p 0", "p 1"))]
    assert makespan(found, 8) == 4 + 1 + 3 + 5
    assert makespan(found, 2) == 4 + 1 + 3 + 5
    assert makespan(found, 1) == 2 * (4 + 1 + 3 + 1) + 5
    assert makespan([job for job in found if job.member == "p"], 2) == 3 + 5, "what is not planned is there"
