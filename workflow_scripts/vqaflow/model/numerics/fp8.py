"""Matrix products in FP8 (e4m3): rows of both factors share a scale each, and the sums are made in float32.

All scales are powers of two. So a quantised weight is the value of four significant bits next to the weight, exact in
bfloat16 too: training, which expands the weights, and scoring, which multiplies them in FP8, use the same weights.
Activations are quantised per token, right before each product.

On a GPU torch's scaled product runs on the card's FP8 units. Elsewhere `product` computes the same sums from the same
values in float32, so a CPU can show what FP8 would answer.

Shapes: N tokens, I inputs and O outputs of a linear.
"""

import torch
from torch.nn.functional import linear

FP8 = torch.float8_e4m3fn
LEAST_CAPABILITY = (8, 9)  # Ada; Hopper is 9.0
MULTIPLE = 16  # sizes that the units need
_EXPONENT = 0x7F800000  # the bits of a float32's exponent
_TINY = 2.0**-100  # of a row of zeros


def quantized_rows(x_NI: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x in FP8 (N, I) and the float32 scales (N, 1) to multiply it by; NaN and infinity stay recognisable as NaN.

    A row's scale is the least power of two that brings all its values to at most 448, the largest number of e4m3: 2^e
    is found in the exponent of 8/7 of the row's largest value, because 448 · 8/7 is 512.
    """
    wide = x_NI.float()
    largest_N1 = wide.abs().amax(-1, keepdim=True).clamp_min(_TINY)
    power_N1 = ((largest_N1 * (8 / 7)).view(torch.int32) & _EXPONENT).view(torch.float32)
    return (wide * (256 / power_N1)).to(FP8), power_N1 * (1 / 256)


def expanded(weight_OI: torch.Tensor, scale_O1: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A quantised weight in `dtype`, which represents it exactly."""
    return weight_OI.to(dtype).mul_(scale_O1.to(dtype))


def product(
    rows: tuple[torch.Tensor, torch.Tensor],
    weight_OI: torch.Tensor,
    scale_O1: torch.Tensor,
    bias_O: torch.Tensor | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The linear (N, O) of quantised rows in `dtype`: on a GPU bfloat16, which is what its FP8 units give."""
    x_NI, scale_N1 = rows
    if not x_NI.is_cuda:
        return emulated(rows, weight_OI, scale_O1, bias_O).to(dtype)
    return torch._scaled_mm(
        x_NI, weight_OI.T, scale_a=scale_N1, scale_b=scale_O1.T, bias=bias_O, out_dtype=dtype, use_fast_accum=True
    )


def emulated(
    rows: tuple[torch.Tensor, torch.Tensor],
    weight_OI: torch.Tensor,
    scale_O1: torch.Tensor,
    bias_O: torch.Tensor | None,
) -> torch.Tensor:
    """What `product` computes, from the expanded values and in float32, on any device."""
    x_NI, scale_N1 = rows
    bias_O = None if bias_O is None else bias_O.float()
    return linear(x_NI.float() * scale_N1, weight_OI.float() * scale_O1, bias_O)
