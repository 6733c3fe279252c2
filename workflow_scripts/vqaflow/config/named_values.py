"""Settings as short texts that name their key, so that Snakemake's reason for a rerun reads `prompt.system: "…"`.

Snakemake compares the texts of a rule's params and prints all of those that differ.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vqaflow.runtime.digests import value_digest

NOT_IN_DIGESTS = True  # Snakemake compares these texts itself
LONGEST = 60  # letters of a value that are shown
DIGITS = 8  # of the digest that stands for what is not shown


def named_values(name: str, value: Any) -> dict[str, str]:
    """By dotted key: the text of each value in `value`, a section or a single value called `name`."""
    return {key: f"{key}: {short(leaf)}" for key, leaf in _leaves(name, value)}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(f"{name}.{key}" if name else str(key), inner)


def short(value: Any) -> str:
    """A value as in YAML; of a long one its beginning and a digest of all of it."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({value_digest(text)[:DIGITS]})"


def changed_keys(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """The keys that differ between two sets of such texts, each once."""
    return sorted({text.strip("'\"").partition(": ")[0] for text in (*before, *now)})
