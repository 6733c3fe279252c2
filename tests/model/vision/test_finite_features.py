"""float16 overflows in the vision tower are found and cured; what cannot be cured names its row and stops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import random_qwen
import rows
from vqaflow.artifacts.rows import text_row
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.vision.finite_features import finite_features
from vqaflow.model.vision.windows import image_features, use_window_attention
from vqaflow.runtime.errors import NotFinite, UserError
from vqaflow.training.finite import SKIPPED_STEPS_ALLOWED, ScalerWatch, require_finite


def overflowing_tower():
    """A float16 tower whose last MLP leaves float16's range, as the published ones do on some images."""
    visual = random_qwen.model().model.visual
    use_window_attention(visual)
    last = visual.blocks[-1].mlp
    with torch.no_grad():
        last.down_proj.weight.mul_(2000 / last.down_proj.weight.abs().max())
        last.up_proj.weight.mul_(30)
    return visual.half()


@pytest.fixture
def checkerboard(tmp_path):
    """A row whose picture is the known trigger, squares of 56 pixels, and one with a plain grey picture."""
    squares = (np.indices((168, 224)) // 56).sum(0) % 2 * 255
    Image.fromarray(squares.astype(np.uint8)).convert("RGB").save(tmp_path / "board.png")
    Image.new("RGB", (168, 168), (128, 128, 128)).save(tmp_path / "plain.png")
    encoder = RowEncoder(random_qwen.processor(), rows.model_config(max_pixels=224 * 224), rows.prompt_config())
    sizes = {"board": (224, 168), "plain": (168, 168)}
    table = [replace(text_row("", [], ""), id=name, image_file=str(tmp_path / f"{name}.png")) for name in sizes]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    return table, pixels, [encoder.grid_of(*size, rows.VIEW) for size in sizes.values()]


def test_an_overflow_is_found_and_cured_in_float32(checkerboard) -> None:
    """The row gets the features that float32 gives, and the tower goes on in float16."""
    table, pixels, grids = checkerboard
    visual = overflowing_tower()
    assert not image_features(visual, pixels[:1], grids[:1])[0].isfinite().all(), "nothing overflows: nothing is tested"
    cured = finite_features(image_features, visual, pixels, grids, table)
    exact = image_features(overflowing_tower().float(), pixels, grids)
    for ours, theirs in zip(cured, exact, strict=True):
        assert ours.dtype is torch.float16 and ours.isfinite().all()
        torch.testing.assert_close(ours.float(), theirs, atol=2e-2, rtol=2e-2)
    assert {weight.dtype for weight in visual.parameters()} == {torch.float16}


def test_an_image_that_float32_cannot_cure_names_its_row(checkerboard) -> None:
    """Nothing is replaced in silence: the job stops."""
    table, pixels, grids = checkerboard
    with pytest.raises(UserError, match=r"row 'board'.*NaN or infinite.*float32"):
        finite_features(image_features, overflowing_tower(), [pixels[0] * float("nan"), pixels[1]], grids, table)


@pytest.mark.parametrize("spoil", ["states", "logits"])
def test_the_first_row_that_is_not_finite_is_named(spoil: str) -> None:
    """Out of a batch, the user learns which row to look at."""
    states, logits = torch.zeros(3, 2, 8), torch.zeros(3, 2, 4)
    {"states": states, "logits": logits}[spoil][1, 0, 0] = float("inf")
    loss = (states.sum() + logits.sum()) * 0
    with pytest.raises(NotFinite, match="row 'b': the "):
        require_finite(["a", "b", "c"], states, logits, loss, 3)
    require_finite(["a"], states[:1], logits[:1], torch.zeros(()), 3)


def test_gradients_that_overflow_at_any_loss_scale_end_the_run() -> None:
    """A skipped step is normal, two dozen in a row are not; a good step resets the count."""

    class Scaler:
        scale = 2.0**16

        def get_scale(self) -> float:
            return self.scale

    scaler = Scaler()
    watch = ScalerWatch(scaler)

    def skip() -> None:
        before, scaler.scale = scaler.scale, scaler.scale / 2
        watch.after_step(before, ["r"], 5)

    for _ in range(SKIPPED_STEPS_ALLOWED):
        skip()
    watch.after_step(scaler.scale, ["r"], 6)
    for _ in range(SKIPPED_STEPS_ALLOWED):
        skip()
    with pytest.raises(NotFinite, match="rows 'r'"):
        skip()
