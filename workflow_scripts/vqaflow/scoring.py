"""Forced choice: the logits of the four letters for every row and choice order, from one forward pass a row.

Rows are scored in batches of similar size under a token budget. Everything here is deterministic and independent of the
table's order: rows are sorted by what they are, not by where they stand.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vqaflow.base_model import Base
from vqaflow.branches import answer_states, letter_logits, pack
from vqaflow.config import ViewConfig
from vqaflow.encoding import EncodedRow, RowEncoder
from vqaflow.errors import UserError
from vqaflow.orders import inverse
from vqaflow.vision import image_features

Row = Mapping[str, Any]
# Patches in one call of the tower: 8 images of 768 visual tokens fill a large GPU and still fit a small one.
TOWER_PATCHES = 24576
IMAGE_READERS = 4


@dataclass(frozen=True)
class Prepared:
    """A table row with its encoding."""

    row: Row
    encoded: EncodedRow


def scoring_sequence(prepared: Sequence[Prepared]) -> list[Prepared]:
    """The rows in the order in which they are scored: by image size, then length, rows of one image side by side."""
    longest: dict[str, int] = {}
    for item in prepared:
        image = item.row["sha256"]
        longest[image] = max(longest.get(image, 0), item.encoded.tokens)

    def key(item: Prepared) -> tuple[Any, ...]:
        image = item.row["sha256"]
        return item.encoded.grid, longest[image], image, item.encoded.tokens, item.row["id"]

    return sorted(prepared, key=key)


def token_batches(items: Iterable[Prepared], budget: int) -> Iterator[list[Prepared]]:
    """Cut a sequence into batches that hold at most `budget` tokens with their padding, and at least one row."""
    batch: list[Prepared] = []
    longest = 0
    for item in items:
        longest = max(longest, item.encoded.tokens)
        if batch and longest * (len(batch) + 1) > budget:
            yield batch
            batch, longest = [], item.encoded.tokens
        batch.append(item)
    if batch:
        yield batch


class Scorer:
    """Scores rows with one model, in one view and the given choice orders."""

    def __init__(
        self, base: Base, encoder: RowEncoder, view: ViewConfig, orders: Sequence[str], batch_tokens: int
    ) -> None:
        self.base = base
        self.encoder = encoder
        self.view = view
        self.orders = list(orders)
        self.batch_tokens = batch_tokens
        self.letter_rows_4H = base.letter_rows(encoder.letter_ids)
        self.undo_K4 = torch.tensor([inverse(order) for order in self.orders])

    def prepare(self, rows: Iterable[Row]) -> list[Prepared]:
        """Encode `rows` and put them in scoring order."""
        return scoring_sequence([Prepared(row, self.encoder.encode(row, self.orders, self.view)) for row in rows])

    def score(self, items: Sequence[Prepared], advance: Callable[[int], None] = lambda n: None) -> np.ndarray:
        """Float32 logits (rows, K, 4) of the original letters, K choice orders each; `advance` hears of rows done.

        Raises UserError that names the row if a logit is not finite.
        """
        parts = [np.empty((0, len(self.orders), 4), np.float32)]
        features: dict[str, torch.Tensor] = {}
        for batch, patches in self._with_patches(token_batches(items, self.batch_tokens)):
            needed = {item.row["sha256"] for item in batch}
            features = {image: known for image, known in features.items() if image in needed}
            features |= self._features(
                batch, {i: future.result() for i, future in patches.items() if i not in features}
            )
            parts.append(self._letter_logits(batch, [features[item.row["sha256"]] for item in batch]))
            advance(len(batch))
        return np.concatenate(parts)

    def _with_patches(
        self, batches: Iterable[list[Prepared]]
    ) -> Iterator[tuple[list[Prepared], dict[str, "Future[torch.Tensor]"]]]:
        """Read the images of the next batch while this one is computed; each image once in neighbouring batches."""
        with ThreadPoolExecutor(IMAGE_READERS) as pool:
            ahead: list[tuple[list[Prepared], dict[str, Future[torch.Tensor]]]] = []
            known: dict[str, Future[torch.Tensor]] = {}
            for batch in batches:
                images = {item.row["sha256"]: item.row["image_file"] for item in batch}
                known = {
                    image: known.get(image) or pool.submit(self.encoder.pixels, file, self.view)
                    for image, file in images.items()
                }
                ahead.append((batch, known))
                if len(ahead) > 1:
                    yield ahead.pop(0)
            yield from ahead

    def _features(self, batch: Sequence[Prepared], patches: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tower's features of the images in `patches`, by the image's digest."""
        grids = {item.row["sha256"]: item.encoded.grid for item in batch}
        group: list[str] = []
        found: dict[str, torch.Tensor] = {}
        for image in [*patches, None]:
            if image is None or sum(len(patches[i]) for i in [*group, image]) > TOWER_PATCHES:
                if group:
                    made = image_features(self.base.visual, [patches[i] for i in group], [grids[i] for i in group])
                    found.update(zip(group, made, strict=True))
                group = []
            if image is not None:
                group.append(image)
        return found

    def _letter_logits(self, batch: Sequence[Prepared], features: Sequence[torch.Tensor]) -> np.ndarray:
        """Logits (B, K, 4) of one batch, each order undone."""
        packed = pack([item.encoded for item in batch], self.encoder.image_token, pad_token=0).to(self.base.device)
        with torch.inference_mode():
            states_BKH = answer_states(self.base.language_model, packed, features)
            shown_BK4 = letter_logits(states_BKH, self.letter_rows_4H).cpu()
        bad = (~shown_BK4.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if bad:
            row = batch[bad[0]].row
            raise UserError(
                f"row {row['id']!r} ({row['image_file']}): a letter's logit is not a finite number in "
                f"{str(self.base.dtype).removeprefix('torch.')}. Set model.compute_dtype to bfloat16 or float32."
            )
        return shown_BK4.gather(2, self.undo_K4.expand(len(batch), -1, -1)).numpy()
