"""The families by the `model_type` of a checkpoint. To add one, write its module and name it here."""

from typing import Any

from vqaflow.data.images.visual_tokens import base_file, json_object
from vqaflow.model.families import gemma4, internvl, qwen2_5_vl, qwen2_vl, qwen3_5, qwen3_vl
from vqaflow.model.families.family import Family
from vqaflow.model.families.generic import generic_family

FAMILIES = (
    qwen2_vl.FAMILY,
    qwen2_5_vl.FAMILY,
    qwen3_vl.DENSE,
    qwen3_vl.SPARSE,
    qwen3_5.DENSE,
    qwen3_5.SPARSE,
    gemma4.FAMILY,
    gemma4.UNIFIED,
    internvl.FAMILY,
)
BY_KIND = {kind: family for family in FAMILIES for kind in family.kinds}


def family_of(kind: str, network: Any = None) -> Family:
    """The family of a checkpoint with this `model_type`; for any other kind, what its loaded `network` shows."""
    return BY_KIND.get(kind) or generic_family(kind, network)


def family_of_base(base: str, revision: str | None) -> Family | None:
    """The family of a base without the network: by its config.json if it is on this machine, else by its name."""
    kind = json_object(base_file(base, revision, "config.json")).get("model_type")
    if isinstance(kind, str):
        return family_of(kind)
    named = base.casefold()
    return next((family for family in FAMILIES if any(part in named for part in family.hub_names)), None)


def names() -> str:
    """The families by name, for messages."""
    return ", ".join(dict.fromkeys(family.name.split(" (")[0] for family in FAMILIES))
