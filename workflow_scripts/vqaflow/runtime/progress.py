"""One bar for long work, whose state also reaches the log file."""

import logging
import os
import sys
import time
from typing import Any

from tqdm import tqdm

from vqaflow.runtime.run_watch import hours_left
from vqaflow.runtime.stage import FileHandler, log

NOT_IN_DIGESTS = True  # bars are not a result
SECONDS_BETWEEN_LOGGED_PROGRESS = 5.0
SECONDS_BETWEEN_DRAWN_PROGRESS = 0.5  # the bars of parallel jobs share one line: slow enough to read each
# Where there is no terminal, in a file or a pipe: seconds between lines, and of work that gets a line at its end.
SECONDS_BETWEEN_LINES, SECONDS_WORTH_A_LINE = 60.0, 1.0


class RunBar(tqdm):
    """A bar of a job that ends with how far the whole run is."""

    told = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm makes the bar of."""
        values = super().format_dict
        return values | {"postfix": ", ".join(filter(None, (values["postfix"], self.told)))}

    def display(self, *arguments: Any, **options: Any) -> None:
        """Draw the bar; lines in files have no word of the run."""
        self.told = hours_left()
        super().display(*arguments, **options)
        self.told = ""


class ProgressBar:
    """A bar in the terminal whose state also reaches the log file every few seconds.

    A file or a pipe gets a line per minute and one at the end, not a bar that is drawn over itself.
    """

    def __init__(self, total: int, title: str, unit: str = "row", initial: int = 0) -> None:
        self.title = title
        self.drawn = sys.stderr.isatty()
        options = {"dynamic_ncols": self.drawn, "mininterval": SECONDS_BETWEEN_DRAWN_PROGRESS}
        self.shown = sys.stderr if self.drawn else open(os.devnull, "w")  # noqa: SIM115 (closed with the bar)
        self.bar = RunBar(total=total, desc=title, unit=unit, initial=initial, file=self.shown, **options)
        self.logged: float | None = None
        self.began = self.last_logged = self.last_line = time.monotonic()

    def advance(self, count: int = 1, **figures: float | str) -> None:
        """Advance by `count` and show `figures` (loss, accuracy, …) after the bar."""
        if figures:
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in figures.items()}
            self.bar.set_postfix(shown, refresh=False)
        self.bar.update(count)
        if time.monotonic() - self.last_logged > SECONDS_BETWEEN_LOGGED_PROGRESS:
            self.log_state(time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES)

    def log_state(self, print_line: bool = False) -> None:
        """Write the bar's line to the log file, and `print_line` where no bar is drawn."""
        self.last_logged = time.monotonic()
        printed = print_line and not self.drawn
        if printed:
            self.last_line = self.last_logged
        in_log, self.logged = self.bar.n == self.logged, self.bar.n
        record = log.makeRecord(log.name, logging.INFO, __file__, 0, "%s", (str(self.bar),), None)
        for handler in log.handlers:
            if printed if not isinstance(handler, FileHandler) else not in_log:
                handler.handle(record)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.log_state(print_line=time.monotonic() - self.began > SECONDS_WORTH_A_LINE)
        self.bar.close()
        if not self.drawn:
            self.shown.close()
