"""Typing the questions of a large table in processes beside this one, which looks at the images meanwhile.

Most of the work is Python's, so that threads would wait for each other. The processes end with this one, however it
ends: their input is closed then.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any

from vqaflow.question_types import typing_process
from vqaflow.question_types.classify import QuestionType, classify_many
from vqaflow.question_types.weights import shipped_weights
from vqaflow.runtime.errors import ProcessLost
from vqaflow.runtime.process_start import CORES, job_cores, last_words, package_environment

MANY = 10_000  # rows; starting a process, which loads the analyser, takes as long as typing a few thousand
MOST = 4  # processes of half a gigabyte each; with more, all would wait for the images
TypesToCome = Callable[[], list[QuestionType]]


class SideBySide:
    """Types questions in this process until a table with `MANY` rows is expected, then in a process for each core."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.free: queue.Queue[subprocess.Popen[bytes]] = queue.Queue()
        self.open = ExitStack()

    @property
    def ahead(self) -> int:
        """How many lists of rows should be given beside the one that is waited for."""
        return 2 * len(self.processes)

    def expect(self, rows: int) -> None:
        """Start the processes if a table has so many rows, the job has a second core, and they are not there yet."""
        if self.processes or rows < MANY or (cores := job_cores()) < 2:
            return
        shipped_weights()  # what is wrong with them is told here
        self.said: IO[bytes] = self.open.enter_context(tempfile.TemporaryFile())
        count = min(cores, MOST)
        self.threads = self.open.enter_context(ThreadPoolExecutor(count))
        for _ in range(count):
            self.processes.append(self._started())
            self.free.put(self.processes[-1])

    def types_of(self, rows: Sequence[Mapping[str, Any]]) -> TypesToCome:
        """Begin to type rows (see `classify_many`); returns a function that waits for their types and gives them."""
        if not self.processes:
            return lambda: classify_many(rows)
        return self.threads.submit(self._ask, rows).result

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", typing_process.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            start_new_session=True,  # Ctrl-C is for the job, which ends them
            env=package_environment() | {CORES: "1", "OMP_NUM_THREADS": "1"},
        )

    def _ask(self, rows: Sequence[Mapping[str, Any]]) -> list[QuestionType]:
        process = self.free.get()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps(rows).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            self.free.put(process)
        if not answer.endswith(b"\n"):
            raise self._lost(process.wait())
        return [QuestionType(*one) for one in json.loads(answer)]

    def _lost(self, status: int) -> Exception:
        """The error of a process that has ended: the system's, or one of ours, with what it said."""
        descriptor = self.said.fileno()  # which the processes share: reading must not move its place
        said = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode("utf-8", "replace")
        if status > 0:
            return RuntimeError(f"a process that types questions failed: {last_words(said)}\n{said}")
        return ProcessLost(
            "tables: a process that types questions has ended. The system may have killed it for its memory: run "
            "fewer jobs at once, or the same command again."
        )

    def __enter__(self) -> "SideBySide":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self.processes:
            process.kill()  # a thread that waits for its answer ends then
        self.open.close()
        for process in self.processes:
            process.communicate()
