"""One loading of a base and an adapter, for all views and splits that are scored with them."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import PromptConfig
from vqaflow.model.features.readers import reading
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.process_start import importing
from vqaflow.runtime.stage import log
from vqaflow.scoring.selection import Task

if TYPE_CHECKING:  # torch takes seconds to import: skipped if the store has the scores
    from vqaflow.scoring.scorer import Scorer

PROBE_ROWS = 4


class Session:
    """A base, which the first task names and loads, with the adapter in `folder`, if any, on a leased GPU or a CPU.

    `bases` keeps quantised bases, `vision` image features, at most `vision_gb` gigabytes of them; one pass has at most
    `batch_tokens` tokens. The base's layers lie on `devices` GPUs. In the block, processes may read images.
    """

    def __init__(
        self, folder: Path | None, bases: Path, vision: Path, vision_gb: float, batch_tokens: int, devices: int = 1
    ) -> None:
        self.folder, self.bases, self.vision, self.vision_gb = folder, bases, vision, vision_gb
        self.batch_tokens, self.devices = batch_tokens, devices
        self.base: Any = None
        self.is_proved = False
        self.encoders: list[tuple[PromptConfig, Any]] = []
        self.open = ExitStack()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def scorer(self, rows: Sequence[Row], orders: Sequence[str], task: Task) -> "tuple[Scorer, list[Any], list[Row]]":
        """A scorer with the adapter in use, the rows in scoring order, and the rows with what is read in their images.

        Raises UserError if the adapter does not fit the base or the prompt, or if it changes nothing.
        """
        self._load(task, len(rows))
        from vqaflow.model.pipeline.parts import kept_features, use
        from vqaflow.model.pipeline.reading import with_transcripts
        from vqaflow.scoring.scorer import Scorer

        began, encoder = monotonic(), self._encoder(task, len(orders[0]))
        kept = kept_features(self.base, encoder, task.view, self.vision, self.vision_gb)
        if self.is_proved and task.view.read:
            use(self.decoder, None)  # the untuned base reads
        rows = with_transcripts(rows, self.base, encoder, task.view, self.vision, kept)
        scorer = Scorer(self.decoder, encoder, task.view, orders, self.batch_tokens, kept)
        items = scorer.prepare(rows)
        if self.adapter and self.is_proved:
            use(self.decoder, self.adapter)
        elif self.adapter:
            before = scorer.score(items[:PROBE_ROWS])
            use(self.decoder, self.adapter)
            if np.array_equal(before, scorer.score(items[:PROBE_ROWS])):
                what = "the adapter changes no logit. It was not trained or not saved"
                raise UserError(f"{self.folder}: {what}. Train it again.")
            self.is_proved = True
        log.info("ready to score %d rows in %.1f s", len(rows), monotonic() - began)
        return scorer, items, rows

    def _load(self, task: Task, images: int) -> None:
        if self.base is not None:
            return
        began = monotonic()
        self.open.enter_context(reading(images))
        with importing():
            from vqaflow.model.decoder.merged_adapters import read_adapter
            from vqaflow.model.numerics.elementwise import can_compile
            from vqaflow.model.pipeline.parts import make_decoder
            from vqaflow.model.stored_base import open_base

        log.info("libraries imported in %.1f s", monotonic() - began)
        began = monotonic()
        self.adapter = read_adapter(self.folder) if self.folder else None
        self.base = open_base(task.model, self.bases, devices=self.devices)
        self.decoder = make_decoder(self.base, can_compile(self.base.device))
        log.info("base and adapter there in %.1f s", monotonic() - began)

    def _encoder(self, task: Task, choices: int) -> Any:
        """The encoder of a prompt for this base, checked against the adapter."""
        from vqaflow.model.parity import check_parity
        from vqaflow.model.pipeline.parts import make_encoder

        known = next((encoder for prompt, encoder in self.encoders if prompt == task.prompt), None)
        if known is None:
            known = make_encoder(self.base, task.model, task.prompt, choices)
            if self.folder:
                check_parity(self.folder, self.base, known, task.model, task.prompt)
            self.encoders.append((task.prompt, known))
        return known
