"""Adapters for scoring: read strictly, merged into the base's weights, so that they cost nothing a pass.

Training goes through PEFT. Scoring needs none of its layers: W + scaling·B·A, rounded once, is the same function (to
rounding), without two small matrix products and two passes over the activations a linear.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vqaflow.base_model import Base
from vqaflow.errors import UserError
from vqaflow.files import folder_digest

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
# PEFT settings that would make the adapter another function than W + scaling·B·A, with the values that do not.
PLAIN = {"peft_type": "LORA", "use_dora": False, "bias": "none", "modules_to_save": None, "fan_in_fan_out": False}
PLAIN_EMPTY = ("rank_pattern", "alpha_pattern", "layer_replication", "trainable_token_indices", "target_parameters")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: `pairs` maps module names of the base to (A (r, in), B (out, r))."""

    folder: Path
    digest: str
    scaling: float
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]


def read_adapter(folder: Path | str) -> Adapter:
    """Read an adapter that PEFT saved.

    Raises UserError if a file is missing or damaged, a tensor lacks its counterpart, or the adapter is no plain LoRA.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: the adapter has no {name}. Train it again (rule train_adapter).")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    unusual = [key for key, plain in PLAIN.items() if config.get(key, plain) != plain]
    unusual += [key for key in PLAIN_EMPTY if config.get(key)]
    if unusual:
        raise UserError(f"{folder / CONFIG}: {unusual[0]} = {config[unusual[0]]!r}. Only plain LoRA can be scored.")
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS}: damaged ({error}). Train the adapter again.") from error
    rank = config["r"]
    scaling = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    return Adapter(folder, folder_digest(folder, [CONFIG, WEIGHTS]), scaling, _pairs(folder, tensors, rank))


def _pairs(folder: Path, tensors: dict[str, torch.Tensor], rank: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Group an adapter's tensors by module; every tensor must belong to exactly one complete pair."""
    modules = {name.rsplit(".lora_", 1)[0] for name in tensors}
    expected = {f"{module}.lora_{side}.weight" for module in modules for side in "AB"}
    odd = sorted(expected ^ set(tensors)) or [n for n in sorted(modules) if not n.startswith(PREFIX)]
    odd = odd or [m for m in sorted(modules) if tensors[f"{m}.lora_A.weight"].shape[0] != rank]
    odd = odd or [m for m in sorted(modules) if not all(tensors[f"{m}.lora_{s}.weight"].isfinite().all() for s in "AB")]
    if odd or not modules:
        what = f"tensor {odd[0]} is missing, unknown, of a wrong rank or not finite" if odd else "it holds no tensor"
        raise UserError(f"{folder / WEIGHTS}: {what}. Train the adapter again.")
    return {
        module.removeprefix(PREFIX): (tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"])
        for module in sorted(modules)
    }


def merge_adapter(base: Base, adapter: Adapter) -> None:
    """Add `adapter` to the weights of `base`, in place.

    Raises UserError if a module that the adapter changes does not exist in this base or has another shape.
    """
    targets = {name: _target(base, adapter, name) for name in adapter.pairs}
    for name, linear in targets.items():
        a_RI, b_OR = (t.to(base.device, torch.float32) for t in adapter.pairs[name])
        delta_OI = (b_OR @ a_RI) * adapter.scaling
        linear.weight.data = (linear.weight.data.float() + delta_OI).to(linear.weight.dtype)


def _target(base: Base, adapter: Adapter, name: str) -> Any:
    a_RI, b_OR = adapter.pairs[name]
    shape = (b_OR.shape[0], a_RI.shape[1])
    try:
        linear = base.qwen.get_submodule(name)
    except AttributeError:
        linear = None
    theirs = None if linear is None else (linear.out_features, linear.in_features)
    if theirs != shape:
        found = "does not have it" if theirs is None else f"has {theirs[0]} x {theirs[1]} there"
        raise UserError(
            f"{adapter.folder}: it was trained on another base: it changes {name} ({shape[0]} x {shape[1]}), and "
            f"model.base {found}. Set model.base to the adapter's base, or train the adapter again."
        )
    return linear
