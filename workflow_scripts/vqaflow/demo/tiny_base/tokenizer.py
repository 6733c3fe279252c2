"""The tiny base model's processor: Qwen2.5-VL's tokenizer, image processor and template, with few tokens."""

import json
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2_5_VLProcessor, Qwen2Tokenizer, Qwen2VLImageProcessor, Qwen2VLVideoProcessor
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

TOKENIZER_SIZE = 3072  # at most; the generated world has fewer distinct words
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Behaves as the template published with Qwen2.5-VL: a default system turn, <|im_end|> and a newline close each turn.
CHAT_TEMPLATE = """\
{%- set pictures = namespace(count=0) -%}
{%- set videos = namespace(count=0) -%}
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
{%- set pictures.count = pictures.count + 1 -%}
{%- if add_vision_id -%}{{- 'Picture ' ~ pictures.count ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'video' or 'video' in part -%}
{%- set videos.count = videos.count + 1 -%}
{%- if add_vision_id -%}{{- 'Video ' ~ videos.count ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- elif 'text' in part -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def build_processor(texts: Iterable[str], vocabulary: int, min_pixels: int, max_pixels: int) -> Qwen2_5_VLProcessor:
    """A processor whose byte-level BPE is learned from `texts`, at most `vocabulary` tokens besides special ones."""
    vocab, merges = learn_merges(texts, vocabulary)
    tokenizer = Qwen2Tokenizer(
        vocab=vocab, merges=merges, pad_token="<|endoftext|>", eos_token="<|im_end|>", model_max_length=32768
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]}
    )
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            patch_size=14, merge_size=2, size={"shortest_edge": min_pixels, "longest_edge": max_pixels}
        ),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=14, merge_size=2),
        chat_template=CHAT_TEMPLATE,
    )


def learn_merges(texts: Iterable[str], vocabulary: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level BPE under Qwen2.5's own pre-tokenizer: token to id, and merges in order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    return learned["vocab"], [tuple(pair) for pair in learned["merges"]]
