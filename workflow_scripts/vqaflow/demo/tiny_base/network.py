"""The tiny model: its configuration, and a forward pass for training it.

Shapes: B rows, T tokens, N image tokens of a picture, H hidden size, 5 facts, 3 axes of M-RoPE positions.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from vqaflow.demo.tiny_base.pictures import SIDE
from vqaflow.model.vision.windows import grid_arguments, use_window_attention

PATCH, MERGE, WINDOW = 14, 2, 56
GRID = (1, SIDE // PATCH, SIDE // PATCH)


def build_model(processor: Any) -> Qwen2_5_VLForConditionalGeneration:
    """A new model: windows and full attention in the tower, grouped-query attention in the decoder, as in the 7B."""
    token = processor.tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "initializer_range": 0.06,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 320,
            "num_heads": 4,
            "out_hidden_size": 128,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "window_size": WINDOW,
            "fullatt_block_indexes": [1, 3],
            "initializer_range": 0.06,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    config._attn_implementation = "sdpa"
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.update(
        bos_token_id=token("<|endoftext|>"), eos_token_id=token("<|im_end|>"), pad_token_id=token("<|endoftext|>")
    )
    return model


def fast_tower(visual: Any) -> None:
    """Let the tower group its windows, and embed patches by one matrix product.

    The library's Conv3d covers each patch exactly, so this is the same sum; its bfloat16 kernels can be slow.
    """
    use_window_attention(visual)
    visual.patch_embed.forward = partial(_embed_patches, visual.patch_embed.proj)


def _embed_patches(proj: torch.nn.Conv3d, patches: torch.Tensor) -> torch.Tensor:
    return F.linear(patches.to(proj.weight.dtype), proj.weight.flatten(1))


@dataclass(frozen=True)
class Example:
    """B rows: what the model reads, and what is right (for reports also which kind of row each one is)."""

    patches: torch.Tensor
    ids_BT: torch.Tensor
    positions_3BT: torch.Tensor
    ends_B: torch.Tensor
    answer_B: torch.Tensor
    facts_B5: torch.Tensor
    kind_B: torch.Tensor
    language_B: torch.Tensor
    negated_B: torch.Tensor


def forward(model: Any, batch: Example, image_token: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (B, 2, H) at each prompt's last token and at the answer, and image features (B, N, H)."""
    count = len(batch.ids_BT)
    arguments = grid_arguments((GRID,) * count, MERGE, WINDOW, PATCH, str(batch.patches.device))
    features = model.model.visual(batch.patches, **arguments).pooler_output
    language = model.model.language_model
    embeds = language.embed_tokens(batch.ids_BT)
    embeds = embeds.masked_scatter((batch.ids_BT == image_token)[..., None], features.to(embeds.dtype))
    hidden = language(inputs_embeds=embeds, position_ids=batch.positions_3BT, use_cache=False).last_hidden_state
    index = torch.stack([batch.ends_B, batch.ends_B + 1], 1)[..., None].expand(-1, -1, hidden.shape[-1])
    return hidden.gather(1, index), features.view(count, -1, features.shape[-1])
