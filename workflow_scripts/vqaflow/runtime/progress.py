"""One bar for long work, whose state also reaches the log file."""

import logging
import sys
import time

from tqdm import tqdm

from vqaflow.runtime.stage import FileHandler, log

NOT_IN_DIGESTS = True  # bars are not a result
SECONDS_BETWEEN_LOGGED_PROGRESS = 5.0
SECONDS_BETWEEN_DRAWN_PROGRESS = 0.5  # the bars of parallel jobs share one line: slow enough to read each


class ProgressBar:
    """A bar in the terminal whose state also reaches the log file every few seconds."""

    def __init__(self, total: int, title: str, unit: str = "row", initial: int = 0) -> None:
        self.title = title
        options = {"file": sys.stderr, "dynamic_ncols": True, "mininterval": SECONDS_BETWEEN_DRAWN_PROGRESS}
        self.bar = tqdm(total=total, desc=title, unit=unit, initial=initial, **options)
        self.last_logged = time.monotonic()

    def advance(self, count: int = 1, **figures: float | str) -> None:
        """Advance by `count` and show `figures` (loss, accuracy, …) after the bar."""
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
            if isinstance(handler, FileHandler):
                handler.handle(record)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.log_state()
        self.bar.close()
