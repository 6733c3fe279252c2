"""The tower with grouped windows gives the bits of the library's loop."""

import pytest
import torch

import random_qwen
from vqaflow.model.vision.windows import image_features, segment_groups, use_window_attention

GRIDS = [[(1, 8, 8)], [(1, 4, 10), (1, 6, 6), (1, 10, 4)], [(1, 2, 2), (1, 14, 6)]]


@pytest.mark.parametrize("grids", GRIDS)
def test_grouped_windows_are_bit_identical_to_the_shipped_loop(grids) -> None:
    """Speed must not change a feature."""
    torch.manual_seed(1)
    visual = random_qwen.model().model.visual
    pixels = [torch.randn(t * h * w, 1176) for t, h, w in grids]
    shipped = visual(torch.cat(pixels), grid_thw=torch.tensor(grids)).pooler_output
    use_window_attention(visual)
    grouped = torch.cat(image_features(visual, pixels, grids))
    assert torch.equal(grouped, shipped.detach())


def test_images_do_not_leak_into_each_other() -> None:
    """An image's features are the same whatever stands beside it in the batch."""
    visual = random_qwen.model().model.visual
    use_window_attention(visual)
    grids = [(1, 6, 8), (1, 4, 4), (1, 6, 8)]
    pixels = [torch.randn(h * w, 1176) for _, h, w in grids]
    together = image_features(visual, pixels, grids)
    for one, patches, grid in zip(together, pixels, grids, strict=True):
        torch.testing.assert_close(one, image_features(visual, [patches], [grid])[0], atol=1e-5, rtol=0)


def test_features_carry_no_graph() -> None:
    """The frozen tower stores no activations for a backward pass."""
    visual = random_qwen.model().model.visual
    use_window_attention(visual)
    assert not image_features(visual, [torch.randn(16, 1176)], [(1, 4, 4)])[0].requires_grad


def test_segment_groups_cover_each_token_once() -> None:
    """No token is left out or attended to twice."""
    groups = segment_groups(torch.tensor([0, 16, 20, 36, 40]))
    assert [tuple(g.shape) for g in groups] == [(2, 4), (2, 16)]
    assert sorted(torch.cat([g.flatten() for g in groups]).tolist()) == list(range(40))
