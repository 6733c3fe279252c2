"""What the doctor prints, for people and for programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vqaflow.plan.doctor.facts import Facts
from vqaflow.plan.doctor.findings import BFLOAT16, FP8, Finding, dotted
from vqaflow.plan.doctor.probe import PACKAGES, CardFacts

NOT_IN_DIGESTS = True  # what a machine has is not a result


def lines(facts: Facts, found: Sequence[Finding]) -> list[str]:
    """The machine in six lines, then each finding in one, and what they mean together."""
    have = {name: facts.packages.get(name) or "missing" for name in PACKAGES}
    cuda = f" (CUDA {facts.probed.cuda})" if facts.probed.cuda else ""
    space = f"free disk {facts.disk_gib:.0f} GiB for {facts.results}"
    return [
        f"python  {facts.python}, {facts.system}{f', {facts.service}' if facts.service else ''}",
        f"machine {facts.cores} cores, memory {facts.memory_gib:.0f} GiB, {space}",
        f"cards   {cards_text(facts)}",
        f"torch   {have['torch']}{cuda}, torchvision {have['torchvision']}",
        f"others  transformers {have['transformers']}, peft {have['peft']}, bitsandbytes {have['bitsandbytes']}",
        f"bases   {bases_text(facts)}",
        *(f"{'STOPS' if finding.stops else 'note':7} {finding.text}" for finding in found),
        verdict(found),
    ]


def cards_text(facts: Facts) -> str:
    """The cards and the driver."""
    driver = f"driver {facts.driver}" if facts.driver else "no NVIDIA driver"
    if not facts.probed.cards:
        return f"none that torch can use, {driver}: runs use the CPU"
    counted = Counter(facts.probed.cards).items()
    return ", ".join([*(f"{count} x {card_text(card)}" for card, count in counted), driver])


def card_text(card: CardFacts) -> str:
    """A card with its memory and what it lacks."""
    lacks = [name for name, least in {"bfloat16": BFLOAT16, "FP8": FP8}.items() if card.capability < least]
    without = f", no {' and no '.join(lacks)}" if lacks else ""
    return f"{card.name} ({card.gib:.1f} GiB, compute capability {dotted(card)}{without})"


def bases_text(facts: Facts) -> str:
    """The bases of the configuration, and whether the hub may be asked for those that are not here."""
    where = [f"{base.name} ({'here' if base.is_here else 'not on this machine'})" for base in facts.bases]
    hub = f"the hub is kept out by {facts.offline}" if facts.offline else "others would be fetched from the hub"
    return "; ".join([", ".join(where) or "none named", hub])


def verdict(found: Sequence[Finding]) -> str:
    """What the findings mean for a run."""
    stops = sum(finding.stops for finding in found)
    if not stops:
        return "ok      nothing here stops a run"
    return f"no      {stops} of these will stop a run: do what the lines with STOPS say"


def as_json(facts: Facts, found: Sequence[Finding]) -> dict[str, Any]:
    """The same for programs."""
    told = [asdict(finding) | {"text": finding.text} for finding in found]
    return {"facts": asdict(facts), "findings": told, "ok": not any(finding.stops for finding in found)}
