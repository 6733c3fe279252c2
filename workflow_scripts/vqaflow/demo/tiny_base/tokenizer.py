"""The tiny base model's processor: its family's tokenizer, image processor and template, with few tokens."""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from vqaflow.demo.tiny_base.families import MERGE, TinyFamily

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


def build_processor(texts: Iterable[str], vocabulary: int, min_pixels: int, max_pixels: int, family: TinyFamily) -> Any:
    """A processor whose byte-level BPE is learned from `texts`, at most `vocabulary` tokens besides special ones."""
    vocab, merges = learn_merges(texts, vocabulary)
    tokenizer = family.tokenizer(
        vocab=vocab, merges=merges, pad_token="<|endoftext|>", eos_token="<|im_end|>", model_max_length=32768
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]}
    )
    return family.processor(
        image_processor=family.image_processor(
            patch_size=family.patch,
            merge_size=MERGE,
            size={"shortest_edge": min_pixels, "longest_edge": max_pixels},
            **family.normalisation,
        ),
        tokenizer=tokenizer,
        video_processor=family.video_processor(patch_size=family.patch, merge_size=MERGE),
        chat_template=family.template,
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
