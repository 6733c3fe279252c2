"""Every command line in the pages is one: the program knows the command, its options, and Snakemake the target."""

import argparse
import contextlib
import importlib
import importlib.util
import io
import re
import shlex
from functools import lru_cache
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

from places import ROOT
from vqaflow.commands.command_line import commands
from workflow_world import WorkflowWorld

PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = ("vqaflow", "snakemake", "make", "python")
PLUGINS = ("--logger", "rich", "snkmt")  # need a package that users install if they want it
ELSEWHERE = ("sglang",)  # programs that serve adapters, in environments of their own


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def typed(text: str) -> list[str]:
    """The command lines of a page: indented, fenced or inline code that begins with a program, without comments."""
    text = text.replace("\\\n", " ")  # a command that goes on in the next line
    fenced = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    lines = [*fenced, *(line.strip() for line in text.splitlines() if line.startswith("    "))]
    lines += re.findall(r"`((?:vqaflow|snakemake|make|python) [^`\n]+)`", text)
    lines = [re.split(r"\s{2,}#|\s# ", line.removeprefix("$ "))[0] for line in lines]
    lines = [part.strip() for line in lines for part in re.split(r"&&|\|(?!\|)(?<!\\\|)| > ", line.replace("\\|", "¦"))]
    return [line for line in lines if re.match(rf"(?:{'|'.join(PROGRAMS)})(?: \S|$)", line)]


EVERY = sorted({(name(page), line) for page in PAGES for line in typed(page.read_text(encoding="utf-8"))})
VQAFLOW, SNAKEMAKE, MAKE, PYTHON = ([(page, line) for page, line in EVERY if line.split(" ")[0] == p] for p in PROGRAMS)


@lru_cache
def parser(command: str) -> argparse.ArgumentParser:
    """The options of a command of vqaflow."""
    module = importlib.import_module(f"vqaflow.commands.{commands()[command].parent.name}.{command}")
    made = argparse.ArgumentParser(prog=command)
    module.add_arguments(made)
    made.add_argument("--debug", action="store_true")
    return made


def every_parser(command: str) -> list[argparse.ArgumentParser]:
    """A command's parser, and those of its actions."""
    found = [parser(command)]
    for one in found:
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += list(action.choices.values())
    return found


def options(command: str) -> set[str]:
    """All options that a command or one of its actions has."""
    return {text for one in every_parser(command) for action in one._actions for text in action.option_strings}


def actions(command: str) -> set[str]:
    """The words that choose an action of a command."""
    subparsers = [a for one in every_parser(command) for a in one._actions if isinstance(a, argparse._SubParsersAction)]
    return {word for action in subparsers for word in action.choices}


def test_the_pages_have_commands():
    """Else this file tests nothing."""
    assert len(VQAFLOW) > 60 and len(SNAKEMAKE) > 30 and len(MAKE) > 3 and len(PYTHON) > 3


@pytest.mark.parametrize(("page", "line"), VQAFLOW)
def test_a_command_of_vqaflow_exists_with_its_options(page, line):
    words = shlex.split(line.replace("[", "").replace("]", ""), posix=True)[1:]
    words = [word for word in words if word != "--debug"]
    words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    if not words or words[0] in ("--help", "COMMAND", "…"):
        return
    command = words[0].replace("-", "_")
    if words[0].isupper():
        return
    assert command in commands(), f"{page}: {line}"
    for word in words[1:]:
        option = word.split("=")[0]
        if option.startswith("--"):
            assert option in options(command) | {"--help"}, f"{page}: {line}"
    choices = actions(command)
    if choices and len(words) > 1 and not words[1].startswith("-"):
        for action in words[1].split("¦"):
            assert action in choices, f"{page}: {line}"


@lru_cache
def snakemake_arguments(line: str) -> argparse.Namespace:
    """A command line as Snakemake reads it. Plugins that are not installed here are named by some pages."""
    told = io.StringIO()
    words = [word for word in shlex.split(line.replace("…", "x"))[1:] if word not in PLUGINS]
    with contextlib.redirect_stderr(told):
        try:
            return get_argument_parser().parse_args(words)
        except SystemExit:
            raise AssertionError(f"{line}: {told.getvalue()[-300:]}") from None


def targets() -> set[str]:
    """What the pages ask Snakemake for; words in capitals are the reader's."""
    found: set[str] = set()
    for _, line in SNAKEMAKE:
        with contextlib.suppress(AssertionError):  # test_options_of_snakemake_exist shows it
            found |= set(snakemake_arguments(line).targets)
    return {word for word in found if not re.search(r"[A-Z]{2,}|[{*]|\bx\b", word)}


@pytest.mark.parametrize(("page", "line"), SNAKEMAKE)
def test_options_of_snakemake_exist(page, line):
    snakemake_arguments(line)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    """The workflow before its first run, with a file of settings as the pages' my.yaml."""
    made = WorkflowWorld(tmp_path_factory.mktemp("pages") / "workflow", finished=False)
    (made.folder / "mine" / "untuned.yaml").write_text("members: {untuned: {train: none}}\nhpo: {enabled: true}\n")
    yield made
    made.close()


@pytest.mark.parametrize("target", sorted(targets()))
def test_a_target_exists(target, world):
    """What a page asks Snakemake for, it can make."""
    status, printed = world.ask("-n", "--configfile", "mine/untuned.yaml", "--", target)
    assert status == 0, f"{target}: {printed[-800:]}"


@pytest.mark.parametrize(("page", "line"), SNAKEMAKE)
def test_files_and_profiles_of_snakemake_exist(page, line):
    """Those of the repository; my.yaml and the like are the reader's."""
    words = shlex.split(line)
    for word in words:
        if word.startswith(("docs/", "profiles/")) and "PROFILE" not in word:
            assert (ROOT / word).exists(), f"{page}: {line}"
    for rule in re.findall(r"--forcerun (\w+)", line):
        text = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "rules").glob("*.smk"))
        assert re.search(rf"^rule {rule}:", text, re.MULTILINE), f"{page}: {line}"


@pytest.mark.parametrize(("page", "line"), MAKE)
def test_targets_of_make_exist(page, line):
    heads = re.findall(r"^([a-z][\w -]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    rules = {target for head in heads for target in head.split()}
    targets = [word for word in shlex.split(line)[1:] if re.fullmatch(r"[a-z-]+", word)]
    assert set(targets) <= rules, f"{page}: {line}"


@pytest.mark.parametrize(("page", "line"), PYTHON)
def test_scripts_exist(page, line):
    """And modules that are run by their name."""
    words = line.split()
    if words[1] == "-m":
        package = words[2].split(".")[0]
        assert package in ELSEWHERE or importlib.util.find_spec(package), f"{page}: {line}"
    else:
        assert (ROOT / words[1]).is_file(), f"{page}: {line}"
