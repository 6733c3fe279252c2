"""Any other class that AutoModelForImageTextToText loads: nothing is known, so everything is found in the network."""

from collections.abc import Collection
from typing import Any

from vqaflow.model.families.family import Family
from vqaflow.runtime.errors import UserError


def generic_family(kind: str, network: Any = None) -> Family:
    """The family of checkpoints with the `model_type` `kind`: one pass per choice order.

    Only `network` (on any device, meta included) shows where the decoder is and what NF4 must leave alone; without it,
    `decoder` and `unquantized` are empty. `tower` is always empty: it stays where it was loaded.
    """
    return Family(
        name=kind,
        kinds=(kind,),
        network="AutoModelForImageTextToText",
        example="",
        processors=(),
        prefix="separate",
        tower="",
        decoder="" if network is None else decoder_path(network),
        unquantized=() if network is None else outside_decoder(network),
    )


def decoder_path(network: Any) -> str:
    """The full name of the module whose `layers` are the decoder's. Raises UserError if it is not found."""
    decoder = network.get_decoder()
    for name, module in network.named_modules():
        if module is decoder and name:
            for inner in ("", ".model", ".decoder"):
                if _has_layers(network, name + inner):
                    return name + inner
    raise UserError(
        f"config model.base: the decoder's layers are not found in {type(network).__name__}. Use a model of another "
        "class; docs/models.md lists the families that work."
    )


def _has_layers(network: Any, name: str) -> bool:
    try:
        return len(network.get_submodule(f"{name}.layers")) > 0
    except (AttributeError, TypeError):
        return False


def outside_decoder(network: Any) -> tuple[str, ...]:
    """Full names of the linears outside the decoder's layers: those of the tower, the projector, the head."""
    layers = f"{decoder_path(network)}.layers."
    return tuple(
        name
        for name, module in network.named_modules()
        if hasattr(module, "in_features") and not name.startswith(layers)
    )


def adapted_modules(network: Any, targets: Collection[str]) -> list[str]:
    """Full names of the linears below the decoder's layers whose last name is in `targets`; nothing of the tower.

    Raises UserError, which lists the linears that exist there, if none matches.
    """
    layers = f"{decoder_path(network)}.layers."
    kinds = {
        name: name.rpartition(".")[2]
        for name, module in network.named_modules()
        if name.startswith(layers) and hasattr(module, "in_features") and ".lora_" not in name
    }
    found = [name for name, kind in kinds.items() if kind in targets]
    if not found:
        raise UserError(
            f"config train.lora.targets: the decoder of {type(network).__name__} has no linear named "
            f"{' or '.join(targets)}. Choose from: {', '.join(dict.fromkeys(kinds.values()))}."
        )
    return found
