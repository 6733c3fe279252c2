"""Views of several pictures or none in families whose passes are separate: the library's own forward decides."""

from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageOps

import random_others
from rows import make_rows, prompt_config
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.data.images.decoding import open_image
from vqaflow.data.images.pictures import NEUTRAL
from vqaflow.model.base import Base
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.pipeline.reading import transcribe
from vqaflow.model.separate.decoder import PassDecoder
from vqaflow.model.separate.encoder import PassEncoder
from vqaflow.model.separate.inputs import PassInputs
from vqaflow.runtime.errors import UserError

ORDERS = ["abcd", "cdab"]
VIEWS = {
    "tiles": ViewConfig(tiles="1x2", flip=True, overlap=0.0),
    "text": ViewConfig(blind="text"),
    "grey": ViewConfig(blind="grey"),
}
every_family = pytest.mark.parametrize("name", random_others.NAMES)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> list[Row]:
    """Three rows; the second has no image."""
    made = make_rows(tmp_path_factory.mktemp("images"), 3)
    return [made[0], replace(made[1], width=0, height=0, sha256="", image_file="/nowhere.png"), made[2]]


def shown(encoder: PassEncoder, row: Row, view: ViewConfig) -> list[Image.Image]:
    """The pictures that the processor gets: halves of the mirrored image, enlarged twice; grey; or none."""
    if view.blind == "text" or not row.width:
        return []
    image = open_image(row.image_file)
    if view.blind:
        return [Image.new("RGB", image.size, NEUTRAL)]
    image, (width, height) = ImageOps.mirror(image), image.size
    middle, largest = round(width / 2), encoder.model.max_pixels
    halves = [image.crop((0, 0, middle, height)), image.crop((middle, 0, width, height))]
    sizes = [(2 * half.width, 2 * half.height) for half in halves]
    scales = [min(1.0, (largest / (w * h)) ** 0.5) for w, h in sizes]
    sizes = [(int(w * s), int(h * s)) for (w, h), s in zip(sizes, scales, strict=True)]
    return [image, *(half.resize(size, Image.Resampling.BICUBIC) for half, size in zip(halves, sizes, strict=True))]


def library_logits(base: Base, encoder: PassEncoder, row: Row, order: str, view: ViewConfig) -> torch.Tensor:
    """Letters' logits of the network's plain forward on its processor's own rendering of a chat."""
    pictures = shown(encoder, row, view)
    head, tail = encoder.renderer.around(len(pictures))
    text = encoder.encode(row, [order], view).texts[0][len(head) : -len(tail)]
    content = [*({"type": "image", "image": image} for image in pictures), {"type": "text", "text": text}]
    inputs = base.processor.apply_chat_template(
        [
            {"role": "system", "content": [{"type": "text", "text": prompt_config().system}]},
            {"role": "user", "content": content},
        ],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"images_kwargs": encoder.image_options(view)},
    )
    return base.network(**inputs).logits[0, -1, encoder.letter_ids]


@every_family
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@torch.no_grad()
def test_logits_are_the_librarys(name: str, view: ViewConfig, table) -> None:
    """Pictures in another order or size than their tokens, or a blank one where there is none, are wrong silently."""
    base, encoder = random_others.base(name), random_others.encoder(name)
    encoded = [encoder.encode(row, ORDERS, view) for row in table]
    inputs = PassInputs(base, encoder, view).of(list(zip(table, encoded, strict=True)))
    states = PassDecoder(base).states(encoded, inputs)
    ours = letter_logits(states, base.letter_rows(encoder.letter_ids), base.softcap)
    theirs = torch.stack(
        [torch.stack([library_logits(base, encoder, row, order, view) for order in ORDERS]) for row in table]
    )
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)
    if name != "llava":  # its templates put no beginning before the text
        told = [sum(made["input_ids"].shape[1] for made in row.passes) for row in inputs]
        assert [row.tokens for row in encoded] == told, "plans and batches go by the number of tokens"


@every_family
@torch.no_grad()
def test_every_family_reads(name: str, table) -> None:
    """A view that reads in some families only would fail after the training."""
    base, encoder = random_others.base(name), random_others.encoder(name)
    view = ViewConfig(tiles="1x2", read=True, read_tokens=5)
    found = dict((row.id, text) for row, text in transcribe([table[0], table[2]], base, encoder, view))
    assert set(found) == {table[0].id, table[2].id} and any(found.values())
    again = dict((row.id, text) for row, text in transcribe([table[2]], base, encoder, view))
    assert again[table[2].id] == found[table[2].id], "a transcript does not depend on other rows"


def test_a_processor_that_takes_one_picture_is_named(table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its own error, whatever that is, would end the job without saying which view asks too much."""
    encoder, view = random_others.encoder("llava"), ViewConfig(tiles="1x2")

    def one_picture(images, **_):
        raise AssertionError("one image per prompt")

    monkeypatch.setattr(encoder, "processor", one_picture)
    pictures = [Image.new("RGB", (9, 9))] * 3
    with pytest.raises(UserError, match="does not take a prompt with 3 images .*views without tiles"):
        encoder.run(one_picture, "?", pictures, encoder.image_options(view))
