"""How a stage runs and ends: a log in a file and on the terminal, and one message for a user's error."""

import errno
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from vqaflow.runtime.errors import OutOfMemory, ProcessLost, UserError
from vqaflow.runtime.hours_left import span
from vqaflow.runtime.locks import only_job
from vqaflow.runtime.messages import plain, reason_of, unexpected
from vqaflow.runtime.output_records import lock_of, record_outputs
from vqaflow.runtime.process_start import end_process, is_job
from vqaflow.runtime.secrets import hidden

NOT_IN_DIGESTS = True  # log lines, and how a job ends, are not a result
log = logging.getLogger("vqaflow")
LOG_FORMAT = "%(asctime)s %(levelname).1s %(message)s"
FOR_THE_LOG = {"for_the_log": True}  # log.info(…, extra=FOR_THE_LOG) is not shown on the terminal
CLOSING = {"closing": True}  # log.info(…, extra=CLOSING) is what a stage says at its end, with the time that it took
RUN_STARTED = "VQAFLOW_RUN_STARTED"  # when Snakemake was started, in seconds since 1970; its jobs inherit it
# What keeps a file from being read or written, and what to do about it. Other system errors are unexpected.
NO_RIGHT = "Give yourself permission (chmod, chown), or use another place."
IN_THE_WAY = "Move or rename what is there, or use another place."
FULL = "Free some space, or use a place on another disk."
FILE_ERRORS = {
    errno.EACCES: ("you do not have permission to read or write it", NO_RIGHT),
    errno.EPERM: ("the system does not allow this", NO_RIGHT),
    errno.EROFS: ("its disk is read-only", "Use a place on a disk that you can write to."),
    errno.ENOSPC: ("its disk is full", FULL),
    errno.EDQUOT: ("your quota on its disk is used up", FULL),
    errno.EISDIR: ("it is a folder where a file should be", IN_THE_WAY),
    errno.ENOTDIR: ("it, or a part of its path, is a file where a folder should be", IN_THE_WAY),
    errno.EEXIST: ("something of another kind already has this name", IN_THE_WAY),
}


class SafeFormatter(logging.Formatter):
    """Log lines and tracebacks without secrets, and with control characters shown by their numbers.

    A token must not be written, and a name in a table must not colour, clear or rename a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, in which only line breaks and tabs control anything."""
        return plain(hidden(super().format(record)))


class TerminalHandler(logging.StreamHandler):
    """Write log lines above a running bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line with tqdm's own writer."""
        if not getattr(record, "for_the_log", False):
            tqdm.write(self.format(record), file=sys.stderr)


class FileHandler(logging.FileHandler):
    """Write log lines to a file; if that fails, as on a full disk, say so once, not once per line."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave the lines to the terminal."""
        if not self.failed:
            self.failed = True
            tqdm.write(f"{self.baseFilename}: the log cannot be written ({sys.exc_info()[1]})", file=sys.stderr)


def start_log(path: Path | str | None = None) -> None:
    """Send the package's log lines to the terminal and, if given, to the file `path` (overwritten)."""
    log.handlers.clear()
    log.setLevel(logging.INFO)
    log.propagate = False
    _add_handler(TerminalHandler(sys.stderr))
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _add_handler(FileHandler(path, mode="w", encoding="utf-8"))


def _add_handler(handler: logging.Handler) -> None:
    handler.setFormatter(SafeFormatter(LOG_FORMAT, datefmt="%H:%M:%S"))
    log.addHandler(handler)


@contextmanager
def closing_line(otherwise: str) -> Iterator[None]:
    """End the work with one line: what was done, which is the last record marked as CLOSING, and how long it took.

    If there is no such record, it is `otherwise`, of which "" prints nothing.
    """
    began, told = time.monotonic(), [otherwise]

    def hold(record: logging.LogRecord) -> bool:
        """Keep the record for the end."""
        is_closing = getattr(record, "closing", False)
        if is_closing:
            told.append(record.getMessage())
        return not is_closing

    log.addFilter(hold)
    try:
        yield
    finally:
        log.removeFilter(hold)
    if told[-1]:
        log.info("%s (%s)", told[-1], span(time.monotonic() - began))


@contextmanager
def stage(log_path: Path | str | None, outputs: Iterable[Path | str] = (), debug: bool = False) -> Iterator[None]:
    """Run a rule's script with a log in `log_path`. Any error is reported once and ends it with exit status 1.

    The digests of its `outputs` are recorded when it has ended well.

    Each error gives one message. The traceback of an unexpected one is in the log, and on the terminal if `debug`.
    A retry after a `UserError`, which would come again, ends at once and prints nothing.
    """
    told = None if log_path is None else Path(log_path).with_name(f".{Path(log_path).name}.told")
    if told is not None and (text := told_before(told)) is not None:
        Path(str(log_path)).write_text(text, encoding="utf-8")  # Snakemake has removed it
        raise SystemExit(1)
    try:
        start_log()
        with only_job(None if log_path is None else lock_of(Path(log_path)), log.info):
            start_log(log_path)
            with closing_line("" if log_path is None else "done"):
                yield
            if log_path is not None:
                record_outputs(Path(log_path), outputs)
    except (OutOfMemory, ProcessLost) as error:
        _end(str(error))
    except UserError as error:
        log.error("error: %s", error)
        if told is not None:
            with suppress(OSError):  # then a retry tells it again
                told.write_text(f"{this_run()}\n{Path(str(log_path)).read_text('utf-8')}", encoding="utf-8")
        raise SystemExit(1) from None
    except OSError as error:
        _end_if_unread(error)
        if error.errno not in FILE_ERRORS:
            _end_unexpected(error, log_path, debug)
        _end(file_problem(error))
    except KeyboardInterrupt:
        log.error("interrupted")
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        if full := memory_problem(error):
            _end(full)
        _end_unexpected(error, log_path, debug)
    if log_path is not None and is_job():
        end_process(0)


def this_run() -> str:
    """What tells this run of Snakemake from others; times of files would not, if the clock is set back."""
    return os.environ.get(RUN_STARTED, "")


def told_before(told: Path) -> str | None:
    """The log of a job that ended by a user's error in this run of Snakemake, kept in `told`; None if it has not."""
    if not told.is_file():
        return None
    run, _, text = told.read_text(encoding="utf-8").partition("\n")
    if run and run == this_run():
        return text
    told.unlink(missing_ok=True)
    return None


def _end(message: str) -> NoReturn:
    log.error("error: %s", message)
    raise SystemExit(1) from None


def _end_unexpected(error: Exception, log_path: Path | str | None, debug: bool) -> NoReturn:
    """Log the traceback and the message, and exit: if the error were raised, Python would print it again."""
    log.error("the traceback of an unexpected error:", exc_info=error, extra={} if debug else FOR_THE_LOG)
    _end(unexpected(error, log_path, debug))


def _end_if_unread(error: OSError) -> None:
    """Exit without a word, as other programs do, if what reads the standard output has ended, as in `… | head`."""
    if isinstance(error, BrokenPipeError) and has_no_reader(sys.stdout.fileno()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tells of it at its end
        raise SystemExit(128 + signal.SIGPIPE) from None


def has_no_reader(descriptor: int) -> bool:
    """Whether a pipe that is written to is closed at its other end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def memory_problem(error: Exception) -> str | None:
    """What is full and what to do, if the error says that memory is: of a GPU or of the machine. None if not."""
    text = reason_of(error)
    if type(error).__name__ == "OutOfMemoryError" or ("CUDA" in text and "out of memory" in text):  # without torch
        return (
            f"the GPU's memory is full ({text}). End what else uses it (nvidia-smi shows it), set model.quantization "
            "to nf4, or lower model.max_pixels."
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return (
            f"this machine's memory is full ({text}). End other programs, or run fewer jobs at once (--cores 1, "
            "--resources gpu=1)."
        )
    return None


def file_problem(error: OSError) -> str:
    """Where, what and what to do; if a temporary file could not be made, where is its folder."""
    what, cure = FILE_ERRORS[error.errno]
    named = error.filename2 or error.filename
    if not isinstance(named, str | bytes):
        return f"a file could not be read or written: {what} ({error}). {cure}"
    path = Path(os.fsdecode(named))
    is_gone = error.errno in (errno.ENOSPC, errno.EDQUOT) and not path.parent.exists()  # a folder of the stage itself
    if is_gone or error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        path = next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
    return f"{path}: {what}. {cure}"
