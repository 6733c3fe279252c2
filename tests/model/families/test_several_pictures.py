"""Views of several pictures or none, in every Qwen family: tokens, positions and logits are those of the library.

The reference is the library's own processor and forward, in float32 on the CPU, on random checkpoints and the two
published tiny bases; for what was read in an image it is the library's own greedy generation.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image, ImageOps

import random_families
import rows
from places import ROOT
from random_families import NAMES
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.data.images.decoding import open_image
from vqaflow.data.images.pictures import NEUTRAL, pictures_of
from vqaflow.model.base import Base, load_base
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features.cache import FeatureCache
from vqaflow.model.features.stream import FeatureStream, Prepared
from vqaflow.model.pipeline.parts import make_encoder
from vqaflow.model.pipeline.reading import ends_of, transcribe, written

CPU = torch.device("cpu")
ORDERS = ["abcd", "cdab", "dbca"]
TINY = ("tiny-qwen2_5-vl", "tiny-qwen3-vl")
VIEWS = {
    "tiles": ViewConfig(tiles="2x2"),
    "mirrored tiles": ViewConfig(tiles="2x2", overlap=0.3, flip=True),
    "large tiles": ViewConfig(tiles="1x3", pixels="native", max_pixels=200 * 200),
    "native": ViewConfig(pixels="native", max_pixels=300 * 300),
    "text": ViewConfig(blind="text"),
    "grey": ViewConfig(blind="grey"),
}
every_base = pytest.mark.parametrize("name", [*NAMES, *TINY])


@lru_cache
def base_of(name: str) -> Base:
    """A base in float32 without an adapter; tests must not change it."""
    if name in TINY:
        return load_base(rows.model_config(base=str(ROOT / "assets" / name)), CPU)
    return Base(random_families.network(name), random_families.processor(name), CPU, torch.float32, "none")


@lru_cache
def library_of(name: str) -> Any:
    """The network as the library loads it: ours has another attention in some towers."""
    if name not in TINY:
        return base_of(name).network
    return transformers.AutoModelForImageTextToText.from_pretrained(ROOT / "assets" / name).float().eval()


def encoder_of(base: Base) -> RowEncoder:
    """The base's encoder, as the commands make it."""
    return make_encoder(base, rows.model_config(), rows.prompt_config())  # type: ignore[return-value]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> list[Row]:
    """Three rows with pictures of different sizes and shapes; the second has none."""
    made = rows.make_rows(tmp_path_factory.mktemp("images"), 3)
    return [made[0], replace(made[1], width=0, height=0, sha256="", image_file="/nowhere.png"), made[2]]


def shown(row: Row, view: ViewConfig) -> list[Image.Image]:
    """The pictures that a view shows, before the processor resizes them: by the words of docs/small_text.md alone."""
    if view.blind == "text" or not row.width:
        return []
    if view.blind == "grey":
        return [Image.new("RGB", (row.width, row.height), NEUTRAL)]
    image = open_image(row.image_file)
    return [ImageOps.mirror(image) if view.flip else image]


def conversation(base: Base, encoder: RowEncoder, row: Row, order: str, view: ViewConfig) -> dict[str, Any]:
    """The processor's output for the chat with all pictures, by the processor's own template."""
    images = shown(row, view)
    resized = [image.resize(size_of(encoder, *image.size, view)) for image in images]
    for picture in pictures_of(row.width, row.height, view)[1:]:
        left, top, right, bottom = picture.box
        size = size_of(encoder, 2 * (right - left), 2 * (bottom - top), view)
        resized.append(images[0].crop(picture.box).resize(size, Image.Resampling.BICUBIC))
    head, tail = encoder.renderer.around(len(resized))
    rendered = encoder.renderer.render(row, [order], len(resized))
    said = (rendered.prefix + rendered.branches[0])[len(head) : -len(tail)]
    content = [*({"type": "image"} for _ in resized), {"type": "text", "text": said}]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": encoder.renderer.prompt.system}]},
        {"role": "user", "content": content},
    ]
    arguments = {"enable_thinking": False} if "enable_thinking" in base.processor.chat_template else {}
    text = base.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **arguments)
    pictures = {"images": resized, "do_resize": False} if resized else {}
    return dict(base.processor(text=[text], return_tensors="pt", **pictures))


def size_of(encoder: RowEncoder, width: int, height: int, view: ViewConfig) -> tuple[int, int]:
    """Width and height of a picture after resizing."""
    _, down, across = encoder.grid_of(width, height, view)
    return across * encoder.patch, down * encoder.patch


def our_logits(base: Base, encoder: RowEncoder, table: list[Row], view: ViewConfig, folder: Path) -> torch.Tensor:
    """Letters' logits (B, K, 4): all rows as one batch, all orders in one pass."""
    encoded = [encoder.encode(row, ORDERS, view) for row in table]
    features = FeatureCache(base, encoder, view, "off", folder).of(list(zip(table, encoded, strict=True)))
    return letter_logits(FusedDecoder(base).states(encoded, features), base.letter_rows(encoder.letter_ids))


@every_base
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@torch.no_grad()
def test_logits_are_the_librarys(name: str, view: ViewConfig, table, tmp_path: Path) -> None:
    """Wrong positions of the second picture, or tiles of the unmirrored image, cost accuracy without any message."""
    base, library = base_of(name), library_of(name)
    encoder = encoder_of(base)
    ours = our_logits(base, encoder, table, view, tmp_path)
    inputs = [[conversation(base, encoder, row, order, view) for order in ORDERS] for row in table]
    theirs = torch.stack(
        [torch.stack([library(**made).logits[0, -1, encoder.letter_ids] for made in row]) for row in inputs]
    )
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


@every_base
@pytest.mark.parametrize("view", [VIEWS["tiles"], VIEWS["text"]], ids=["tiles", "text"])
def test_tokens_and_positions_are_the_librarys(name: str, view: ViewConfig, table) -> None:
    """The network derives M-RoPE positions from all pictures before a token; ours are made once per row."""
    base = base_of(name)
    encoder = encoder_of(base)
    for row in table:
        encoded, inputs = encoder.encode(row, ["abcd"], view), conversation(base, encoder, row, "abcd", view)
        assert encoded.prefix_ids + encoded.branch_ids[0] == inputs["input_ids"][0].tolist()
        grids = inputs.get("image_grid_thw", torch.empty(0, 3, dtype=torch.long))
        assert list(encoded.grids) == [tuple(grid) for grid in grids.tolist()]
        keys = [key for key in ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask") if key in inputs]
        if "mm_token_type_ids" not in inputs:
            continue  # no picture: all positions count up
        theirs, _ = base.network.model.get_rope_index(**{key: inputs[key] for key in keys})
        after = (encoded.next_position + torch.arange(len(encoded.branch_ids[0]))).expand(3, -1)
        assert torch.equal(torch.cat([encoded.prefix_positions, after], dim=1), theirs[:, 0])


def read_by(base: Base, encoder: RowEncoder, view: ViewConfig, table: list[Row]) -> dict[str, str]:
    """The transcripts of the first and the last row."""
    return {row.id: text for row, text in transcribe([table[0], table[2]], base, encoder, view)}


@every_base
@torch.no_grad()
def test_what_is_read_is_what_the_library_generates(name: str, table) -> None:
    """A transcript of another text than the base would write by itself is an invention of ours."""
    base, view = base_of(name), ViewConfig(tiles="1x2", read=True, read_tokens=12)
    encoder = encoder_of(base)
    ends, read = ends_of(base, encoder.tokenizer), read_by(base, encoder, view, table)
    for row in (table[0], table[2]):
        encoded = encoder.encode_reading(row, view)
        (features,) = FeatureCache(base, encoder, view, "off", Path("/nowhere")).of([(row, encoded)])
        ids = torch.tensor([encoded.prefix_ids])
        out = library_of(name).generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == encoder.image_token).long(),
            pixel_values=torch.cat(encoder.patches(row, view, encoded.pictures)),
            image_grid_thw=torch.tensor(encoded.grids),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=ends,
            pad_token_id=0,
        )
        theirs = [token for token in out[0, ids.shape[1] :].tolist() if token not in ends]
        assert written(base, encoded, features, 12, ends) == theirs and (theirs or name in TINY)
        assert read[row.id] == encoder.tokenizer.decode(theirs, skip_special_tokens=True).strip()


@torch.no_grad()
def test_the_stream_gives_the_caches_features(table, tmp_path: Path) -> None:
    """Training and scoring read pictures by two ways; a difference would be one between the model's two lives."""
    base, view = base_of("tiny-qwen3-vl"), VIEWS["mirrored tiles"]
    encoder = encoder_of(base)
    items = [Prepared(row, encoder.encode(row, ORDERS, view)) for row in [*table, table[0]]]
    kept = FeatureCache(base, encoder, view, "memory", tmp_path).of([(item.row, item.encoded) for item in items])
    batches = [[items[0], items[1]], [items[3]], [items[2]]]
    streamed = [made for _, batch in FeatureStream(base, encoder, view, None).stream(batches) for made in batch]
    for ours, theirs in zip(streamed, [kept[0], kept[1], kept[3], kept[2]], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
