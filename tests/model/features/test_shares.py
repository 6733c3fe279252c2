"""Jobs that start together divide the images among themselves, and none waits for a job that is gone."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

from vqaflow.model.features import shares as module
from vqaflow.model.features.shares import Shares
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.locks import Lease


def test_two_jobs_compute_each_image_once(world, tmp_path, passes, monkeypatch) -> None:
    """Both folds of a run that started together computed all images, and each took as long as alone."""
    monkeypatch.setattr(module, "TOGETHER", 1)
    jobs = [world.cache("disk", tmp_path) for _ in range(2)]
    threads = [threading.Thread(target=job.fill, args=[world.items]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(passes) == 5
    for job in jobs:
        assert len(job.of(world.items)) == 5 and sum(passes) == 5


def test_parts_of_two_jobs_are_disjoint_until_they_are_released(world, tmp_path) -> None:
    """What one job computes, the other gets only when it has been written, and then from the disk."""
    one, other = Shares(world.items, tmp_path), Shares(world.items, tmp_path)
    mine = one.take(wait=False)
    assert len(mine.items) == 5 and other.take(wait=False) is None
    mine.release()
    theirs = other.take(wait=True)
    assert {row.id for row, _ in theirs.items} <= {row.id for row, _ in mine.items}
    theirs.release()


def hold(folder: Path, shard: str, taken) -> None:
    """Hold a shard's lock until this process is killed."""
    lease = Lease(folder / f"{shard}.lock")
    assert lease.take()
    taken.set()
    signal.pause()


def test_what_a_killed_job_held_is_taken_over(world, tmp_path, passes) -> None:
    """A file that only said `mine` would make all later jobs wait for ever."""
    cache = world.cache("disk", tmp_path)
    folder = cache.disk.folder / ".shares"
    folder.mkdir(parents=True)
    shard = world.items[0][0].sha256[: module.DIGITS]
    context = multiprocessing.get_context("fork")
    taken = context.Event()
    holder = context.Process(target=hold, args=[folder, shard, taken])
    holder.start()
    assert taken.wait(60)
    filling = threading.Thread(target=cache.fill, args=[world.items])
    filling.start()
    filling.join(3)
    assert filling.is_alive(), "it computes what another job holds"
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    filling.join(60)
    assert not filling.is_alive() and sum(passes) == 5


def test_without_locks_each_job_computes_all(world, tmp_path, passes, monkeypatch) -> None:
    """A file system without locks costs time, not the run."""

    def refuse(self, wait: bool = False) -> bool:
        raise UserError("folder: its file system has no locks. Mount it with locks.")

    monkeypatch.setattr(Lease, "take", refuse)
    world.cache("disk", tmp_path).fill(world.items)
    assert sum(passes) == 5


def test_rows_that_share_an_image_stay_together(world, tmp_path) -> None:
    """Tiles of one image in two jobs would open it twice."""
    taken = []
    shares = Shares(world.items, tmp_path)
    while part := shares.take(wait=True):
        taken.append({row.sha256 for row, _ in part.items})
        part.release()
    assert sum(map(len, taken)) == len(set().union(*taken))
