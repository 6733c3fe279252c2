"""Run a command until shortly before a session ends: trainings then write their checkpoints, and all is kept."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.hours_left import span
from vqaflow.runtime.messages import reason_of
from vqaflow.runtime.session.kept import Kept, bring_back, is_fresh, is_kept, keep, read_kept
from vqaflow.runtime.stage import log

NOT_IN_DIGESTS = True  # when a run stops decides no result
# Exit statuses: of a run that goes on in the next session (EX_TEMPFAIL of sysexits.h), and if there is no such command.
STOPPED, NO_COMMAND = 75, 127
TICK = 0.2  # seconds
LOCKS = Path(".snakemake/locks")


@dataclass(frozen=True)
class Limits:
    """Seconds: of the session from now on, reserved before its end for stopping and keeping, and between two keeps."""

    session: float
    margin: float
    every: float


class Session:
    """A run of `command` in the folder `place` that ends in time, and is kept in the folder `folder`."""

    def __init__(self, command: Sequence[str], limits: Limits, folder: Path, place: Path) -> None:
        if limits.margin >= limits.session:
            raise UserError(
                f"--hours {limits.session / 3600:g}: leaves no time to work before the {limits.margin / 60:g} minutes "
                "of --margin. Give more hours, or a smaller margin."
            )
        if any(folder.resolve().is_relative_to((place / own).resolve()) for own in ("results", ".snakemake")):
            raise UserError(f"--keep {folder}: lies among the files that it keeps. Give a folder beside results.")
        self.command, self.limits, self.folder, self.place = list(command), limits, folder, place
        self.began, self.asked, self.over = time.monotonic(), 0, threading.Event()
        if is_kept(folder):
            read_kept(folder)  # a damaged list must not show at the end only

    def bring_back(self, source: Path | None) -> None:
        """Bring the files of an earlier session here, unless there are some already.

        Raises UserError if `source` holds none; the folder in which this session keeps its own may be empty. Also if
        that folder holds an earlier session that is not brought back: keeping would delete it.
        """
        is_other = source is None or source.resolve() != self.folder.resolve()
        if is_other and is_kept(self.folder) and is_fresh(self.place):
            raise UserError(
                f"--keep {self.folder}: holds an earlier session, which this one would replace. Add --from "
                f"{self.folder}, or give an empty folder."
            )
        if source is None:
            return
        if not is_kept(source):
            if is_other:
                raise UserError(f"--from {source}: no session has kept anything there. Give the folder of its --keep.")
            log.info("session: nothing is kept in %s yet; this is the first session", source)
        elif not is_fresh(self.place):
            log.info("session: results are here already; nothing is taken from %s", source)
        else:
            bring_back(source, self.place)
            log.info("session: goes on from %s", source)

    def run(self) -> int:
        """Run, stop and keep; returns the exit status: 0, STOPPED, or that of the command that failed."""
        handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            status, was_stopped = self._run()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        kept = keep(self.place, self.folder)
        log.info("session: %s", self._told(status, was_stopped, kept))
        return STOPPED if was_stopped and status else status

    def _ask(self, number: int, frame: object) -> None:
        """Note that the session is to end now; asked a second time, nothing is waited for."""
        self.asked += 1

    def _run(self) -> tuple[int, bool]:
        """The command's exit status, and whether it was stopped."""
        try:
            process = subprocess.Popen(self.command, cwd=self.place, start_new_session=True)
        except OSError as error:
            log.error("error: %s: cannot be started (%s). Check its name.", self.command[0], reason_of(error))
            return NO_COMMAND, False
        keeper = threading.Thread(target=self._keep_again, daemon=True)
        keeper.start()
        end = self.began + self.limits.session - self.limits.margin
        while process.poll() is None and not self.asked and time.monotonic() < end:
            time.sleep(TICK)
        was_stopped = process.poll() is None
        if was_stopped:
            log.info("session: stopping in time; trainings write their checkpoints")
            self._stop(process)
        self.over.set()
        keeper.join()
        return status_of(process), was_stopped

    def _stop(self, process: subprocess.Popen) -> None:
        """End the command and its jobs: at first by SIGTERM, on which trainings finish a step and save.

        Snakemake then starts no more jobs. Those that do not end in half of the margin are killed; what they had
        written is taken up or made again by the next session.
        """
        end, asked = time.monotonic() + self.limits.margin / 2, self.asked
        os.killpg(process.pid, signal.SIGTERM)
        while living(process) and time.monotonic() < end and self.asked <= max(asked, 1):
            time.sleep(TICK)
        if left := living(process):
            log.warning("session: %d processes did not stop in time and are killed", len(left))
            for pid in left:
                kill(pid)
        process.wait()
        shutil.rmtree(self.place / LOCKS, ignore_errors=True)  # a killed Snakemake's; none of its processes is left

    def _keep_again(self) -> None:
        """Keep the state of the run every few minutes, for the case that the machine is lost."""
        while not self.over.wait(self.limits.every):
            try:
                keep(self.place, self.folder, self.over.is_set)
            except OSError as error:  # the last keep, whose errors end the session, may do
                log.warning("session: %s was not brought up to date (%s)", self.folder, reason_of(error))

    def _told(self, status: int, was_stopped: bool, kept: Kept | None) -> str:
        """How the session ended, and what to do next."""
        where = f"{kept or 'what it was before, since jobs of another run are at work here,'} in {self.folder}"
        if status == 0:
            return f"finished. Kept: {where}"
        again = f"the same command with --from {self.folder}"
        if was_stopped:
            passed = span(time.monotonic() - self.began)
            return f"stopped in time after {passed}. Kept: {where}. In the next session run {again}; it goes on"
        return (
            f"the command failed (exit status {status}). Kept: {where}. Mend what its last lines name, then run {again}"
        )


def status_of(process: subprocess.Popen) -> int:
    """A command's exit status, as shells give it: 128 + N for one that signal N has ended."""
    return 128 - process.returncode if process.returncode < 0 else process.returncode


def living(leader: subprocess.Popen) -> list[int]:
    """The processes of the leader's session that are alive, with the leader itself."""
    leader.poll()  # else it is a process that has ended and was not asked about
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            fields = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader.pid and fields[0] not in "ZX":
            found.append(int(entry))
    return found


def kill(pid: int) -> None:
    """End a process at once, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
