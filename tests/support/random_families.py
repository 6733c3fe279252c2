"""Random checkpoints of every Qwen family with their processors: small, made in the test, no hub, no file beside.

Processors are built from the classes that AutoProcessor takes for published checkpoints. The tokenizers are byte-level,
and the chat templates behave as the published ones do for one system turn, one user turn with an image, and an answer.
Networks have what errors hide in: grouped-query attention, a head size that is not hidden size / heads, sections of
M-RoPE of different lengths, DeepStack, both kinds of layers, experts, and no norm or bias that does nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken
from transformers import PreTrainedConfig, ProcessorMixin
from transformers.convert_slow_tokenizer import bytes_to_unicode

import random_qwen

THINK = ["<think>", "</think>"]  # added tokens, but not special ones, in the published tokenizers
OWN_TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
CONTENT = """\
{%- macro written(content) -%}
{%- if content is string -%}{{- content -}}
{%- else -%}
{%- for part in content -%}
{%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part.type == 'text' -%}{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
"""
DEFAULT_SYSTEM = """\
{%- if messages[0].role != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
"""
TURNS = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}{{- 'PAST_THOUGHT' -}}{%- endif -%}
{{- written(message.content)TRIM + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
OPENING
{%- endif -%}
"""
NO_THOUGHT = "<think>\\n\\n</think>\\n\\n"
OPENINGS = {
    "none": "",
    "only": "{{- '<think>\\n' -}}",
    "switchable": "{%- if enable_thinking is defined and enable_thinking is false -%}{{- 'NO_THOUGHT' -}}"
    "{%- else -%}{{- '<think>\\n' -}}{%- endif -%}",
}


def chat_template(thinking: str = "none", default_system: bool = False, trimmed: bool = False) -> str:
    """A template in ChatML.

    thinking: `none` (Instruct editions), `only` (Thinking editions: each answer opens a think block) or `switchable`
    (Qwen3.5: the block is open unless enable_thinking is false, then it is empty). trimmed: whether white space around
    each turn's text is dropped, as Qwen3.5's does.
    """
    turns = TURNS.replace("OPENING", OPENINGS[thinking]).replace("TRIM", "|trim" if trimmed else "")
    turns = turns.replace("PAST_THOUGHT", "" if thinking == "none" else NO_THOUGHT).replace("NO_THOUGHT", NO_THOUGHT)
    return CONTENT + (DEFAULT_SYSTEM if default_system else "") + turns


def rope(sections: list[int], **more: Any) -> dict[str, Any]:
    """Rotary settings with M-RoPE's sections of frequencies for time, height and width."""
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections} | more


# Four query and two key-value heads; of size 32 instead of 64 / 4 = 16 where a family's configuration has head_dim.
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
TEXT_2 = TEXT | {"rope_parameters": rope([2, 3, 3])}
TEXT_3 = TEXT | {"head_dim": 32, "rope_parameters": rope([6, 5, 5], mrope_interleaved=True)}
TEXT_35 = TEXT | {
    "num_hidden_layers": 5,
    "layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention", "full_attention"],
    "head_dim": 32,
    "rope_parameters": rope([3, 3, 2], mrope_interleaved=True, partial_rotary_factor=0.5),
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
TOWER = {"depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
TOWER_2 = {"depth": 3, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
TOWER_25 = TOWER | {"depth": 3, "fullatt_block_indexes": [1], "window_size": 56}
TOWER_35 = TOWER | {"num_position_embeddings": 25}  # a learned grid of 5 x 5, interpolated to the image's
TOWER_3 = TOWER_35 | {"deepstack_visual_indexes": [0, 1, 3]}


@dataclass(frozen=True)
class Recipe:
    """How the checkpoints of one family are made: names of classes in transformers, and configurations."""

    config: str
    network: str
    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    processor: str = "Qwen3VLProcessor"
    video_processor: str = "Qwen3VLVideoProcessor"
    tokenizer: str = "Qwen2Tokenizer"
    image_processor: Mapping[str, Any] = field(
        default_factory=lambda: {"patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    )
    template: Mapping[str, Any] = field(default_factory=dict)


SECOND = {"video_processor": "Qwen2VLVideoProcessor", "image_processor": {}, "template": {"default_system": True}}
THIRD_AND_A_HALF = {"tokenizer": "Qwen3_5Tokenizer", "template": {"thinking": "switchable", "trimmed": True}}
RECIPES = {
    "qwen2_vl": Recipe(
        "Qwen2VLConfig", "Qwen2VLForConditionalGeneration", TEXT_2, TOWER_2, "Qwen2VLProcessor", **SECOND
    ),
    "qwen2_5_vl": Recipe(
        "Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration", TEXT_2, TOWER_25, "Qwen2_5_VLProcessor", **SECOND
    ),
    "qwen3_vl": Recipe("Qwen3VLConfig", "Qwen3VLForConditionalGeneration", TEXT_3, TOWER_3),
    "qwen3_vl_moe": Recipe(
        "Qwen3VLMoeConfig",
        "Qwen3VLMoeForConditionalGeneration",
        TEXT_3 | EXPERTS | {"num_hidden_layers": 3},
        TOWER_3 | {"deepstack_visual_indexes": [0, 2]},
    ),
    "qwen3_5": Recipe("Qwen3_5Config", "Qwen3_5ForConditionalGeneration", TEXT_35, TOWER_35, **THIRD_AND_A_HALF),
    "qwen3_5_moe": Recipe(
        "Qwen3_5MoeConfig",
        "Qwen3_5MoeForConditionalGeneration",
        TEXT_35 | EXPERTS | {"shared_expert_intermediate_size": 32},
        TOWER_35,
        **THIRD_AND_A_HALF,
    ),
}
NAMES = tuple(RECIPES)
DEEPSTACK = ("qwen3_vl", "qwen3_vl_moe")


@lru_cache
def processor(name: str, thinking: str | None = None) -> ProcessorMixin:
    """The processor of a family; `thinking` replaces how its template treats thinking (see chat_template)."""
    recipe = RECIPES[name]
    template = dict(recipe.template) | ({} if thinking is None else {"thinking": thinking})
    return getattr(transformers, recipe.processor)(
        image_processor=transformers.Qwen2VLImageProcessor(**recipe.image_processor),
        tokenizer=tokenizer(recipe.tokenizer, with_thoughts=recipe.processor == "Qwen3VLProcessor"),
        video_processor=getattr(transformers, recipe.video_processor)(),
        chat_template=chat_template(**template),
    )


@lru_cache
def tokenizer(kind: str, with_thoughts: bool) -> Any:
    """A byte-level tokenizer of the class `kind` with the families' added tokens."""
    vocabulary = {character: i for i, character in enumerate(sorted(bytes_to_unicode().values()))}
    made = getattr(transformers, kind)(vocab=vocabulary, merges=[], pad_token="<|endoftext|>", eos_token="<|im_end|>")
    special = [AddedToken(token, special=True) for token in random_qwen.SPECIAL]
    made.add_special_tokens({"additional_special_tokens": special})
    if with_thoughts:
        made.add_tokens([AddedToken(token, special=False) for token in THINK])
    return made


def config(name: str, tied: bool = False) -> PreTrainedConfig:
    """The configuration of a family's random checkpoint; `tied`: the head is the embedding table."""
    recipe, words = RECIPES[name], processor(name).tokenizer
    text = {"vocab_size": len(words), "tie_word_embeddings": tied, "bos_token_id": None}
    made = getattr(transformers, recipe.config)(
        text_config=dict(recipe.text) | text | {"eos_token_id": words.eos_token_id},
        vision_config=dict(recipe.vision),
        tie_word_embeddings=tied,
        **{key: words.convert_tokens_to_ids(token) for key, token in OWN_TOKENS.items()},
    )
    made._attn_implementation = "sdpa"
    return made


def network(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, tied: bool = False) -> Any:
    """A random network of a family, in evaluation mode, with weights that do not depend on the library's defaults."""
    made = getattr(transformers, RECIPES[name].network)(config(name, tied))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, weight in made.named_parameters():
            draw(path, weight, torch.randn(weight.shape, generator=generator))
    return made.to(dtype).eval()


def draw(path: str, weight: torch.Tensor, noise: torch.Tensor) -> None:
    """Fill one weight from standard normal `noise`, with a spread at which errors show and values stay finite.

    The library's spread of 0.02 leaves attention nearly uniform: errors in masks and positions would not show. Its
    norms of one (or zero, if they are zero-centred) and biases of zero would hide that they are forgotten. With its
    A_log, linear attention forgets everything in a few tokens: a state that is not handed on would not show.
    """
    if path.endswith("A_log"):
        weight.copy_(noise - 4.5)
    elif path.endswith("dt_bias"):
        weight.copy_(noise * 0.5)
    elif weight.ndim == 1:
        weight.add_(noise * 0.3)
    elif path.endswith("conv1d.weight"):
        weight.copy_(noise * 0.5)
    elif "patch_embed" in path:
        weight.copy_(noise * 0.03)
    elif "pos_embed" in path:
        weight.copy_(noise * 0.5)
    else:
        weight.copy_(noise * 0.12)


def save(name: str, folder: Path, tied: bool = False, shard: str | None = None, thinking: str | None = None) -> Path:
    """A checkpoint folder as published ones are: weights, configuration and processor files.

    tied: without a head. shard: the largest size of a weight file, such as "100KB", for several files. thinking: see
    `processor`. Returns `folder`.
    """
    network(name, tied=tied).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    processor(name, thinking).save_pretrained(folder)
    return folder
