"""What a run needs of its folder before the first job: room to write, and no file from the future."""

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import FILE_ERRORS, file_problem

NOT_IN_DIGESTS = True  # times of files decide no result
BYTES_NEEDED = 2**20  # a run that cannot write this much cannot even say what is wrong with it
CLOCK_SECONDS = 2.0  # some file systems round times up


def require_room(folder: Path) -> None:
    """Raise OSError that names `folder`, or what is above it if it is not there yet, unless files can be made in it."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    shown = folder if place == folder.absolute() else place
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(BYTES_NEEDED))
            file.flush()
    except OSError as error:
        error.filename = str(shown)
        raise


def write_problem(outputs: Iterable[Path], folders: Iterable[Path]) -> str | None:
    """Why the first of `outputs` in one of `folders` that cannot be replaced cannot, and what to do.

    None if all can be, or if the system gives no reason that we know.
    """
    places = [folder.absolute() for folder in folders]
    for path in outputs:
        if not any(path.absolute().is_relative_to(place) for place in places):
            continue
        try:
            tempfile.TemporaryFile(dir=path).close() if path.is_dir() else path.open("r+b").close()
        except OSError as error:
            error.filename = str(path)
            return file_problem(error) if error.errno in FILE_ERRORS else None
    return None


def bring_to_present(inputs: Iterable[Path], results: Path) -> list[Path]:
    """Set the times of `inputs` in `results` to now if they lie in the future; returns those that were changed.

    If the clock was set back, or that of another machine is fast, Snakemake would take what jobs make for older than
    their inputs, and fail. Raises UserError that names a file outside `results`, which is the user's.
    """
    now, changed = time.time(), []
    for path in sorted(set(inputs)):
        if not path.exists() or (at := path.stat().st_mtime) <= now + CLOCK_SECONDS:
            continue
        if not path.absolute().is_relative_to(results.absolute()):
            when, present = (time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) for seconds in (at, now))
            raise UserError(
                f"{path}: was changed at {when}, but this machine's clock says {present}. If the clock is right, run "
                f"`touch {path}`; if not, set it."
            )
        os.utime(path)
        changed.append(path)
    return changed
