"""Who reads and resizes images ahead of the GPU: as many processes as the job has cores, or threads of the job itself.

Threads share one interpreter, which two of them fill; the tower takes more. The processes are started before CUDA is
(`reading`), by a program of their own and not by a fork of this one, and their pixels are the same, bit for bit. Where
a CPU computes, it has no core to spare, and threads read.
"""

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vqaflow.runtime.errors import ProcessLost, UserError
from vqaflow.runtime.gpu_lease import holds_gpu
from vqaflow.runtime.process_start import job_cores, last_words, package_environment
from vqaflow.runtime.stage import log

if TYPE_CHECKING:  # the processes are started before torch is imported here
    import torch

THREADS = 4
MOST = 32  # processes; more than any tower needs
IMAGES_EACH = 4  # a process for fewer images would cost more than it brings
MODULE = "vqaflow.model.features.reader_process"


class Threads:
    """Reads in this process, in the thread that asks; `threads` may ask at once."""

    threads, ahead = THREADS, 0

    def __init__(self, state: Any, device: "torch.device") -> None:
        self.state, self.device = state, device

    def call(self, method: str, *arguments: Any) -> Any:
        """What the state's method gives."""
        return getattr(self.state, method)(*arguments)


class Processes:
    """The processes of a job. `call` takes the one that is free; more threads than processes wait for one."""

    def __init__(self, count: int) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        theirs = [other.fileno() for _, other in pairs]
        self.count, self.said = count, tempfile.TemporaryFile()
        self.first = subprocess.Popen(
            [sys.executable, "-m", MODULE, *map(str, theirs)],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=self.said,
            start_new_session=True,  # Ctrl-C is for the job, which ends them
            env=package_environment() | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )
        for _, other in pairs:
            other.close()
        self.sockets = [mine for mine, _ in pairs]
        self.free: queue.Queue[tuple[socket.socket, set[int]]] = queue.Queue()
        for mine in self.sockets:
            self.free.put((mine, set()))
        self.numbers: dict[bytes, int] = {}
        self.told: set[str] = set()
        self.is_over = False

    def number_of(self, state: Any) -> tuple[int, Any]:
        """The number by which the processes know a state; equal ones have the same."""
        return self.numbers.setdefault(pickle.dumps(state), len(self.numbers)), state

    def ask(self, state: tuple[int, Any], method: str, arguments: tuple[Any, ...], pin: bool) -> Any:
        """What a state's method gives in a process. Raises what it raises, and ProcessLost if the process ends."""
        from vqaflow.model.features.wire import Ended, receive, send

        number, whole = state
        mine, known = self.free.get()
        try:
            send(mine, ({} if number in known else {number: whole}, number, method, arguments))
            kind, value, told = receive(mine, pin)
        except Ended:
            raise ProcessLost(self.lost()) from None
        finally:
            known.add(number)
            self.free.put((mine, known))
        for level, line in told:
            if line not in self.told:  # each process says it once
                self.told.add(line)
                log.log(level, "%s", line)
        if kind == "made":
            return value
        if kind == "user":
            raise UserError(value)
        if kind == "system":
            raise value
        raise RuntimeError(f"a process that reads images failed:\n{value}")

    def lost(self) -> str:
        """What to say of a process that has ended, with the last line that it printed."""
        self.said.seek(0)
        said = last_words(self.said.read().decode("utf-8", "replace"))
        last = f" ({said})" if said else ""
        return (
            f"images: a process that reads them has ended{last}. The system may have killed it for its memory: run "
            "fewer jobs at once, or the same command again."
        )

    def end(self) -> None:
        """End them, whatever they do."""
        self.is_over = True
        for mine in self.sockets:
            mine.close()
        with suppress(ProcessLookupError):
            os.killpg(self.first.pid, signal.SIGKILL)
        self.first.wait()
        self.said.close()


class Readers:
    """Reads in the processes of the job; as `Threads`. Tensors come page-locked if a GPU is to get them."""

    def __init__(self, processes: Processes, state: Any, device: "torch.device") -> None:
        from vqaflow.model.features import reader_process  # noqa: F401  its code is part of the results' digests

        self.processes, self.state = processes, processes.number_of(state)
        self.pin = device.type == "cuda"
        self.threads, self.ahead = max(THREADS, processes.count + 1), 2 * processes.count

    def call(self, method: str, *arguments: Any) -> Any:
        """What the state's method gives in a process of its own; in this one, when the others have ended."""
        if self.processes.is_over:
            return getattr(self.state[1], method)(*arguments)
        return self.processes.ask(self.state, method, arguments, self.pin)


_of_job: list[Processes] = []  # none, or those of this job


@contextmanager
def reading(images: int, count: int | None = None) -> Iterator[None]:
    """Have processes read in the block, in which about so many `images` are read.

    `count` is how many: by default one per core of the job, and none in a job without a GPU.
    """
    if count is None:
        count = min(MOST, job_cores(), -(-images // IMAGES_EACH)) if holds_gpu() else 0
    if not count or _of_job:
        yield
        return
    _of_job.append(Processes(count))
    log.info("%d processes read images", count)
    try:
        yield
    finally:
        _of_job.pop().end()


def readers_of(state: Any, device: "torch.device") -> Threads | Readers:
    """Who calls the methods of `state`, an object that can be pickled, for this job."""
    return Readers(_of_job[0], state, device) if _of_job else Threads(state, device)
