"""Wording that messages of all packages share."""

import difflib
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

NOT_IN_DIGESTS = True  # text is not a result
SHOWN = 5
# Characters that control a terminal, or the direction in which it writes; line breaks and tabs are not among them.
CONTROLS = {*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {9, 10}
AS_NUMBERS = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in CONTROLS}
DEBUG = "--debug"
PACKAGE = Path(__file__).parents[1]
MAINTAINERS = "the maintainers of vqaflow"
LONGEST_REASON = 200  # characters of an error of a library, which may be a page long


def plain(text: str) -> str:
    """`text` with control characters as their numbers, so that a text of a table controls no terminal."""
    return text.translate(AS_NUMBERS)


def some(ids: Sequence[object]) -> str:
    """The first few of `ids` for a message, and how many there are."""
    shown = ", ".join(repr(str(i)) for i in ids[:SHOWN])
    return f"{shown} and {len(ids) - SHOWN} more" if len(ids) > SHOWN else shown


def nearest(name: object, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The entry of `known` that is most similar to `name`, if it is similar enough (`cutoff` from 0 to 1)."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The cure for an unknown name: the nearest known one, or all of them."""
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else f"use one of {', '.join(known)}."


def reason_of(error: BaseException) -> str:
    """The first line of what a library's error says, without its full stop; its type if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:LONGEST_REASON].rstrip(" .:")


def unexpected(error: BaseException, log_path: Path | str | None, is_shown: bool = False) -> str:
    """The message. `log_path` is the log that has the traceback; None: it `is_shown`, or will be with --debug."""
    cure = f"Run the command again with {DEBUG}, and report what it prints to {MAINTAINERS}"
    if log_path is not None:
        cure = f"Its traceback is in {log_path}. Report it with this file to {MAINTAINERS}"
    elif is_shown:
        cure = f"Its traceback is above. Report it to {MAINTAINERS}"
    kind, reason = type(error).__name__, reason_of(error)
    what = kind if reason == kind else f"{kind} ({reason})"
    return f"{place_of(error)}: an unexpected error, {what}. {cure}."


def place_of(error: BaseException) -> str:
    """The line of the package in which the error was raised, or which called what raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)] or frames[-1:]
    if not own:
        return "vqaflow"
    path = Path(own[-1].filename)
    shown = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else path.name
    return f"{shown} line {own[-1].lineno}"
