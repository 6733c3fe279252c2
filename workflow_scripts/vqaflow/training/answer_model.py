"""From rows to hidden states at their answers: what training, validation and the benchmark run.

Shapes: B rows, K choice orders, H hidden size.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import TrainConfig, ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.decoder.branches import answer_states, pack, single_orders
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.encoding.row_encoder import EncodedRow
from vqaflow.model.numerics.elementwise import can_compile
from vqaflow.model.separate.decoder import PassDecoder


class Encoder(Protocol):
    """The part of RowEncoder and PassEncoder that is needed here."""

    letter_ids: list[int]

    def encode(self, row: Row, orders: Sequence[str], view: ViewConfig) -> EncodedRow:
        """Encode a row in the given choice orders."""


class Features(Protocol):
    """The part of FeatureCache that is needed here."""

    view: ViewConfig

    def of(self, items: Sequence[tuple[Row, EncodedRow]]) -> list[torch.Tensor]:
        """Image features of rows."""


class AnswerModel:
    """The base with its adapter, from rows in given choice orders to states (B, K, H).

    It runs the fused decoder, or the library's layers for LoRA dropout, which the fused decoder does not have, and for
    families whose passes are separate.
    """

    def __init__(self, base: Base, encoder: Encoder, features: Features, train: TrainConfig) -> None:
        self.base, self.encoder, self.features = base, encoder, features
        on_gpu = base.device.type == "cuda"
        self.passes = PassDecoder(base) if base.is_separate else None
        self.fused: FusedDecoder | None = None
        if not base.is_separate and train.lora.dropout == 0:
            self.fused = FusedDecoder(base, bool(train.compile) and can_compile(base.device))
        if train.gradient_checkpointing is False or (train.gradient_checkpointing == "auto" and not on_gpu):
            self.keep_all()

    def keep_all(self) -> None:
        """Keep the MLP products of all layers."""
        self.keep(len(self.fused.layers) if self.fused else 0)

    def keep(self, layers: int) -> None:
        """Keep the MLP products of the last `layers` layers for backward, instead of computing them twice."""
        if self.fused:
            self.fused.keep_products(layers)

    def keep_less(self) -> bool:
        """Stop keeping products; returns whether any were kept."""
        kept = self.fused is not None and self.fused.keeps_products
        self.keep(0)
        return kept

    def states(self, rows: Sequence[Row], orders: Sequence[Sequence[str]]) -> torch.Tensor:
        """Hidden states (B, K, H) that predict the answers of `rows`, each row in K choice orders."""
        encoded, features = self._inputs(rows, orders)
        if self.fused is None:
            return self._library_states(encoded, features)
        return self.fused.states(encoded, features)

    def library_states(self, rows: Sequence[Row], orders: Sequence[Sequence[str]]) -> torch.Tensor:
        """The same from the library's layers with PEFT's layers on them, without the fused decoder."""
        return self._library_states(*self._inputs(rows, orders))

    def _inputs(
        self, rows: Sequence[Row], orders: Sequence[Sequence[str]]
    ) -> tuple[list[EncodedRow], list[torch.Tensor]]:
        encoded = [self.encoder.encode(row, o, self.features.view) for row, o in zip(rows, orders, strict=True)]
        return encoded, self.features.of(list(zip(rows, encoded, strict=True)))

    def _library_states(self, encoded: Sequence[EncodedRow], features: Sequence[torch.Tensor]) -> torch.Tensor:
        if self.passes is not None:
            return self.passes.states(encoded, features)
        base, orders = self.base, len(encoded[0].branch_ids)
        if base.family.prefix == "state" and orders > 1:
            features = [made for made in features for _ in range(orders)]
            return self._library_states(single_orders(encoded), features).view(len(encoded), orders, -1)
        with torch.autocast(base.device.type, dtype=base.dtype, enabled=base.dtype is not torch.float32):
            batch = pack(encoded, base.network.config.image_token_id, pad_token=0).to(base.device)
            return answer_states(base.language_model, batch, features)
