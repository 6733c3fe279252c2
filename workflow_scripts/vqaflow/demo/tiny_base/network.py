"""The tiny model: its configuration, and a forward pass for training it.

Shapes: B rows, T tokens, N image tokens of a picture, H hidden size, 5 facts, 3 axes of M-RoPE positions.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from vqaflow.demo.tiny_base.families import FAMILIES, GRID, QWEN2_5_VL, TinyFamily
from vqaflow.model.vision.windows import use_window_attention


def build_model(processor: Any, family: TinyFamily = QWEN2_5_VL) -> Any:
    """A new model of the family for the processor's tokens, with random weights."""
    config = family.config(processor)
    config._attn_implementation = "sdpa"
    model = family.network(config)
    text = config.text_config
    model.generation_config.update(
        bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id
    )
    return model


def fast_tower(visual: Any) -> None:
    """Let the tower group windows and pictures, and embed patches by one matrix product.

    The library's Conv3d covers each patch exactly, so this is the same sum; its bfloat16 kernels can be slow.
    """
    use_window_attention(visual)
    visual.patch_embed.forward = partial(_embed_patches, visual.patch_embed.proj)


def _embed_patches(proj: torch.nn.Conv3d, patches: torch.Tensor) -> torch.Tensor:
    return F.linear(patches.to(proj.weight.dtype), proj.weight.flatten(1), proj.bias)


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
    arguments = FAMILIES[model.config.model_type].tower_arguments((GRID,) * count, str(batch.patches.device))
    seen = model.model.visual(batch.patches, **arguments)
    features = seen.pooler_output
    language = model.model.language_model
    embeds = language.embed_tokens(batch.ids_BT)
    is_image_BT = batch.ids_BT == image_token
    embeds = embeds.masked_scatter(is_image_BT[..., None], features.to(embeds.dtype))
    levels = seen.get("deepstack_features")
    deepstack = {"visual_pos_masks": is_image_BT, "deepstack_visual_embeds": levels} if levels else {}
    hidden = language(
        inputs_embeds=embeds, position_ids=batch.positions_3BT, use_cache=False, **deepstack
    ).last_hidden_state
    index = torch.stack([batch.ends_B, batch.ends_B + 1], 1)[..., None].expand(-1, -1, hidden.shape[-1])
    return hidden.gather(1, index), features.view(count, -1, features.shape[-1])
