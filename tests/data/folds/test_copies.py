"""Copies with other bytes: what a model would be asked that it has learned by heart."""

import json
import logging

import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from places import REAL_DATA, needs_real_data
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.data.folds import copies as copies_module
from vqaflow.data.folds.copies import COPY_BITS, CROPPED, SAME, TURNS, WHOLE, find_copies, near_report, turned_hashes
from vqaflow.data.folds.groups import row_groups
from vqaflow.data.folds.make_folds import make_folds
from vqaflow.data.folds.small_images import is_copy
from vqaflow.data.images import near_duplicates
from vqaflow.data.images.decoding import inspect_image, open_image
from vqaflow.data.images.near_duplicates import hash_numbers, likely_pairs
from vqaflow.runtime.stage import log

LETTERS = ALL_LETTERS[:4]

LEFT_RIGHT = Image.Transpose.FLIP_LEFT_RIGHT


def photo(seed, width=160, height=120):
    small = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def photo_part(seed, left, top):
    image = photo(seed)
    return image.crop((round(left * image.width), round(top * image.height), image.width, image.height))


def table_of(folder, pictures):
    """A checked table of pictures by file name, each with its own question; ids are the names."""
    rows = []
    for number, (name, (image, options)) in enumerate(pictures.items()):
        image.save(folder / name, **options)
        facts = inspect_image(folder / name, 10**7)
        row = {"id": name, "image_file": str(folder / name), "question": f"{number}?", "qtype": "general"}
        row |= {letter: f"{letter}{number}" for letter in LETTERS} | {"answer": LETTERS[number % 4]}
        rows.append(row | {name: getattr(facts, name) for name in ("sha256", "pixels", "phash", "width", "height")})
    return pd.DataFrame(rows)


def found(table):
    return [(copy.row, copy.copy, copy.how) for copy in find_copies(table).found]


@pytest.fixture
def folds(tmp_path, caplog, monkeypatch):
    """Make two folds of a table; returns them by id, the report and the log."""
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO, log.name)

    def run(train, test=None, **changes):
        train.to_parquet(tmp_path / "train.parquet")
        other = train.head(1).assign(id="other", pixels="0" * 64, phash="f0" * 8, image_file="none")
        (other if test is None else test).to_parquet(tmp_path / "test.parquet")
        settings = {"n": 2, "seed": 0, "group_by": ["image"], "near_distance": 0} | changes
        files = {name: tmp_path / f"{name}.parquet" for name in ("train", "test")}
        make_folds(**files, **settings, folds_out=tmp_path / "folds.parquet", report_out=tmp_path / "report.json")
        made = pd.read_parquet(tmp_path / "folds.parquet")
        report = json.loads((tmp_path / "report.json").read_text())
        return dict(zip(made["id"], made["fold"], strict=True)), report, caplog.text

    return run


def test_equal_pixels_in_other_bytes_share_a_fold(tmp_path):
    """A PNG that was saved again, or as WebP: nobody sees a difference, and the digests of the files differ."""
    pictures = {
        "a.png": (photo(0), {}),
        "other.png": (photo(1), {}),
        "again.png": (photo(0), {"compress_level": 1}),
        "a.webp": (photo(0), {"lossless": True}),
        "a.bmp": (photo(0), {}),
        "flat.png": (Image.new("RGB", (20, 20), "red"), {}),
        "flat2.png": (Image.new("RGB", (20, 20), "blue"), {}),
        "long.png": (Image.new("RGB", (40, 10), "red"), {}),  # the same bytes of pixels in another shape
    }
    table = table_of(tmp_path, pictures)
    assert table["sha256"].nunique() == 8
    assert list(row_groups(table, ["image"], 0)) == [0, 1, 0, 0, 0, 2, 3, 4]
    assert list(row_groups(table, ["question"], 0)) == list(range(8))


def test_pixels_are_those_of_the_upright_picture(tmp_path):
    """A phone marks a picture as turned; a program saves it turned."""
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(0).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=turned)
    photo(0).save(tmp_path / "saved.png")
    phone, saved = (inspect_image(tmp_path / name, 10**6) for name in ("phone.png", "saved.png"))
    assert phone.pixels == saved.pixels and phone.sha256 != saved.sha256


@pytest.mark.parametrize("how", TURNS)
def test_the_hash_of_a_turned_picture_follows_from_its_own(how):
    turned = [photo(seed).transpose(TURNS[how]) for seed in range(20)]
    given, right = (
        hash_numbers(str(imagehash.phash(image)) for image in images) for images in (map(photo, range(20)), turned)
    )
    predicted = turned_hashes(given, TURNS[how])
    assert np.bitwise_count(predicted ^ right).max() <= COPY_BITS
    assert np.median(np.bitwise_count(given ^ right)) > 2 * COPY_BITS


@pytest.mark.parametrize("how", [SAME, *TURNS])
def test_copies_share_a_fold_though_they_were_saved_small_and_as_jpeg(tmp_path, folds, how):
    """People augment by hand, and scrape pictures that were mirrored; a fold then validates on its training rows."""
    pictures = {f"{seed}.png": (photo(seed), {}) for seed in range(12)}
    for seed in range(6):
        copy = photo(seed).transpose(TURNS[how]) if how in TURNS else photo(seed)
        pictures[f"copy{seed}.jpg"] = (copy.resize((copy.width // 2, copy.height // 2)), {"quality": 70})
    table = table_of(tmp_path, pictures)
    assert found(table) == [(f"{seed}.png", f"copy{seed}.jpg", how) for seed in range(6)]
    made, report, text = folds(table)
    assert [made[f"{seed}.png"] for seed in range(6)] == [made[f"copy{seed}.jpg"] for seed in range(6)]
    assert len(report["copies"]["joined"]) == 6 and f"6 copies of training images share their fold: 6 {how}" in text
    assert folds(table, group_by=["question"])[1]["copies"]["joined"] == []


def test_pictures_that_only_look_alike_are_told_and_not_joined(tmp_path, folds):
    """Drawings of one kind have nearly equal hashes; joined, they would be one group that no split can even out."""
    pictures = {}
    for number in range(8):
        image = Image.new("RGB", (64, 64), (255 - 8 * number, 230, 230))
        image.paste((0, 128, 128), (20, 20 + number // 4, 40, 40 + number // 4))
        pictures[f"{number}.png"] = (image, {})
    table = table_of(tmp_path, pictures)
    hashes = hash_numbers(table["phash"])
    assert np.bitwise_count(hashes[:, None] ^ hashes).max() <= 4, "else they are no test"
    alike = {(one, other) for one, other, _ in found(table)}
    assert all(abs(int(one[0]) - int(other[0])) == 1 for one, other in alike), "only steps of 8 of 255 in one colour"
    table = table.iloc[::2].reset_index(drop=True)
    assert found(table) == []
    made, report, text = folds(table)
    assert report["near"]["pairs"] == 6 and report["near"]["in_different_folds"] == 4
    assert "4 pairs of training images in different folds have hashes within 4 bits" in text
    assert {made[report["near"]["examples"][0][side]] for side in ("one", "other")} == {0, 1}


def test_a_small_object_or_a_faint_pattern_makes_another_picture():
    """One more thing on a table, and an X-ray: of little difference in all, but the answer depends on it."""
    table = photo(0).resize((32, 32))
    more = table.copy()
    more.paste((255, 255, 255) if np.asarray(table)[10, 10].mean() < 128 else (0, 0, 0), (10, 10, 12, 12))
    assert is_copy(table, table) and not is_copy(table, more)
    faint = [
        Image.fromarray((np.asarray(photo(seed).resize((32, 32))) // 20 + 120).astype(np.uint8)) for seed in (1, 2)
    ]
    assert np.abs(np.subtract(*(np.asarray(image, dtype=float) for image in faint))).mean() < 4
    assert is_copy(faint[0], faint[0]) and not is_copy(*faint)


def test_flat_pictures_of_similar_colours_are_no_copies(tmp_path):
    pictures = {f"{n}.png": (Image.new("RGB", (40, 40), (200, 200, 200 + n)), {}) for n in range(4)}
    assert found(table_of(tmp_path, pictures)) == []


def test_copies_in_test_are_reported(tmp_path, folds):
    """A test picture that was mirrored for training: accuracy on it says nothing."""
    train = table_of(tmp_path, {f"{seed}.png": (photo(seed), {}) for seed in range(8)})
    test = table_of(tmp_path, {"t.jpg": (photo(3).transpose(LEFT_RIGHT), {"quality": 80}), "u.png": (photo(50), {})})
    test.loc[2] = {"id": "no picture", "image_file": "none"}
    _, report, text = folds(train, test)
    example = {"train": "3.png", "test": "t.jpg"}
    assert report["in_test"]["copies"] == {"train_rows": 1, "train_images": 1, "test_rows": 1, "examples": [example]}
    assert report["copies"]["joined"] == [] and "saved again, mirrored, turned or cropped (1 rows there)" in text


def test_pictures_that_cannot_be_read_are_told(tmp_path, folds):
    """The folds are those of equal pixels then; and the run goes on, as on a machine without the pictures."""
    pictures = {"a.png": (photo(0), {}), "b.jpg": (photo(0), {"quality": 80}), "c.png": (photo(2), {})}
    table = table_of(tmp_path, pictures)
    (tmp_path / "b.jpg").unlink()
    assert find_copies(table).unread == 1 and "2 images cannot be read" in folds(table)[2], "here and in test"


@pytest.mark.parametrize("flips", range(7))
def test_likely_pairs_are_all_pairs_within_six_bits(flips):
    """A byte that is missed would let copies into two folds."""
    rng = np.random.default_rng(flips)
    numbers = rng.integers(0, 2**63, 400, dtype=np.uint64)
    for i in range(200):
        numbers[200 + i] = numbers[i] ^ np.uint64(sum(1 << int(bit) for bit in rng.choice(64, flips, replace=False)))
    pairs = {tuple(pair) for pair in likely_pairs(numbers, numbers, 10).tolist()}
    assert {(i, 200 + i) for i in range(200)} <= pairs and len(pairs) == 200
    turned = turned_hashes(numbers, LEFT_RIGHT)
    assert likely_pairs(turned, turned_hashes(turned, LEFT_RIGHT), 10).tolist() == []
    mirrored = np.concatenate([numbers[:200], turned_hashes(numbers[200:], LEFT_RIGHT)])
    crossing = likely_pairs(turned_hashes(mirrored, LEFT_RIGHT), mirrored, 10).tolist()
    assert crossing == [[i, 200 + i] for i in range(200)]


def test_the_work_grows_no_faster_than_the_table(monkeypatch):
    """Thousands of pictures that all look alike: comparing all pairs would take days for 100,000."""
    compared, count_bits = [], np.bitwise_count
    monkeypatch.setattr(
        near_duplicates.np, "bitwise_count", lambda bits: compared.append(bits.size) or count_bits(bits)
    )
    for count in (1000, 4000):
        compared.clear()
        likely_pairs(np.arange(count, dtype=np.uint64), np.arange(count, dtype=np.uint64), 10)
        assert sum(compared) <= 28 * near_duplicates.NEIGHBOURS * count


def test_only_so_many_pairs_are_compared_and_the_rest_is_told(tmp_path, monkeypatch, folds):
    monkeypatch.setattr(copies_module, "PAIRS_PER_IMAGE", 1)
    monkeypatch.setattr(copies_module, "MOST_IMAGES", 0)  # else what is left is found as the whole of a crop
    pictures = {f"{n}.jpg": (photo(0), {"quality": 60 + n}) for n in range(8)}
    made, report, text = folds(table_of(tmp_path, pictures | {"b.png": (photo(1), {})}))
    assert report["copies"]["compared"] == 10 and report["copies"]["not_compared"] == 28 - 10
    assert "18 pairs were not compared" in text and len(made) == 9


def test_near_pairs_are_counted_once_for_each_picture(tmp_path):
    """Ten questions about one picture are no ten pairs."""
    table = table_of(tmp_path, {"a.png": (photo(0), {}), "b.jpg": (photo(0), {"quality": 90})})
    table = pd.concat([table, table.iloc[:1].assign(id="again")], ignore_index=True)
    assert near_report(table, np.array([0, 1, 0]))["in_different_folds"] == 1


def test_crops_are_joined_told_and_counted(tmp_path, monkeypatch, folds):
    """In either order of the table; that there are too many images for a search is told."""
    pictures = {
        "part.jpg": (photo_part(0, 0.1, 0.05), {"quality": 85}),
        "whole.png": (photo(0), {}),
        "again.jpg": (photo(0), {"quality": 60}),
        "corner.png": (photo_part(1, 0, 0.1), {}),
        "other.png": (photo(1), {}),
    }
    table = table_of(tmp_path, pictures)
    assert ("part.jpg", "whole.png", WHOLE[False]) in found(table)
    assert ("whole.png", "again.jpg", "saved again") in found(table)
    assert ("corner.png", "other.png", WHOLE[False]) in found(table)
    assert {how for *_, how in found(table.iloc[::-1])} == {CROPPED[False], "saved again"}
    monkeypatch.setattr(copies_module, "MOST_IMAGES", 4)
    _, report, text = folds(table)
    assert report["copies"]["images_without_search_for_crops"] == 6
    assert "cropped copies were not looked for: 6 images are more than" in text
    assert found(table) == [("whole.png", "again.jpg", "saved again")]


def test_a_mirrored_crop_is_told_as_one(tmp_path):
    """Left and right are exchanged, which a question may be about."""
    pictures = {
        "part.jpg": (ImageOps.mirror(photo_part(0, 0.1, 0.05)), {"quality": 85}),
        "whole.png": (photo(0), {}),
        "other.png": (photo(1), {}),
    }
    table = table_of(tmp_path, pictures)
    assert found(table) == [("part.jpg", "whole.png", WHOLE[True])]
    assert found(table.iloc[::-1]) == [("whole.png", "part.jpg", CROPPED[True])]


@needs_real_data
def test_real_photographs_and_no_others_are_joined(tmp_path, folds):
    """26 photographs, each saved again in six ways and turned in seven: all are found, and nothing else is."""
    pictures, expected = {}, set()
    changes = {SAME: lambda image: image} | {how: (lambda i, t=turn: i.transpose(t)) for how, turn in TURNS.items()}
    files = sorted((REAL_DATA / "recycling2026").glob("*/*.jpg"))
    assert len(files) == 26
    for number, file in enumerate(files):
        image = open_image(file)
        pictures[f"{number}.png"] = (image, {})
        for how, change in changes.items():
            made = change(image)
            made.thumbnail((360, 360)) if number % 2 else None
            pictures[f"{number} {how}.jpg"] = (made, {"quality": 70})
            expected.add(f"{number} {how}.jpg")
    table = table_of(tmp_path, pictures)
    shown = table["id"].str.split(r"[ .]", expand=True)[0].to_numpy()
    pairs = {frozenset(pair[:2]) for pair in found(table)}
    false = [pair for pair in pairs if len({name.split(" ")[0].split(".")[0] for name in pair}) > 1]
    assert false == []
    groups = row_groups(table, ["image"], 0, [tuple(pair) for pair in pairs])
    assert all(len(set(groups[shown == number])) == 1 for number in set(shown)), "a copy was missed"
    assert groups.max() + 1 == 26
    made, report, _ = folds(table, n=3)
    assert all(len({made[name] for name in table["id"][shown == number]}) == 1 for number in set(shown))
    assert report["near"]["in_different_folds"] == 0
