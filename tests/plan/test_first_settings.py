"""`vqaflow init`: what it writes runs at once, fits on the card and into the hours, and destroys nothing."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from given_folders import given, pictures_of, renamed, rows, sample, write
from places import ROOT
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.commands.command_line import main
from vqaflow.config.check import check_files
from vqaflow.config.loading import checked_config, load_config
from vqaflow.config.members import members_of
from vqaflow.config.sections import merged
from vqaflow.plan.cards import BY_NAME, CARDS, Card
from vqaflow.plan.evening import Data, Speed, fits, jobs_of_run, makespan
from vqaflow.plan.first_choice import BATCHES, MEMBERS, Choice, choose
from vqaflow.plan.machine import find_machine
from vqaflow.runtime.errors import UserError

SMALL = Data(9486, 500, 3, [(720, 960)] * 10)
LARGE = Data(60000, 20000, 3, [(1440, 1920)] * 10)


def init(folder: Path, *options: str, work: Path, capsys: pytest.CaptureFixture) -> tuple[str, dict]:
    """What the command printed in folder `work`, and the configuration that Snakemake makes of its file, checked."""
    if not (work / "profiles").exists():
        (work / "profiles").symlink_to(ROOT / "profiles")
    with contextlib.chdir(work):
        main(["init", str(folder), *options])
        config = checked_config(ROOT / "config.yaml", "my.yaml")
        check_files(config, Path("results"))
    return capsys.readouterr().out, config


def configured(choice: Choice) -> dict:
    """The configuration of a choice."""
    return merged(load_config(ROOT / "config.yaml", ROOT / choice.settings), choice.keys)


# --- the file ---


def test_a_plain_folder_gives_a_file_of_few_commented_lines(tmp_path, capsys):
    printed, config = init(given(tmp_path / "in"), "--card", "t4", work=tmp_path, capsys=capsys)
    text = (tmp_path / "my.yaml").read_text(encoding="utf-8")
    lines = text.replace(f"{tmp_path}/", "").splitlines()
    assert len(lines) < 40 and all(len(line) <= 160 for line in lines)
    for key in ("train_csv", "image_root", "base", "batch_size", "untuned", "settings"):
        line = next(line for line in text.splitlines() if f"{key}:" in line)
        assert " # " in line, f"a newcomer does not learn what {key} is for"
    assert set(yaml.safe_load(text)["data"]) == {"train_csv", "test_csv", "sample_submission", "image_root"}
    assert members_of(config)["untuned"].kind == "untuned" and members_of(config)["main"].kind == "tuned"
    for heading in ("Found:", "Machine:", "Plan:", "Written: my.yaml", "Next:"):
        assert heading in printed
    assert "-- zero_shot" in printed and "Assumed" not in printed and "Could not tell" not in printed


def test_every_finding_becomes_a_key(tmp_path, capsys):
    """Own names, a second table of several people with its own pictures and columns, and rows without an answer."""
    names = {"path": "file", "answer": "정답"} | {x: f"opt{i}" for i, x in enumerate("abcde", start=1)}
    train, test = rows("train", 60, "abcde", "12345"), rows("test", choices="abcde")
    train[5]["answer"] = ""
    folder = given(tmp_path / "in", train, test)
    write(folder / "train.csv", renamed(train, names))
    write(folder / "test.csv", renamed(test, names))
    write(folder / "sample_submission.csv", sample(test, "1"))
    extra = [
        row | {f"rater{n}": "12345"[n] for n in range(3)} for row in rows("extra", choices="abcde", path="{i}.png")
    ]
    write(folder / "more" / "train.csv", renamed(extra, {"question": "문제"}))
    pictures_of(extra, folder / "more" / "pics")
    _, config = init(folder, work=tmp_path, capsys=capsys)
    data = config["data"]
    choices = ["opt1", "opt2", "opt3", "opt4", "opt5"]
    assert data["columns"] == {
        "id": "id",
        "image": "file",
        "question": "question",
        "choices": choices,
        "answer": "정답",
    }
    (entry,) = data["more_train"]
    assert entry["columns"] == {"image": "path", "question": "문제", "choices": list("abcde")}
    assert entry["answers_by"] == ["rater0", "rater1", "rater2"] and entry["name"] == "more_train"
    assert Path(entry["image_root"]) == folder / "more" / "pics" and data["on_bad_row"] == "quarantine"


@pytest.mark.parametrize("options", [[], ["--output", "other.yaml"]])
def test_an_existing_file_is_left_as_it_is(tmp_path, capsys, options):
    folder = given(tmp_path / "in", with_sample=False)
    taken = tmp_path / ("other.sample_submission.csv" if options else "my.yaml")
    taken.write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit), contextlib.chdir(tmp_path):
        main(["init", str(folder), *options])
    assert taken.read_text(encoding="utf-8") == "mine" and len(list(tmp_path.iterdir())) == 2
    assert f"{taken.name}: it exists, and is left as it is. Name another file with --output" in capsys.readouterr().err


def test_a_missing_sample_submission_is_made_from_the_test_ids(tmp_path, capsys):
    test = renamed(rows("test"), {"id": "번호"})
    folder = given(tmp_path / "in", renamed(rows("train", answers="abcd"), {"id": "번호"}), test, with_sample=False)
    printed, config = init(folder, work=tmp_path, capsys=capsys)
    header, made = read_csv(Path(config["data"]["sample_submission"]))
    assert header == ["번호", "answer"] and [row[0] for row in made] == [row["번호"] for row in test]
    assert "no sample submission: my.sample_submission.csv is made from the test ids" in printed


def test_paths_are_those_that_snakemake_finds(tmp_path, capsys):
    """Relative in the workflow's folder; elsewhere absolute, as Snakemake then runs in another folder."""
    given(tmp_path / "data")
    for name in ("Snakefile", "config.yaml"):
        (tmp_path / name).touch()
    init(Path("data"), work=tmp_path, capsys=capsys)
    assert yaml.safe_load((tmp_path / "my.yaml").read_text("utf-8"))["data"]["train_csv"] == "data/train.csv"
    (tmp_path / "other").mkdir()
    printed, config = init(Path("../data"), work=tmp_path / "other", capsys=capsys)
    assert Path(config["data"]["train_csv"]).is_absolute() and "in the folder of the workflow" in printed


def test_a_trial_with_the_demos_base_needs_no_card(tmp_path, capsys):
    base = str(ROOT / "assets" / "tiny-qwen2_5-vl")
    printed, config = init(given(tmp_path / "in"), "--base", base, work=tmp_path, capsys=capsys)
    assert config["model"]["base"] == base and config["hardware"]["settings"] is None
    assert "answers are guesses" in printed and "--profile" not in printed


# --- the choice ---


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_what_is_chosen_fits_by_the_plan(card, data):
    """Memory always; the hours wherever it says so."""
    choice = choose(card, 1, data, 12)
    speed = Speed(card.gib, card.tflops * 1e12)
    members = members_of(configured(choice))
    assert all(fits(member, choice.shape, data, speed) for member in members.values())
    jobs = jobs_of_run(list(members.values()), dict.fromkeys(members, choice.shape), data, speed)
    assert makespan(jobs, 1) == pytest.approx(choice.seconds) and choice.in_time == (choice.seconds <= 12 * 3600)
    train = configured(choice)["train"]
    assert train["batch_size"] in BATCHES and train["batch_size"] * train["accumulation"] == 16
    assert 0 < choice.first_seconds < choice.seconds


def test_more_hours_or_cards_give_a_better_base_or_heavier_settings():
    short, long = (choose(BY_NAME["t4"], 1, SMALL, hours) for hours in (12, 48))
    assert (short.candidate.base, long.candidate.base) == ("Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-8B-Instruct")
    assert choose(BY_NAME["a100-80"], 1, SMALL, 12).candidate.base == "Qwen/Qwen3.5-27B"
    assert len(choose(BY_NAME["a100-80"], 4, SMALL, 12).lighter) < len(choose(BY_NAME["a100-80"], 1, SMALL, 12).lighter)


def test_a_card_without_bfloat16_gets_no_base_that_overflows_float16():
    choice = choose(BY_NAME["t4"], 2, SMALL, 12)
    assert "Qwen3.5" not in choice.candidate.base and choice.profile == "profiles/kaggle-t4x2"
    assert choice.keys["model"]["compute_dtype"] == "auto", "float16 on such a card"


def test_pictures_become_smaller_only_where_nothing_else_fits():
    smallest = choose(BY_NAME["t4"], 1, LARGE, 12)
    assert "smaller images" in smallest.lighter and not smallest.in_time
    assert "smaller images" not in choose(BY_NAME["t4"], 2, SMALL, 12).lighter


def test_a_base_of_ones_own_is_planned_too():
    choice = choose(BY_NAME["l4"], 1, SMALL, 24, "Qwen/Qwen3-VL-8B-Instruct")
    assert choice.candidate.base == "Qwen/Qwen3-VL-8B-Instruct" and choice.seconds > 3600


def test_an_installation_without_profiles_says_where_to_run(monkeypatch, tmp_path):
    """A wheel has none."""
    monkeypatch.setattr("vqaflow.plan.first_choice.REPOSITORY", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="Run vqaflow init in the folder of the workflow"):
        choose(BY_NAME["t4"], 1, SMALL, 12)


def test_no_base_fits():
    tiny = Card("small", "a card of 2 GiB", 2.0, 10.0, 100.0)
    with pytest.raises(UserError, match=r"no known base fits into its 2\.0 GiB\. Name another with --card"):
        choose(tiny, 1, SMALL, 12)


def test_choosing_names_the_members_that_are_written():
    assert set(MEMBERS) == {"main", "untuned"}


# --- the machine ---


def fake_root(folder: Path, *folders: str, driver: str = "") -> Path:
    """A machine's root folder."""
    (folder / "proc" / "driver" / "nvidia").mkdir(parents=True)
    (folder / "proc" / "meminfo").write_text("MemTotal:       30834688 kB\nMemFree: 1 kB\n", encoding="utf-8")
    if driver:
        (folder / "proc" / "driver" / "nvidia" / "version").write_text(driver, encoding="utf-8")
    for name in folders:
        (folder / name).mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("environment", "folders", "name"),
    [
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, [], "Kaggle"),
        ({}, ["kaggle/working"], "Kaggle"),
        ({"COLAB_RELEASE_TAG": "release-colab_20261101"}, [], "Colab"),
        ({}, ["content/sample_data"], "Colab"),
        ({"HOME": "/root"}, ["content"], None),
    ],
)
def test_a_service_is_known_by_its_traces(tmp_path, environment, folders, name):
    """Its sessions end, and the plan has to fit into them."""
    machine = find_machine(None, None, environment, fake_root(tmp_path / "root", *folders))
    assert (machine.service.name if machine.service else None) == name
    assert not machine.service or machine.service.session_hours == 12
    assert machine.memory_gib == pytest.approx(29.4, abs=0.1)


def test_a_driver_without_a_gpu_for_torch_is_told(tmp_path):
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2026\n"
    machine = find_machine(None, None, {}, fake_root(tmp_path / "root", driver=text))
    assert any("NVIDIA driver 550.54.15" in note for note in machine.notes) or machine.is_here


def test_cards_of_another_machine(tmp_path):
    machine = find_machine(BY_NAME["l4"], 4, {}, fake_root(tmp_path / "root"))
    assert (machine.cards, machine.is_here) == (4, False) and "4 x L4 24 GB" in machine.lines()[0]
    assert "1 x" not in replace(machine, cards=1).lines()[0] and "assumed" not in machine.lines()[0]
