"""What `about` in the configuration says of a run: model cards and the crate tell it, and no result depends on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vqaflow.config.sections import section


@dataclass(frozen=True)
class About:
    """The section `about`; None and empty: not given."""

    name: str | None = None
    description: str | None = None
    authors: tuple[Mapping[str, str], ...] = ()  # each with `name`, and `orcid` and `affiliation` if known
    license: str | None = None
    data_license: str | None = None
    base_licenses: Mapping[str, str] = field(default_factory=dict)  # by the base's name in model.base
    intended_use: str | None = None
    limits: str | None = None


def about_of(config: Mapping[str, Any]) -> About:
    """The section `about` of a checked configuration."""
    return section(About, {"base_licenses": {}} | (config.get("about") or {}))
