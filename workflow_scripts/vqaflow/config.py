"""Typed, frozen views of config.yaml's sections; the schema has already checked what Snakemake passes on."""

import dataclasses
import difflib
import importlib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vqaflow.errors import UserError

T = TypeVar("T")
REPOSITORY = Path(__file__).parents[2]
LETTERS = ("a", "b", "c", "d")
QTYPES = ("counting", "color", "ocr", "yesno", "location", "attribute", "general")


@dataclass(frozen=True)
class BaseConfig:
    """What of `model` says which base it is and how its weights are held."""

    base: str
    revision: str | None
    quantization: str
    compute_dtype: str


@dataclass(frozen=True)
class ModelConfig(BaseConfig):
    """`model`: the base model and the one resolution policy for training and scoring."""

    min_pixels: int
    max_pixels: int


@dataclass(frozen=True)
class PromptConfig:
    """`prompt`: what the model reads; `templates` has one entry a question type."""

    normal_form: str
    system: str
    choice_format: str
    templates: Mapping[str, str]


@dataclass(frozen=True)
class LoraConfig:
    """`train.lora`: the adapter's shape."""

    r: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]


@dataclass(frozen=True)
class AugmentConfig:
    """`train.augment`: what is varied in training rows, never in validation rows."""

    shuffle_choices: bool
    paraphrase: bool


@dataclass(frozen=True)
class TrainConfig:
    """`train`: how one adapter is trained."""

    objective: str
    choice_orders: int
    epochs: float
    learning_rate: float
    weight_decay: float
    warmup_ratio: float
    batch_size: int
    accumulation: int
    max_grad_norm: float
    label_smoothing: float
    seed: int
    lora: LoraConfig
    gradient_checkpointing: str | bool
    compile: bool
    cache_vision: str
    validate_every: float
    checkpoint_minutes: float
    keep: str
    early_stopping: int
    max_minutes: float
    trackers: tuple[str, ...]
    augment: AugmentConfig

    def __post_init__(self) -> None:
        """YAML reads an unquoted ``off`` as false."""
        if self.cache_vision is False:
            object.__setattr__(self, "cache_vision", "off")


@dataclass(frozen=True)
class ViewConfig:
    """One entry of `views`: a rendering of the image. Pixels of None are the model's."""

    flip: bool = False
    min_pixels: int | None = None
    max_pixels: int | None = None
    when: str | None = None
    enabled: bool = True


@dataclass(frozen=True)
class DemoConfig:
    """`data.demo`: the size and seed of the demo's tables."""

    train_rows: int
    test_rows: int
    seed: int
    shuffle_answers: bool


@dataclass(frozen=True)
class ColumnsConfig:
    """`data.columns`: the user's names for the columns of the competition's schema."""

    id: str = "id"
    image: str = "path"
    question: str = "question"
    choices: tuple[str, str, str, str] = field(default=LETTERS)
    answer: str = "answer"


@dataclass(frozen=True)
class EnsembleConfig:
    """`ensemble`: from scores to probabilities; `recipe` says whether the two poolings are chosen on OOF or kept."""

    recipe: str
    order_pooling: str
    pooling: str
    calibration: str
    seed: int


@dataclass(frozen=True)
class HpoConfig:
    """`hpo` but for `enabled` and `workers`, which shape the DAG alone; `space` is read by `search_space`."""

    trials: int
    max_minutes: float
    seed: int
    folds: tuple[int, ...]
    subset: float
    pruner: str
    space: Mapping[str, Any]


def section(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build the frozen section `kind` (nested ones too) from a plain mapping.

    Raises UserError on an unknown key (naming the nearest known one) and on a missing one.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            nearest = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(fields)}."
            raise UserError(f"{kind.__name__}: unknown key {key!r}; {hint}")
    missing = [n for n, f in fields.items() if n not in values and f.default is dataclasses.MISSING]
    if missing:
        raise UserError(f"{kind.__name__}: missing key(s) {', '.join(missing)}; add them to the configuration.")
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def entries(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that the section `kind` has."""
    return {f.name: values[f.name] for f in dataclasses.fields(kind) if f.name in values}


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return section(hint, value)
    return tuple(value) if isinstance(value, list) else value


def load_config(*paths: Path | str) -> dict[str, Any]:
    """Read YAML files, later ones overriding earlier ones key by key (as Snakemake's --configfile does).

    Raises UserError for a file that is missing or holds no keys in YAML.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        _merge(merged, _read_keys(Path(path)))
    return merged


def checked_config(*paths: Path | str) -> dict[str, Any]:
    """The configuration of a stage that is run by hand: `paths` over the repository's config.yaml, checked as a whole.

    It is what Snakemake makes of them as --configfile: a file that hardware.settings names lies below them.
    Raises UserError with all that is wrong.
    """
    base = REPOSITORY / "config.yaml"
    config = load_config(base, *paths)
    hardware = config.get("hardware")
    if isinstance(hardware, Mapping) and isinstance(settings := hardware.get("settings"), str):
        config = load_config(base, settings, *paths)
    # By its name, which leaves it out of the stages' code (code_digest): no result depends on how mistakes are found.
    check = importlib.import_module("vqaflow.config_check")
    check.check_config(config, REPOSITORY / "schemas" / "config.schema.yaml")
    return config


def _read_keys(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Name a file of settings that is there.") from None
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: is no YAML ({error.problem}). Correct it there or in the line above.") from None
    except (yaml.YAMLError, ValueError) as error:  # a byte that is no UTF-8, a character or a date that cannot be
        raise UserError(f"{path}: is no YAML in UTF-8 ({' '.join(str(error).split())}). Correct it.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no keys with values. Write it like {REPOSITORY / 'config.yaml'}.")
    return values


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def replace_keys(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the section `values` with `changes` in place; dotted keys reach into sections of it.

    Raises UserError for a key that `values` lack.
    """
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for key, value in changes.items():
        *parents, last = key.split(".")
        target: Any = merged
        for parent in parents:
            target = target.get(parent) if isinstance(target, Mapping) else None
        if not isinstance(target, dict) or last not in target:
            raise UserError(f"{key}: there is no such key to replace. Known are {', '.join(leaf_keys(values))}.")
        target[last] = value
    return merged


def leaf_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys of all values of a section that are no sections themselves."""
    keys: list[str] = []
    for key, value in values.items():
        keys += leaf_keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return keys


def in_order(value: Any) -> Any:
    """A section with its keys sorted, and those of the sections within; lists stay as they are."""
    if isinstance(value, Mapping):
        return {key: in_order(value[key]) for key in sorted(value, key=str)}
    return [in_order(item) for item in value] if isinstance(value, list) else value
