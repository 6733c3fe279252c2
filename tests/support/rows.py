"""Rows as the checked tables hold them, with pictures of several sizes, for tests of the model code."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

import random_qwen
from places import ROOT
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row, rows_of
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.runtime.digests import file_digest

SIZES = [(64, 64), (150, 60), (90, 140), (56, 200), (128, 96)]
VIEW = ViewConfig()


def prompt_config() -> PromptConfig:
    """The prompt section of config.yaml."""
    return section(PromptConfig, yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["prompt"])


def model_config(**changes: Any) -> ModelConfig:
    """A model section with small pictures; `changes` replace single keys."""
    values = {
        "base": "none",
        "revision": None,
        "quantization": "none",
        "compute_dtype": "float32",
        "min_pixels": 56 * 56,
        "max_pixels": 140 * 140,
    }
    return ModelConfig(**(values | changes))


TEXTS = ("빨강", "blue and green", "", "노란 꽃이 핀 나무", "둘 다", "neither of them", "7", "세 번째", "x", "왼쪽 위")


def make_table(folder: Path, count: int = 5, choices: int = 4, lacking: int = 0) -> pd.DataFrame:
    """`count` rows with random pictures in `folder`; questions and choices differ in length, language and script.

    Every second row lacks the `lacking` choices that follow its answer.
    """
    letters = ALL_LETTERS[:choices]
    questions = [
        "What colour is it?",
        "사진에 보이는 동물은 무엇인가요?",
        "Q",
        "무슨 글자가 적혀 있나요?\n(둘째 줄)",
        "how many?",
    ]
    records = []
    for i in range(count):
        width, height = SIZES[i % len(SIZES)]
        file = folder / f"{i}.png"
        random_qwen.image(i, width, height).save(file)
        shown = {letter: text or f"{i}" for letter, text in zip(letters, TEXTS, strict=False)}
        shown |= {letters[(i + place) % choices]: None for place in range(1, lacking + 1) if i % 2}
        record = {"id": f"row_{i}", "question": questions[i % len(questions)], "qtype": "general"}
        record |= shown | {"width": width, "height": height, "answer": letters[i % choices]}
        records.append(record | {"image_file": str(file), "sha256": file_digest(file)})
    return pd.DataFrame(records)


def library_logits(network: Any, encoder: RowEncoder, row: Row, order: str = "abcd") -> torch.Tensor:
    """The logits (tokens, vocabulary) that the library's own forward gives of one row in one choice order."""
    encoded = encoder.encode(row, [order], VIEW)
    ids = torch.tensor([encoded.prefix_ids + encoded.branch_ids[0]])
    return network(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == encoder.image_token).long(),
        pixel_values=encoder.pixels(row.image_file, VIEW),
        image_grid_thw=torch.tensor([encoded.grid]),
    ).logits[0]


def make_rows(folder: Path, count: int = 5, choices: int = 4, lacking: int = 0) -> list[Row]:
    """The same as the model code sees them."""
    return rows_of(make_table(folder, count, choices, lacking))
