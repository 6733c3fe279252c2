"""docs/first_evening.md: a newcomer types its commands, so each must exist, and what they print must be as shown."""

import argparse
import contextlib
import importlib
import importlib.util
import re
import shlex

import pytest
from snakemake.cli import get_argument_parser

from places import ROOT
from vqaflow.commands.command_line import commands, main

PAGE = (ROOT / "docs" / "first_evening.md").read_text(encoding="utf-8")
SPEC = importlib.util.spec_from_file_location("first_evening", ROOT / "docs" / "examples" / "first_evening.py")
EVENING = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(EVENING)
PARTS = dict(EVENING.sections(ROOT / "docs" / "first_evening.md"))
TYPED = [line.removeprefix("    $ ") for line in PAGE.splitlines() if line.startswith("    $ ")]
INTRODUCED = [line.strip() for line in PAGE[: PAGE.index("\n## ")].splitlines() if line.startswith("    ")]


def shown_after(part: str, command: str) -> list[str]:
    """The lines that a part of the page shows below a command."""
    below = PARTS[part].split(f"    $ {command}\n", 1)[1]
    return [line[4:] for line in below[: below.index("\n\nTook ")].splitlines()]


def test_both_evenings_are_told():
    """With the script's present steps: else someone changed a step and did not play it."""
    assert set(PARTS) == {EVENING.REAL, EVENING.DEMO}
    for text in PARTS.values():
        assert re.findall(r"^    \$ (.*)$", text, re.MULTILINE) == EVENING.commands()
        assert len(re.findall(r"^Took ", text, re.MULTILINE)) == len(EVENING.STEPS)


@pytest.mark.parametrize("command", sorted({*EVENING.commands(), *INTRODUCED}))
def test_each_command_is_one(command):
    program, *arguments = shlex.split(command)
    if program == "vqaflow":
        name, *rest = arguments
        module = importlib.import_module(f"vqaflow.commands.{commands()[name].parent.name}.{name}")
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        parser.parse_args(rest)
    elif program == "snakemake":
        get_argument_parser().parse_args(arguments)
    else:
        assert program in ("cat", "ls", "printf")


def test_no_paths_of_the_machine_that_played_it():
    assert not re.search(r"/(tmp|root|home|work|usr|kaggle/input)\b", PAGE)
    assert "Traceback" not in PAGE and "error:" not in PAGE


def without_numbers(lines: list[str]) -> list[str]:
    """Lines without what depends on the machine and on measured speeds."""
    return [re.sub(r"[\d.,]+", "0", line) for line in lines if not line.startswith(("  card:", "  memory "))]


def test_init_prints_and_writes_what_the_page_shows(tmp_path, capsys):
    """The demo's tables again, at the same size."""
    folder = EVENING.copy_of_workflow(tmp_path / "vqaflow")
    assert EVENING.demo_folder(folder / "data")
    with contextlib.chdir(folder):
        for command in (EVENING.STEPS[0].command, EVENING.STEPS[3].command):
            main(shlex.split(command)[1:])
            printed = capsys.readouterr().out.splitlines()
            assert without_numbers(printed) == without_numbers(shown_after(EVENING.DEMO, command)), "play it again"
    written = (folder / "l4.yaml").read_text(encoding="utf-8").splitlines()
    assert shown_after(EVENING.DEMO, "cat l4.yaml") == written, "play it again"
