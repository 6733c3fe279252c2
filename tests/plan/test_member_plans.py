"""The plan covers every member, so that none ends a run after hours of the others."""

from pathlib import Path

import pytest
import yaml

from vqaflow.commands.command_line import main

SMALL, LARGE = "Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-32B-Instruct"


def told(capsys, tmp_path: Path, members: dict, *options: str, status: int = 0) -> tuple[str, str]:
    """What a plan of these members prints, and its log."""
    settings = {"model": {"base": SMALL, "min_pixels": 200704, "max_pixels": 786432}, "train": {"batch_size": 16}}
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(settings | {"members": members}), encoding="utf-8")
    if status:
        with pytest.raises(SystemExit) as ended:
            main(["plan", "--config", str(file), *options])
        assert ended.value.code == status
    else:
        main(["plan", "--config", str(file), *options])
    return capsys.readouterr()


def test_one_member_reads_as_simply_as_without_members(capsys, tmp_path):
    printed, _ = told(capsys, tmp_path, {}, "--vram", "79")
    assert printed.startswith("rows: 800 train each fold") and "main" not in printed and "which fit" not in printed


def test_every_member_has_a_plan_and_a_line_of_what_fits_where(capsys, tmp_path):
    members = {"untuned": {"train": "none"}, "large": {"model": {"base": LARGE}, "seeds": [1, 2], "refit": True}}
    printed, _ = told(capsys, tmp_path, members, "--vram", "139")
    plans, table = printed.split("which fit where")
    large, main_member, untuned = (part.split("\n\n")[0] for part in plans.split(":\n", 3)[1:])
    assert f"base: {LARGE}" in large and "8 adapters" in large
    assert f"base: {SMALL}" in main_member and "adapters" not in main_member
    assert "no training; scoring needs about" in untuned and "steps" not in untuned
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["large", "main", "untuned"]
    assert table.splitlines()[1].split()[1] == "no", "an untuned 8B fits on a T4, a 32B that is trained does not"


def test_the_member_that_does_not_fit_is_named(capsys, tmp_path):
    members = {"untuned": {"train": "none"}, "large": {"model": {"base": LARGE, "quantization": "none"}}}
    printed, log = told(capsys, tmp_path, members, "--vram", "22", status=1)
    assert "error: large: train.batch_size: a pass does not fit" in log
    assert "main: train.batch_size" not in log and "which fit where" in printed


def test_an_untuned_base_that_does_not_fit_is_named(capsys, tmp_path):
    members = {"main": None, "only": {"train": "none", "model": {"base": LARGE, "quantization": "none"}}}
    _, log = told(capsys, tmp_path, members, "--vram", "22", status=1)
    assert "error: model.base: its weights do not fit. Set model.quantization to nf4" in log


def test_files_of_others_need_no_card(capsys, tmp_path):
    members = {"main": None, "friend": {"probabilities": {"oof": "a.csv", "test": "b.csv"}}}
    _, log = told(capsys, tmp_path, members, status=1)
    assert "members: none loads a model" in log


def test_one_shape_is_not_taken_for_several_bases(capsys, tmp_path):
    _, log = told(capsys, tmp_path, {"large": {"model": {"base": LARGE}}}, "--shape", "7b", status=1)
    assert "--shape: the members have different bases" in log
