"""The encoder, features and decoder of a base, whichever way its family is computed."""

from pathlib import Path

from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.decoder.merged_adapters import Adapter, use_adapter
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features.cache import FeatureCache
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.stream import FeatureStream
from vqaflow.model.separate.decoder import PassDecoder, require_same_forward
from vqaflow.model.separate.encoder import PassEncoder
from vqaflow.model.separate.inputs import PassInputs
from vqaflow.runtime.stage import log

Encoder = RowEncoder | PassEncoder
Decoder = FusedDecoder | PassDecoder


def make_encoder(base: Base, model: ModelConfig, prompt: PromptConfig, choices: int | None = None) -> Encoder:
    """The encoder of rows for `base`; `choices` is how many the table has (None: as many as prompts can show).

    Raises UserError if the base's family cannot be computed rightly.
    """
    if not base.is_separate:
        return RowEncoder(base.processor, model, prompt, base.family.template, choices)
    encoder = PassEncoder(base.processor, model, prompt, base.family, choices)
    require_same_forward(base, encoder)
    return encoder


def make_decoder(base: Base, compile_kernels: bool) -> Decoder:
    """The decoder from encoded rows to the states at their answers."""
    return PassDecoder(base) if base.is_separate else FusedDecoder(base, compile_kernels)


def make_features(base: Base, encoder: Encoder, view: ViewConfig, mode: str, folder: Path) -> FeatureCache | PassInputs:
    """Image features of rows in any order, kept as `mode` says, for training."""
    if not base.is_separate:
        return FeatureCache(base, encoder, view, mode, folder)
    if mode != "off":
        log.warning("train.cache_vision: %s computes images in every pass, so nothing is kept", base.family.name)
    return PassInputs(base, encoder, view)


def make_stream(
    base: Base, encoder: Encoder, view: ViewConfig, kept: FeatureFolder | None
) -> FeatureStream | PassInputs:
    """Image features of consecutive batches of rows, for scoring."""
    if base.is_separate:
        return PassInputs(base, encoder, view)
    return FeatureStream(base, encoder, view, kept)


def kept_features(base: Base, encoder: Encoder, view: ViewConfig, folder: Path, gb: float) -> FeatureFolder | None:
    """The folder for features that other jobs can use, at most `gb` gigabytes; None if there is nothing to keep."""
    return FeatureFolder(folder, base, encoder, view, gb) if gb and not base.is_separate else None


def use(decoder: Decoder, adapter: Adapter | None) -> None:
    """Make `decoder` use `adapter`; None: no adapter. Raises UserError if it was trained on another base."""
    if isinstance(decoder, PassDecoder):
        decoder.use(adapter and adapter.folder)
    else:
        use_adapter(decoder, adapter)
