"""PyTorch's FlashAttention kernel over sequences of different lengths.

Shapes: N tokens of all sequences, D size of a head.
"""

import itertools

import torch


def cumulative(lengths: list[int]) -> torch.Tensor:
    """Boundaries 0, l1, l1 + l2, … as the kernel expects them."""
    return torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)


def flash_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sequences: tuple[torch.Tensor, torch.Tensor, int, int]
) -> torch.Tensor:
    """Causal attention (N, heads, D) within each sequence; the last query and the last key are one token."""
    return torch.ops.aten._flash_attention_forward(q, k, v, *sequences, 0.0, True, False)[0]


def has_flash_attention(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether PyTorch's FlashAttention runs on this card in this precision."""
    half = dtype is not torch.float32
    return device.type == "cuda" and half and torch.cuda.get_device_capability(device) >= (8, 0)
