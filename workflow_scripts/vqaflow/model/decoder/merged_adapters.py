"""Adapters for scoring: read strictly, and merged into the decoder's weights in each pass.

Training uses PEFT's layers. Scoring does not need them: W + scaling·B·A, rounded once, is the same function (up to
rounding) and saves two small matrix products and two passes over the activations per linear. The base's own weights do
not change. So they may be NF4, and several adapters can take turns on one base.

Shapes: I inputs and O outputs of a projection, R ranks of its adapters in total (r of one).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vqaflow.artifacts.adapter_files import CONFIG, WEIGHTS, adapter_config
from vqaflow.model.base import Base
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.decoder.projection import Projection
from vqaflow.runtime.errors import UserError

PREFIX = "base_model.model."
# PEFT settings, with the values that keep the adapter's function W + scaling·B·A (the first is PEFT's default). PiSSA,
# OLoRA and other initialisations train against another base than the one that is loaded.
PLAIN = {
    "peft_type": ("LORA",),
    "use_dora": (False,),
    "bias": ("none",),
    "modules_to_save": (None,),
    "fan_in_fan_out": (False,),
    "init_lora_weights": (True, False, "gaussian"),
}
PLAIN_EMPTY = (
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: `pairs` maps module names of the base to (A (r, in), B (out, r))."""

    folder: Path
    scaling: float
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]


def read_adapter(folder: Path | str) -> Adapter:
    """Read an adapter that PEFT saved.

    Raises UserError if a file is missing or damaged, a tensor lacks its counterpart, or the adapter is not plain LoRA.
    """
    folder = Path(folder)
    config = adapter_config(folder)
    unusual = [key for key, plain in PLAIN.items() if config.get(key, plain[0]) not in plain]
    unusual += [key for key in PLAIN_EMPTY if config.get(key)]
    if unusual:
        raise UserError(
            f"{folder / CONFIG}: {unusual[0]} = {config[unusual[0]]!r} is not plain LoRA. Train without it."
        )
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS}: damaged ({error}). Train the adapter again.") from error
    rank = config["r"]
    scaling = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    return Adapter(folder, scaling, _pairs(folder, tensors, rank))


def _pairs(folder: Path, tensors: dict[str, torch.Tensor], rank: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Group an adapter's tensors by module; every tensor must belong to exactly one complete pair."""
    modules = {name.rsplit(".lora_", 1)[0] for name in tensors}
    expected = {f"{module}.lora_{side}.weight" for module in modules for side in "AB"}
    odd = sorted(expected ^ set(tensors)) or [n for n in sorted(modules) if not n.startswith(PREFIX)]
    odd = odd or [m for m in sorted(modules) if tensors[f"{m}.lora_A.weight"].shape[0] != rank]
    odd = odd or [m for m in sorted(modules) if not all(tensors[f"{m}.lora_{s}.weight"].isfinite().all() for s in "AB")]
    if odd or not modules:
        what = (
            f"tensor {odd[0]} is missing or unknown, has a wrong rank, or is not finite"
            if odd
            else "it holds no tensors"
        )
        raise UserError(f"{folder / WEIGHTS}: {what}. Train the adapter again.")
    return {
        module.removeprefix(PREFIX): (tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"])
        for module in sorted(modules)
    }


def use_adapter(decoder: FusedDecoder, adapter: Adapter | None) -> None:
    """Make `decoder` use `adapter` (None: no adapter); costs one product B·A per linear and pass.

    Raises UserError if a module that the adapter changes does not exist in this base or has another shape.
    """
    for projection in decoder.projections:
        projection.delta = None
    if adapter is None:
        return
    names = {id(module): name for name, module in decoder.base.network.named_modules()}
    pairs, deltas = dict(adapter.pairs), []
    for projection in decoder.projections:
        found = [(i, pairs.pop(names[id(b)], None)) for i, b in enumerate(projection.bases)]
        mine = {i: pair for i, pair in found if pair is not None}
        for i, pair in mine.items():
            base = projection.bases[i]
            _check_shape(adapter, names[id(base)], pair, (base.out_features, base.in_features))
        if mine:
            deltas.append((projection, _stacked(projection, mine, adapter.scaling, decoder.base)))
    for name, pair in pairs.items():
        _check_shape(adapter, name, pair, None)
    for projection, delta in deltas:
        projection.delta = delta


def _stacked(
    projection: Projection, pairs: dict[int, tuple[torch.Tensor, torch.Tensor]], scaling: float, base: Base
) -> tuple[torch.Tensor, torch.Tensor]:
    """All A stacked (R, I) and all scaled B on a block diagonal (O, R): one product merges them all."""
    a_RI = torch.cat([a.float() for a, _ in pairs.values()])
    b_OR = torch.zeros(sum(projection.sizes), len(a_RI))
    starts, at = [sum(projection.sizes[:i]) for i in range(len(projection.sizes))], 0
    for i, (a, b) in pairs.items():
        b_OR[starts[i] : starts[i] + len(b), at : at + len(a)] = b.float() * scaling
        at += len(a)
    device = projection.joined.device
    return a_RI.to(device, base.dtype), b_OR.to(device, base.dtype)


def _check_shape(
    adapter: Adapter, name: str, pair: tuple[torch.Tensor, torch.Tensor], theirs: tuple[int, int] | None
) -> None:
    """Raise UserError if `adapter` changes a linear of another shape than `theirs` (out, in; None: there is none)."""
    shape = (pair[1].shape[0], pair[0].shape[1])
    if theirs != shape:
        found = "does not have it in its decoder" if theirs is None else f"has {theirs[0]} x {theirs[1]} there"
        raise UserError(
            f"{adapter.folder}: the adapter was trained on another base: it changes {name} ({shape[0]} x {shape[1]}), "
            f"but model.base {found}. Set model.base to the adapter's base, or train the adapter again."
        )
