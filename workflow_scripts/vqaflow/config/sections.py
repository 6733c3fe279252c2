"""Typed, frozen views of config.yaml's sections; the schema has already checked what Snakemake passes on."""

import dataclasses
import re
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.parts import ORIGINAL
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import did_you_mean

T = TypeVar("T")
Limits = tuple[int, int]  # the smallest and largest area of an image, in pixels
READING = ("read", "transcript")  # keys of `prompt` that only views which read depend on
NATIVE, TEXT, GREY = "native", "text", "grey"  # of a view's `pixels`, and of its `blind`
WHEN = re.compile(r"\s*margin\s*<\s*(\d+(?:\.\d*)?|\.\d+)\s*")  # a view's condition, `margin < 0.3`


@dataclass(frozen=True)
class BaseConfig:
    """The keys of `model` that say which base it is and how its weights are stored."""

    base: str
    revision: str | None
    quantization: str
    compute_dtype: str


@dataclass(frozen=True)
class ModelConfig(BaseConfig):
    """`model`: the base model and the one resolution policy for training and scoring."""

    min_pixels: int
    max_pixels: int

    @property
    def limits(self) -> Limits:
        """The smallest and largest area of an image, in pixels."""
        return self.min_pixels, self.max_pixels


@dataclass(frozen=True)
class PromptConfig:
    """`prompt`: what the model reads; `templates` has one entry per question type.

    `letters` are those that the prompt shows and the model answers with; None: a, b, c, … `read` asks for the text in
    the image, in views that read first; `transcript` shows what was read. A row whose text has more than `max_tokens`
    is refused.
    """

    normal_form: str
    system: str
    choice_format: str
    templates: Mapping[str, str]
    letters: tuple[str, ...] | None = None
    read: str = ""
    transcript: str = ""
    max_tokens: int = 8192

    def __post_init__(self) -> None:
        """YAML reads an unquoted 1 as a number."""
        if self.letters is not None:
            object.__setattr__(self, "letters", tuple(map(str, self.letters)))

    def content(self, reads: bool) -> dict[str, Any]:
        """The keys that answers depend on: those of reading only if a view `reads`, `letters` only if it is set."""
        without = {"max_tokens", *(() if reads else READING), *(() if self.letters else ("letters",))}
        return {key: value for key, value in asdict(self).items() if key not in without}


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
    mirror: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """`train`: how one adapter is trained.

    `teacher` is the member whose OOF probabilities count with `teacher_weight` in the targets.
    """

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
    view: str = ORIGINAL
    devices: int = 1
    loraplus_lr_ratio: float = 1.0
    teacher: str | None = None
    teacher_weight: float = 0.5

    def __post_init__(self) -> None:
        """YAML reads an unquoted ``off`` as false."""
        if self.cache_vision is False:
            object.__setattr__(self, "cache_vision", "off")


@dataclass(frozen=True)
class ViewConfig:
    """One entry of `views`: a rendering of the image. Limits of None are the model's.

    tiles: "2x2" shows the whole image and then its tiles, rows x columns, each enlarged twice; neighbours share
    `overlap` of a tile's side. pixels: "native" never enlarges. read: the model first transcribes at most `read_tokens`
    tokens. blind: no image ("text") or a grey one ("grey").
    """

    flip: bool = False
    min_pixels: int | None = None
    max_pixels: int | None = None
    when: str | None = None
    enabled: bool = True
    tiles: str | None = None
    overlap: float = 0.1
    pixels: str | None = None
    read: bool = False
    read_tokens: int = 64
    blind: str | None = None

    def limits(self, of_model: Limits) -> Limits:
        """The smallest and largest area of each picture, in pixels; `of_model` are those of the section `model`."""
        smallest = of_model[0] if self.min_pixels is None else self.min_pixels
        largest = of_model[1] if self.max_pixels is None else self.max_pixels
        return 1 if self.pixels == NATIVE else smallest, largest

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles; (1, 1) without tiles."""
        rows, _, columns = (self.tiles or "1x1").partition("x")
        return int(rows), int(columns)

    def rendering(self) -> dict[str, Any]:
        """All that changes what the model is shown, without the keys that the view leaves as they are.

        It is part of the keys under which results are kept, which must not change when a new key is added.
        """
        shown: dict[str, Any] = {"flip": self.flip, "pixels": [self.min_pixels, self.max_pixels]}
        shown |= {"tiles": self.tiles, "overlap": self.overlap} if self.tiles else {}
        shown |= {"native": True} if self.pixels == NATIVE else {}
        shown |= {"read": self.read_tokens} if self.read else {}
        return shown | ({"blind": self.blind} if self.blind else {})


@dataclass(frozen=True)
class DemoConfig:
    """`data.demo`: the size and seed of the demo's tables."""

    train_rows: int
    test_rows: int
    seed: int
    shuffle_answers: bool


@dataclass(frozen=True)
class AnswersConfig:
    """The keys of `data` that say how training uses the answers of several people."""

    answers_use: str = "soft"
    agreement_weight: bool = False


@dataclass(frozen=True)
class ColumnsConfig:
    """`data.columns`: the user's names for the columns of the competition's schema; 2 to 10 are choices."""

    id: str = "id"
    image: str = "path"
    question: str = "question"
    choices: tuple[str, ...] = field(default=ALL_LETTERS[:4])
    answer: str = "answer"


@dataclass(frozen=True)
class EnsembleConfig:
    """`ensemble` without `order_pooling`, which pool_member reads; `recipe` says whether the pool is chosen on OOF."""

    recipe: str
    pooling: str
    calibration: str
    seed: int
    metric: str = "accuracy"


@dataclass(frozen=True)
class HpoConfig:
    """`hpo` without `enabled` and `workers`, which only shape the DAG; search/space.py reads `space`."""

    trials: int
    max_minutes: float
    seed: int
    folds: tuple[int, ...]
    subset: float
    pruner: str
    space: Mapping[str, Any]


def section(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build the frozen section `kind` (nested ones too) from a plain mapping.

    Raises UserError if a key is unknown (the message names the nearest known one) or missing.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            raise UserError(f"{_name(kind)}: unknown key {key!r}; {did_you_mean(key, fields)}")
    missing = [n for n, f in fields.items() if n not in values and f.default is dataclasses.MISSING]
    if missing:
        raise UserError(f"{_name(kind)}: {', '.join(missing)} must be given. Add what is missing.")
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _name(kind: type) -> str:
    """A section as messages name it: `TrainConfig` is `config train`."""
    return f"config {kind.__name__.removesuffix('Config').lower()}"


def entries(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `values` that are fields of `kind`."""
    return {f.name: values[f.name] for f in dataclasses.fields(kind) if f.name in values}


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return section(hint, value)
    return tuple(value) if isinstance(value, list) else value


def replace_keys(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the section `values` with `changes` applied; dotted keys reach into inner sections.

    Raises UserError if `values` lacks a key.
    """
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for key, value in changes.items():
        *parents, last = key.split(".")
        target: Any = merged
        for parent in parents:
            target = target.get(parent) if isinstance(target, Mapping) else None
        if not isinstance(target, dict) or last not in target:
            raise UserError(f"{key}: there is no such key; {did_you_mean(key, leaf_keys(values))}")
        target[last] = value
    return merged


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The section `values`, overridden by `changes` key by key, inner sections too, as Snakemake merges files.

    An empty section changes nothing, not even a value that is not a section.
    """
    result = dict(values)
    for key, value in changes.items():
        inner = result.get(key, {})
        if isinstance(value, Mapping) and value:
            result[key] = merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[key] = inner if isinstance(value, Mapping) else value
    return result


def leaf_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys of all values of a section that are not sections themselves."""
    keys: list[str] = []
    for key, value in values.items():
        keys += leaf_keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return keys
