"""Questions typed in processes beside the job have the same types, and no process outlives the job."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vqaflow.question_types import side_by_side
from vqaflow.question_types.classify import classify_many
from vqaflow.question_types.side_by_side import MANY, SideBySide
from vqaflow.runtime.errors import ProcessLost
from vqaflow.runtime.process_start import CORES, package_environment

QUESTIONS = (
    "이 사진에서 병은 몇 개인가요?",
    "간판에 적힌 글자는 무엇인가요?",
    "What colour is the car\nin front?",
    "고양이는 어느 쪽을 보고 있나요? \u2028",
)


def rows_from(first: int) -> list[dict[str, str]]:
    """Rows that differ, with line ends of several kinds."""
    return [{"question": f"{first + n}: {text}", "a": "왼쪽", "b": "두 개"} for n, text in enumerate(QUESTIONS)]


@pytest.fixture
def processes(monkeypatch):
    """Two processes that type questions."""
    monkeypatch.setattr(side_by_side, "job_cores", lambda: 2)
    with SideBySide() as made:
        made.expect(MANY)
        yield made


def test_types_are_those_of_one_process_and_in_their_order(processes) -> None:
    """A type in another row's place would leave mirrored what must not be, without a word."""
    asked = [rows_from(10 * n) for n in range(6)]
    begun = [processes.types_of(rows) for rows in asked]
    assert [types() for types in begun] == [classify_many(rows) for rows in asked]
    assert len(processes.processes) == 2 and processes.ahead == 4


@pytest.mark.parametrize(("rows", "cores"), [(MANY - 1, 8), (MANY, 1)])
def test_a_small_table_or_a_single_core_needs_no_process(rows, cores, monkeypatch) -> None:
    """Starting one would take longer than it saves, or take the job's own core."""
    monkeypatch.setenv(CORES, str(cores))
    with SideBySide() as made:
        made.expect(rows)
        assert not made.processes and made.ahead == 0
        assert made.types_of(rows_from(0))() == classify_many(rows_from(0))


@pytest.mark.parametrize("while_asked", [True, False])
def test_a_process_that_is_killed_ends_the_job_with_one_message(processes, while_asked) -> None:
    """Without it, the job would wait for ever: the system kills processes where memory is short."""
    begun = [processes.types_of(rows_from(0) * 2000) for _ in range(2 * while_asked)]
    for process in processes.processes:
        os.kill(process.pid, signal.SIGKILL)
        if not while_asked:
            process.wait()
    for types in begun or [processes.types_of(rows_from(0))]:
        with pytest.raises(ProcessLost, match="^tables: a process that types questions has ended.*again[.]$"):
            types()


def test_a_process_that_fails_is_not_called_killed(processes) -> None:
    """To run it again would not help; its own words say why."""
    with pytest.raises(RuntimeError, match="a process that types questions failed: KeyError: 'question'"):
        processes.types_of([{"a": "b"}])()


def test_processes_end_with_a_job_that_is_killed(tmp_path) -> None:
    """Left behind, each would hold hundreds of megabytes."""
    code = (
        "import time\n"
        "from vqaflow.question_types import side_by_side\n"
        "side_by_side.job_cores = lambda: 2\n"
        "made = side_by_side.SideBySide()\n"
        "made.expect(side_by_side.MANY)\n"
        "print(*(process.pid for process in made.processes), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=package_environment()) as job:
        left = [Path(f"/proc/{number}/cmdline") for number in job.stdout.readline().decode().split()]
        job.kill()
    deadline = time.monotonic() + 120
    while any(path.exists() and path.read_bytes() for path in left):  # one that nobody waits for has no command
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(left) == 2
