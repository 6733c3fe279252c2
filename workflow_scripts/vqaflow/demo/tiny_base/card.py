"""The model card of the tiny base model, written by the program that trained it."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
import transformers

from vqaflow.demo.tiny_base.families import FAMILIES, QWEN2_5_VL
from vqaflow.demo.tiny_base.words import UNGROUNDED

CARD = """\
---
license: apache-2.0
language: [en, ko]
pipeline_tag: image-text-to-text
library_name: transformers
---

# {name}

A {title} (`{network}`) of {weights:,} weights for the demo and the tests of vqaflow. It
loads as the published models do (`AutoProcessor`, `from_pretrained`) and answers four-choice questions about simple
pictures with one letter. It is good for nothing else, and none of its weights comes from a published model.

| | |
| --- | --- |
| vision tower | {depth} blocks ({tower}), {vision_hidden} wide |
| decoder | {layers} layers, {hidden} wide, {heads} heads ({kv_heads} for keys and values), head untied |
| tokenizer | byte-level BPE with Qwen2.5's pre-tokenizer, {vocab} tokens; ChatML template with vision marks |
| weights | float16 |

## How it was trained

`vqaflow tiny_base {arguments}`

| | |
| --- | --- |
| data | {rows:,} generated rows, none seen twice ({steps:,} steps of {batch}); no picture or row of any data set |
| pictures | one to four shapes in 12 colours; digits from generated pen strokes or matplotlib's fonts |
| questions | colour, shape, digit, count, place, yes/no with and without negation, finding a word; English and Korean |
| words it only ever read | {ungrounded} |
| time | {seconds:.0f} s, {rate:,.0f} rows/s |
| device | {device} |
| software | Python {python}, torch {torch}, transformers {transformers} |
| seed, date | {seed}, {date} |

The words that it only ever read occur in no question about a picture: what they look like is left for fine-tuning to
teach. The demo asks in such words (circle, 직사각형, teal, …) and shows real handwriting, which it never saw.

## What it knows

Accuracy over the four letters (chance: 0.25) of the float16 weights on fresh generated rows.

| kind and language | rows | accuracy |
| --- | --- | --- |
{table}
"""


def model_card(
    recipe: Mapping[str, Any],
    facts: Mapping[str, Any],
    table: Sequence[tuple[str, int, float]],
    device: torch.device,
    config: Any,
) -> str:
    """The card's text; `facts` holds rows, steps, seconds and weights of the finished training."""
    vision, text = config.vision_config, config.text_config
    family = FAMILIES[config.model_type]
    arguments = {k: v for k, v in recipe.items() if v and k != "validation_rows" and v != QWEN2_5_VL.name}
    return CARD.format(
        **facts,
        rate=facts["rows"] / facts["seconds"],
        batch=recipe["batch"],
        seed=recipe["seed"],
        arguments=" ".join(f"--{k.replace('_', '-')}" + ("" if v is True else f" {v}") for k, v in arguments.items()),
        depth=vision.depth,
        name="tiny-" + family.title.lower().replace(".", "_"),
        title=family.title,
        network=family.network.__name__,
        tower=family.describe_tower(vision),
        vision_hidden=vision.hidden_size,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        vocab=text.vocab_size,
        ungrounded=", ".join(word for words in UNGROUNDED.values() for word in words),
        device=torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU ({torch.get_num_threads()} threads)",
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        date=datetime.now(UTC).date().isoformat(),
        table="\n".join(f"| {key} | {rows} | {accuracy:.3f} |" for key, rows, accuracy in table),
    )
