"""The trained weights of the model of question types: their file, and the scores they give to features.

Shapes: F features, T types, U = T + 1 scores (the types and mirroring).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError

FILE = Path(__file__).with_name("weights.json")
# Makes the file part of the code, so that stages that type questions run again when it changes.
SHA256 = "c5f2735048d2c4b5a9d3af87747eef3892a2f6d27d6f460bfeeb2bb3fd7a1a1e"


@dataclass(frozen=True)
class Weights:
    """Two linear models over F features: T types, and whether mirroring is unsafe (its score is a log-odds)."""

    types: tuple[str, ...]
    rows: Mapping[str, int]
    """Row of each feature in the arrays; other features are ignored."""
    weights_FT: np.ndarray
    bias_T: np.ndarray
    flip_F: np.ndarray
    flip_bias: float
    flip_threshold: float

    def scores(self, features: Iterable[str]) -> tuple[np.ndarray, float]:
        """Scores of the types (T) and the log-odds that mirroring is unsafe."""
        known = sorted(self.rows[name] for name in features if name in self.rows)  # one order: the same sums always
        return self.weights_FT[known].sum(0) + self.bias_T, float(self.flip_F[known].sum()) + self.flip_bias


@cache
def shipped_weights() -> Weights:
    """The weights that come with the code. Raises UserError if the file is not the one that belongs to it."""
    if not FILE.is_file() or file_digest(FILE) != SHA256:
        raise UserError(
            f"{FILE}: is missing or not the file of this version. Get it again from where you got the code."
        )
    return from_plain(json.loads(FILE.read_text(encoding="utf-8")))


def from_plain(value: Mapping[str, Any]) -> Weights:
    """Weights as `to_plain` gives them."""
    names: Sequence[str] = list(value["features"])
    both_FU = np.array([value["features"][name] for name in names], np.float64).reshape(len(names), -1)
    bias_U = np.array(value["bias"], np.float64)
    return Weights(
        types=tuple(value["types"]),
        rows={name: row for row, name in enumerate(names)},
        weights_FT=both_FU[:, :-1],
        bias_T=bias_U[:-1],
        flip_F=both_FU[:, -1],
        flip_bias=float(bias_U[-1]),
        flip_threshold=value["flip_threshold"],
    )


def to_plain(weights: Weights) -> dict[str, Any]:
    """Weights for a JSON file: for each feature its weights for the types, then the one for mirroring."""
    both_FU = np.column_stack([weights.weights_FT, weights.flip_F])
    return {
        "types": list(weights.types),
        "bias": [*weights.bias_T.tolist(), weights.flip_bias],
        "features": {name: both_FU[row].tolist() for name, row in weights.rows.items()},
        "flip_threshold": weights.flip_threshold,
    }
