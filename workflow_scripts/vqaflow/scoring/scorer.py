"""Forced choice: the logits of the letters for every row and choice order, from one forward pass per row.

Rows are scored in batches of similar size under a token budget. Everything here is deterministic and independent of the
table's order: rows are sorted by content, not by position. Decoder, prompts and images are those of training.

Shapes: B rows of a batch, K choice orders, H hidden size, C choices of the table.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.encoding.orders import own_order, places_of
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.stream import Prepared
from vqaflow.model.numerics.precision import name_of
from vqaflow.model.pipeline.parts import Decoder, Encoder, make_stream
from vqaflow.runtime.errors import OutOfMemory, UserError
from vqaflow.runtime.stage import log


def scoring_sequence(prepared: Sequence[Prepared]) -> list[Prepared]:
    """The rows in the order in which they are scored: by image size, then length, rows of one image side by side."""
    longest: dict[str, int] = {}
    for item in prepared:
        image = item.row.sha256
        longest[image] = max(longest.get(image, 0), item.encoded.tokens)

    def key(item: Prepared) -> tuple[Any, ...]:
        image = item.row.sha256
        return item.encoded.grids, longest[image], image, item.encoded.tokens, item.row.id

    return sorted(prepared, key=key)


def token_batches(items: Iterable[Prepared], budget: int) -> Iterator[list[Prepared]]:
    """Cut a sequence into batches of at most `budget` tokens including padding, but at least one row."""
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
    """Scores rows with one decoder, in one view and the given choice orders, at most `batch_tokens` in a pass."""

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        view: ViewConfig,
        orders: Sequence[str],
        batch_tokens: int,
        folder: FeatureFolder | None = None,
    ) -> None:
        self.decoder, self.base, self.encoder, self.view = decoder, decoder.base, encoder, view
        self.orders = list(orders)
        self.batch_tokens = batch_tokens
        self.features = make_stream(self.base, encoder, view, folder)
        self.letters = ALL_LETTERS[: len(self.orders[0])]
        self.letter_rows_CH = self.base.letter_rows(encoder.letter_ids[: len(self.letters)])

    def prepare(self, rows: Iterable[Row]) -> list[Prepared]:
        """Encode `rows` and put them in scoring order."""
        return scoring_sequence([Prepared(row, self.encoder.encode(row, self.orders, self.view)) for row in rows])

    def score(self, items: Sequence[Prepared], advance: Callable[[int], None] = lambda n: None) -> np.ndarray:
        """Float32 logits (rows, K, C) of the original letters; `advance` is called with the number of rows done.

        The logit of a choice that a row lacks is -inf. Raises UserError, which names the row, if another logit is NaN
        or infinite, or if a single row does not fit into memory.
        """
        parts = [np.empty((0, len(self.orders), len(self.letters)), np.float32)]
        for batch, features in self.features.stream(token_batches(items, self.batch_tokens)):
            parts += self._fitting(batch, features)
            advance(len(batch))
        return np.concatenate(parts)

    def _fitting(self, batch: Sequence[Prepared], features: Sequence[torch.Tensor]) -> list[np.ndarray]:
        """Logits of one batch, in halves if its pass does not fit into memory; the results are the same."""
        try:
            return [self._letter_logits(batch, features)]
        except torch.OutOfMemoryError:
            row = batch[0].row
            if len(batch) == 1:
                raise OutOfMemory(
                    f"row {row.id!r}: this single row does not fit into the GPU's memory. Set model.quantization to "
                    "nf4, lower the view's max_pixels, or score fewer orders."
                ) from None
        log.warning("halved a pass of %d rows to fit into memory; lower hardware.score_batch_tokens", len(batch))
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._fitting(batch[:half], features[:half]) + self._fitting(batch[half:], features[half:])

    def _letter_logits(self, batch: Sequence[Prepared], features: Sequence[torch.Tensor]) -> np.ndarray:
        """Logits (B, K, C) of one batch, back in the original letters."""
        base = self.base
        with torch.no_grad():
            states_BKH = self.decoder.states([item.encoded for item in batch], features)
            shown_BKC = letter_logits(states_BKH, self.letter_rows_CH, base.softcap).cpu()
        bad = (~shown_BKC.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if bad:
            row = batch[bad[0]].row
            raise UserError(
                f"row {row.id!r} ({row.image_file}): a letter's logit is NaN or infinite in "
                f"{name_of(base.dtype)}. Set model.compute_dtype to bfloat16 or float32."
            )
        places_BKC = torch.tensor([self._places(item.row) for item in batch])
        return shown_BKC.gather(2, places_BKC.clamp(min=0)).masked_fill(places_BKC < 0, -torch.inf).numpy()

    def _places(self, row: Row) -> list[list[int]]:
        """For each order and original letter the position that shows it to `row`; -1 for a choice that it lacks."""
        return [places_of(own_order(order, row.letters), self.letters) for order in self.orders]
