"""One training of the demo for a measurement: opened as train_adapter opens it, with rows whose answers are known.

Shapes: B rows of a pass, K choice orders, C choices, H hidden size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.rows import Row, rows_of
from vqaflow.config.sections import ModelConfig, PromptConfig, TrainConfig, ViewConfig, merged, section
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.encoding.orders import cyclic_shifts, inverse
from vqaflow.model.lora import add_adapter
from vqaflow.model.pipeline.parts import make_encoder, make_features
from vqaflow.model.stored_base import open_base
from vqaflow.reporting.closing_line import read_answers
from vqaflow.runtime.errors import UserError
from vqaflow.training.loop import Trainer
from vqaflow.training.placement import make_deterministic, place, set_checkpointing
from vqaflow.training.rows import FoldRows

PASS_ROWS = 50


@dataclass(frozen=True)
class Opened:
    """A training before its first step, and the rows that measure it: those of the fold, and the test rows."""

    trainer: Trainer
    held_out: list[Row]
    tests: list[Row]


def open_training(
    config: Mapping[str, Any],
    at: ResultsFolder,
    base: str,
    fold: int | None,
    seed: int,
    teacher: Path | None = None,
    **settings: Any,
) -> Opened:
    """Open the training of one fold of the demo in `at` with `base`, or of all rows if it is None.

    `settings` replace keys of `train`. `teacher` is a file of OOF probabilities. Raises UserError if the demo has not
    been made.
    """
    if not at.demo_answers.is_file():
        raise UserError(f"{at.demo_answers}: no such file. Run snakemake results/folds.parquet first.")
    model = section(ModelConfig, {**config["model"], "base": base, "compute_dtype": "float32", "quantization": "none"})
    fixed = {"seed": seed, "keep": "last", "compile": False, "gradient_checkpointing": False}
    train = section(TrainConfig, merged(config["train"], fixed | settings))
    held_out, targets = FoldRows(at.table("train"), at.folds, fold, teacher=teacher).split()
    answers = read_answers(at.demo_answers)
    tests = [replace(row, answer=answers[row.id]) for row in rows_of(read_table(at.table("test"), "validate_tables"))]
    make_deterministic()
    loaded = open_base(model, at.bases)
    encoder = make_encoder(loaded, model, section(PromptConfig, config["prompt"]), len(tests[0].choices))
    add_adapter(loaded, train.lora, train.seed)
    set_checkpointing(loaded, train)
    place(loaded, train, tower=True)
    features = make_features(loaded, encoder, ViewConfig(), "memory", at.vision)
    return Opened(Trainer(loaded, encoder, features, targets.rows, held_out, train), held_out, tests)


def right_choices(rows: Sequence[Row]) -> np.ndarray:
    """The number (0 to C-1) of each row's right choice."""
    return np.array([ALL_LETTERS.index(str(row.answer)) for row in rows])


@torch.no_grad()
def logp_of(trainer: Trainer, rows: Sequence[Row]) -> np.ndarray:
    """Log-probabilities (rows, C) by the geometric mean over all cyclic choice orders."""
    trainer.base.model.eval()
    orders = cyclic_shifts(rows[0].letters)
    undo_KC = torch.tensor([inverse(order) for order in orders])
    parts = []
    for start in range(0, len(rows), PASS_ROWS):
        part = rows[start : start + PASS_ROWS]
        states_BKH = trainer.model.states(part, [orders] * len(part))
        logits_BKC = letter_logits(states_BKH, trainer.letter_rows_CH, trainer.base.softcap).float().cpu()
        logp_BKC = logits_BKC.gather(2, undo_KC.expand(len(part), -1, -1)).log_softmax(-1)
        parts.append(logp_BKC.mean(1).log_softmax(-1))
    return torch.cat(parts).numpy()
