"""Random checkpoints of Gemma 4, InternVL and a class that no family module names (LLaVA): no hub, no file beside.

Their processors are real ones with byte-level tokenizers; the chat templates behave as the published ones do for one
system turn, one user turn with an image, and the answer's opening. Gemma 4 comes as the small editions are (embeddings
per layer, keys and values shared by the last layers) and as the large ones are (pictures attend both ways).
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from tokenizers import AddedToken
from transformers.convert_slow_tokenizer import bytes_to_unicode

import rows
from vqaflow.artifacts.rows import Row
from vqaflow.model.base import Base
from vqaflow.model.families import gemma4, internvl
from vqaflow.model.families.generic import generic_family
from vqaflow.model.separate.encoder import PassEncoder

FAMILIES = {
    "gemma4_small": gemma4.FAMILY,
    "gemma4_large": gemma4.FAMILY,
    "internvl": internvl.FAMILY,
    "llava": generic_family("llava"),
}
NAMES = tuple(FAMILIES)
CONTENT = """\
{%- macro written(content) -%}
{%- if content is string -%}{{- content -}}
{%- else -%}
{%- for part in content -%}
{%- if part.type == 'image' -%}{{- 'IMAGE' -}}
{%- elif part.type == 'text' -%}{{- part.text | trim -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
"""
GEMMA_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|turn>' + message.role + '\\n' + written(message.content) + '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|turn>model\\n' -}}
{%- if not enable_thinking | default(false) -%}{{- '<|channel>thought\\n<channel|>' -}}{%- endif -%}
{%- endif -%}
"""
CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + written(message.content) + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
LLAVA_TEMPLATE = """\
{%- for message in messages -%}{{- message.role | upper + ': ' + written(message.content) + ' ' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}
"""
GEMMA_TOKENS = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}
INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
}
GEMMA_TEXT = TEXT | {
    "num_hidden_layers": 6,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
    "sliding_window": 32,
    "global_head_dim": 48,
    "final_logit_softcapping": 2.0,  # 30 as published would not show on small logits
}
GEMMA_SMALL = {
    "hidden_size_per_layer_input": 16,
    "num_kv_shared_layers": 3,
    "use_double_wide_mlp": True,
}
GEMMA_LARGE = {
    "hidden_size_per_layer_input": 0,
    "use_bidirectional_attention": "vision",
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 1,
}
GEMMA_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "patch_size": 4,
    "pooling_kernel_size": 3,
}
SQUARE_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}


def byte_tokenizer(cls: Any, special: list[str], named: Mapping[str, str], **options: Any) -> Any:
    """A byte-level tokenizer of this class with `special` tokens, and with tokens that have a name."""
    vocabulary = {c: i for i, c in enumerate([*special, *named.values(), *sorted(bytes_to_unicode().values())])}
    tokenizer = cls(vocab=vocabulary, merges=[], extra_special_tokens=dict(named), **options)
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in [*special, *named.values()]])
    return tokenizer


@lru_cache
def processor(name: str) -> Any:
    """The processor of a kind of checkpoint in NAMES."""
    return {"gemma4": _gemma_processor, "internvl": _internvl_processor, "llava": _llava_processor}[
        name.partition("_")[0]
    ]()


def _gemma_processor() -> Any:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>", "<|channel>", "<channel|>"]
    named = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    tokenizer = byte_tokenizer(
        transformers.Qwen2Tokenizer, special, GEMMA_TOKENS, **named, padding_side="left", add_bos_token=True
    )
    sizes = {"patch_size": 4, "pooling_kernel_size": 3, "max_soft_tokens": 70}
    return transformers.Gemma4Processor(
        feature_extractor=transformers.Gemma4AudioFeatureExtractor(),
        image_processor=transformers.Gemma4ImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=transformers.Gemma4VideoProcessor(**sizes),
        chat_template=CONTENT.replace("IMAGE", "<|image|>") + GEMMA_TEMPLATE,
        image_seq_length=70,
    )


def _internvl_processor() -> Any:
    tokenizer = byte_tokenizer(
        transformers.Qwen2Tokenizer,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        INTERNVL_TOKENS,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )
    return transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(size={"height": 56, "width": 56}),
        tokenizer=tokenizer,
        video_processor=transformers.InternVLVideoProcessor(size={"height": 56, "width": 56}),
        image_seq_length=4,
        chat_template=CONTENT.replace("IMAGE", "<IMG_CONTEXT>\\n") + CHATML,
    )


def _llava_processor() -> Any:
    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = byte_tokenizer(transformers.Qwen2Tokenizer, special, {}, add_bos_token=True, **named)
    return transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CONTENT.replace("IMAGE", "<image>\\n") + LLAVA_TEMPLATE,
    )


def base(name: str, seed: int = 0) -> Base:
    """A base of a kind in NAMES as the package holds it, on the CPU in float32."""
    return Base(network(name, seed), processor(name), torch.device("cpu"), torch.float32, "none")


def encoder(name: str, **changes: Any) -> PassEncoder:
    """The encoder for a kind in NAMES with the prompts of config.yaml; `changes` replace keys of the model section."""
    return PassEncoder(processor(name), rows.model_config(**changes), rows.prompt_config(), FAMILIES[name])


def config(name: str) -> Any:
    """The configuration of a kind of checkpoint in NAMES."""
    tokenizer = processor(name).tokenizer
    of = tokenizer.convert_tokens_to_ids
    if name.startswith("gemma4"):
        text = GEMMA_TEXT | (GEMMA_SMALL if name == "gemma4_small" else GEMMA_LARGE)
        return transformers.Gemma4Config(
            text_config=text | {"vocab_size": len(tokenizer), "vocab_size_per_layer_input": len(tokenizer)},
            vision_config=GEMMA_TOWER,
            image_token_id=of("<|image|>"),
            video_token_id=of("<|video|>"),
            audio_token_id=of("<|audio|>"),
            boi_token_id=of("<|image>"),
            eoi_token_id=of("<image|>"),
        )
    text = TEXT | {"num_hidden_layers": 3, "vocab_size": len(tokenizer)}
    if name == "internvl":
        return transformers.InternVLConfig(
            text_config=text | {"model_type": "qwen3"},
            vision_config=SQUARE_TOWER,
            image_token_id=of("<IMG_CONTEXT>"),
            image_seq_length=4,
            tie_word_embeddings=False,
        )
    return transformers.LlavaConfig(
        text_config=text | {"model_type": "llama"},
        vision_config=SQUARE_TOWER | {"model_type": "clip_vision_model"},
        image_token_index=of("<image>"),
        vision_feature_layer=-1,
    )


def network(name: str, seed: int = 0) -> Any:
    """A random network of a kind in NAMES, float32, in which attention is far from uniform."""
    torch.manual_seed(seed)
    made = config(name)
    made._attn_implementation = "sdpa"
    network = transformers.AutoModelForImageTextToText.from_config(made).float().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.requires_grad_(False)


def save(name: str, folder: Path, **options: Any) -> None:
    """Write a checkpoint with its processor to `folder`, as AutoProcessor and the network's class read it."""
    network(name).save_pretrained(folder, **options)
    processor(name).save_pretrained(folder)


def library_logits(base: Base, encoder: PassEncoder, row: Row, order: str) -> torch.Tensor:
    """Logits (vocabulary) at the answer: the network's plain forward on its processor's own rendering of a chat."""
    prefix_and_branch = encoder.encode(row, [order], rows.VIEW).texts[0]
    head, tail = encoder.renderer.head, encoder.renderer.tail
    assert prefix_and_branch.startswith(head) and prefix_and_branch.endswith(tail)
    text = prefix_and_branch[len(head) : -len(tail)]
    with Image.open(row.image_file) as file:
        image = file.convert("RGB")
    image = image.resize(encoder.fitted_size(*image.size, rows.VIEW), Image.Resampling.BICUBIC)
    inputs = base.processor.apply_chat_template(
        [
            {"role": "system", "content": [{"type": "text", "text": rows.prompt_config().system}]},
            {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": text}]},
        ],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"images_kwargs": encoder.image_options(rows.VIEW)},
    )
    return base.network(**inputs).logits[0, -1]
