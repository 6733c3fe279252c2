"""What the processor makes of a row, read ahead in the background."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps

import random_others
from rows import VIEW, make_rows
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.data.images.decoding import open_image
from vqaflow.model.features.stream import Prepared
from vqaflow.model.separate import inputs as inputs_module
from vqaflow.model.separate.encoder import PassEncoder
from vqaflow.model.separate.inputs import PassInputs, RowInputs, inputs_of, row_inputs
from vqaflow.runtime.digests import file_digest

ORDERS = ["abcd", "cdab", "dbca"]


def same(first: RowInputs, second: RowInputs) -> bool:
    """Whether two rows' inputs are equal."""
    return all(
        one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
        for one, two in zip(first.passes, second.passes, strict=True)
    )


def prepared(encoder: PassEncoder, rows: list[Row]) -> list[Prepared]:
    """Encoded rows as the scorer has them."""
    return [Prepared(row, encoder.encode(row, ORDERS, VIEW)) for row in rows]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", random_others.NAMES)
def test_a_row_s_picture_is_computed_and_kept_once(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With 24 choice orders the picture's tensors would take 24 times the memory and time."""
    encoder, (row, *_) = random_others.encoder(name), make_rows(tmp_path, 1)
    encoded = encoder.encode(row, ORDERS, VIEW)
    calls: list[Any] = []
    compute = type(encoder.image_processor).__call__
    monkeypatch.setattr(
        type(encoder.image_processor), "__call__", lambda self, *a, **o: calls.append(a) or compute(self, *a, **o)
    )
    (inputs,) = PassInputs(random_others.base(name), encoder, VIEW).of([(row, encoded)])
    assert len(calls) == 1
    assert "pixel_values" in inputs.shared
    assert all(made["pixel_values"] is inputs.shared["pixel_values"] for made in inputs.passes)
    assert not any("pixel_values" in own for own in inputs.own)


@pytest.mark.parametrize("name", random_others.NAMES)
def test_nothing_that_the_processor_makes_is_left_out(name: str, tmp_path: Path) -> None:
    """Gemma's pictures attend both ways only where mm_token_type_ids is passed on."""
    encoder, (row, *_) = random_others.encoder(name), make_rows(tmp_path, 1)
    encoded = encoder.encode(row, ORDERS[1:2], VIEW)
    wanted = encoder.run(encoder.processor, encoded.texts[0], [open_image(row.image_file)], encoder.image_options(VIEW))
    made = row_inputs(encoder, row, encoded, VIEW).passes[0]
    assert made.keys() == wanted.keys()
    assert all(torch.equal(made[key], wanted[key]) for key in wanted)
    assert ("mm_token_type_ids" in made) == name.startswith("gemma4")


def test_flip_mirrors_the_picture(tmp_path: Path) -> None:
    """A flipped view that shows the same picture would count one opinion twice."""
    encoder, (row,) = random_others.encoder("llava"), make_rows(tmp_path, 1)
    encoded, image = encoder.encode(row, ORDERS, VIEW), open_image(row.image_file)
    flipped = row_inputs(encoder, row, encoded, ViewConfig(flip=True)).shared["pixel_values"]
    mirrored = inputs_of(encoder, ImageOps.mirror(image), encoded, VIEW).shared["pixel_values"]
    assert torch.equal(flipped, mirrored)
    assert not torch.equal(flipped, row_inputs(encoder, row, encoded, VIEW).shared["pixel_values"])


def test_unknown_classes_get_a_shrunk_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else a picture of 50 megapixels would reach a processor that may cut it into any number of parts."""
    encoder, (row,) = random_others.encoder("llava", max_pixels=2500), make_rows(tmp_path, 1)
    sizes: list[Any] = []
    run = encoder.run
    monkeypatch.setattr(encoder, "run", lambda p, t, images, o: sizes.append(images[0].size) or run(p, t, images, o))
    Image.new("RGB", (400, 100)).save(row.image_file)
    large = replace(row, width=400, height=100, sha256=file_digest(row.image_file))
    row_inputs(encoder, large, encoder.encode(large, ORDERS[:1], VIEW), VIEW)
    assert sizes[-1] == (100, 25)


@pytest.mark.parametrize("name", ["gemma4_large", "internvl"])
def test_the_stream_gives_the_same_as_single_rows(name: str, tmp_path: Path) -> None:
    """Threads that share a tokenizer, or batches in another order, would give rows the inputs of others."""
    encoder, rows = random_others.encoder(name), make_rows(tmp_path, 5)
    source, items = PassInputs(random_others.base(name), encoder, VIEW), prepared(encoder, rows)
    batches = [items[:2], items[2:3], items[3:]]
    streamed = list(source.stream(batches))
    assert [batch for batch, _ in streamed] == batches
    for batch, inputs in streamed:
        for item, made in zip(batch, inputs, strict=True):
            assert same(made, source.of([(item.row, item.encoded)])[0])  # type: ignore[list-item]


def test_the_stream_reads_one_batch_ahead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reading everything at once would fill the host's memory; reading nothing ahead would leave the GPU idle."""
    encoder, rows = random_others.encoder("llava"), make_rows(tmp_path, 5)
    source = PassInputs(random_others.base("llava"), encoder, VIEW)
    items, opened = prepared(encoder, rows), []
    read = inputs_module.opened
    monkeypatch.setattr(inputs_module, "opened", lambda file, *rest: opened.append(file) or read(file, *rest))
    stream = source.stream([[item] for item in items])
    next(stream)
    deadline = time.monotonic() + 10
    while len(opened) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert opened == [row.image_file for row in rows[:2]]
    assert len(list(stream)) == 4


def test_an_unreadable_image_stops_the_stream(tmp_path: Path) -> None:
    """A row without its picture must not be scored from its text."""
    encoder, rows = random_others.encoder("llava"), make_rows(tmp_path, 3)
    Path(rows[1].image_file).write_bytes(b"no image")
    rows[1] = replace(rows[1], sha256=file_digest(rows[1].image_file))
    items = prepared(encoder, rows)
    with pytest.raises(ValueError, match="the file is a text"):
        list(PassInputs(random_others.base("llava"), encoder, VIEW).stream([items]))
