"""The fused forward of Qwen3-VL's and Qwen3.5's towers, which GPUs run, computes the library's features."""

import pytest
import torch

import random_families
from vqaflow.model.numerics import elementwise
from vqaflow.model.numerics.elementwise import Kernels
from vqaflow.model.vision.fused_tower import use_kernels
from vqaflow.model.vision.whole_images import library_forward, whole_image_features
from vqaflow.model.vision.whole_tower import can_fuse, whole_forward
from vqaflow.model.vision.windows import use_window_attention

GRIDS = [[(1, 8, 8)], [(1, 4, 10), (1, 6, 6), (1, 10, 4), (1, 6, 6)], [(2, 4, 6), (1, 2, 14)]]
every_family = pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"])


def tower(name: str) -> torch.nn.Module:
    """A family's random tower."""
    visual = random_families.network(name).model.visual.requires_grad_(False)
    use_window_attention(visual)
    return visual


def patches_of(visual: torch.nn.Module, grids: list[tuple[int, int, int]]) -> torch.Tensor:
    """Random patches of images of these sizes."""
    values = visual.patch_embed.proj.weight[0].numel()
    return torch.randn(sum(t * h * w for t, h, w in grids), values, generator=torch.Generator().manual_seed(1))


@every_family
@pytest.mark.parametrize("grids", GRIDS)
def test_features_and_levels_are_the_librarys(name: str, grids) -> None:
    """A tower that computes something else gives worse answers and no message; DeepStack's levels count too."""
    visual = tower(name)
    patches = patches_of(visual, grids)
    shipped, fused = library_forward(visual, patches, grids), whole_forward(visual, patches, grids)
    levels = len(getattr(visual, "deepstack_visual_indexes", []))
    assert fused.shape == (len(patches) // 4, (1 + levels) * 64) and shipped.std() > 0.1
    torch.testing.assert_close(fused, shipped, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5"])
def test_half_precision_drifts_no_more_than_the_library(name: str, dtype: torch.dtype) -> None:
    """Fewer kernels must not mean more rounding: positions and rotation stay in float32, as in the library."""
    grids = GRIDS[1]
    visual = tower(name).to(dtype)
    patches = patches_of(visual, grids).to(dtype)
    made = [forward(visual, patches, grids).float() for forward in (library_forward, whole_forward)]
    exact = library_forward(visual.float(), patches.float(), grids)
    theirs, ours = ((features - exact).norm() / exact.norm() for features in made)
    assert 0 < ours < 1.1 * theirs


def test_half_precision_towers_rotate_by_float32_angles() -> None:
    """As the library does; in bfloat16 the patches of a large image would get each other's places."""
    visual, grids, seen = tower("qwen3_vl").bfloat16(), GRIDS[0], []

    def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        seen.append({x.dtype, cos.dtype, sin.dtype})
        return elementwise.rotate(x, cos, sin)

    use_kernels(visual, Kernels(rotate=rotate))
    assert whole_forward(visual, patches_of(visual, grids).bfloat16(), grids).dtype is torch.bfloat16
    assert seen == [{torch.bfloat16, torch.float32}] * len(visual.blocks)


@every_family
def test_images_do_not_see_each_other(name: str) -> None:
    """An image's features are the same whatever stands beside it in the batch."""
    visual, grids = tower(name), [(1, 6, 8), (1, 4, 4), (1, 6, 8)]
    patches = patches_of(visual, grids)
    counts = [h * w for _, h, w in grids]
    together = whole_forward(visual, patches, grids).split([count // 4 for count in counts])
    for one, mine, grid in zip(together, patches.split(counts), grids, strict=True):
        torch.testing.assert_close(one, whole_forward(visual, mine, [grid]), atol=2e-5, rtol=0)


def test_a_tower_in_another_precision_computes_in_it() -> None:
    """The float32 rerun of an image that overflows must not use half-precision weights."""
    visual, grids = tower("qwen3_vl"), GRIDS[0]
    patches = patches_of(visual, grids)
    before = whole_forward(visual, patches, grids)
    visual.double()
    wide = whole_forward(visual, patches.double(), grids)
    assert wide.dtype is torch.float64
    torch.testing.assert_close(wide.float(), before, atol=1e-4, rtol=1e-4)


def test_only_towers_that_it_knows_are_fused(monkeypatch) -> None:
    """Qwen2-VL's tower has other activations and positions, and a quantised one has no weights to multiply by."""
    on_gpu = {"is_cuda": property(lambda weight: True)}
    known, other = tower("qwen3_vl"), tower("qwen2_vl")
    assert not can_fuse(known), "a CPU runs the library's forward"
    monkeypatch.setattr(torch.nn.Parameter, "is_cuda", on_gpu["is_cuda"], raising=False)
    assert can_fuse(known) and not can_fuse(other)
    known.config.hidden_act = "quick_gelu"
    assert not can_fuse(known)


@every_family
def test_features_are_split_by_image_and_carry_no_graph(name: str, monkeypatch) -> None:
    """Each row gets its own image, and the frozen tower stores nothing for a backward pass."""
    import vqaflow.model.vision.whole_images as module

    visual, grids = tower(name), GRIDS[1]
    visual.requires_grad_(True)
    images = list(patches_of(visual, grids).split([h * w for _, h, w in grids]))
    made = {}
    for fused in (False, True):
        monkeypatch.setattr(module, "can_fuse", lambda visual, fused=fused: fused)
        made[fused] = whole_image_features(visual, images, grids)
        assert [len(one) for one in made[fused]] == [h * w // 4 for _, h, w in grids]
        assert not any(one.requires_grad for one in made[fused])
    for ours, theirs in zip(made[True], made[False], strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)
