"""Names of the floating-point types."""

import torch

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def name_of(dtype: torch.dtype) -> str:
    """float16 instead of torch.float16."""
    return str(dtype).removeprefix("torch.")
