"""Label mass: how much probability the letters of a row's choices have in the whole vocabulary, at the answer.

A forced choice compares the letters with each other and cannot show that the model would say something else. A base
that understands prompt and chat template puts nearly all of its probability on the letters; little mass says that it
expects another token there: a space, a word, a reasoning mark (Holtzman et al., Surface Form Competition, EMNLP 2021,
on what then goes wrong). Training with the objective `choice` does not raise the mass: it only moves the letters
against each other.

Shapes: B rows, K choice orders, H hidden size, V vocabulary, C letters.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.model.base import Base
from vqaflow.model.decoder.branches import capped, letter_logits
from vqaflow.runtime.stage import log

SAMPLE_ROWS = 16
LEAST = 0.5  # of the mean mass; below it, a warning
VOCABULARY_PART = 8192  # rows of the head in float32 at a time


@dataclass(frozen=True)
class LabelMass:
    """Of some rows: the mean mass, the least with its row, and the token that is most often likelier than a letter."""

    rows: int
    mean: float
    least: float
    least_row: str
    instead: str | None

    def as_dict(self) -> dict[str, Any]:
        """For run.json and metrics.json."""
        told = {"rows": self.rows, "mean": round(self.mean, 4), "least": round(self.least, 4)}
        return told | {"least_row": self.least_row, "instead": self.instead}

    def say(self, whose: str) -> None:
        """Log it, as a warning if it is low."""
        what = f"label mass of {whose}: the letters have {self.mean:.3f} of the vocabulary's probability"
        where = f"mean of {self.rows} rows, least {self.least:.3f} in row {self.least_row!r}"
        if self.mean >= LEAST:
            log.info("%s (%s)", what, where)
            return
        instead = f" It would rather say {self.instead!r}." if self.instead is not None else ""
        cure = "Check prompt.templates, prompt.letters and the base's chat template; training can still work"
        log.warning("%s (%s).%s %s", what, where, instead, cure)


def label_mass(
    states_BKH: torch.Tensor, head_VH: torch.Tensor, letter_ids: Sequence[int], softcap: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The letters' share (B, K) of the softmax over the vocabulary, in float32, and the likeliest token's id (B, K).

    The head is read in parts, in float32, wherever it is kept; there are never (B, K, V) logits.
    """
    states_BKH = states_BKH.to(head_VH.device)
    letters_BK = letter_logits(states_BKH, head_VH[list(letter_ids)], softcap).logsumexp(-1)
    total_BK = torch.full_like(letters_BK, -torch.inf)
    best_BK, best_id_BK = total_BK.clone(), torch.zeros_like(total_BK, dtype=torch.long)
    with torch.autocast(states_BKH.device.type, enabled=False):
        for start in range(0, len(head_VH), VOCABULARY_PART):
            part_VH = head_VH[start : start + VOCABULARY_PART].float()
            logits_BKV = capped(states_BKH.float() @ part_VH.T, softcap)
            total_BK = torch.logaddexp(total_BK, logits_BKV.logsumexp(-1))
            highest_BK, place_BK = logits_BKV.max(-1)
            is_better = highest_BK > best_BK
            best_BK = torch.where(is_better, highest_BK, best_BK)
            best_id_BK = torch.where(is_better, place_BK + start, best_id_BK)
    return (letters_BK - total_BK).exp(), best_id_BK


@torch.no_grad()
def mass_of_rows(rows: Iterable[Row], states_of: Callable[[Row], torch.Tensor], base: Base, encoder: Any) -> LabelMass:
    """The label mass of `rows`, whose states (1, 1, H) in the table's own order `states_of` gives, one row a pass."""
    found, instead = {}, Counter()
    for row in rows:
        letter_ids = encoder.letter_ids[: len(row.letters)]
        mass_BK, token_BK = label_mass(states_of(row), base.head.weight, letter_ids, base.softcap)
        found[row.id] = float(mass_BK)
        instead.update([int(token_BK)] if int(token_BK) not in letter_ids else [])
    least = min(found, key=lambda row: found[row])
    token = encoder.tokenizer.decode([instead.most_common(1)[0][0]]) if instead else None
    return LabelMass(len(found), sum(found.values()) / len(found), found[least], least, token)


def sample_of(rows: Sequence[Row], count: int = SAMPLE_ROWS) -> list[Row]:
    """At most `count` of `rows`, evenly spaced."""
    return list(rows[:: -(-len(rows) // count)])
