"""The base, the profile and the settings with which a first run fits on a card and into the hours that there are.

The plan of the whole run decides (plan/evening.py): the best base whose trainings fit into the card's memory and whose
run fits into the hours, at first as the profile says, then with ever lighter settings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqaflow.config.loading import REPOSITORY, load_config, shipped
from vqaflow.config.members import Member, members_of, with_model
from vqaflow.config.sections import ModelConfig, merged, section
from vqaflow.model.families.known import family_of
from vqaflow.plan.cards import Card
from vqaflow.plan.evening import Data, Job, Speed, fits, jobs_of_run, makespan
from vqaflow.plan.member_plans import scores_on
from vqaflow.plan.offline import shape_of
from vqaflow.plan.shape import Shape, published
from vqaflow.runtime.errors import UserError

NOT_IN_DIGESTS = True  # a plan is not a result
KAGGLE, GPU = "profiles/kaggle-t4x2", "profiles/gpu"
PASS_ROWS = 16  # rows that an optimiser step sees
BATCHES = (16, 8, 4, 2, 1)
TOKENS = (256, 768)  # fewest and most visual tokens, as the profiles say for tokens of 28 x 28 pixels
MEMBERS: Mapping[str, Any] = {"main": {}, "untuned": {"train": "none"}}


@dataclass(frozen=True)
class Candidate:
    """A base by its hub name, with its name among the published models; "" for a user's own."""

    base: str
    published: str
    quantization: str = "none"

    @property
    def shape(self) -> Shape:
        """The sizes of its weights. Raises UserError for a base that is neither published here nor on this machine."""
        model = load_config(shipped("config.yaml"))["model"] | {"base": self.base, "quantization": self.quantization}
        return published(self.published) if self.published else shape_of(section(ModelConfig, model), None)[0]


# The better ones first (docs/models.md): what won competitions, then smaller ones. Four bits cost a Qwen3.5 accuracy.
IN_BFLOAT16 = (
    Candidate("Qwen/Qwen3.5-27B", "qwen3.5-27b"),
    Candidate("Qwen/Qwen3.5-9B", "qwen3.5-9b"),
    Candidate("Qwen/Qwen3.5-4B", "qwen3.5-4b"),
    Candidate("Qwen/Qwen3-VL-4B-Instruct", "qwen3-vl-4b", "nf4"),
    Candidate("Qwen/Qwen3.5-0.8B", "qwen3.5-0.8b"),
)
IN_FLOAT16 = (
    Candidate("Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl-8b", "nf4"),
    Candidate("Qwen/Qwen3-VL-4B-Instruct", "qwen3-vl-4b", "nf4"),
    Candidate("Qwen/Qwen2.5-VL-3B-Instruct", "3b", "nf4"),
)
# What makes a run lighter, each together with those before it; what should cost the least accuracy comes first.
LIGHTER: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("", {}),
    ("one epoch", {"train": {"epochs": 1}}),
    ("no mirrored view", {"views": {"hflip": {"enabled": False}}}),
    ("two choice orders", {"orders": 2}),
)
FEWER_TOKENS = 512  # visual tokens at most, where not one base fits otherwise


@dataclass(frozen=True)
class Choice:
    """What a first run is configured with: the profile, and the keys that differ from its settings.

    `seconds` are the whole run's on the cards, `first_seconds` those until the untuned base has answered the test rows.
    `lighter` names what was made lighter to fit into the hours; `in_time` says whether it does.
    """

    candidate: Candidate
    shape: Shape
    profile: str
    keys: Mapping[str, Any]
    seconds: float = 0.0
    first_seconds: float = 0.0
    lighter: tuple[str, ...] = ()
    in_time: bool = True
    passed_over: tuple[str, ...] = ()

    @property
    def is_trial(self) -> bool:
        """Whether the base is one of the demo's, which runs on any machine and answers by guessing."""
        return not self.profile

    @property
    def settings(self) -> str:
        """The profile's file of settings; "" for a trial, which needs none."""
        return settings_of(self.profile) if self.profile else ""

    @property
    def download_gb(self) -> float:
        """Gigabytes of the base's weights as they are published."""
        return 2 * self.shape.weights / 1e9


def settings_of(profile: str) -> str:
    """The file of settings of a profile."""
    return f"{profile}/settings.yaml"


def settings_file(profile: str) -> Path:
    """The profile's settings: those of the working directory, else the repository's. Raises UserError without both."""
    for folder in (Path(), REPOSITORY):
        if (folder / settings_of(profile)).is_file():
            return folder / settings_of(profile)
    what = "there is no such file here, as vqaflow is installed without the workflow"
    raise UserError(f"{settings_of(profile)}: {what}. Run vqaflow init in the folder of the workflow.")


def choose(card: Card, cards: int, data: Data, hours: float, base: str | None = None) -> Choice:
    """The first candidate that fits, or `base`. Raises UserError if no base fits into the card's memory."""
    candidates = IN_BFLOAT16 if card.bfloat16 else IN_FLOAT16
    if base:
        candidates = (Candidate(base, ""), Candidate(base, "", "nf4"))
        if Path(base).name.startswith("tiny-"):
            keys = {"model": {"base": base}, "train": {}, "members": MEMBERS}
            return Choice(candidates[0], candidates[0].shape, "", keys)
    profile = GPU if card.bfloat16 else KAGGLE
    speed = Speed.of(card)
    for smaller in (False, True):
        passed_over, slow = [], None
        for candidate in candidates:
            passed = tuple(passed_over)
            found = list(settings_that_fit(candidate, profile, data, speed, cards, hours, passed, smaller))
            if found and found[-1].in_time:
                return found[-1]
            if found:
                slow = found[-1]
                passed_over.append(f"{candidate.base}: {slow.seconds / 3600:.1f} hours at the least")
            else:
                passed_over.append(f"{candidate.base}: does not fit into {card.gib:.1f} GiB")
        if slow is None:
            raise UserError(f"{card.title}: no known base fits into its {card.gib:.1f} GiB. Name another with --card.")
    assert slow is not None
    return slow


def settings_that_fit(
    candidate: Candidate,
    profile: str,
    data: Data,
    speed: Speed,
    cards: int,
    hours: float,
    passed: tuple[str, ...],
    smaller: bool,
) -> Iterator[Choice]:
    """The candidate with ever lighter settings, up to the first that fits into the hours; none if memory is short.

    `smaller` allows fewer visual tokens. `passed` says why better candidates were passed over.
    """
    shape = candidate.shape
    base = load_config(shipped("config.yaml"), settings_file(profile))
    base["data"] = merged(base["data"], {"columns": {"choices": list("abcdefghij"[: data.choices])}})
    keys: dict[str, Any] = {"model": model_keys(candidate, shape), "members": MEMBERS}
    sizes = largest_batch(base, keys, shape, data, speed)
    if sizes is None:
        return
    keys["train"] = sizes
    lighter: list[str] = []
    fewer = {"model": {"max_pixels": FEWER_TOKENS * shape.pixels**2}}
    for what, change in (*LIGHTER, *([("smaller images", fewer)] if smaller else [])):
        changed = merged(keys, change)
        if what and differs(base, keys, change):
            lighter.append(what)
        elif what:
            continue
        keys = changed
        members = planned(base, keys)
        jobs = jobs_of_run(members, {member.name: shape for member in members}, data, speed)
        seconds = makespan(jobs, cards)
        in_time = seconds <= hours * 3600
        first = makespan(first_jobs(jobs), cards)
        yield Choice(candidate, shape, profile, keys, seconds, first, tuple(lighter), in_time, passed)
        if in_time:
            return


def differs(base: Mapping[str, Any], keys: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    """Whether a change changes anything."""
    now = merged(base, keys)
    return merged(now, change) != now


def model_keys(candidate: Candidate, shape: Shape) -> dict[str, Any]:
    """The section `model`: the base, and the profiles' visual tokens in this family's pixels."""
    low, high = (tokens * shape.pixels**2 for tokens in TOKENS)
    dtype = "bfloat16" if family_of(shape.kind).float16 else "auto"
    return {
        "base": candidate.base,
        "quantization": candidate.quantization,
        "compute_dtype": dtype,
        "min_pixels": low,
        "max_pixels": high,
    }


def planned(base: Mapping[str, Any], keys: Mapping[str, Any]) -> list[Member]:
    """The members of a configuration with these keys."""
    return with_model(members_of(merged(base, keys)))


def largest_batch(
    base: Mapping[str, Any], keys: Mapping[str, Any], shape: Shape, data: Data, speed: Speed
) -> dict[str, Any] | None:
    """The rows in one pass, of those of a step, that fit into the card's memory; None if not one does."""
    for size in BATCHES:
        sizes = {"batch_size": size, "accumulation": PASS_ROWS // size, "gradient_checkpointing": "auto"}
        members = planned(base, merged(keys, {"train": sizes}))
        tuned = all(fits(member, shape, data, speed) for member in members)
        if tuned and all(scores_on(member, shape, speed.gib) for member in members):
            return sizes
    return None


def first_jobs(jobs: Sequence[Job]) -> list[Job]:
    """The jobs of the first submission: the untuned base's answers to the test rows."""
    return [job for job in jobs if job.member == "untuned" and " test " in f" {job.name} "]
