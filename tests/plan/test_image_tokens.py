"""The plan counts an image's visual tokens as the family's own processor makes them."""

import pytest
from PIL import Image

import random_others
import rows
from vqaflow.config.sections import ViewConfig
from vqaflow.plan.image_tokens import image_tokens, largest_image
from vqaflow.plan.offline import guessed_tokens
from vqaflow.plan.shape import Shape, published

SIZES = [(64, 64), (56, 112), (42, 56), (300, 200), (200, 300), (400, 100), (90, 400), (170, 170), (30, 20)]
LIMITS = [(3136, 5000), (3136, 12544), (6272, 19600), (3136, 40000)]


def of_the_processor(name: str, sizes: list[tuple[int, int]], limits: tuple[int, int]) -> list[int]:
    """Image tokens in the processor's own output for blank images."""
    encoder = random_others.encoder(name, min_pixels=limits[0], max_pixels=limits[1])
    config = random_others.config(name)
    token = getattr(config, "image_token_id", None) or config.image_token_index
    counts = []
    for size in sizes:
        image = Image.new("RGB", encoder.fitted_size(*size, ViewConfig()))
        made = encoder.run(encoder.processor, encoder.probe_text, [image], encoder.image_options(ViewConfig()))
        counts.append(int((made["input_ids"] == token).sum()))
    return counts


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("name", random_others.NAMES)
def test_no_image_has_more_tokens_than_planned(name: str, limits: tuple[int, int]) -> None:
    """Memory was planned for a few tokens where the processor enlarges images or adds an overview."""
    model = rows.model_config(min_pixels=limits[0], max_pixels=limits[1])
    shape = Shape.of(random_others.config(name).to_dict())
    planned, real = image_tokens(SIZES, model, shape), of_the_processor(name, SIZES, limits)
    assert all(count <= bound for count, bound in zip(real, planned, strict=True)), (real, planned)
    assert max(planned) <= largest_image(model, shape)
    if name == "internvl":
        assert planned == real
    if name.startswith("gemma4"):
        assert max(real) > 0.8 * largest_image(model, shape)
    assert guessed_tokens(SIZES, model, 1, shape).largest > max(real)


def test_published_models_have_the_tokens_that_their_cards_give() -> None:
    """Gemma's budget, and InternVL's 256 tokens per tile and for the overview."""
    model = rows.model_config(min_pixels=200704, max_pixels=602112)
    assert largest_image(model, published("gemma-4-31b")) == 140
    assert image_tokens([(100, 100)], model, published("gemma-4-e4b")) == [140]
    assert largest_image(model, published("internvl3.5-8b")) == 4 * 256
    assert image_tokens([(448, 448), (448, 1344)], model, published("internvl3.5-8b")) == [256, 4 * 256]
    assert largest_image(model, published("qwen3-vl-8b")) == 588
