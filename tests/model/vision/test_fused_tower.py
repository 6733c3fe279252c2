"""The tower's fused forward, which GPUs run, computes the library's features."""

import pytest
import torch

import random_qwen
from vqaflow.model.vision.fused_tower import tower_of
from vqaflow.model.vision.windows import grid_arguments

GRIDS = [[(1, 8, 8)], [(1, 4, 10), (1, 6, 6), (1, 10, 4)], [(1, 2, 2), (1, 14, 6)]]


def tower(inner: int) -> torch.nn.Module:
    """A random tower with windows, whose MLP's inner size is `inner`."""
    torch.manual_seed(1)
    visual = random_qwen.model().model.visual
    for block in visual.blocks:
        block.mlp.gate_proj, block.mlp.up_proj = (torch.nn.Linear(32, inner) for _ in range(2))
        block.mlp.down_proj = torch.nn.Linear(inner, 32)
    return visual.requires_grad_(False)


def both(visual: torch.nn.Module, grids: list[tuple[int, int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the library's loop, then of the fused forward."""
    pixels = torch.randn(sum(h * w for _, h, w in grids), 1176)
    shipped = visual(pixels, grid_thw=torch.tensor(grids)).pooler_output
    arguments = grid_arguments(tuple(grids), 2, visual.window_size, visual.patch_size, "cpu")
    return shipped, tower_of(visual).forward(pixels, arguments)


@pytest.mark.parametrize("grids", GRIDS)
@pytest.mark.parametrize("inner", [48, 44])
def test_features_are_the_librarys(grids, inner) -> None:
    """What is padded, joined and regrouped for speed must not change a feature; 44 is padded, as 3420 is."""
    shipped, fused = both(tower(inner), grids)
    torch.testing.assert_close(fused, shipped, atol=2e-5, rtol=1e-5)
    assert shipped.std() > 0.1


def test_the_library_still_works_after_the_weights_were_rearranged() -> None:
    """Weights exist once: the module's own are views, with the numbers that they had."""
    visual = tower(44)
    before = {name: weight.clone() for name, weight in visual.state_dict().items()}
    both(visual, GRIDS[0])
    for name, weight in visual.state_dict().items():
        assert torch.equal(weight, before[name]), name
    down, joined = visual.blocks[0].mlp.down_proj.weight, tower_of(visual).blocks[0].down
    assert down.data_ptr() == joined.data_ptr()


def test_a_tower_in_another_precision_is_laid_out_again() -> None:
    """The float32 rerun of an image that overflows must not use the half-precision weights."""
    visual = tower(44)
    first = tower_of(visual)
    assert tower_of(visual) is first
    visual.double()
    assert tower_of(visual) is not first and tower_of(visual).blocks[0].gate_up.dtype is torch.float64
    visual.float()
    shipped, fused = both(visual, GRIDS[1])
    torch.testing.assert_close(fused, shipped, atol=2e-5, rtol=1e-5)
