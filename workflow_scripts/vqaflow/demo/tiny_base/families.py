"""The families that a tiny base can belong to: their classes, and all else in which they differ.

Shapes: B pictures, N patches of a picture.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.vision_utils import get_vision_position_ids

from vqaflow.demo.tiny_base.templates import DEFAULT_SYSTEM, chat_template
from vqaflow.model.vision.windows import Grid, grid_arguments

MERGE = 2
GRID: Grid = (1, 8, 8)  # of patches: every family sees a picture as 16 visual tokens
WINDOW = 56


@dataclass(frozen=True)
class TinyFamily:
    """One family; `name` is the `model_type` of its checkpoints, `title` what people call it.

    network, tokenizer, image_processor, video_processor, processor: the library's classes. patch: the side of a patch
    in pixels. normalisation: arguments of the image processor besides sizes. template: the chat template.
    config: from a processor to the model's configuration. tower_arguments: from grids and a device to the keyword
    arguments of the tower's forward. describe_tower: from the tower's configuration to a line of the model card.
    """

    name: str
    title: str
    network: type
    processor: type
    video_processor: type
    patch: int
    template: str
    config: Callable[[Any], Any]
    tower_arguments: Callable[[tuple[Grid, ...], str], dict[str, Any]]
    describe_tower: Callable[[Any], str]
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: type = Qwen2Tokenizer
    image_processor: type = Qwen2VLImageProcessor


def _text_config(processor: Any, rope: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    token = processor.tokenizer.convert_tokens_to_ids
    return {
        "vocab_size": len(processor.tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.06,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **rope},
        "bos_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
        **own,
    }


def _vision_config(processor: Any, **own: Any) -> dict[str, Any]:
    return {
        "depth": 4,
        "hidden_size": 128,
        "num_heads": 4,
        "out_hidden_size": 128,
        "patch_size": processor.image_processor.patch_size,
        "spatial_merge_size": MERGE,
        "initializer_range": 0.06,
        **own,
    }


def _marks(processor: Any) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {key: processor.tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}


def _qwen2_5_vl_config(processor: Any) -> Qwen2_5_VLConfig:
    """Windows and full attention in the tower, grouped-query attention in the decoder, as in the 7B."""
    vision = _vision_config(processor, intermediate_size=320, window_size=WINDOW, fullatt_block_indexes=[1, 3])
    text = _text_config(processor, {"mrope_section": [4, 6, 6]})
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **_marks(processor))


def _qwen3_vl_config(processor: Any) -> Qwen3VLConfig:
    """DeepStack from three blocks of the tower, interleaved M-RoPE and grouped-query attention, as in the 8B."""
    vision = _vision_config(
        processor,
        intermediate_size=384,
        num_position_embeddings=GRID[1] * GRID[2],
        deepstack_visual_indexes=[0, 1, 2],
    )
    text = _text_config(processor, {"mrope_section": [6, 5, 5], "mrope_interleaved": True}, head_dim=32)
    return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **_marks(processor))


def _windowed(grids: tuple[Grid, ...], device: str) -> dict[str, Any]:
    return grid_arguments(grids, MERGE, WINDOW, QWEN2_5_VL.patch, device)


@lru_cache(maxsize=8)
def _whole_pictures(grids: tuple[Grid, ...], device: str) -> dict[str, Any]:
    """Each picture attends to itself. Its grid has the size of the learned table of positions: nothing to interpolate.

    A version of the library that does not know `interp_indices` ignores it and finds the same positions, more slowly.
    """
    assert set(grids) == {GRID}
    count, patches = len(grids), GRID[1] * GRID[2]
    grid_thw = torch.tensor(grids)
    place_BN2 = get_vision_position_ids(grid_thw[:1], MERGE).repeat(count, 1)
    table_index = place_BN2[:, :1] * GRID[2] + place_BN2[:, 1:]
    return {
        "grid_thw": grid_thw.to(device),
        "position_ids": place_BN2.to(device),
        "interp_indices": table_index.to(device),
        "interp_weights": torch.ones(table_index.shape, device=device),
        "cu_seqlens": (torch.arange(count + 1) * patches).int().to(device),
        "max_seqlen": patches,
        "segments": {count: [torch.arange(count * patches, device=device).view(count, patches)]},
    }


def _blocks(indexes: Any) -> str:
    return ", ".join(map(str, indexes))


FAMILIES = {
    family.name: family
    for family in (
        TinyFamily(
            name="qwen2_5_vl",
            title="Qwen2.5-VL",
            network=Qwen2_5_VLForConditionalGeneration,
            processor=Qwen2_5_VLProcessor,
            video_processor=Qwen2VLVideoProcessor,
            patch=14,
            template=chat_template(DEFAULT_SYSTEM),
            config=_qwen2_5_vl_config,
            tower_arguments=_windowed,
            describe_tower=lambda v: f"full attention in {_blocks(v.fullatt_block_indexes)}, windows in the others",
        ),
        TinyFamily(
            name="qwen3_vl",
            title="Qwen3-VL",
            network=Qwen3VLForConditionalGeneration,
            processor=Qwen3VLProcessor,
            video_processor=Qwen3VLVideoProcessor,
            patch=16,
            template=chat_template(""),
            config=_qwen3_vl_config,
            tower_arguments=_whole_pictures,
            describe_tower=lambda v: f"learned positions, DeepStack from {_blocks(v.deepstack_visual_indexes)}",
            normalisation={"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
        ),
    )
}
QWEN2_5_VL = FAMILIES["qwen2_5_vl"]
