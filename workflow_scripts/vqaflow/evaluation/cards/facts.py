"""What a finished run's files say of an adapter, and what its user gave for its card.

The facts are read again by `vqaflow verify`, which writes the card once more and compares the bytes. What the files do
not say (licences, authors) stands in the card's front matter under `vqaflow`, so that a card needs no configuration.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from vqaflow.artifacts.adapter_files import adapter_config, adapter_digest, check_files
from vqaflow.artifacts.parts import fold_of
from vqaflow.artifacts.reading import read_json
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.score_files import read_about
from vqaflow.config.about import About
from vqaflow.evaluation.evidence import namer
from vqaflow.runtime.errors import UserError

CARD = "README.md"
FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
OWN = "vqaflow"  # the front matter's entry that Hugging Face does not know
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Given:
    """What the user gave for a card."""

    name: str | None
    authors: tuple[Mapping[str, str], ...]
    license: str | None
    data_license: str | None
    base_license: str | None
    base_on_hub: bool  # whether model.base is a name on the Hugging Face Hub, not a folder
    intended_use: str | None
    limits: str | None


@dataclass(frozen=True)
class Facts:
    """What the files of a run say of one adapter. `accuracy` is as in metrics.json, or None if no row is held out.

    `pool` is the accuracy of all members together, `searched` the folds by which training parameters were searched.
    """

    member: str
    part: str
    view: str
    folds: int
    group_by: tuple[str, ...]
    digest: str
    run: Mapping[str, Any]
    config: Mapping[str, Any]
    accuracy: Mapping[str, Any] | None
    pool: Mapping[str, Any]
    searched: tuple[int, ...]


def facts_of(at: ResultsFolder, member: str, part: str) -> Facts:
    """The facts of one adapter. Raises UserError if its files do not belong together."""
    folder = at.adapter(member, part)
    run, config, digest = check_files(folder), adapter_config(folder), adapter_digest(folder)
    note = read_json(at.member(member).note, "pool_member", ["name", "kind", "views"])
    metrics = read_json(at.metrics, "evaluate_oof", ["single", "overall.accuracy"])
    report = read_json(at.fold_report, "make_folds", ["n", "group_by"])
    view, accuracy = note.get("main_view", "original"), None
    if fold_of(part) is not None:
        require_scored(at, member, part, view, digest)
        accuracy = metrics["single"].get(namer(at.members())(member, f"fold{part}/{view}"))
        if accuracy is None:
            raise UserError(f"{at.metrics}: does not have the adapter {folder}. Run the rule evaluate_oof again.")
    return Facts(
        member,
        part,
        view,
        report["n"],
        tuple(report["group_by"]),
        digest,
        run,
        config,
        accuracy,
        metrics["overall"],
        tuple(metrics.get("search", {}).get("by_member", {}).get(member, ())),
    )


def require_scored(at: ResultsFolder, member: str, part: str, view: str, digest: str) -> None:
    """Raise UserError unless the OOF scores, of which the accuracy is, are by the adapter with this digest."""
    scores = at.scores(member, "oof", part, view)
    if read_about(scores).get("adapter") != digest:
        raise UserError(f"{scores}: was made by another adapter than {at.adapter(member, part)}. Run snakemake again.")


def given_for(about: About, base: str) -> Given:
    """What the user gave for the card of an adapter of `base`: a name on the hub, or a folder."""
    return Given(
        name=about.name,
        authors=about.authors,
        license=about.license,
        data_license=about.data_license,
        base_license=about.base_licenses.get(base) or license_in(Path(base) / CARD),
        base_on_hub=HUB_NAME.fullmatch(base) is not None and not Path(base).is_dir(),
        intended_use=about.intended_use,
        limits=about.limits,
    )


def license_in(card: Path) -> str | None:
    """The licence in the front matter of a base's own card; None if there is none."""
    try:
        found = front_matter(card.read_text(encoding="utf-8")).get("license")
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, str) else None


def front_matter(text: str) -> dict[str, Any]:
    """The front matter of a card. Raises ValueError or yaml.YAMLError if there is none."""
    match = FRONT.match(text)
    values = yaml.safe_load(match[1]) if match else None
    if not isinstance(values, dict):
        raise ValueError("it does not begin with YAML between two lines of ---")
    return values


def given_in(text: str) -> Given:
    """What the user gave for a card, from the card. Raises ValueError or yaml.YAMLError if it does not say so."""
    try:
        values = front_matter(text)[OWN]["given"]
        return Given(**values | {"authors": tuple(values["authors"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"its front matter has no {OWN}.given ({error})") from None


def as_yaml(given: Given) -> dict[str, Any]:
    """What the user gave, as the front matter holds it."""
    return asdict(given) | {"authors": [dict(author) for author in given.authors]}
