"""The images of whole tables: what the configuration decides, and what training could not show."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from PIL import Image

import random_qwen
import rows
from competition import Competition
from vqaflow.config.sections import ViewConfig
from vqaflow.data.checks import ImageChecks
from vqaflow.data.images.decoding import ImageProblem
from vqaflow.data.images.visual_tokens import (
    least_max_pixels,
    visual_grids,
)
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.resize_limits import resize_limits
from vqaflow.runtime.errors import UserError

QWEN2, QWEN3 = 28, 32


@pytest.fixture
def data(tmp_path):
    return Competition(tmp_path)


def member(base, max_pixels, **views):
    """As far as resize_limits reads a member of a run."""
    return SimpleNamespace(
        model={"base": base, "revision": None, "max_pixels": max_pixels}, views=views, shown_views=list(views)
    )


@pytest.mark.parametrize("pixels", [QWEN2, QWEN3])
@pytest.mark.parametrize("max_pixels", [784, 12544, 50176, 602112])
def test_the_resizer_itself_agrees_on_what_is_too_thin(pixels, max_pixels):
    """Else a picture would pass and end the training, or be refused though it could be shown."""
    sides = [1, 2, 5, 14, 15, 16, 28, 32, 47, 56, 100, 333, 1000, 3000]
    sizes = [(w, h) for w in sides for h in sides if max(w, h) <= 200 * min(w, h)]
    grids = visual_grids(*zip(*sizes, strict=True), pixels, min(784, max_pixels), max_pixels)
    refused = [least_max_pixels(w, h, pixels, max_pixels) is not None for w, h in sizes]
    assert refused == [0 in grid for grid in grids]
    for (w, h), is_refused in zip(sizes, refused, strict=True):
        if is_refused:  # the cure must be one
            least = least_max_pixels(w, h, pixels, max_pixels)
            assert 0 not in visual_grids([w], [h], pixels, 784, least)[0], (w, h, least)
    assert any(refused) == (max_pixels < 200 * pixels**2)


def test_the_limits_are_those_of_all_members_and_views_that_are_shown():
    """A view may show less than the model, and a second member has tokens of another size."""
    members = [
        member("Qwen/Qwen2.5-VL-7B-Instruct", 602112, original={}, small={"max_pixels": 50176}),
        member("Qwen/Qwen3-VL-8B-Instruct", 100352, original={}, hflip={"flip": True, "max_pixels": None}),
        member("OpenGVLab/InternVL3-8B-hf", 50176, original={}),
        member("google/gemma-4-E4B-it", 50176, original={}),
    ]
    assert resize_limits(members) == [[QWEN2, 50176], [QWEN3, 100352]]
    assert resize_limits(members[:1]) == [[QWEN2, 50176]]
    assert resize_limits([member("Qwen/Qwen3-VL-8B-Instruct", 786432, original={})]) == []


def test_a_picture_that_no_view_could_show_is_refused_by_the_checks(data):
    """It ends the training after hours: `height and width must be > 0`."""
    Image.new("RGB", (3000, 15)).save(data.folder / "train/train_0001.png")
    Image.new("RGB", (15, 2900)).save(data.folder / "test/test_0002.png")
    assert len(data.run()[0]) == 6, "with enough pixels it can be shown"
    message = data.fail(resize_limits=[[QWEN2, 50176], [QWEN3, 40000]])
    assert "the image is too thin: of its 3000 x 15 pixels, max_pixels 40,000 would leave less than" in message
    assert "raise max_pixels (model or view) to 204,800" in message
    assert data.kinds() == {("image_shape", "train_0001", "path"), ("image_shape", "test_0002", "path")}
    assert len(data.run(resize_limits=[[QWEN2, 50176]], on_bad_row="quarantine")[0]) == 5


def test_truncated_images_are_used_with_a_warning_if_the_configuration_says_so(data):
    path = data.folder / "train/train_0001.png"
    Image.effect_noise((300, 200), 90).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-5])
    assert "set data.truncated_images: accept" in data.fail()
    train, _ = data.run(truncated_images="accept")
    assert len(train) == 6 and train["usable"].all()
    assert ("image_truncated", "train_0001", "path") in data.kinds() and set(data.problems()["severity"]) == {"warning"}


def test_a_folder_of_links_is_used_if_the_configuration_says_so(data, tmp_path_factory):
    """And a file that a cache calls by its digest is not one without extension."""
    cache = tmp_path_factory.mktemp("cache")
    for number, row in enumerate(data.train + data.test):
        path = data.folder / row["path"]
        path.rename(cache / f"{number:040x}")
        path.symlink_to(cache / f"{number:040x}")
    assert "set data.follow_links: true" in data.fail()
    train, test = data.run(follow_links=True)
    assert train["usable"].all() and test["usable"].all() and data.problems().empty
    assert train["image_file"][0] == str(data.folder / data.train[0]["path"])


def test_absolute_paths_into_the_folder_are_used(data):
    for row in data.train:
        row["path"] = str(data.folder / row["path"])
    train, _ = data.run()
    assert train["image_file"][0] == data.train[0]["path"] and data.problems().empty


def test_an_extension_that_is_wrong_in_one_name_only_is_told_for_that(data):
    """Two names of one file: a link may have the right extension, and the file the wrong one."""
    (data.folder / "train/link.jpg").symlink_to("train_0000.png")
    data.train[1]["path"] = "train/link.jpg"
    data.run()
    assert data.kinds() == {("image_extension", "train_0001", "path")}


def test_a_picture_that_became_too_thin_later_is_one_message():
    """max_pixels may be lowered after the checks: the training must not end with `height and width must be > 0`."""
    encoder = RowEncoder(random_qwen.processor(), rows.model_config(max_pixels=50176), rows.prompt_config())
    with pytest.raises(UserError, match=r"an image of 3000 x 15 pixels is too thin for max_pixels 50,176") as error:
        encoder.grid_of(3000, 15, ViewConfig())
    least = int(str(error.value).split("(model or view) to ")[1].split(", or")[0].replace(",", ""))
    assert encoder.grid_of(3000, 15, ViewConfig(max_pixels=least))[1] > 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.png", None),
        (f"{'long' * 100}.png", None),
        ("../outside.png", None),
        ("folder", None),
        ("text.jpg", b"hello" * 100),
        ("half.png", b"\x89PNG\r\n\x1a\n" + b"0" * 500),
        ("empty.jpg", b""),
    ],
)
def test_what_is_kept_of_an_unusable_image_keeps_nothing_else(tmp_path, name, content):
    """A table without its images would stay in memory as a whole, and so would the bytes of every broken picture."""

    class Rows:
        """Stands for the part of a table in which the cell is."""

    (tmp_path / "folder").mkdir()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    images = ImageChecks(tmp_path, 10**6)

    def look() -> tuple[ImageProblem, weakref.ref]:
        rows = Rows()
        (problem,) = images.inspect([name])
        return problem, weakref.ref(rows)

    problem, rows = look()
    gc.collect()
    assert isinstance(problem, ImageProblem) and rows() is None
    assert problem.__traceback__ is None and problem.__context__ is None
