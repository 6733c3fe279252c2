"""The host's memory for what a GPU reads: page-locked, so that copies run at the bus's speed beside the computation."""

import math
from contextlib import suppress

import torch

from vqaflow.runtime.stage import log

SLAB = 2**28  # bytes; PyTorch rounds page-locked memory up to a power of two, so features are packed into such pieces
ALIGNED = 256


class HostMemory:
    """Keeps tensors in the host's memory; for a GPU in page-locked memory, as long as there is some."""

    def __init__(self, device: torch.device) -> None:
        self.locks = device.type == "cuda"
        self.slab, self.used = torch.empty(0, dtype=torch.uint8), 0

    def keep(self, values: torch.Tensor) -> torch.Tensor:
        """A copy of `values` (a tensor of the CPU itself)."""
        if not self.locks:
            return values.cpu()
        size = values.numel() * values.element_size()
        if self.used + size > len(self.slab):
            try:
                self.slab, self.used = locked_bytes(max(SLAB, size)), 0
            except RuntimeError as error:
                log.warning("no more page-locked memory, so features are read a little slower (%s)", error)
                self.locks = False
                return values.cpu()
        kept = self.slab[self.used : self.used + size].view(values.dtype).view(values.shape)
        self.used += math.ceil(size / ALIGNED) * ALIGNED
        return kept.copy_(values)


def locked_bytes(count: int) -> torch.Tensor:
    """Page-locked memory. Raises RuntimeError if the system gives none."""
    return torch.empty(count, dtype=torch.uint8, pin_memory=True)


def to_send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`values` for one copy to `device`: for a GPU page-locked, for which a background thread has the time."""
    if device.type == "cuda":
        with suppress(RuntimeError):  # the system gives no more of it
            return values.pin_memory()
    return values


def empty(shape: tuple[int, ...], dtype: torch.dtype, pin: bool) -> torch.Tensor:
    """Room for a tensor; page-locked if `pin`, unless the system gives no more of it."""
    if pin:
        with suppress(RuntimeError):
            return torch.empty(shape, dtype=dtype, pin_memory=True)
    return torch.empty(shape, dtype=dtype)
