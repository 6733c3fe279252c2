"""Images: what would break if a picture were turned or clipped, or came from outside its folder."""

import unicodedata

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from vqaflow.data.images.decoding import ImageProblem, inspect_image, open_image
from vqaflow.data.images.finding import find_image
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError

LIMIT = 1_000_000


def picture(width=40, height=30, seed=0):
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def problem(path, max_pixels=LIMIT):
    with pytest.raises(ImageProblem) as caught:
        inspect_image(path, max_pixels)
    assert str(path) in str(caught.value) and isinstance(caught.value, UserError) and caught.value.cure
    return caught.value.kind


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_a_viewer_s(tmp_path, orientation, suffix):
    """A phone's portrait must not lie on its side; Pillow's own rule is the reference."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    picture().save(path, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    assert np.array_equal(open_image(path), expected)
    assert open_image(path).size == ((40, 30) if orientation < 5 else (30, 40))
    facts = inspect_image(path, LIMIT)
    assert (facts.width, facts.height) == expected.size


def test_broken_exif_does_not_cost_the_image(tmp_path):
    path = tmp_path / "a.jpg"
    picture().save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xee" * 20)
    assert open_image(path).size == (40, 30)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_white(tmp_path, mode):
    """The colour hidden under a transparent pixel is arbitrary, often black."""
    image = Image.new("RGBA", (20, 20), (200, 10, 10, 255))
    image.paste((0, 0, 0, 0), (0, 0, 10, 20))
    if mode == "P":
        image = image.quantize(4)
    path = tmp_path / "a.png"
    image.convert(mode).save(path)
    pixels = np.asarray(open_image(path))
    assert (pixels[:, :10] == 255).all() and (pixels[:, 10:] != 255).all()


def test_transparency_is_as_qwen_vl_utils_has_it(tmp_path):
    """Half-transparent pixels too, so that a published model sees what its own code would show it."""
    from qwen_vl_utils.vision_process import to_rgb

    alpha = np.random.default_rng(1).integers(0, 255, (9, 9, 4), dtype=np.uint8)
    Image.fromarray(alpha).save(tmp_path / "a.png")
    assert np.array_equal(open_image(tmp_path / "a.png"), to_rgb(Image.open(tmp_path / "a.png")))


def test_16_bit_greys_are_scaled_not_clipped(tmp_path):
    """Pillow's conversion would make a 16-bit scan completely white."""
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png"))[..., 0], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGB"])
def test_every_common_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / "a.tif"
    picture().convert(mode).save(path)
    assert open_image(path).mode == "RGB"


def test_facts(tmp_path):
    path = tmp_path / "a.png"
    picture().save(path)
    facts = inspect_image(path, LIMIT)
    assert facts.sha256 == file_digest(path) and facts.oddity is None
    assert facts.phash == str(imagehash.phash(picture())) and len(facts.phash) == 16


def test_reencoding_keeps_the_perceptual_hash_near(tmp_path):
    picture(400, 300).save(tmp_path / "a.png")
    picture(400, 300).resize((200, 150)).save(tmp_path / "a.jpg", quality=60)
    hashes = [imagehash.hex_to_hash(inspect_image(tmp_path / n, LIMIT).phash) for n in ("a.png", "a.jpg")]
    assert hashes[0] - hashes[1] <= 4


def test_broken_files_are_distinguished(tmp_path):
    whole = tmp_path / "whole.jpg"
    picture(200, 150).save(whole)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "half.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "page.png").write_text("<html>404 not found</html>")
    picture(200, 150).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    kinds = {
        "empty.jpg": "image_empty",
        "half.jpg": "image_truncated",
        "half.png": "image_truncated",
        "text.jpg": "image_unreadable",
        "page.png": "image_unreadable",
        "none.jpg": "image_missing",
    }
    assert {name: problem(tmp_path / name) for name in kinds} == kinds


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    """A few kilobytes may declare gigapixels; the limit is the configured one, above and below Pillow's own."""
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 100_000
    assert problem(path) == "image_bomb"
    assert problem(path, 399_999_999) == "image_bomb"
    with pytest.raises(ImageProblem, match=r"max_image_pixels"):
        inspect_image(path, LIMIT)


def test_what_the_tables_accepted_opens(tmp_path):
    """With data.max_image_pixels raised for large scans, training would end hours later at an image of the tables."""
    path = tmp_path / "scan.png"
    Image.new("1", (13_400, 13_400)).save(path)  # just above the size that Pillow refuses by itself
    assert open_image(path).size == (13_400, 13_400)


def test_a_large_text_chunk_is_no_way_around(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 70_000_000, zip=True)
    picture().save(tmp_path / "a.png", pnginfo=info)
    assert problem(tmp_path / "a.png") == "image_unreadable"


def test_shapes_that_the_resizer_refuses(tmp_path):
    from qwen_vl_utils import smart_resize

    for size, refused in [((200, 1), False), ((201, 1), True), ((1, 201), True)]:
        Image.new("RGB", size).save(tmp_path / "a.png")
        if refused:
            assert problem(tmp_path / "a.png") == "image_shape"
            with pytest.raises(ValueError, match="aspect"):
                smart_resize(size[1], size[0], 28)
        else:
            assert inspect_image(tmp_path / "a.png", LIMIT).width == 200


def test_the_content_decides_not_the_extension(tmp_path):
    """Many data sets have PNG files called .jpg: they are used, and reported."""
    picture().save(tmp_path / "a.jpg", format="PNG")
    facts = inspect_image(tmp_path / "a.jpg", LIMIT)
    assert facts.oddity.kind == "image_extension" and "PNG" in facts.oddity.what and ".jpg" in facts.oddity.what
    picture().save(tmp_path / "a.JPEG", format="JPEG")
    assert inspect_image(tmp_path / "a.JPEG", LIMIT).oddity is None


def test_32_bit_pixels_are_refused_rather_than_guessed(tmp_path):
    Image.fromarray(np.ones((5, 5), np.float32)).save(tmp_path / "a.tif")
    assert problem(tmp_path / "a.tif") == "image_unreadable"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "sub").mkdir(parents=True)
    for name in ("root/a.png", "root/sub/b.png", "outside.png"):
        picture().save(tmp_path / name)
    (tmp_path / "root" / "out.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "root" / "outdir").symlink_to(tmp_path)
    (tmp_path / "root" / "in.png").symlink_to("sub/b.png")
    (tmp_path / "root" / "loop.png").symlink_to("loop.png")
    (tmp_path / "link_to_root").symlink_to("root")
    return tmp_path / "root"


@pytest.mark.parametrize("name", ["a.png", "sub/b.png", "sub/../a.png", "in.png", "./a.png"])
def test_paths_that_stay_inside(root, name):
    assert find_image(name, root).is_file()
    assert find_image(name, root.parent / "link_to_root").is_file()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside.png", "image_outside"),
        ("sub/../../outside.png", "image_outside"),
        ("/etc/passwd", "image_outside"),
        ("C:\\a.png", "image_outside"),
        ("out.png", "image_outside"),
        ("outdir/outside.png", "image_outside"),
        ("loop.png", "image_missing"),
        ("none.png", "image_missing"),
        ("sub", "image_missing"),
        ("sub\\b.png", "image_missing"),
        ("a\0.png", "image_missing"),
        ("x" * 5000, "image_missing"),
    ],
)
def test_paths_that_do_not(root, name, kind):
    """A table must not make the run read, or publish in a report, any other file of the machine."""
    with pytest.raises(ImageProblem) as caught:
        find_image(name, root)
    assert caught.value.kind == kind and "\n" not in str(caught.value)


def test_a_name_in_another_unicode_form_or_case_is_reported(root):
    """A reader sees two equal names, and would look for the fault elsewhere."""
    (root / unicodedata.normalize("NFD", "사진")).mkdir()
    picture().save(root / unicodedata.normalize("NFD", "사진/고양이.png"))
    for name, words in {
        "사진/고양이.png": ["Unicode form (the table's is NFC)", "--nfc"],
        "SUB/b.PNG": ["upper and lower case", f"{root}/sub/b.png"],
    }.items():
        with pytest.raises(ImageProblem) as caught:
            find_image(name, root)
        assert caught.value.kind == "image_missing" and all(word in str(caught.value) for word in words), caught.value
    with pytest.raises(ImageProblem, match=r"no file \S*sub/none\.png\. Put it there"):
        find_image("sub/none.png", root)


@pytest.mark.parametrize("name", [" sub/b.png", "sub/b.png ", "\u3000sub/b.png\t"])
def test_spaces_around_a_path_are_reported(root, name):
    """Nobody sees a space at the end of a cell, and the file seems to be there."""
    with pytest.raises(ImageProblem, match="one without the spaces around it. Remove the spaces") as caught:
        find_image(name, root)
    assert caught.value.kind == "image_missing"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_damage_gives_an_image_or_a_problem(tmp_path_factory, data):
    """Never another exception, which would end the run without the list of problems."""
    path = tmp_path_factory.mktemp("damage") / "a.jpg"
    picture().save(path, format=data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert open_image(path).mode == "RGB"
    except ImageProblem as error:
        assert error.kind.startswith("image_")
