"""The flash kernel on a GPU; without one, test_fused_decoder computes what it should."""

import pytest
import torch

from flash_check import differences

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float16, 0.003), (torch.bfloat16, 0.02)])
def test_the_kernel_is_causal_from_the_end_of_each_sequence(dtype: torch.dtype, rounding: float) -> None:
    """A kernel that aligned queries to the first keys, or let them see later ones, would show answers to training."""
    found = differences(dtype)
    all_seen = found.pop("output, were it not causal")
    assert max(found.values()) < rounding < 0.1 < all_seen, found
