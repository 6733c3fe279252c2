"""The settings of a training, with what a search has found, and the folders that it uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from vqaflow.artifacts.adapter_files import check_log
from vqaflow.artifacts.reading import damaged, read_csv_columns, read_yaml
from vqaflow.config.sections import ModelConfig, PromptConfig, TrainConfig, ViewConfig, replace_keys, section


@dataclass(frozen=True)
class TrainingSettings:
    """The sections `model`, `prompt` and `train`; a training ends at `last_epoch`, if that is given.

    Rows are shown as `view` renders them.
    """

    model: ModelConfig
    prompt: PromptConfig
    train: TrainConfig
    last_epoch: float | None = None
    view: ViewConfig = ViewConfig()

    @classmethod
    def of(
        cls,
        model: Mapping[str, Any],
        prompt: Mapping[str, Any],
        train: Mapping[str, Any],
        best: Path | None = None,
        histories: Sequence[Path] = (),
        view: Mapping[str, Any] | None = None,
    ) -> "TrainingSettings":
        """The sections as they stand in the configuration.

        `best`, if given, is a YAML file whose `parameters` replace keys of `train` (dotted keys reach into
        `train.lora`). `histories` are the logs of the folds' trainings, which choose the last epoch of one on all rows.
        `view` is the entry of `views` that `train.view` names.
        Raises UserError if a file is missing or damaged, or if a section has an unknown key.
        """
        found = section(TrainConfig, replace_keys(train, read_parameters(best) if best else {}))
        last = chosen_epoch(histories, found.keep) if histories else None
        shown = section(ViewConfig, view or {})
        return cls(section(ModelConfig, model), section(PromptConfig, prompt), found, last, shown)


@dataclass(frozen=True)
class TrainingPlaces:
    """Folders of a training: `work` for plan and checkpoints until it ends, the others are shared with later jobs.

    `bases` keeps quantised bases, `vision` image features and transcripts, `tracking` what `train.trackers` write.
    """

    work: Path
    bases: Path
    vision: Path
    tracking: Path


def read_parameters(best: Path) -> dict[str, Any]:
    """The parameters of the best trial of a search. Raises UserError if the file is missing or damaged."""
    found = read_yaml(best, "search_hyperparameters", ["parameters"])
    if not isinstance(found["parameters"], dict):
        raise damaged(best, "search_hyperparameters", ValueError("it has no parameters"))
    return found["parameters"]


def chosen_epoch(histories: Sequence[Path], keep: str) -> float:
    """The median over the folds of the epoch whose weights were kept: the last, or the (first) most accurate one.

    Raises UserError if a log is missing or damaged, or has no validation.
    """
    epochs = []
    for path in histories:
        check_log(path)
        measured = read_csv_columns(path, "train_adapter", ["epoch", "val_accuracy"]).dropna()
        try:
            kept = measured["val_accuracy"].idxmax() if keep == "best" else measured.index[-1]
            epochs.append(float(measured["epoch"][kept]))
        except (ValueError, LookupError) as error:
            raise damaged(path, "train_adapter", error) from None
    return median(epochs)
