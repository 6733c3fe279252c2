"""The members of a run: several ways to answer, each with its own sections of the configuration.

Importing this module must stay cheap, since it is used on every call of Snakemake.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vqaflow.artifacts.parts import ALL, BASE, FILE, ORIGINAL, trained_part
from vqaflow.config.sections import READING, PromptConfig, merged
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import did_you_mean

TUNED, UNTUNED, FOREIGN = "tuned", "untuned", "file"  # the kinds
COUNTED = ("min_pixels", "max_pixels", "tiles", "overlap", "pixels", "blind")  # what visual tokens depend on
SECTIONS = ("model", "prompt", "views")  # of the configuration, of which a member may override keys


@dataclass(frozen=True)
class Member:
    """One way to answer: its kind, and its sections as they are after what the member overrides.

    A `file` (someone's probabilities) uses no section. `seeds` are empty if `train.seed` is the only one. `devices` is
    the number of GPUs that hold the base for scoring.
    """

    name: str
    kind: str
    model: Mapping[str, Any]
    prompt: Mapping[str, Any]
    train: Mapping[str, Any]
    views: Mapping[str, Mapping[str, Any]]
    orders: str | int
    seeds: tuple[int, ...] = ()
    refit: bool = False
    probabilities: Mapping[str, str] | None = None
    devices: int = 1

    @property
    def main_view(self) -> str:
        """The view that training renders, and that is scored for every row."""
        return self.train.get("view", ORIGINAL)

    @property
    def shown_views(self) -> list[str]:
        """The views that are scored, blind ones included; none of a file.

        Where training renders another view, the original one is scored only if it says `enabled: true`.
        """
        if self.kind == FOREIGN:
            return []
        is_main = self.main_view == ORIGINAL
        return [name for name, view in self.views.items() if view.get("enabled", name != ORIGINAL or is_main)]

    @property
    def pooled_views(self) -> list[str]:
        """The views that answer; blind ones only show how much of the accuracy needs no image."""
        return [name for name in self.shown_views if not self.views[name].get("blind")]

    def scored_views(self, split: str) -> list[str]:
        """The views that have scores of a split, oof or test; blind ones have no use for test rows."""
        return self.shown_views if split == "oof" else self.pooled_views

    def rendering(self, view: str) -> dict[str, Any]:
        """How a view renders the image and which rows it scores: the main view scores all, whatever its `when` says."""
        unread = ("enabled", "when") if view == self.main_view else ("enabled",)
        return {key: value for key, value in self.views[view].items() if key not in unread}

    def trained_parts(self, folds: int) -> list[str]:
        """The parts that an adapter is trained for: each fold and seed, and all rows if `refit`."""
        if self.kind != TUNED:
            return []
        return [
            trained_part(part, seed)
            for part in [*range(folds), *([ALL] if self.refit else [])]
            for seed in self.seeds or [None]
        ]

    def parts(self, split: str, folds: int) -> list[str]:
        """The parts that have scores, or probabilities, of a split, oof or test."""
        if self.kind != TUNED:
            return [BASE if self.kind == UNTUNED else FILE]
        return [part for part in self.trained_parts(folds) if split == "test" or not part.startswith(ALL)]

    def train_for(self, seed: int | None) -> dict[str, Any]:
        """The section `train` of an adapter, with its own seed if the member has several."""
        return dict(self.train) if seed is None else {**self.train, "seed": seed}

    def describe(self) -> dict[str, Any]:
        """What member.json says of it, as far as the configuration knows it."""
        told = {"name": self.name, "kind": self.kind, "seeds": list(self.seeds), "refit": self.refit}
        if self.kind == FOREIGN:
            return told | {"probabilities": dict(self.probabilities or {})}
        shown = {name: self.rendering(name) for name in self.shown_views}
        main = {} if self.main_view == ORIGINAL else {"main_view": self.main_view}
        reads = any(view.get("read") for view in shown.values())
        prompt = {key: value for key, value in self.prompt.items() if reads or key not in READING}
        teacher = {"teacher": self.train["teacher"]} if self.kind == TUNED and self.train.get("teacher") else {}
        return told | {"model": self.model, "prompt": prompt, "orders": self.orders, "shown": shown} | main | teacher


def members_of(config: Mapping[str, Any]) -> dict[str, Member]:
    """The members of a checked configuration, in the order of their names; an entry that is null is left out."""
    entries = sorted(config["members"].items())
    return {name: _member(name, entry, config) for name, entry in entries if entry is not None}


def _member(name: str, entry: Mapping[str, Any], config: Mapping[str, Any]) -> Member:
    untuned = entry.get("train") == "none"
    kind = FOREIGN if entry.get("probabilities") else UNTUNED if untuned else TUNED
    sections = {key: merged(config[key], entry.get(key) or {}) for key in SECTIONS}
    for key in ("letters", "max_tokens"):  # the usual value is as if there were no such key
        if sections["prompt"].get(key) == getattr(PromptConfig, key):
            sections["prompt"].pop(key, None)
    if "base" in (entry.get("model") or {}):  # a commit of another repository means nothing
        sections["model"]["revision"] = entry["model"].get("revision")
    sections["model"].pop("allow_demo_base", None)  # a permission, which changes no result
    devices = sections["model"].pop("devices", 1)  # neither does this
    return Member(
        name,
        kind,
        **sections,
        train=merged(config["train"], {} if untuned else entry.get("train") or {}),
        orders=entry.get("orders", config["orders"]),
        seeds=tuple(entry.get("seeds") or ()),
        refit=bool(entry.get("refit")),
        probabilities=entry.get("probabilities"),
        devices=devices,
    )


def member_named(members: Mapping[str, Member], name: str | None) -> Member:
    """The member called `name`, or the only one. Raises UserError if there is no such member, or no only one."""
    if name is None and len(members) == 1:
        return next(iter(members.values()))
    if name is None:
        raise UserError(f"--member: the configuration has several. Name one of {', '.join(members)}.")
    if name not in members:
        raise UserError(f"--member {name}: the configuration has no such member; {did_you_mean(name, members)}")
    return members[name]


def with_model(members: Mapping[str, Member]) -> list[Member]:
    """The members that load a model."""
    return [member for member in members.values() if member.kind != FOREIGN]


def least_max_tokens(members: Collection[Member]) -> int:
    """The smallest prompt.max_tokens of members: a row that is too long for one of them cannot be used."""
    return min((m.prompt.get("max_tokens", PromptConfig.max_tokens) for m in members), default=PromptConfig.max_tokens)


def explored_member(config: Mapping[str, Any]) -> Member | None:
    """The member whose visual tokens explore_data counts: main, else the first that loads a model, if there is one."""
    models = with_model(members_of(config))
    return next((member for member in models if member.name == "main"), models[0] if models else None)


def explored_model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section `model` by which explore_data counts visual tokens."""
    member = explored_member(config)
    return member.model if member else config["model"]


def explored_views(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The views whose visual tokens explore_data counts, with the keys that decide how many there are."""
    member = explored_member(config)
    return {
        name: {key: member.views[name][key] for key in COUNTED if key in member.views[name]}
        for name in (member.shown_views if member else [])
    }


def require_kind(member: Member, kinds: Collection[str], what: str) -> None:
    """Raise UserError unless the member is of one of `kinds`; `what` is what the others cannot do."""
    if member.kind not in kinds:
        why = "comes from files" if member.kind == FOREIGN else "is not trained (train: none)"
        raise UserError(f"--member {member.name}: it {why}, so there is nothing to {what}. Name another member.")


def member_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the entries of `members` themselves, worded as `KEY: WHAT. CURE.`"""
    if not any(entry is not None for entry in config["members"].values()):
        yield "members: none is left. Keep at least one that is not null."
    elif config["hpo"]["enabled"] and not any(m.kind == TUNED for m in members_of(config).values()):
        yield "hpo.enabled: no member trains, so there is nothing to search. Set it to false, or add a tuned member."
    else:
        yield from _teacher_problems(config)
    for name, entry in config["members"].items():
        if entry is not None:
            yield from _entry_problems(f"members.{name}", entry, config)


def _teacher_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Teachers that are no members, or that would wait for themselves."""
    members = members_of(config)
    teachers = {name: member.train.get("teacher") for name, member in members.items() if member.kind == TUNED}
    for name, teacher in teachers.items():
        own = (config["members"][name].get("train") or {}).get("teacher")
        where = f"members.{name}.train.teacher" if own else "train.teacher"
        if teacher and teacher not in members:
            yield f"{where}: there is no member {teacher!r}; {did_you_mean(teacher, members)}"
            continue
        chain = [name]
        while (teacher := teachers.get(chain[-1])) and teacher not in chain:
            chain.append(teacher)
        if teacher == name:
            what = "cannot learn from itself" if len(chain) == 1 else f"waits for itself ({' < '.join([*chain, name])})"
            yield f"{where}: {name} {what}. Name another member, or set members.{name}.train.teacher to null."


def _entry_problems(where: str, entry: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    if entry.get("probabilities"):
        for key in sorted(entry.keys() - {"probabilities"}):
            yield f"{where}.{key}: a member that comes from files has no settings. Remove this key or `probabilities`."
        return
    if entry.get("train") == "none":
        for key in ("seeds", "refit"):
            if entry.get(key):
                yield f"{where}.{key}: an untuned member trains no adapter. Remove this key or `train: none`."
    elif entry.get("seeds") and "seed" in (entry.get("train") or {}):
        yield f"{where}.train.seed: `seeds` replaces it. Remove one of them."
    if "normal_form" in (entry.get("prompt") or {}):
        yield f"{where}.prompt.normal_form: all members read the same tables. Set prompt.normal_form instead."
