"""A picture replaced under its name: found while the workflow is parsed, whatever its size and time."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from vqaflow.data.checks import ImageChecks
from vqaflow.data.images.changes import FIRST, images_state, record_images
from vqaflow.runtime.digests import file_digest

OLD = 1_600_000_000 * 10**9  # a time of change, long ago


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with three images and the record that validate_tables leaves; `state()` is what Snakemake compares."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in "abc":
        write(tmp_path / "images" / f"{name}.png", name.encode() * 100)
    seen = {str(path): file_digest(path) for path in (tmp_path / "images").iterdir()} | {"images/gone.png": ""}
    record(seen, FIRST)
    return tmp_path


def write(path, data, at=OLD):
    path.write_bytes(data)
    os.utime(path, ns=(at, at))


def record(seen, under):
    (made, times) = places()
    record_images(seen, under, time.time_ns(), made, times)


def places():
    return Path("tables/images.json"), Path("work/times.json")


def state():
    return images_state(*places())


def test_without_a_record_it_is_the_first_reading(world):
    """The param of a first run must equal that of the next one, or every first run would be done twice."""
    assert state() == FIRST
    shutil.rmtree(world / "tables")
    assert state() == FIRST
    (world / "tables").mkdir()
    places()[0].write_text('{"overall": 1}')
    assert state() == FIRST


@pytest.mark.parametrize("at", [OLD, OLD + 10**9, None])
@pytest.mark.parametrize("data", [b"z" * 100, b"z"])
def test_other_bytes_are_found(world, data, at):
    """An image of the same size is found too, unless its time was set back on purpose (then: verify)."""
    write(world / "images" / "a.png", data, time.time_ns() if at is None else at)
    assert state().startswith("images: changed ") or (len(data) == 100 and at == OLD)


def test_a_file_that_is_gone_or_there_at_last_is_found(world):
    (world / "images" / "b.png").unlink()
    gone = state()
    write(world / "images" / "b.png", b"b" * 100)
    assert state() == FIRST
    write(world / "images" / "gone.png", b"now")
    assert len({FIRST, gone, state()}) == 3


def test_touch_and_a_copy_change_nothing_and_are_read_once(world):
    """A fresh clone has new times; reading all images at each call of Snakemake would take minutes."""
    copy = shutil.copytree(world, world.parent / "copy", copy_function=shutil.copyfile)
    os.chdir(copy)
    for path in (copy / "images").iterdir():
        os.utime(path, ns=(OLD + 5, OLD + 5))
    assert state() == FIRST
    known = json.loads(places()[1].read_text())
    assert known["images/a.png"] == [100, OLD + 5] and len(known) == 3


def test_what_was_checked_again_is_the_new_state(world):
    """Snakemake keeps the param of the last run: it must come back as long as nothing changes, and not else."""
    write(world / "images" / "a.png", b"new")
    changed = state()
    assert state() == changed != FIRST
    record({str(path): file_digest(path) for path in (world / "images").iterdir()}, changed)
    assert state() == changed
    write(world / "images" / "a.png", b"a" * 100, OLD + 9)  # the old one is put back
    back = state()
    assert back not in (changed, FIRST)


def test_an_image_that_was_changed_a_moment_ago_is_read_again(world):
    """Two changes within one tick of the clock leave size and time as they were."""
    now = time.time_ns()
    write(world / "images" / "a.png", b"x" * 100, now)
    record({str(path): file_digest(path) for path in (world / "images").iterdir()}, FIRST)
    assert state() == FIRST
    write(world / "images" / "a.png", b"y" * 100, now)
    assert state().startswith("images: changed ")


def test_a_link_that_leads_to_other_images_is_found(tmp_path, monkeypatch):
    """Versions of a data set are often folders to one of which a link leads."""
    monkeypatch.chdir(tmp_path)
    for version, colour in (("v1", "red"), ("v2", "blue")):
        (tmp_path / version).mkdir()
        Image.new("RGB", (40, 30), colour).save(tmp_path / version / "a.png")
    (tmp_path / "images").symlink_to("v1")
    checks = ImageChecks(Path("images"), 10**6)
    checks.inspect(["a.png"])
    assert list(checks.seen()) == ["images/a.png"]
    record(checks.seen(), FIRST)
    assert state() == FIRST
    (tmp_path / "images").unlink()
    (tmp_path / "images").symlink_to("v2")
    assert state() != FIRST
