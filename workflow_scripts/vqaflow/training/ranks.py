"""One training by several processes, each with a device of its own; such a process is called a rank.

Every rank holds the whole base and the whole adapter. It computes a share of the rows of each step; the gradients of
the adapter are summed over the ranks, and each makes the same optimiser step. Rank 0 is the job itself: it alone
writes, shows progress and obeys signals. It starts the others, and watches them: if one ends, so does the job.
"""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from vqaflow.runtime.errors import NotFinite, OutOfMemory, ProcessLost, UserError
from vqaflow.runtime.files import write_json
from vqaflow.runtime.gpu_lease import VISIBLE
from vqaflow.runtime.process_start import package_environment
from vqaflow.runtime.stage import log

Item = TypeVar("Item")
HOST = "127.0.0.1"
ENDLESS = timedelta(days=30)  # others may wait for a long validation; that a rank has died is found by the watch
SECONDS_BETWEEN_LOOKS, SECONDS_TO_ANSWER, SECONDS_TO_END = 0.2, 10.0, 60.0
KINDS = {kind.__name__: kind for kind in (UserError, NotFinite, OutOfMemory)}


@dataclass(frozen=True)
class Seat:
    """The place of a process in a training: its number among `count`, the port where they meet, and its files."""

    number: int
    count: int
    port: int
    work: Path

    @property
    def failure(self) -> Path:
        """Where it says why it ended."""
        return self.work / f"rank{self.number}.json"

    @property
    def log(self) -> Path:
        """What it and its libraries print."""
        return self.work / f"rank{self.number}.log"


class Ranks:
    """This process among the ranks of a training. By itself, as `Ranks()`, it computes everything."""

    def __init__(self, number: int = 0, count: int = 1, watch: "Watch | None" = None) -> None:
        self.number, self.count, self.watch = number, count, watch

    @property
    def is_first(self) -> bool:
        """Whether this process writes and tells."""
        return self.number == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What this rank computes of `items`. They are sorted by length, so that all ranks have equally long ones."""
        return items[self.number :: self.count]

    def sum_gradients(self, weights: Sequence[torch.nn.Parameter]) -> None:
        """Give every rank the sum of all ranks' gradients; a rank without rows counts as zeros."""
        if self.count == 1:
            return
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        gradients = [weight.grad for weight in weights]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._with_all(lambda: dist.all_reduce(flat), flat)
        copy_parts(flat, gradients)

    def copy_first(self, weights: Sequence[torch.nn.Parameter]) -> None:
        """Give every rank rank 0's `weights`."""
        if self.count == 1:
            return
        flat = torch.cat([weight.detach().flatten() for weight in weights])
        self._with_all(lambda: dist.broadcast(flat, 0), flat)
        copy_parts(flat, [weight.detach() for weight in weights])

    def sums(self, *values: float) -> list[float]:
        """The sum over all ranks of each value."""
        if self.count == 1:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64)
        self._with_all(lambda: dist.all_reduce(summed), summed)
        return summed.tolist()

    def require_same(self, value: int) -> None:
        """Raise AssertionError if the ranks are not at the same step."""
        total, squares = self.sums(value, value**2)
        assert total == self.count * value and squares == self.count * value**2, "the ranks are at different steps"

    @contextmanager
    def one_after_first(self) -> Iterator[None]:
        """Run the block in rank 0 first, then in the others, which find there what it has kept on the disk."""
        if not self.is_first:
            self.sums(0)
        yield
        if self.is_first:
            self.sums(0)

    def vary_chance(self, seed: int, step: int) -> None:
        """Give this rank random numbers of its own: dropout must not repeat itself in each share of a step."""
        if not self.is_first:
            torch.manual_seed((seed * 1_000_003 + step) * 1_009 + self.number)

    def _with_all(self, exchange: Callable[[], object], values: torch.Tensor) -> None:
        """Exchange `values`, and wait for it: a rank that waits here in vain is found by the watch."""
        with self.watch.waiting() if self.watch else nullcontext():
            exchange()
            if values.is_cuda:
                torch.cuda.synchronize(values.device)


def copy_parts(flat: torch.Tensor, targets: Sequence[torch.Tensor]) -> None:
    """Copy what `flat` holds one after another to `targets`."""
    for target, part in zip(targets, flat.split([target.numel() for target in targets]), strict=True):
        target.copy_(part.view_as(target))


class Watch:
    """Rank 0's watch over the processes of the others."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], seats: Sequence[Seat]) -> None:
        self.processes, self.seats = processes, seats
        self.failure: UserError | None = None
        self.waiting_since: float | None = None
        self._found, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def require_all(self) -> None:
        """Raise the error of a rank that has ended."""
        if self.failure:
            raise self.failure

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that waits for other ranks; raises the error of one that ends meanwhile or has ended before."""
        self.require_all()
        self.waiting_since = time.monotonic()
        try:
            yield
        except RuntimeError as error:  # the connection to a rank is lost
            self.waiting_since = None
            self._found.wait(SECONDS_TO_ANSWER)
            if self.failure is None:
                raise
            raise self.failure from error
        finally:
            self.waiting_since = None

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            for process, seat in zip(self.processes, self.seats, strict=True):
                if process.poll() not in (None, 0):
                    self.failure = failure_of(seat, process.returncode)
                    self._found.set()
                    self._end_if_stuck(self.failure)
                    return

    def _end_if_stuck(self, failure: UserError) -> None:
        """End this process if it waits for the lost rank in a call that never returns, as NCCL's do."""
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            since = self.waiting_since
            if since is not None and time.monotonic() - since > SECONDS_TO_ANSWER:
                log.error("error: %s", failure)
                kill(self.processes)
                os._exit(1)


def failure_of(seat: Seat, status: int) -> UserError:
    """Why a rank has ended: as it says itself, or as its exit status does."""
    try:
        told = json.loads(seat.failure.read_text(encoding="utf-8"))
        if told["kind"] in KINDS:
            return KINDS[told["kind"]](told["message"])
        what = f"ended with {told['kind']}: {told['message']}"
    except (OSError, ValueError, KeyError):
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        what = f"{how}. The machine may be short of memory"
    return ProcessLost(
        f"train.devices: process {seat.number + 1} of {seat.count} {what} (see {seat.log}). Run the same command "
        "again: it resumes from the last checkpoint."
    )


def kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes, whatever they do."""
    for process in processes:
        process.kill()
        process.wait()
        with suppress(OSError):  # what it has not read
            process.stdin.close()


@contextmanager
def ranks_of(count: int, job: Any, work: Path) -> Iterator[Ranks]:
    """This process as rank 0 of `count`, while the others run `job.train` in processes of their own.

    `job` is sent to them as a pickle; `work` is a folder for their logs. Raises UserError if there are GPUs, but fewer
    than ranks.
    """
    if count == 1:
        yield Ranks()
        return
    if torch.cuda.is_available():
        require_devices(count)
    store = dist.TCPStore(HOST, 0, count, is_master=True, timeout=ENDLESS, wait_for_workers=False)
    seats = [Seat(number, count, store.port, work) for number in range(1, count)]
    processes = [start(seat, job) for seat in seats]
    watch = Watch(processes, seats)
    log.info("train.devices: %d processes share each step", count)
    try:
        with watch.waiting():
            join_group(0, count, store)
        yield Ranks(0, count, watch)
        watch.require_all()
        leave_group()
        for process in processes:
            with suppress(subprocess.TimeoutExpired):  # it has nothing left to do
                process.wait(SECONDS_TO_END)
    finally:
        watch.end()
        kill(processes)
        with suppress(RuntimeError):  # of a group that a dead rank has left
            leave_group()


def require_devices(count: int) -> None:
    """Raise UserError unless this process has so many GPUs, which the lease has shown to it."""
    here = len(os.environ.get(VISIBLE, "").split(","))
    if here < count:
        raise UserError(f"train.devices: {count} GPUs are asked for, but this job has {here}. Lower train.devices.")


def start(seat: Seat, job: Any) -> subprocess.Popen[bytes]:
    """The process of a rank, which sees its own GPU first. It ends when this one does, since its input ends then."""
    seat.work.mkdir(parents=True, exist_ok=True)
    seat.failure.unlink(missing_ok=True)
    visible = os.environ.get(VISIBLE, "").split(",")
    own_first = visible[seat.number :] + visible[: seat.number]
    environment = package_environment() | ({VISIBLE: ",".join(own_first)} if VISIBLE in os.environ else {})
    with seat.log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "vqaflow.training.other_rank"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    with suppress(BrokenPipeError):  # it has ended already: the watch tells
        pickle.dump((seat, job), process.stdin)
        process.stdin.flush()
    return process


def join_group(number: int, count: int, store: dist.TCPStore) -> None:
    """Meet the other ranks: NCCL for what is on GPUs, Gloo for the rest."""
    if Path("/sys/class/net/lo").exists():  # a host name that leads elsewhere must not matter: all are on this machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=ENDLESS)


def leave_group() -> None:
    """Free what the group holds."""
    if dist.is_initialized():
        dist.destroy_process_group()


def take_seat(seat: Seat, job: Any) -> None:
    """Run `job` as another rank; if it fails, say why in a file, for rank 0 to tell."""
    store = dist.TCPStore(HOST, seat.port, seat.count, is_master=False, timeout=ENDLESS)
    try:
        join_group(seat.number, seat.count, store)
        job.train(Ranks(seat.number, seat.count))
        leave_group()
    except Exception as error:
        traceback.print_exc()
        write_json(seat.failure, {"kind": type(error).__name__, "message": str(error)})
        os._exit(1)  # at once: the others wait for it, and some libraries wait for them at their end
