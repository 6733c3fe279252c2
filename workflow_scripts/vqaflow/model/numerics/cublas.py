"""A setting of cuBLAS that PyTorch reads again, slowly, at every matrix product.

Deterministic training needs CUBLAS_WORKSPACE_CONFIG while a process makes its first product: PyTorch's check then
remembers it. But as long as it is set, PyTorch parses it once more in each product, with a regular expression: 70 to
170 microseconds of the host's time instead of 15 to 25 (measured, 2.11), for which small batches wait. What makes the
products reproducible is that PyTorch hands cuBLAS a workspace of its own in each stream.
"""

import os

import torch

SETTING = "CUBLAS_WORKSPACE_CONFIG"


def settle_workspace(device: torch.device) -> None:
    """Let a GPU's process read the setting, then take it out of its environment."""
    if device.type != "cuda" or SETTING not in os.environ:
        return
    ones = torch.ones(16, 16, device=device)
    torch.mm(ones, ones)
    del os.environ[SETTING]
