"""A frozen linear with FP8 weights, and how the linears of a base become such.

Shapes: I inputs and O outputs of a linear.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import linear

from vqaflow.model.families.family import Family
from vqaflow.model.numerics.fp8 import FP8, LEAST_CAPABILITY, MULTIPLE, expanded, product, quantized_rows
from vqaflow.model.spread import place_of
from vqaflow.runtime.errors import UserError


class Fp8Linear(torch.nn.Linear):
    """A linear whose weight (O, I) is FP8 with one scale per output; inputs are quantised per row.

    While gradients are computed it multiplies in 16 bits by the same weights: a rounded input has no gradient.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias is not None, device="meta", dtype=FP8)
        quantized, scale_O1 = quantized_rows(weight.detach())
        self.compute_dtype = weight.dtype
        self.weight = torch.nn.Parameter(quantized, requires_grad=False)
        self.register_buffer("scale_O1", scale_O1)
        self.bias = None if bias is None else torch.nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, I) to (…, O)."""
        x, bias = x.to(self.compute_dtype), self.bias
        if torch.is_grad_enabled():
            return linear(x, expanded(self.weight, self.scale_O1, self.compute_dtype), bias)
        rows = quantized_rows(x.flatten(0, -2))
        out = product(rows, self.weight, self.scale_O1, bias, self.compute_dtype)
        return out.unflatten(0, x.shape[:-1])


def require_fp8(device: torch.device) -> None:
    """Raise UserError if `device` is a GPU without FP8 units. A CPU emulates them."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        name = torch.cuda.get_device_name(device)
        raise UserError(
            f"config model.quantization: {name} has no FP8 units (compute capability below 8.9: they came with L4, RTX "
            "40 and H100). Use none, or nf4 if the 16-bit weights do not fit."
        )


def quantize_linears(network: Any, family: Family, places: Mapping[str, Any]) -> None:
    """Replace the decoder's linears of a network by FP8 ones on the devices of its parts, one after the other.

    Raises UserError if a linear has sizes that the FP8 units of a GPU do not take.
    """
    linears = {name: m for name, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    linears = {name: module for name, module in linears.items() if family.is_quantized(name)}
    on_gpu = any(torch.device(place).type == "cuda" for place in places.values())
    for name, module in linears.items():
        if on_gpu and (module.in_features % MULTIPLE or module.out_features % MULTIPLE):
            raise UserError(
                f"config model.quantization: {name} has {module.out_features} outputs and {module.in_features} inputs, "
                f"and FP8 units need multiples of {MULTIPLE}. Use none or nf4."
            )
    for name, module in linears.items():
        device = torch.device(place_of(places, name))
        bias = None if module.bias is None else module.bias.to(device)
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, Fp8Linear(module.weight.to(device), bias))
        module.weight = module.bias = None  # frees the memory before the next one needs it
