"""The settings of a training, with what a search has found, and the folders that it uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vqaflow.artifacts.reading import damaged, require_file
from vqaflow.config.sections import ModelConfig, PromptConfig, TrainConfig, ViewConfig, replace_keys, section

VIEW = ViewConfig()  # images are trained on as they are; mirroring is an augmentation


@dataclass(frozen=True)
class TrainingSettings:
    """The sections `model`, `prompt` and `train`."""

    model: ModelConfig
    prompt: PromptConfig
    train: TrainConfig

    @classmethod
    def of(
        cls, model: Mapping[str, Any], prompt: Mapping[str, Any], train: Mapping[str, Any], best: Path | None = None
    ) -> "TrainingSettings":
        """The sections as they stand in the configuration.

        `best`, if given, is a YAML file whose `parameters` replace keys of `train` (dotted keys reach into
        `train.lora`). Raises UserError if it is missing or damaged, or if a section has an unknown key.
        """
        found = replace_keys(train, read_parameters(best) if best else {})
        return cls(section(ModelConfig, model), section(PromptConfig, prompt), section(TrainConfig, found))


@dataclass(frozen=True)
class TrainingPlaces:
    """Folders of a training: `work` for plan and checkpoints until it ends, the others are shared with later jobs.

    `bases` keeps quantised bases, `vision` image features, `tracking` what `train.trackers` write.
    """

    work: Path
    bases: Path
    vision: Path
    tracking: Path


def read_parameters(best: Path) -> dict[str, Any]:
    """The parameters of the best trial of a search. Raises UserError if the file is missing or damaged."""
    require_file(best, "search_hyperparameters")
    try:
        found = yaml.safe_load(best.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise damaged(best, "search_hyperparameters", error) from None
    if not isinstance(found, dict) or not isinstance(found.get("parameters"), dict):
        raise damaged(best, "search_hyperparameters", ValueError("it has no parameters"))
    return found["parameters"]
