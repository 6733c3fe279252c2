"""What the rows of a training aim at where several people answered, and which rows train (docs/answerers.md).

Shapes: B rows, K choice orders, N positions of choices.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import AnswersConfig
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

AT_LEAST = "at least "  # data.answers_use: "at least 3"


@dataclass(frozen=True)
class Targets:
    """The rows that train, with their targets and weights, and what was done with the rows of several people."""

    rows: list[Row]
    config: AnswersConfig
    left_out: int

    several: bool = False

    def described(self) -> dict[str, Any]:
        """For the training's key and run.json: how answers are used, and the rows that do not train.

        Nothing where no row has the answers of several people (`several`): there, the settings change nothing.
        """
        return asdict(self.config) | {"rows_left_out": self.left_out} if self.several else {}


def targets_of(rows: Sequence[Row], config: AnswersConfig) -> Targets:
    """The rows of `rows` that train by `config`.

    Rows whose only target is `answer` come without shares: they are what they were if one person had answered.
    Raises UserError if no row trains.
    """
    kept = [_trained(row, config) for row in rows if _trains(row, config.answers_use)]
    if rows and not kept:
        most = max(_equal_answers(row) for row in rows)
        raise UserError(
            f"config data.answers_use: {config.answers_use!r} leaves none of {len(rows)} rows to train on. Use soft or "
            f"majority, or `at least {most}`: no row has more equal answers."
        )
    several = any(row.people > 1 for row in rows)
    if several:
        log.info(
            "data.answers_use: %s: %d of %d rows train; the other %d are only scored and evaluated",
            config.answers_use,
            len(kept),
            len(rows),
            len(rows) - len(kept),
        )
    return Targets(kept, config, len(rows) - len(kept), several)


def _trains(row: Row, use: str) -> bool:
    if row.people == 1 or use in ("soft", "majority"):
        return True
    least = row.people if use == "unanimous" else int(use.removeprefix(AT_LEAST))
    return _equal_answers(row) >= least


def _equal_answers(row: Row) -> int:
    """How many people gave the most frequent answer."""
    return round(row.people * max(row.target()))


def _trained(row: Row, config: AnswersConfig) -> Row:
    """`row` with the target and the weight that it trains with."""
    weight = max(row.target()) if config.agreement_weight else 1.0
    return replace(row, weight=weight, shares=row.shares if config.answers_use == "soft" else None)


def shown_target(target: Sequence[float], order: str, places: int) -> list[float]:
    """The target at each of `places` positions where `order` shows the choices; 0 where it shows none."""
    shown = [target[ord(letter) - ord("a")] for letter in order]
    return shown + [0.0] * (places - len(shown))


def batch_targets(part: Sequence[tuple[Row, Sequence[str]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets (B, K, N) at the positions of each row's K orders, and the weights (B, K) of their losses."""
    target_BKN = _batch([(row.target(), orders) for row, orders in part])
    weight_BK = torch.tensor([[row.weight] * len(orders) for row, orders in part])
    return target_BKN, weight_BK


def taught_targets(part: Sequence[tuple[Row, Sequence[str]]], target_BKN: torch.Tensor, weight: float) -> torch.Tensor:
    """(1 - `weight`) · target + `weight` · what a teacher says (B, K, N); a row without a teacher keeps its target.

    As Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531, at temperature 1.
    """
    if all(row.taught is None for row, _ in part):
        return target_BKN
    taught_BKN = _batch([(row.taught or row.target(), orders) for row, orders in part]).to(target_BKN.device)
    return (1 - weight) * target_BKN + weight * taught_BKN


def _batch(part: Sequence[tuple[Sequence[float], Sequence[str]]]) -> torch.Tensor:
    """Probabilities of original letters at the positions (B, K, N) of each row's orders."""
    places = max(len(given) for given, _ in part)
    return torch.tensor([[shown_target(given, order, places) for order in orders] for given, orders in part])
