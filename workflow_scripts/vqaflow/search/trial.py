"""The value of one trial of a search: the real training on part of the rows, measured on the held-out rows of folds.

A trial with all rows (hpo.subset 1) and one fold trains exactly what train_adapter trains for that fold.

Shapes: B rows of a pass, K choice orders, C choices, H hidden size.
"""

import gc
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.reading import read_table
from vqaflow.config.sections import (
    AnswersConfig,
    HpoConfig,
    ModelConfig,
    PromptConfig,
    TrainConfig,
    ViewConfig,
    replace_keys,
    section,
)
from vqaflow.config.space import NOT_SEARCHED
from vqaflow.model.base import Base, best_device, compute_dtype, quantization
from vqaflow.model.base_digest import base_digest
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.features.cache import FeatureCache
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.model.pipeline.parts import Encoder, make_encoder, make_features
from vqaflow.model.pipeline.reading import with_transcripts
from vqaflow.model.separate.inputs import PassInputs
from vqaflow.model.stored_base import open_base
from vqaflow.runtime.code_digest import code_digest
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import NotFinite, OutOfMemory
from vqaflow.runtime.files import write_json
from vqaflow.runtime.stage import memory_problem
from vqaflow.runtime.versions import decisive_versions
from vqaflow.search.rows import Fold, stratified_subset
from vqaflow.search.shares import step_of
from vqaflow.search.space import Dimension, Report, read_space, starting_point
from vqaflow.training.checkpoints import StopRequest
from vqaflow.training.loop import VALIDATION_SHARE, Trainer
from vqaflow.training.objective import without_absent
from vqaflow.training.placement import make_deterministic, place, set_checkpointing
from vqaflow.training.rows import FoldRows
from vqaflow.training.train_adapter import shown

ALONE = {"max_minutes": 0, "trackers": [], "devices": 1}  # a trial is watched by its search, and has one device
WITHOUT_EFFECT = set(NOT_SEARCHED) - {"seed", "validate_every"}  # on a trial's value


@dataclass(frozen=True)
class TrialInputs:
    """What all trials of a search share; a trial's parameters replace values of the section `train`.

    `bases` and `vision` are folders that keep quantised bases and image features for later jobs. Rows are shown as
    `view` renders them. `teacher` is a member's file of OOF probabilities (see FoldRows).
    """

    table: Path
    folds: Path
    model: ModelConfig
    prompt: PromptConfig
    train: Mapping[str, Any]
    hpo: HpoConfig
    bases: Path
    vision: Path
    answers: AnswersConfig = field(default_factory=AnswersConfig)
    view: ViewConfig = ViewConfig()
    teacher: Path | None = None


class TrialTrainer:
    """Trains and measures one set of parameters after another on the same base."""

    def __init__(self, inputs: TrialInputs) -> None:
        self.inputs = inputs
        self.model, self.train, self.hpo = inputs.model, inputs.train, inputs.hpo
        self.dimensions: list[Dimension] = read_space(self.hpo.space)
        self.start = starting_point(self.dimensions, self.train)
        groups = read_table(inputs.folds, "make_folds", ["id", "group"]).set_index("id")["group"].to_dict()
        self.folds = [self._fold(number, groups) for number in self.hpo.folds]
        self.held_out_groups = [[int(groups[row.id]) for row in fold.held_out] for fold in self.folds]

    def _fold(self, number: int, groups: Mapping[str, int]) -> Fold:
        given = self.inputs
        held_out, targets = FoldRows(given.table, given.folds, number, given.answers, given.teacher).split()
        rows = stratified_subset(targets.rows, groups, self.hpo.subset, self.hpo.seed)
        return Fold(number, rows, len(targets.rows), held_out)

    def identity(self) -> dict[str, Any]:
        """Everything that the values of trials depend on: another identity means another study."""
        searched = {dimension.key for dimension in self.dimensions}
        settings = {key: value for key, value in self.train.items() if key not in searched | WITHOUT_EFFECT}
        settings["lora"] = {key: value for key, value in self.train["lora"].items() if f"lora.{key}" not in searched}
        settings["augment"] = {k: v for k, v in self.train["augment"].items() if f"augment.{k}" not in searched}
        return {
            "base": base_digest(self.model),
            "model": asdict(self.model) | {"base": None},
            "precision": self._precision(),
            "prompt": self.inputs.prompt.content(self.inputs.view.read),
            "train": settings,
            "start": self.start,
            "space": [asdict(dimension) for dimension in self.dimensions],
            "search": {key: getattr(self.hpo, key) for key in ("seed", "folds", "subset", "pruner")},
            "rows": [fold.digest() for fold in self.folds],
            "versions": decisive_versions(),
            **shown(self.inputs.view),
        }

    def _precision(self) -> dict[str, str]:
        device = best_device()
        return {
            "device": device.type,
            "dtype": str(compute_dtype(self.model, device)).removeprefix("torch."),
            "quantization": quantization(self.model, device),
        }

    def settings(self, parameters: Mapping[str, Any]) -> TrainConfig:
        """`train` with a trial's parameters; the search's time budget replaces that of single trainings."""
        return section(TrainConfig, replace_keys(self.train, parameters) | ALONE)

    @property
    def validations(self) -> int:
        """The most validations that a trial can have in one fold."""
        searched = [dimension.values for dimension in self.dimensions if dimension.key == "epochs"]
        epochs = max(searched[0]) if searched else self.train["epochs"]
        return math.ceil(epochs / self.train["validate_every"]) + 1

    @cached_property
    def _base(self) -> Base:
        make_deterministic()
        return open_base(self.model, self.inputs.bases)

    @cached_property
    def _encoder(self) -> Encoder:
        choices = len(self.folds[0].rows[0].choices)
        return make_encoder(self._base, self.model, self.inputs.prompt, choices)

    @cached_property
    def _features(self) -> FeatureCache | PassInputs:
        mode = section(TrainConfig, self.train).cache_vision
        return make_features(self._base, self._encoder, self.inputs.view, mode, self.inputs.vision)

    def value(
        self, parameters: Mapping[str, Any], folder: Path, report: Report, stop: StopRequest
    ) -> list[list[float]]:
        """Of each fold, how right each held-out row is, with the weights that train.keep would keep.

        `report(step, accuracy)` gets the mean over the folds so far after every validation, and may raise to end the
        trial; steps are shares of the schedule (search/shares.py). Checkpoints go to `folder`. Raises NotFinite,
        OutOfMemory, and SystemExit (after a checkpoint) if `stop` asks for it.
        """
        train, done = self.settings(parameters), []
        for fold in self.folds:
            result = folder / f"fold{fold.number}.json"
            if not result.is_file():
                report_fold = partial(self._report, report, [float(np.mean(rows)) for rows in done])
                write_json(result, self._train(train, fold, folder / f"fold{fold.number}", report_fold, stop))
            done.append(json.loads(result.read_text(encoding="utf-8")))
        return done

    def _report(self, report: Report, done: list[float], share: float, accuracy: float) -> None:
        report(step_of(len(done), share), (sum(done) + accuracy) / (len(done) + 1))

    def _train(self, train: TrainConfig, fold: Fold, work: Path, report: Report, stop: StopRequest) -> list[float]:
        """Train on one fold's rows and measure each held-out row; the base is left as it was."""
        gc.collect()  # frees what the last trial held
        torch.cuda.empty_cache()
        base = self._base
        try:
            read = partial(with_transcripts, base=base, encoder=self._encoder, view=self.inputs.view)
            rows, held_out = (read(part, work=self.inputs.vision) for part in (fold.rows, fold.held_out))
            add_adapter(base, train.lora, train.seed)
            set_checkpointing(base, train)
            place(base, train, tower=True)
            trainer = Trainer(
                base,
                self._encoder,
                self._features,
                rows,
                held_out,
                train,
                lambda record: report(record["step"] / trainer.steps, record["val_accuracy"]),
            )
            trainer.run(work, value_digest([asdict(train), fold.digest(), code_digest(__file__)]), stop)
            if not all(weight.isfinite().all() for weight in trainable(base)):
                raise NotFinite("the adapter's weights became NaN or infinite in the last step.")
            return right_rows(trainer)
        except Exception as error:
            if memory_problem(error):
                raise OutOfMemory(str(error).splitlines()[0]) from None
            raise
        finally:
            if hasattr(base.model, "peft_config"):
                base.model = base.model.unload()


@torch.no_grad()
def right_rows(trainer: Trainer) -> list[float]:
    """How right each validation row is in the identity order, in their order: 0 or 1, or the share of people."""
    trainer.base.model.eval()
    # As validation_accuracy passes them: rows of one length together.
    order = sorted(range(len(trainer.validation)), key=lambda i: trainer._length(trainer.validation[i]))
    found, rows = [0.0] * len(order), VALIDATION_SHARE * trainer.progress.micro_rows
    for start in range(0, len(order), rows):
        part = order[start : start + rows]
        shown = [trainer.validation[i] for i in part]
        states_BKH = trainer.model.states(shown, [[row.letters] for row in shown])
        logits_BKC = letter_logits(states_BKH, trainer.letter_rows_CH, trainer.base.softcap)
        chosen = without_absent(logits_BKC, trainer._choices(shown))[:, 0].argmax(-1).tolist()
        for number, row, letter in zip(part, shown, chosen, strict=True):
            found[number] = float(row.target()[ALL_LETTERS.index(row.letters[letter])])
    return found
