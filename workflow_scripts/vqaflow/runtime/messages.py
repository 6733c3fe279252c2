"""Wording that messages of all packages share."""

import difflib
from collections.abc import Iterable, Sequence

NOT_IN_DIGESTS = True  # text is not a result
SHOWN = 5
LONGEST_REASON = 200  # characters of an error of a library, which may be a page long


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
