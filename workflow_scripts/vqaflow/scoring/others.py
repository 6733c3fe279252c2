"""What else a job scores while its base is loaded: what other jobs of the same run will need from the same adapter.

Snakemake's process writes down which scorings this run does (`note_scorings`). A job that has made its own file scores
those of its member and fold too, into the store (`chosen`). Their own jobs still run, log and check everything, and
take their files from the store. So nothing depends on this list: without it, or with a wrong one, each scores its own.
"""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqaflow.runtime.files import parse_json, write_json
from vqaflow.runtime.stage import this_run

NOT_IN_DIGESTS = True  # who scores, and when, changes no scores


def here() -> list[str]:
    """The machine and the scheduler's job: on another one, a job has a time limit for its own work only."""
    return [socket.gethostname(), os.environ.get("SLURM_JOB_ID", "")]


def note_scorings(path: Path, scorings: Iterable[Mapping[str, str]]) -> None:
    """Note the scorings of this run: member, split, fold and view of each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"run": this_run(), "here": here(), "scorings": [dict(one) for one in scorings]})


def wanted(path: Path) -> list[dict[str, str]]:
    """The scorings of the run whose job this is; none of another run, on another machine, or by hand."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        return found["scorings"] if [found["run"], found["here"]] == [this_run(), here()] else []
    except (KeyError, OSError, ValueError):
        return []


def chosen(others: Sequence[Mapping[str, Any]], mine: Mapping[str, str], path: Path) -> list[Mapping[str, Any]]:
    """Those of `others` that this run wants, by the note at `path`, but not `mine`; `at` of each says which it is.

    One that needs the scores of another (`after`) is left out until that has its file.
    """
    todo = wanted(path)
    awaited = [one for one in todo if one != dict(mine)]
    return [other for other in others if other["at"] in awaited and other.get("after") not in awaited]
