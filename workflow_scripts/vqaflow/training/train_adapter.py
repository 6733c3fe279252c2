"""Rule train_adapter: one LoRA adapter, trained on what it will be scored on: the logits of the letters.

It is trained on the rows of all folds but one, or, for a member with `refit`, on all rows.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vqaflow.artifacts.adapter_files import RUN, write_run
from vqaflow.artifacts.rows import Row, contents
from vqaflow.config.sections import TrainConfig, ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.base_digest import base_digest
from vqaflow.model.features.cache import FeatureCache
from vqaflow.model.features.readers import reading
from vqaflow.model.lora import add_adapter
from vqaflow.model.parity import parity
from vqaflow.model.pipeline.parts import Encoder, make_encoder, make_features
from vqaflow.model.pipeline.reading import with_transcripts
from vqaflow.model.resolved import resolved
from vqaflow.model.separate.inputs import PassInputs
from vqaflow.model.stored_base import open_base
from vqaflow.plan.plan_text import log_plan
from vqaflow.plan.training_plan import plan_training
from vqaflow.runtime.artifact_store import Store, cached
from vqaflow.runtime.code_digest import code_digest
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import OutOfMemory
from vqaflow.runtime.files import write_json
from vqaflow.runtime.stage import CLOSING, log
from vqaflow.runtime.versions import decisive_versions, package_versions
from vqaflow.scoring.label_mass import LabelMass, mass_of_rows, sample_of
from vqaflow.training.adapter_folder import outcome, require_effect, save_adapter, settings_of
from vqaflow.training.augment import images_shown
from vqaflow.training.checkpoints import StopRequest, stop_on_signals
from vqaflow.training.curve import draw_curve
from vqaflow.training.loop import ONE_ROW_TOO_LARGE, Trainer
from vqaflow.training.placement import make_deterministic, place, set_checkpointing
from vqaflow.training.ranks import Ranks, ranks_of
from vqaflow.training.rows import FoldRows
from vqaflow.training.settings import TrainingPlaces, TrainingSettings
from vqaflow.training.targets import Targets
from vqaflow.training.trackers import dropped_if_failing, require_installed, start_trackers

# Keys of `train` that do not change the adapter: a checkpoint stays valid when they change. What the view shows counts,
# not what it is called, and what a teacher says, not its name.
WITHOUT_EFFECT = ("checkpoint_minutes", "max_minutes", "trackers", "view", "teacher")
# Gradients that several devices sum are those of one up to rounding: another adapter, but a checkpoint can go on.
WITHOUT_CHECKPOINT = ("devices",)


def train_adapter(
    *, rows: FoldRows, settings: TrainingSettings, out: Path, places: TrainingPlaces, store: Store
) -> None:
    """Train on all rows outside the fold of `rows`, or on all rows, and write the adapter folder `out`."""
    require_installed(settings.train.trackers)
    inside, targets = rows.split()
    parts = {
        "stage": "train_adapter",
        "code": code_digest(__file__),
        "base": base_digest(settings.model),
        "model": resolved(settings.model),
        "prompt": settings.prompt.content(settings.view.read),
        "train": with_effect(settings.train),
        "last_epoch": settings.last_epoch,
        "rows": value_digest([contents(targets.rows), contents(inside)]),
        "versions": decisive_versions(),
        **shown(settings.view),
        **mirrored(targets.rows, settings.train),
        **targets.described(),
    }
    resumable = {key: value for key, value in parts["train"].items() if key not in WITHOUT_CHECKPOINT}
    job = Job(value_digest(parts), value_digest(parts | {"train": resumable}), settings, targets, inside, places)
    cached(store, parts, out, job.run)
    shutil.rmtree(places.work, ignore_errors=True)


def with_effect(train: TrainConfig) -> dict[str, Any]:
    """The entries of `train` that change the adapter: an adapter from the store has no others to tell of.

    They are part of the keys under which adapters are kept: an option that is off is as if there were no such key.
    """
    off = set(WITHOUT_EFFECT)
    off |= {"loraplus_lr_ratio"} if train.loraplus_lr_ratio == 1 else set()
    off |= {"teacher_weight"} if train.teacher is None else set()
    kept = {key: value for key, value in asdict(train).items() if key not in off}
    if not train.augment.mirror:
        del kept["augment"]["mirror"]
    return kept


def mirrored(rows: Sequence[Row], train: TrainConfig) -> dict[str, Any]:
    """The entry of keys and of run.json that says which rows training may mirror; none unless it does."""
    unsafe = [row.id for row in rows if row.flip_unsafe]
    return {"never_mirrored": value_digest(unsafe)} if train.augment.mirror else {}


def shown(view: ViewConfig) -> dict[str, Any]:
    """The entry of keys and of run.json that says how rows are shown; none if their images are as they are."""
    return {} if view.rendering() == ViewConfig().rendering() else {"view": view.rendering()}


def label_mass_of(trainer: Trainer) -> LabelMass:
    """The label mass of some held-out rows, or of some that train where none is held out, as the adapter is now."""
    trainer.base.model.eval()
    rows = sample_of(trainer.validation or trainer.rows)
    try:
        return mass_of_rows(
            rows, lambda row: trainer.model.states([row], [[row.letters]]), trainer.base, trainer.encoder
        )
    except torch.OutOfMemoryError:
        raise OutOfMemory(ONE_ROW_TOO_LARGE) from None


@dataclass(frozen=True)
class Job:
    """One training; `key` is the digest of everything that it depends on, `resuming` of what a checkpoint does."""

    key: str
    resuming: str
    settings: TrainingSettings
    targets: Targets
    validation: list[Row]
    places: TrainingPlaces

    @property
    def rows(self) -> list[Row]:
        """The rows that train."""
        return self.targets.rows

    def run(self, out: Path) -> None:
        """Train on `train.devices` devices, and write the adapter and its reports to `out`."""
        began = time.monotonic()
        with ranks_of(self.settings.train.devices, self, self.places.work) as ranks:
            trainer, record = self.train(ranks, began)
        base = trainer.base
        record["label_mass"]["adapter"] = label_mass_of(trainer).as_dict()
        require_effect(base, trainer, (trainer.validation or trainer.rows)[:4])
        save_adapter(base, self.settings.model, out)
        history = pd.DataFrame(trainer.progress.history)
        history.to_csv(out / "log.csv", index=False, lineterminator="\n")
        draw_curve(history, out / "curve.png", self.settings.train.keep)
        write_run(out, record | outcome(trainer, time.monotonic() - began))
        log.info("adapter of %d rows after %d steps", len(trainer.rows), trainer.progress.step, extra=CLOSING)

    def train(self, ranks: Ranks, began: float | None = None) -> tuple[Trainer, dict[str, Any]]:
        """Train as one of `ranks`; returns the trainer at its end, and what run.json says of the training's inputs."""
        model, train, view = self.settings.model, self.settings.train, self.settings.view
        make_deterministic()
        readers = ExitStack()
        readers.enter_context(reading(len(self.rows) + len(self.validation)))  # they start while the base is loaded
        base = open_base(model, self.places.bases)
        if began is not None:
            log.info("base there in %.1f s", time.monotonic() - began)
        encoder = make_encoder(base, model, self.settings.prompt, len(self.rows[0].choices))
        read = partial(with_transcripts, base=base, encoder=encoder, view=view, work=self.places.vision)
        with ranks.one_after_first() if view.read else nullcontext():
            rows, validation = read(self.rows), read(self.validation)
        add_adapter(base, train.lora, train.seed)
        set_checkpointing(base, train)
        plan, settings = plan_training(base, encoder, train, rows, view), settings_of(base, model, train)
        record = settings | {"plan": plan.as_dict()} | self.inputs(base, encoder)
        if ranks.is_first:
            log_plan(plan, settings)
            write_json(self.places.work / RUN, record)
        features = self.features(base, encoder, [*images_shown(rows, train.augment), *validation])
        if train.cache_vision != "off":
            readers.close()  # all is read; hours of training follow
        trainer = Trainer(base, encoder, features, rows, validation, train, ranks=ranks)
        if self.settings.last_epoch is not None:
            trainer.end_at(self.settings.last_epoch)
        if train.gradient_checkpointing == "auto":
            trainer.model.keep(plan.footprint.kept_layers)
        if ranks.is_first:
            mass = label_mass_of(trainer)  # of the untuned base: its B is still zero
            mass.say("the untuned base")
            record |= {"label_mass": {"base": mass.as_dict()}}
            self.follow(trainer, settings, began)
        else:
            trainer.run(self.places.work, self.checkpoint_key(base), StopRequest())
        return trainer, record

    def inputs(self, base: Base, encoder: Encoder) -> dict[str, Any]:
        """What the adapter is made of, for run.json."""
        return {
            "parity": parity(base, encoder, self.settings.model, self.settings.prompt),
            "versions": package_versions(),
            "train": with_effect(self.settings.train),
            "last_epoch": self.settings.last_epoch,
            "model": asdict(self.settings.model),
            "prompt": self.settings.prompt.content(self.settings.view.read),
            "key": self.key,
            "data": value_digest(contents(self.rows)),
            "held_out": value_digest(sorted(row.id for row in self.validation)),
            "rows": len(self.rows),
            **self.targets.described(),
            "validation_rows": len(self.validation),
            **shown(self.settings.view),
            **mirrored(self.rows, self.settings.train),
        }

    def features(self, base: Base, encoder: Encoder, rows: Sequence[Row]) -> FeatureCache | PassInputs:
        """The images' features; if they are kept, those of `rows` are computed now and the tower leaves the GPU."""
        train, view = self.settings.train, self.settings.view
        features = make_features(base, encoder, view, train.cache_vision, self.places.vision)
        place(base, train, tower=True)
        if train.cache_vision != "off" and not base.is_separate:
            features.fill([(row, encoder.encode(row, [row.letters], view)) for row in rows])
            base.leave_gpu(base.visual)
        return features

    def checkpoint_key(self, base: Base) -> str:
        """What a checkpoint is valid for: this training, in this machine's precision, which `auto` may decide."""
        return value_digest([self.resuming, base.device.type, str(base.dtype), base.quantization])

    def follow(self, trainer: Trainer, settings: Mapping[str, Any], began: float | None) -> None:
        """Run the training of a job that started at `began` (a time.monotonic); its figures go to the trackers."""
        key = self.checkpoint_key(trainer.base)
        first = trainer.restore(self.places.work, key)
        shown = {**asdict(self.settings.train), "base": self.settings.model.base, "device": settings["device"]}
        started = start_trackers(self.settings.train.trackers, self.places.tracking, key, shown, first)
        trackers = dict(zip(self.settings.train.trackers, started, strict=True))

        def follow(record: dict[str, float]) -> None:
            figures = {name: value for name, value in record.items() if name != "step"}
            for name in list(trackers):
                with dropped_if_failing(trackers, name) as tracker:
                    tracker.log(figures, int(record["step"]))

        trainer.on_step = trainer.on_validation = follow
        try:
            with stop_on_signals() as stop:
                trainer.run(self.places.work, key, stop, began=began)
        finally:
            for name in list(trackers):
                with dropped_if_failing(trackers, name) as tracker:
                    tracker.close()
