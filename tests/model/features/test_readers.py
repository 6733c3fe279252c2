"""Images are read by processes ahead of the GPU: the same pixels, and one message if such a process ends."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import rows
import scoring_world
from vqaflow.artifacts.rows import rows_of
from vqaflow.config.sections import ViewConfig
from vqaflow.data.images.pictures import Picture
from vqaflow.model.features import readers
from vqaflow.model.features.cache import FeatureCache
from vqaflow.model.features.readers import Readers, Threads, readers_of, reading
from vqaflow.model.features.stream import FeatureStream, Prepared
from vqaflow.model.features.wanted import pictures_in
from vqaflow.runtime.errors import ProcessLost, UserError
from vqaflow.runtime.process_start import CORES

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def processes():
    """Two processes that read for this module."""
    with reading(8, count=2):
        yield readers._of_job[0]


VIEWS = [ViewConfig(), ViewConfig(flip=True), ViewConfig(tiles="2x2", max_pixels=140 * 140), ViewConfig(blind="grey")]


@pytest.mark.parametrize("view", VIEWS, ids=["whole", "mirrored", "tiles", "grey"])
def test_pixels_are_those_of_the_job_itself(world, view) -> None:
    """Other bits would be other features than those on disk, and a training could not be repeated."""
    ours, theirs = Threads(world.encoder.images, CPU), readers_of(world.encoder.images, CPU)
    assert isinstance(theirs, Readers)
    for row, _ in world.items:
        pictures = [one.picture for one in pictures_in(row, world.encoder.encode(row, ["abcd"], view))]
        made, expected = (who.call("patches", row, view, pictures) for who in (theirs, ours))
        assert len(made) == len(expected) > 0
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(made, expected, strict=True))


@pytest.mark.parametrize("mode", ["memory", "disk", "off"])
def test_features_are_the_same_with_processes(world, tmp_path, mode, monkeypatch) -> None:
    """The cache of a training, filled by processes or by threads."""
    by_processes = world.cache(mode, tmp_path / "processes")
    monkeypatch.setattr(readers, "_of_job", [])
    by_threads = world.cache(mode, tmp_path / "threads")
    assert isinstance(by_threads.reader.readers, Threads)
    for cache in (by_processes, by_threads):
        if mode != "off":
            cache.fill(world.items)
    pairs = zip(by_processes.of(world.items), by_threads.of(world.items), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_scoring_reads_by_processes_what_threads_read(world, monkeypatch) -> None:
    """Batches come in their order with their own features, however far ahead is read."""
    batches = [[Prepared(row, encoded)] for row, encoded in world.items]
    ahead = list(FeatureStream(world.base, world.encoder, rows.VIEW, None).stream(batches))
    monkeypatch.setattr(readers, "_of_job", [])
    plain = list(FeatureStream(world.base, world.encoder, rows.VIEW, None).stream(batches))
    assert [batch for batch, _ in ahead] == batches
    assert all(torch.equal(a[0], b[0]) for (_, a), (_, b) in zip(ahead, plain, strict=True))


def test_a_replaced_image_stops_with_its_own_message(world, tmp_path) -> None:
    """What a process finds wrong with a file is told as if the job had found it."""
    table = scoring_world.make_table(tmp_path, 1)
    (row,) = rows_of(table)
    Image.new("RGB", (40, 40)).save(row.image_file)
    with pytest.raises(UserError, match="replaced or changed since the tables were made"):
        readers_of(world.encoder.images, CPU).call("patches", row, rows.VIEW, [Picture(40, 40)])


def test_a_process_that_is_killed_ends_the_job_with_one_message(world) -> None:
    """Without it, the job would wait for pixels for ever: the system kills processes where memory is short."""
    own = readers.Processes(1)
    try:
        asked = Readers(own, world.encoder.images, CPU)
        row, encoded = world.items[0]
        pictures = [one.picture for one in pictures_in(row, encoded)]
        asked.call("patches", row, rows.VIEW, pictures)
        (child,) = children_of(own.first.pid)
        os.kill(child, signal.SIGKILL)
        with pytest.raises(ProcessLost, match="^images: a process that reads them has ended.*again[.]$"):
            asked.call("patches", row, rows.VIEW, pictures)
    finally:
        own.end()
    assert own.first.returncode is not None


def test_processes_end_with_a_job_that_is_killed() -> None:
    """Left behind, each would hold hundreds of megabytes."""
    own = readers.Processes(2)
    for mine in own.sockets:  # as the kernel does when the job is gone
        mine.close()
    own.first.wait(120)


def children_of(number: int) -> list[int]:
    """The processes that a process has started."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        if found:
            return [int(child) for child in found]
        time.sleep(0.1)
    raise AssertionError("no process was started")


def test_as_many_processes_as_a_job_has_cores(monkeypatch) -> None:
    """More would take the cores of other jobs; fewer let the GPU wait."""
    started = []

    class Counted:
        def __init__(self, count: int) -> None:
            started.append(count)

        def end(self) -> None:
            pass

    monkeypatch.setattr(readers, "_of_job", [])
    monkeypatch.setattr(readers, "Processes", Counted)
    monkeypatch.setattr(readers, "holds_gpu", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.delenv(CORES, raising=False)
    for images, share, expected in [(1000, "", 6), (1000, "3", 3), (1000, "64", 6), (9, "", 3), (0, "", None)]:
        monkeypatch.setenv(CORES, share)
        with reading(images):
            assert started[-1:] == ([] if expected is None else [expected])
        started.clear()
    monkeypatch.setattr(readers, "holds_gpu", lambda: False)
    with reading(1000):
        assert not started, "a CPU that computes has no core to spare"


def test_the_cache_reads_while_the_tower_computes(world, monkeypatch, tmp_path) -> None:
    """Read, then compute, then write, one after the other, took three times as long."""
    monkeypatch.setattr("vqaflow.model.features.shares.TOGETHER", 1)
    cache: FeatureCache = world.cache("memory", tmp_path)
    asked, seen = [], []
    read, compute = cache.reader.read, cache._compute
    monkeypatch.setattr(cache.reader, "read", lambda row: asked.append(1) or read(row))

    def noted(sources):
        time.sleep(0.2)
        seen.append(len(asked))
        return compute(sources)

    monkeypatch.setattr(cache, "_compute", noted)
    cache.fill(world.items)
    assert seen[0] >= 2 and len(seen) == 5
