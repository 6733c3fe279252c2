"""What one trial of a search is worth: the real training on part of the rows, measured on the held-out rows of folds.

A trial with all rows (hpo.subset 1) and one fold trains exactly what train_adapter trains for that fold.
"""

import gc
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from vqaflow.artifacts import read_table
from vqaflow.base_files import base_digest
from vqaflow.base_model import Base, best_device, compute_dtype, quantization
from vqaflow.checkpoints import StopRequest
from vqaflow.code_digest import module_digest
from vqaflow.config import HpoConfig, ModelConfig, PromptConfig, TrainConfig, replace_keys, section
from vqaflow.encoding import RowEncoder
from vqaflow.errors import NotFinite, OutOfMemory
from vqaflow.feature_cache import FeatureCache
from vqaflow.files import value_digest, write_json
from vqaflow.lora import add_adapter, trainable
from vqaflow.parity import decisive_versions
from vqaflow.search_space import NOT_SEARCHED, Dimension, Report, read_space, starting_point
from vqaflow.store_base import open_base
from vqaflow.train_adapter import ROW_FIELDS, VIEW, make_deterministic, place, set_checkpointing, split_rows
from vqaflow.training_loop import Trainer

WITHOUT_EFFECT = set(NOT_SEARCHED) - {"seed", "validate_every"}  # on what a trial's value is


@dataclass(frozen=True)
class Fold:
    """The rows that a trial trains on for one fold, out of `available`, and those that it is measured on."""

    number: int
    rows: list[dict[str, Any]]
    available: int
    held_out: list[dict[str, Any]]

    def described(self) -> dict[str, int]:
        """What the search saw of this fold, as counts."""
        return {
            "fold": self.number,
            "training_rows": len(self.rows),
            "of": self.available,
            "held_out_rows": len(self.held_out),
        }

    def digest(self) -> str:
        """Digest of the content of the rows."""
        return value_digest(
            [[[str(row[key]) for key in ROW_FIELDS] for row in part] for part in (self.rows, self.held_out)]
        )


class TrialTrainer:
    """Trains and measures one set of parameters after another on the same base."""

    def __init__(
        self,
        *,
        table: Path,
        folds: Path,
        model: Mapping[str, Any],
        prompt: Mapping[str, Any],
        train: Mapping[str, Any],
        hpo: HpoConfig,
        work: Path,
        bases: Path,
    ) -> None:
        self.model, self.prompt = section(ModelConfig, model), section(PromptConfig, prompt)
        self.train, self.hpo, self.work, self.bases = dict(train), hpo, work, bases
        self.dimensions: list[Dimension] = read_space(hpo.space)
        self.start = starting_point(self.dimensions, train)
        groups = read_table(folds, "make_folds", ["id", "group"]).set_index("id")["group"].to_dict()
        self.folds = [self._fold(table, folds, number, groups) for number in hpo.folds]

    def _fold(self, table: Path, folds: Path, number: int, groups: Mapping[str, int]) -> Fold:
        held_out, outside = split_rows(table, folds, number)
        rows = stratified_subset(outside, groups, self.hpo.subset, self.hpo.seed)
        return Fold(number, rows, len(outside), held_out)

    def identity(self) -> dict[str, Any]:
        """Everything that the values of trials depend on: another identity is another study."""
        searched = {dimension.key for dimension in self.dimensions}
        settings = {key: value for key, value in self.train.items() if key not in searched | WITHOUT_EFFECT}
        settings["lora"] = {key: value for key, value in self.train["lora"].items() if f"lora.{key}" not in searched}
        settings["augment"] = {k: v for k, v in self.train["augment"].items() if f"augment.{k}" not in searched}
        return {
            "code": module_digest("search_trial"),
            "base": base_digest(self.model),
            "model": asdict(self.model) | {"base": None},
            "precision": self._precision(),
            "prompt": asdict(self.prompt),
            "train": settings,
            "start": self.start,
            "space": [asdict(dimension) for dimension in self.dimensions],
            "search": {key: getattr(self.hpo, key) for key in ("seed", "folds", "subset", "pruner")},
            "rows": [fold.digest() for fold in self.folds],
            "versions": decisive_versions(),
        }

    def _precision(self) -> dict[str, str]:
        device = best_device()
        return {
            "device": device.type,
            "dtype": str(compute_dtype(self.model, device)).removeprefix("torch."),
            "quantization": quantization(self.model, device),
        }

    def settings(self, parameters: Mapping[str, Any]) -> TrainConfig:
        """`train` with a trial's parameters; the search's own time budget stands for that of single trainings."""
        return section(TrainConfig, replace_keys(self.train, parameters) | {"max_minutes": 0, "trackers": []})

    @property
    def steps(self) -> int:
        """The most validations of a trial, all folds together."""
        return len(self.folds) * self._steps_a_fold

    @property
    def _steps_a_fold(self) -> int:
        """The same for one fold: so many numbers are set aside for it, for trials of any number of epochs."""
        searched = [dimension.values for dimension in self.dimensions if dimension.key == "epochs"]
        epochs = max(searched[0]) if searched else self.train["epochs"]
        return math.ceil(epochs / self.train["validate_every"]) + 1

    @cached_property
    def _base(self) -> Base:
        make_deterministic()
        return open_base(self.model, self.bases)

    @cached_property
    def _encoder(self) -> RowEncoder:
        return RowEncoder(self._base.processor, self.model, self.prompt)

    @cached_property
    def _features(self) -> FeatureCache:
        mode = section(TrainConfig, self.train).cache_vision
        return FeatureCache(self._base, self._encoder, VIEW, mode, self.work / "vision")

    def value(self, parameters: Mapping[str, Any], folder: Path, report: Report, stop: StopRequest) -> list[float]:
        """Validation accuracy of each fold, of the weights that train.keep would keep; checkpoints go to `folder`.

        `report(step, accuracy)` gets the mean over the folds so far after every validation, and may raise to end the
        trial. Raises NotFinite, OutOfMemory, and SystemExit (after a checkpoint) when `stop` asks for it.
        """
        train, done = self.settings(parameters), []
        for fold in self.folds:
            result = folder / f"fold{fold.number}.json"
            if not result.is_file():
                report_fold = partial(self._report, report, list(done))
                write_json(result, self._train(train, fold, folder / f"fold{fold.number}", report_fold, stop))
            done.append(json.loads(result.read_text(encoding="utf-8")))
        return done

    def _report(self, report: Report, done: list[float], validations: int, accuracy: float) -> None:
        step = len(done) * self._steps_a_fold + min(validations, self._steps_a_fold)
        report(step, (sum(done) + accuracy) / (len(done) + 1))

    def _train(self, train: TrainConfig, fold: Fold, work: Path, report: Report, stop: StopRequest) -> float:
        """Train on one fold's rows and measure; the base is afterwards as it was."""
        gc.collect()  # what the last trial held
        torch.cuda.empty_cache()
        base = self._base
        try:
            add_adapter(base, train.lora, train.seed)
            set_checkpointing(base, train)
            place(base, train, tower=True)
            trainer = Trainer(
                base,
                self._encoder,
                self._features,
                fold.rows,
                fold.held_out,
                train,
                lambda record: report(len(trainer.progress.history), record["val_accuracy"]),
            )
            trainer.run(work, value_digest([asdict(train), fold.digest(), module_digest("search_trial")]), stop)
            if not all(weight.isfinite().all() for weight in trainable(base)):
                raise NotFinite("the adapter's weights are not finite after the last step.")
            accuracies = [record["val_accuracy"] for record in trainer.progress.history]
            return max(accuracies) if train.keep == "best" else accuracies[-1]
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(str(error).splitlines()[0]) from None
            raise
        finally:
            if hasattr(base.model, "peft_config"):
                base.model = base.model.unload()


def is_out_of_memory(error: Exception) -> bool:
    """Whether the GPU's or the host's memory was too small (torch says the latter in words only)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def stratified_subset(
    rows: Sequence[dict[str, Any]], groups: Mapping[str, int], share: float, seed: int
) -> list[dict[str, Any]]:
    """About `share` of `rows`, whole groups at a time, with question types and answers in the proportions of all rows.

    A group stands where its first row's (question type, answer) does. Within each such stratum the groups are drawn by
    lot; taken together in equal steps through all strata, every stratum gives its share.
    """
    members: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        members.setdefault(groups[row["id"]], []).append(row)
    strata: dict[tuple[str, str], list[int]] = {}
    for group, inside in members.items():
        strata.setdefault((inside[0]["qtype"], inside[0]["answer"]), []).append(group)
    rng = random.Random(f"{seed}/subset")
    ranked: list[tuple[float, float, int]] = []
    for stratum in sorted(strata):
        drawn = rng.sample(strata[stratum], len(strata[stratum]))
        ranked += [((place + 0.5) / len(drawn), rng.random(), group) for place, group in enumerate(drawn)]
    kept: set[int] = set()
    count = 0
    for _, _, group in sorted(ranked):
        if count >= round(share * len(rows)):
            break
        kept.add(group)
        count += len(members[group])
    return [row for row in rows if groups[row["id"]] in kept]
