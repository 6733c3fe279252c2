"""The trained weights of the model of question types: their file, and the scores they give to features.

Features are stored by a checksum of their name, so that the file holds no words of the questions it was trained on;
weights are whole thousandths, so that sums are exact and equal on every machine.

Shapes: F features, U scores: the types', then the one of mirroring.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from zlib import compress, crc32, decompress

import numpy as np

from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError

FILE = Path(__file__).with_name("weights.json")
# Makes the file part of the code, so that stages that type questions run again when it changes.
SHA256 = "0a8fbcf1aee977cc9fb304839449c6037744320f5c7c24e409d26e05e2f7c3a6"
UNREADABLE, EVEN, SAFE = 100_000, -500, -100_000
# What these ask for is seen without reading, so that doubt does not count; a name may have to be read.
PLAIN = {"counting", "color", "yesno", "location"}


@dataclass(frozen=True)
class Weights:
    """Linear models over F features, in thousandths of log-odds: one for each type, and one for mirroring."""

    types: tuple[str, ...]
    rows: Mapping[int, int]
    """Row of each feature in `weights_FU` by its key; features without one are ignored."""
    weights_FU: np.ndarray
    bias_U: np.ndarray
    flip_threshold: int

    def say(self, features: Iterable[str]) -> tuple[str, int]:
        """The type, and the log-odds that mirroring is unsafe: UNREADABLE for text, SAFE below even for PLAIN types."""
        found = [row for name in features if (row := self.rows.get(key(name))) is not None]
        *scores, unsafe = (self.weights_FU[found].sum(0) + self.bias_U).tolist()
        qtype = self.types[scores.index(max(scores))]
        if qtype == "ocr":
            return qtype, UNREADABLE
        return qtype, SAFE if qtype in PLAIN and unsafe < EVEN else unsafe


@lru_cache(maxsize=1 << 18)
def key(feature: str) -> int:
    """What the file calls a feature."""
    return crc32(feature.encode())


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
    keys_F = np.frombuffer(decompress(base64.b64decode(value["features"])), "<u4").tolist()
    weights_FU = np.frombuffer(decompress(base64.b64decode(value["weights"])), "<i2").reshape(len(keys_F), -1)
    return Weights(
        tuple(value["types"]),
        {key: row for row, key in enumerate(keys_F)},
        weights_FU.astype(np.int64),
        np.array(value["bias"]),
        value["flip_threshold"],
    )


def to_plain(weights: Weights) -> dict[str, Any]:
    """Weights for a JSON file; keys (uint32) and weights (int16) are compressed, in base 64."""
    return {
        "types": list(weights.types),
        "bias": weights.bias_U.tolist(),
        "flip_threshold": weights.flip_threshold,
        "features": _packed(np.array([*weights.rows], "<u4")),
        "weights": _packed(weights.weights_FU.astype("<i2")),
    }


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(compress(values.tobytes(), 9)).decode()
