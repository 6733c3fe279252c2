"""Copies of the workflow to try things in, with results that are fabricated but known to Snakemake, and its answers."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from places import ROOT
from vqaflow.config.loading import load_config
from vqaflow.runtime.digests import file_digest

PARTS = ["Snakefile", "config.yaml", "rules", "workflow_scripts", "schemas", "envs", "profiles", "docs", "assets"]
# The closing line reads these two.
FABRICATED = {
    ".csv": "id,answer\n{name},a\n",
    ".json": '{"overall": {"right": 1, "n": 2, "wilson": [0, 1]}, "name": "{name}"}',
}
NOT_DIRECT = "input files updated by another job"


@dataclass(frozen=True)
class Plan:
    """What a dry run would do: jobs by rule, and the rules that run for a reason of their own."""

    jobs: Mapping[str, int]
    direct: frozenset[str]

    @property
    def rules(self) -> frozenset[str]:
        """All rules that would run."""
        return frozenset(self.jobs)


def copy_workflow(target: Path) -> Path:
    """The files of the workflow, without results and history."""
    target.mkdir(parents=True)
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, target / name)
    return target


def prepare_make(folder: Path) -> None:
    """Put the Makefile into `folder`, with an environment that is ready: the one in which the tests run."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
        os.utime(folder / name, (0, 0))
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (folder / ".venv" / "ready").touch()


def snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command itself in `folder`; what it printed on both streams is in `stdout`."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment
    )


def plan_of(printed: str) -> Plan:
    """Read what `snakemake -n` printed."""
    if "Nothing to be done" in printed:
        return Plan({}, frozenset())
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal ", printed, re.DOTALL)
    assert table, printed
    jobs = {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())}
    reasons = re.findall(r"^    (\w[^\n]*):\n        ([^\n]*)$", printed.split("\nReasons:\n", 1)[1], re.MULTILINE)
    direct = {rule for reason, rules in reasons if reason != NOT_DIRECT for rule in rules.split(", ")}
    return Plan({rule: n for rule, n in jobs.items() if rule != "all"}, frozenset(direct - {"all"}))


class WorkflowWorld:
    """A copy of the workflow whose results are fabricated, and a process that answers for it.

    `options` are files of settings over config.yaml; a world that is not `finished` has no results.
    """

    def __init__(self, folder: Path, *options: str, finished: bool = True) -> None:
        self.folder, self.options = copy_workflow(folder), options
        (folder / "mine").mkdir()
        if finished:
            self.fabricate()

    def copied(self, folder: Path) -> "WorkflowWorld":
        """The same world in another folder, to be changed there; close it as well."""
        other = copy(self)
        vars(other).pop("server", None)
        other.folder = Path(shutil.copytree(self.folder, folder))
        return other

    @cached_property
    def server(self) -> subprocess.Popen:
        """The process behind `ask`."""
        command = [sys.executable, str(Path(__file__).with_name("snakemake_server.py")), str(self.folder)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output of a command line of Snakemake."""
        self.server.stdin.write(json.dumps(list(arguments)) + "\n")
        self.server.stdin.flush()
        reply = json.loads(self.server.stdout.readline())
        return reply["status"], reply["printed"]

    def fabricate(self) -> None:
        """Make every output as a small file of its own, and have Snakemake take note of it as made now."""
        status, printed = self.ask("--summary", *self.configured())
        assert status == 0, printed
        for line in printed[printed.index("output_file") :].splitlines()[1:]:
            path = self.folder / line.split("\t")[0]
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(FABRICATED.get(path.suffix, "bytes of {name}").replace("{name}", path.name))
            else:
                path.mkdir(parents=True, exist_ok=True)
        touched = snakemake(self.folder, "--touch", "--forceall", "--cores", "1", *self.configured())
        assert touched.returncode == 0, touched.stdout

    def configured(self, *files: str) -> list[str]:
        """The options that name the configuration: this world's own, and `files` over it."""
        return ["--configfile", *self.options, *files] if self.options or files else []

    def plan(self, change: Mapping | None = None, *arguments: str) -> Plan:
        """What `snakemake -n` would do after `change` of the configuration."""
        files = []
        if change is not None:
            (self.folder / "mine" / "change.yaml").write_text(yaml.safe_dump(dict(change), allow_unicode=True))
            files = ["mine/change.yaml"]
        status, printed = self.ask("-n", *arguments, *self.configured(*files))
        assert status == 0, printed
        return plan_of(printed)

    @cached_property
    def followers(self) -> dict[str, frozenset[str]]:
        """By rule: the rules that come after it, as the rule graph says."""
        status, printed = self.ask("--rulegraph", *self.configured())
        assert status == 0, printed
        names = dict(re.findall(r'^\s*(\d+)\[label = "([^"\\]+)', printed, re.MULTILINE))
        arrows = [(names[a], names[b]) for a, b in re.findall(r"^\s*(\d+) -> (\d+)", printed, re.MULTILINE)]

        def after(rule: str) -> set[str]:
            found: set[str] = set()
            while more := {b for a, b in arrows if a in found | {rule}} - found:
                found |= more
            return found

        return {rule: frozenset(after(rule) - {"all"}) for rule in names.values() if rule != "all"}

    def close(self) -> None:
        """End the process, if one was started."""
        if "server" in vars(self):
            self.server.stdin.close()
            self.server.wait()


SMALL = ROOT / ".test/config.yaml"  # every stage real, everything in it as small as it goes
# What must be equal wherever and however often it was interrupted: all that the numbers rest on, and the numbers.
ARTIFACTS = [
    "tables/*.parquet",
    "folds.parquet",
    "adapters/*/*/adapter_*",
    "scores/*/*/*/*.parquet",
    "members/*/*.parquet",
    "ensemble/*",
    "evaluation/metrics.json",
    "submission.csv",
]


def copy_small_workflow(target: Path) -> Path:
    """The workflow with the small configuration as its config.yaml."""
    copy_workflow(target)
    merged = load_config(target / "config.yaml", SMALL)
    (target / "config.yaml").write_text(yaml.safe_dump(merged, allow_unicode=True), encoding="utf-8")
    return target


def finished_workflow(scratch: Path) -> Path:
    """A small workflow that has run to its end, to be copied and not changed; made once for all processes of a session.

    `scratch` is pytest's base folder.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        scratch = scratch.parent
    folder = scratch / "finished"
    with (scratch / "finished.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            begun = copy_small_workflow(scratch / "begun")
            run = snakemake(begun, "--cores", "1")
            assert run.returncode == 0, run.stdout
            (begun / "printed").write_text(run.stdout, encoding="utf-8")
            begun.rename(folder)
    return folder


def artifacts(folder: Path) -> dict[str, str]:
    """Digests of a workflow's results."""
    results = folder / "results"
    paths = sorted(path for pattern in ARTIFACTS for path in results.glob(pattern) if not path.name.startswith("."))
    return {str(path.relative_to(results)): file_digest(path) for path in paths}
