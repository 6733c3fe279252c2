"""From a table's cell to its file: links, absolute paths, and names that are nearly those of a file."""

import numpy as np
import pytest
from PIL import Image

from vqaflow.data.images.decoding import ImageProblem
from vqaflow.data.images.finding import find_image


@pytest.fixture
def root(tmp_path):
    """An image folder with links to a hub's cache and to another disk, and files of many names."""
    root, blobs, disk = tmp_path / "images", tmp_path / "blobs", tmp_path / "disk"
    for folder in (root / "train", root / "val", blobs, disk / "more"):
        folder.mkdir(parents=True)
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    for file in (root / "train/0007.jpg", root / "train/a b.jpg", root / "val/8.JPG", disk / "more/x.png"):
        picture.save(file)
    picture.save(blobs / "9f86d081", format="PNG")
    (root / "blob.png").symlink_to("../blobs/9f86d081")
    (root / "disk").symlink_to(disk)
    (root / "train/notes.txt").write_text("no picture")
    (tmp_path / "other_name").symlink_to("images")
    return root


@pytest.mark.parametrize("name", ["blob.png", "disk/more/x.png"])
def test_links_out_of_the_folder_are_followed_if_the_user_says_so(root, name):
    """A hub's cache consists of links, and large data sets lie on another disk."""
    with pytest.raises(ImageProblem, match="by a link, to .*set data.follow_links: true") as caught:
        find_image(name, root)
    assert caught.value.kind == "image_outside"
    assert find_image(name, root, follow_links=True) == (root / name).resolve()


@pytest.mark.parametrize(
    "name", ["../blobs/9f86d081", "disk/../blobs/9f86d081", "/etc/passwd", "train/../../blobs/9f86d081"]
)
def test_paths_that_leave_the_folder_by_themselves_are_refused_even_then(root, name):
    """A table comes from others; the links in the folder are the user's."""
    with pytest.raises(ImageProblem) as caught:
        find_image(name, root, follow_links=True)
    assert caught.value.kind == "image_outside" and "follow_links" not in caught.value.cure


def test_absolute_paths_into_the_folder_are_followed(root):
    """Tables that scripts write have them; by either name of the folder."""
    right = root / "train/0007.jpg"
    assert find_image(str(right), root) == find_image(str(right), root.parent / "other_name") == right.resolve()
    assert find_image(str(root.parent / "other_name/train/0007.jpg"), root.parent / "other_name") == right.resolve()
    with pytest.raises(ImageProblem, match="absolute"):
        find_image(str(root / "../blobs/9f86d081"), root)


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("train/0007", "train/0007.jpg", "which has an extension"),
        ("train/0007.png", "train/0007.jpg", "whose extension is not .png"),
        ("train/a%20b.jpg", "train/a b.jpg", "whose name has no %-codes"),
        ("images/train/0007.jpg", "train/0007.jpg", "without the folder images"),
        ("./data/images/train/0007.png", "train/0007.jpg", "without the folder ./data/images"),
        ("0007.jpg", "train/0007.jpg", "in the folder train"),
        ("0007", "train/0007.jpg", "in the folder train"),
        ("train/7.jpg", "train/0007.jpg", "other leading zeros"),
        ("val/0008.jpg", "val/8.JPG", "other leading zeros"),
        ("TRAIN/0007.JPG", "train/0007.jpg", "upper and lower case"),
        ("https://example.org/set/train/0007.jpg?x=1", "train/0007.jpg", "an address, not a path"),
        ("file:///data/images/train/0007.jpg", "train/0007.jpg", "an address, not a path"),
        ("'train/0007.jpg'", "train/0007.jpg", "among other signs"),
        ("['train/0007.jpg']", "train/0007.jpg", "among other signs"),
        ("![](train/0007.jpg)", "train/0007.jpg", "among other signs"),
        ('<img src="train/0007.jpg">', "train/0007.jpg", "among other signs"),
        ("train/0007.jpg;val/8.JPG", "train/0007.jpg", "among other signs"),
        ("train/a+b.jpg", "train/a b.jpg", "spaces, hyphens, underscores"),
        ("train/a_b.jpg", "train/a b.jpg", "spaces, hyphens, underscores"),
        ("train/0007.jpg.jpg", "train/0007.jpg", "spaces, hyphens, underscores or dots"),
        ("train/a&#32;b.jpg", "train/a b.jpg", "no codes of HTML"),
        ("val/0007.jpg", "train/0007.jpg", "in another folder"),
    ],
)
def test_a_file_with_a_similar_name_is_named(root, name, file, words):
    """The eye reads over such differences, and the file seems to be there."""
    with pytest.raises(ImageProblem) as caught:
        find_image(name, root)
    error = caught.value
    assert error.kind == "image_missing" and words in error.what and str(root / file) in error.what, error
    assert "Put it there" not in error.cure


@pytest.mark.parametrize("name", ["train/notes.jpg", "train/9.jpg", "nowhere/9.png", "train/0007.jpg.part"])
def test_no_other_file_is_proposed(root, name):
    with pytest.raises(ImageProblem, match=r"there is no file .*\. Put it there, correct the path"):
        find_image(name, root)


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("/content/drive/MyDrive/train/0007.jpg", "/content/drive/MyDrive/"),
        ("/train/0007.jpg", "/"),
        ("C:\\data\\train\\0007.jpg", "C:/data/"),
        ("D:/train/0007.jpg", "D:/"),
        ("\\\\server\\share\\train\\0007.jpg", "//server/share/"),
    ],
)
def test_a_path_of_another_machine_is_told_what_to_drop(root, name, dropped):
    with pytest.raises(ImageProblem) as caught:
        find_image(name, root)
    assert caught.value.kind == "image_outside" and f"there is a file {root / 'train/0007.jpg'}" in caught.value.what
    assert caught.value.cure == f"Remove {dropped} from the paths"


@pytest.mark.parametrize(
    "name", ["data:image/png;base64,iVBORw0KGgo=", "iVBORw0KGgo" + 2000 * "AAAA", "/9j/" + 20 * "AAAA"]
)
def test_a_picture_in_the_cell_is_told(root, name):
    """Not as a path of ten thousand letters that is missing."""
    with pytest.raises(ImageProblem, match="holds the picture itself") as caught:
        find_image(name, root)
    assert "Save it as a file" in caught.value.cure


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_folder_that_is_still_packed_is_told(root, suffix):
    (root / f"dev{suffix}").write_bytes(b"PK")
    with pytest.raises(ImageProblem, match="which is packed. Unpack it"):
        find_image("dev/9.jpg", root)


def test_an_address_without_a_file_is_to_be_downloaded(root):
    with pytest.raises(ImageProblem, match="has an address, not a path. Download the image"):
        find_image("http://example.org/1.jpg", root)
