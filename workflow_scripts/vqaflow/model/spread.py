"""Which GPU holds which part of a base that one GPU cannot hold: whole layers, one GPU after the other.

A batch passes through the GPUs in turn, so several of them hold more but are not faster than one.
"""

import math
from collections.abc import Mapping
from typing import Any

from vqaflow.model.families.family import Family
from vqaflow.runtime.errors import UserError

WEIGHT_BYTES = {"none": 2.0, "fp8": 1.0, "nf4": 0.5}  # of a quantised linear; all else takes 2
NORM = "norm"


def places_of_parts(network: Any, family: Family, quantization: str, devices: int) -> dict[str, int]:
    """The GPU's number for each part of a network (its weights may be on the meta device), as a `device_map`.

    Each GPU gets about the same share of the bytes. The first also holds tower, embeddings and head; the final norm is
    with the last layers. Raises UserError for a family that the library's own forward computes.
    """
    if family.prefix == "separate":
        raise UserError(
            f"config model.devices: {family.name} is computed in separate passes, for which its layers must lie on one "
            "GPU. Set it to 1, and model.quantization to nf4 if 16 bits do not fit."
        )
    layers = family.decoder + ".layers"
    parts = _siblings(network, layers)
    sizes = {name: _size(network, family, quantization, name) for name in parts}
    blocks = [f"{layers}.{i}" for i in range(len(network.get_submodule(layers)))]
    block_sizes = [_size(network, family, quantization, name) for name in blocks]
    placed = dict.fromkeys(parts, 0)
    before, share = sum(sizes.values()), (sum(sizes.values()) + sum(block_sizes)) / devices
    for name, size in zip(blocks, block_sizes, strict=True):
        placed[name] = min(devices - 1, int((before + size / 2) / share))
        before += size
    return placed | {f"{family.decoder}.{NORM}": placed[blocks[-1]]}


def place_of(places: Mapping[str, Any], name: str) -> Any:
    """The device of the module with this full name, by a `device_map`, in which the whole network is ""."""
    return next(place for part, place in places.items() if part in ("", name) or name.startswith(part + "."))


def _siblings(network: Any, path: str) -> list[str]:
    """All modules beside `path` or beside one of the modules that it is in: with `path`, the whole network."""
    found, above = [], ""
    for step in path.split("."):
        found += [above + name for name, _ in network.get_submodule(above.rstrip(".")).named_children() if name != step]
        above += step + "."
    return found


def _size(network: Any, family: Family, quantization: str, path: str) -> float:
    """Bytes of the weights of the module at `path`."""
    size = 0.0
    for name, module in network.get_submodule(path).named_modules(prefix=path):
        quantized = hasattr(module, "in_features") and family.is_quantized(name)
        each = WEIGHT_BYTES[quantization if quantized else "none"]
        size += sum(each * math.prod(weight.shape) for weight in module.parameters(recurse=False))
    return size
