"""What a running stage tells: log lines to a file and the terminal, and one bar for long work."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from vqaflow.errors import UserError

log = logging.getLogger("vqaflow")
LOG_FORMAT = "%(asctime)s %(levelname).1s %(message)s"
SECONDS_BETWEEN_LOGGED_PROGRESS = 5.0
SECONDS_BETWEEN_DRAWN_PROGRESS = 0.5  # bars of jobs at the same time take turns on one line, slowly enough to be read
UNEXPECTED = "stopped by an unexpected error"


class TerminalHandler(logging.StreamHandler):
    """Write log lines above a running bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line with tqdm's own writer."""
        tqdm.write(self.format(record), file=sys.stderr)


def start_log(path: Path | str | None = None) -> None:
    """Send the package's log lines to the terminal and, if given, to the file `path` (made anew)."""
    log.handlers.clear()
    log.setLevel(logging.INFO)
    log.propagate = False
    handlers: list[logging.Handler] = [TerminalHandler(sys.stderr)]
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(LOG_FORMAT, datefmt="%H:%M:%S"))
        log.addHandler(handler)


@contextmanager
def stage(log_path: Path | str | None) -> Iterator[None]:
    """Run a rule's script: log to `log_path`; a `UserError` ends it with its one message and exit status 1."""
    start_log(log_path)
    try:
        yield
    except UserError as error:
        log.error("error: %s", error)
        raise SystemExit(1) from None
    except SystemExit:  # after a signal; what was saved is logged already
        raise
    except BaseException:
        log.exception(UNEXPECTED)
        raise


class ProgressBar:
    """A bar in the terminal whose state also reaches the log file every few seconds."""

    def __init__(self, total: int, title: str, unit: str = "row", initial: int = 0) -> None:
        self.title = title
        options = {"file": sys.stderr, "dynamic_ncols": True, "mininterval": SECONDS_BETWEEN_DRAWN_PROGRESS}
        self.bar = tqdm(total=total, desc=title, unit=unit, initial=initial, **options)
        self.last_logged = time.monotonic()

    def advance(self, count: int = 1, **figures: float | str) -> None:
        """Move on by `count` and show `figures` (loss, accuracy, …) behind the bar."""
        if figures:
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in figures.items()}
            self.bar.set_postfix(shown, refresh=False)
        self.bar.update(count)
        if time.monotonic() - self.last_logged > SECONDS_BETWEEN_LOGGED_PROGRESS:
            self.log_state()

    def log_state(self) -> None:
        """Write the bar's line to the log file (the terminal shows the bar itself)."""
        self.last_logged = time.monotonic()
        record = log.makeRecord(log.name, logging.INFO, __file__, 0, "%s", (str(self.bar),), None)
        for handler in log.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.log_state()
        self.bar.close()
