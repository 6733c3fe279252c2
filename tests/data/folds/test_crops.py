"""Crops of photographs: a part of what a model was trained on would be asked as something new."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from places import REAL_DATA, needs_real_data
from vqaflow.data.folds import crops as crops_module
from vqaflow.data.folds.crops import GRID, IMAGES_PER_CROP, SPANS, find_crops, is_detailed, part_hashes, proposals
from vqaflow.data.images.decoding import open_image


def scene(seed: int, width: int = 480, height: int = 360) -> Image.Image:
    """Something like a photograph: things of many sizes and colours, without a plain background."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((width, height))
    draw = ImageDraw.Draw(image)
    for _ in range(120):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(6, 60)
        box = (x, y, x + size, y + size * rng.uniform(0.3, 2))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=tuple(rng.integers(40, 215, 3).tolist()))
    return image


def cropped(image: Image.Image, left: float = 0, top: float = 0, right: float = 0, bottom: float = 0) -> Image.Image:
    """The image without shares of its sides."""
    width, height = image.size
    return image.crop(tuple(map(round, (left * width, top * height, width * (1 - right), height * (1 - bottom)))))


def saved(folder: Path, images: list[Image.Image], quality: int = 80) -> list[str]:
    """The images as files."""
    files = [str(folder / f"{number}.jpg") for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        image.save(file, quality=quality)
    return files


CUTS = [
    {"left": 0.1, "top": 0.1, "right": 0.1, "bottom": 0.1},
    {"left": 0.02, "bottom": 0.03},
    {"top": 0.14},
    {"left": 0.05, "right": 0.09},
    {"right": 0.12, "bottom": 0.07},
]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_crop_is_found_however_it_was_saved(tmp_path: Path, cut: dict[str, float]) -> None:
    """At its own size, smaller, and squeezed into a square, as training tools save it."""
    images = [scene(seed) for seed in range(6)]
    crops = [cropped(images[0], **cut), cropped(images[1], **cut), cropped(images[2], **cut)]
    crops[1].thumbnail((240, 240))
    files = saved(tmp_path, [*images, *crops[:2], crops[2].resize((256, 256))], quality=70)
    assert sorted(find_crops(files, ()).found) == [(0, 6, False), (1, 7, False), (2, 8, False)]


@pytest.mark.parametrize("cut", CUTS[:2], ids=str)
def test_a_mirrored_crop_is_found(tmp_path: Path, cut: dict[str, float]) -> None:
    """As training tools make more pictures of one; the answer may be another, but the picture is known."""
    images = [scene(seed) for seed in range(4)]
    crops = [ImageOps.mirror(cropped(image, **cut)) for image in images[:2]]
    assert sorted(find_crops(saved(tmp_path, [*images, *crops]), ()).found) == [(0, 4, True), (1, 5, True)]


def frame(number: int) -> Image.Image:
    """A picture of a camera that stands still, with something that moves."""
    image = scene(0)
    ImageDraw.Draw(image).rectangle((60 + 40 * number, 150, 84 + 40 * number, 174), fill=(250, 250, 20))
    return image


def test_pictures_of_one_camera_are_no_crops(tmp_path: Path) -> None:
    """The answer depends on what has moved, and all else is the same."""
    images = [cropped(frame(number), left=0.03 * number) for number in range(5)]
    found = find_crops(saved(tmp_path, images), ())
    assert found.compared >= 5 and found.found == []


def test_a_thing_that_was_put_into_the_part_makes_another_picture(tmp_path: Path) -> None:
    """The question may be about just this."""
    image = scene(0)
    other = cropped(image, 0.1, 0.1, 0.1, 0.1)
    same = other.copy()
    other.paste((255, 255, 255), (100, 100, 120, 120))
    found = find_crops(saved(tmp_path, [image, other, scene(1)]), ())
    assert found.compared and found.found == []
    assert find_crops(saved(tmp_path, [image, same, scene(1)]), ()).found == [(0, 1, False)]


def test_known_pairs_are_not_looked_at_and_only_the_nearest_of_many_are(tmp_path: Path) -> None:
    """A picture that was saved again is near each part of its copy; frames of a film are all alike."""
    files = saved(tmp_path, [scene(0), cropped(scene(0), 0.1), cropped(scene(0), 0.05, 0.05), scene(1)])
    found = find_crops(files, ())
    assert {(0, 1, False), (0, 2, False)} <= set(found.found)
    rest = find_crops(files, [(0, 1)])
    assert (0, 1, False) not in rest.found and (0, 2, False) in rest.found and rest.compared < found.compared
    alike = np.zeros((10, len(SPANS) ** 2), dtype=np.uint64)
    proposed, left = proposals(alike, alike[:, 0], [])
    assert (len(proposed), left) == (10 * IMAGES_PER_CROP, 10 * (9 - IMAGES_PER_CROP))


def test_drawings_are_left_out(tmp_path: Path) -> None:
    """A circle on white, more to the left or the right: a part of the one shows the other, but they are no copies."""
    images = []
    for left in (60, 70, 80, 90):
        image = Image.new("RGB", (240, 240), "white")
        ImageDraw.Draw(image).ellipse((left, 80, left + 60, 140), fill="red")
        images.append(image)
    assert not any(is_detailed(image.resize((GRID, GRID), Image.Resampling.BOX)) for image in images)
    found = find_crops(saved(tmp_path, images), ())
    assert (found.found, found.compared) == ([], 0)


def test_the_parts_are_those_of_the_picture() -> None:
    """By the slow way: each part cut out, averaged and transformed by itself."""
    image = scene(3).resize((GRID, GRID), Image.Resampling.BOX)
    hashes = part_hashes(image)
    waves = np.cos(np.pi * np.arange(8)[:, None] * (np.arange(32) + 0.5) / 32)
    for number, spans in enumerate(product(SPANS, SPANS)):
        part = np.asarray(image.convert("L"), dtype=float)
        for low, high in spans:  # of rows, then of columns
            sums = np.concatenate([np.zeros((1, part.shape[1])), part.cumsum(0)])
            edges = np.linspace(low * GRID, high * GRID, 33)
            part = np.diff(
                [[np.interp(edge, range(GRID + 1), column) for column in sums.T] for edge in edges], axis=0
            ).T
        found = (waves @ part @ waves.T).ravel()
        assert np.packbits(found > np.median(found)).view(">u8")[0] == hashes[number], number


def test_all_pairs_within_the_bits_are_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (30, len(SPANS) ** 2), dtype=np.uint64)
    mirrored = rng.integers(0, 2**63, 30, dtype=np.uint64)
    hashes[20:, 0] = hashes[:10, 5] ^ np.uint64(0b1011)
    mirrored[10:20] = hashes[20:, 80] ^ np.uint64(0b1101)
    boxes = [(left, top, right, bottom) for (top, bottom), (left, right) in product(SPANS, SPANS)]
    expected = {(i, 20 + i, boxes[5], False) for i in range(10)}
    expected |= {(20 + i, 10 + i, boxes[80], True) for i in range(10)}
    for block in (1, 1 << 22):
        monkeypatch.setattr(crops_module, "BLOCK_PAIRS", block)
        proposed, _ = proposals(hashes, mirrored, [])
        assert {(one.image, one.crop, one.box, one.is_mirrored) for one in proposed} == expected


@needs_real_data
def test_crops_of_real_photographs_and_no_others_are_found(tmp_path: Path) -> None:
    """26 photographs with three crops each, of up to 15 % of each side, every other one mirrored."""
    files = sorted((REAL_DATA / "recycling2026").glob("*/*.jpg"))
    rng, images = np.random.default_rng(5), [open_image(file) for file in files]
    crops = [cropped(image, *rng.uniform(0, 0.15, 4)) for image in images for _ in range(3)]
    crops[::2] = map(ImageOps.mirror, crops[::2])
    for number, crop in enumerate(crops):
        crop.thumbnail([(2000, 2000), (crop.width // 2, crop.height // 2), (360, 360)][number % 3])
    found = find_crops(saved(tmp_path, images + crops, quality=70), ()).found
    shown = [*range(26), *(number // 3 for number in range(78))]
    assert all(shown[image] == shown[crop] for image, crop, _ in found)
    whole = {crop: is_mirrored for image, crop, is_mirrored in found if image < 26 <= crop}
    assert len(whole) >= 76 and all(is_mirrored == (crop % 2 == 0) for crop, is_mirrored in whole.items())
