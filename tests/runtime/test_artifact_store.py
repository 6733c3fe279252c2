"""The store may save time; it must never put a wrong or half artifact where a right one belongs."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from places import SCRIPTS
from vqaflow.commands.command_line import main
from vqaflow.runtime import artifact_store as module
from vqaflow.runtime.artifact_store import ARTIFACT, Store, cached, discard, prune, verify
from vqaflow.runtime.files import MANIFEST, atomic_folder, atomic_path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", gb=1.0)


def fill_folder(partial: Path) -> None:
    (partial / "weights").write_bytes(bytes(range(256)) * 100)
    (partial / "inner").mkdir()
    (partial / "inner" / "log.csv").write_text("step,loss\n1,0.5\n")


def never(partial: Path) -> None:
    raise AssertionError("computed although the store has it")


def only_entry(store: Store) -> Path:
    (entry,) = store.entries()
    return entry


def content(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", ["fold0", "original.parquet"])
def test_equal_parts_are_computed_once(store, tmp_path, name):
    """Going back to an earlier configuration must train nothing twice; key order in the config means nothing."""
    compute = fill_folder if name == "fold0" else lambda partial: partial.write_bytes(b"scores")
    first, again = tmp_path / "a" / name, tmp_path / "b" / name
    assert not cached(store, {"stage": "s", "rows": "x"}, first, compute).from_store
    assert cached(store, {"rows": "x", "stage": "s"}, again, never).from_store
    assert content(first) == content(again) or first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    "parts", [{"stage": "t", "rows": "x"}, {"stage": "s"}, {"stage": "s", "rows": "x", "lr": 1e-5}]
)
def test_other_parts_are_another_artifact(store, tmp_path, parts):
    cached(store, {"stage": "s", "rows": "x"}, tmp_path / "a.txt", lambda partial: partial.write_text("old"))
    assert not cached(store, parts, tmp_path / "a.txt", lambda partial: partial.write_text("new")).from_store
    assert (tmp_path / "a.txt").read_text() == "new"


def flip(entry: Path) -> None:
    file = entry / ARTIFACT / "weights"
    data = bytearray(file.read_bytes())
    data[17] ^= 1
    file.write_bytes(data)


def cut(entry: Path) -> None:
    file = entry / ARTIFACT / "weights"
    file.write_bytes(file.read_bytes()[:-1])


def retell(entry: Path, **changes: object) -> None:
    manifest = json.loads((entry / MANIFEST).read_text())
    (entry / MANIFEST).write_text(json.dumps(manifest | changes))


DAMAGE = {
    "flipped bit": flip,
    "cut short": cut,
    "file lost": lambda entry: (entry / ARTIFACT / "inner" / "log.csv").unlink(),
    "file added": lambda entry: (entry / ARTIFACT / "extra").touch(),
    "artifact lost": lambda entry: shutil.rmtree(entry / ARTIFACT),
    "manifest lost": lambda entry: (entry / MANIFEST).unlink(),
    "manifest cut": lambda entry: (entry / MANIFEST).write_text('{"key": "'),
    "manifest not text": lambda entry: (entry / MANIFEST).write_bytes(b"\xff\xfe"),
    "manifest of another kind": lambda entry: (entry / MANIFEST).write_text("[]"),
    "manifest of another key": lambda entry: retell(entry, key="0" * 64),
    "manifest that lies": lambda entry: retell(entry, files={"weights": "0" * 64}),
    "a file for a folder": lambda entry: (shutil.rmtree(entry / ARTIFACT), (entry / ARTIFACT).write_text("x")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_costs_time_never_a_wrong_result(store, tmp_path, damage):
    """A full disk, a killed copy or a bad sector in the store must not become the adapter that is scored."""
    out = tmp_path / "fold0"
    cached(store, {"stage": "s"}, out, fill_folder)
    right = content(out)
    DAMAGE[damage](only_entry(store))
    shutil.rmtree(out)
    assert not cached(store, {"stage": "s"}, out, fill_folder).from_store
    assert content(out) == right
    shutil.rmtree(out)
    assert cached(store, {"stage": "s"}, out, never).from_store, "the damaged entry was not replaced"
    assert content(out) == right


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_removes_what_is_damaged(store, tmp_path, damage):
    for name in ("good", "bad"):
        cached(store, {"stage": name}, tmp_path / name, fill_folder)
    bad = next(e for e in store.entries() if json.loads((e / MANIFEST).read_text())["parts"] == {"stage": "bad"})
    DAMAGE[damage](bad)
    assert verify(store) == [bad.name]
    assert len(store.entries()) == 1


def test_an_edited_output_does_not_reach_the_store(store, tmp_path):
    """Outputs are the user's to edit: entries are copies, not links."""
    out = tmp_path / "fold0"
    cached(store, {"stage": "s"}, out, fill_folder)
    (out / "weights").write_bytes(b"edited in place")
    assert cached(store, {"stage": "s"}, tmp_path / "again", never).from_store
    (tmp_path / "again" / "weights").write_bytes(b"edited in place")
    assert cached(store, {"stage": "s"}, out, never).from_store
    assert len((out / "weights").read_bytes()) == 25600


def test_a_failed_computation_leaves_what_was_there(store, tmp_path):
    out = tmp_path / "fold0"
    cached(store, {"stage": "s"}, out, fill_folder)
    with pytest.raises(ZeroDivisionError):
        cached(store, {"stage": "t"}, out, lambda partial: 1 / 0)
    assert (out / "weights").exists() and len(store.entries()) == 1
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_store_that_cannot_be_written_costs_nothing_but_time(tmp_path, caplog):
    (tmp_path / "store").write_text("a file where the folder should be")
    out = tmp_path / "fold0"
    assert not cached(Store(tmp_path / "store", 1.0), {"stage": "s"}, out, fill_folder).from_store
    assert (out / "weights").exists()


@pytest.mark.parametrize("name", ["fold0", "original.parquet"])
def test_a_store_that_may_only_be_read_is_of_use(store, tmp_path, monkeypatch, name):
    """A colleague's store, or one on a read-only mount: the job would end although its result is there already."""
    compute = fill_folder if name == "fold0" else lambda partial: partial.write_bytes(b"scores")
    cached(store, {"stage": "s"}, tmp_path / "first" / name, compute)

    real = os.utime

    def refuse(path: Path, *rest: object, **more: object) -> None:
        if store.path in Path(path).parents:
            raise PermissionError(13, "Permission denied")
        real(path, *rest, **more)

    monkeypatch.setattr(module.os, "utime", refuse)
    assert cached(store, {"stage": "s"}, tmp_path / "again" / name, never).from_store
    assert content(tmp_path / "again") == content(tmp_path / "first")


def test_a_full_disk_does_not_cost_a_whole_entry(store, tmp_path, monkeypatch):
    """The entry is sound and the target's disk is full: removing the entry would make a retry train again."""
    cached(store, {"stage": "s"}, tmp_path / "a.txt", lambda partial: partial.write_text("x"))
    copyfile = module.shutil.copyfile
    monkeypatch.setattr(module.shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        cached(store, {"stage": "s"}, tmp_path / "b.txt", never)
    monkeypatch.setattr(module.shutil, "copyfile", copyfile)
    assert cached(store, {"stage": "s"}, tmp_path / "b.txt", never).from_store


def test_the_store_is_bounded_and_drops_what_was_used_longest_ago(tmp_path):
    store = Store(tmp_path / "store", gb=2.6e-3)
    for i, name in enumerate("abc"):
        cached(store, {"stage": name}, tmp_path / f"{name}.bin", lambda partial: partial.write_bytes(b"x" * 1_000_000))
        for entry in store.entries():
            used = json.loads((entry / MANIFEST).read_text())["parts"]["stage"]
            if used == name:
                os.utime(entry / MANIFEST, (1000 + i, 1000 + i))
        if name == "b":  # using a makes b the older one
            assert cached(store, {"stage": "a"}, tmp_path / "a.bin", never).from_store
    kept = {json.loads((entry / MANIFEST).read_text())["parts"]["stage"] for entry in store.entries()}
    assert kept == {"a", "c"}


@pytest.mark.parametrize("gb", [0.0, 1e-4])
def test_what_is_larger_than_the_store_is_not_kept(tmp_path, gb):
    """`store_gb: 0` switches the store off."""
    store = Store(tmp_path / "store", gb=gb)
    cached(store, {"stage": "s"}, tmp_path / "a.bin", lambda partial: partial.write_bytes(b"x" * 1_000_000))
    assert store.entries() == []


def test_leftovers_of_killed_jobs_go(store, tmp_path):
    """A job killed while it copies into the store must not leave gigabytes that nothing removes."""
    cached(store, {"stage": "s"}, tmp_path / "fold0", fill_folder)
    parent = only_entry(store).parent
    old, new = (parent / f".{'0f' * 32}.{end}" for end in ("abcd_123", "abcd_124"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "weights").write_text("half")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    prune(store, gb=1.0)
    assert not old.exists() and new.exists() and len(store.entries()) == 1


@pytest.mark.parametrize("kept", ["scores.parquet", "fold0"])
def test_leftovers_of_killed_writers_go(tmp_path, kept):
    """What was being written when its job was killed goes with the next artifact of its name, a day later."""
    end = Path(kept).suffix
    gone, new, others = f".{kept}.abcd_123{end}", f".{kept}.abcd_124{end}", [f".other.abcd_123{end}", f".{kept}.swp"]
    for name in (gone, new, *others):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - (0 if name == new else 2 * 24 * 3600),) * 2)
    with (atomic_path if "." in kept else atomic_folder)(tmp_path / kept):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([kept, new, *others]), "an editor's file is not ours"


def test_a_folder_of_the_users_own_loses_nothing(tmp_path):
    """A user who names a folder of pictures as the store must find them there afterwards, whatever their names."""
    files = [f"사진/{i}.png" for i in range(3)] + ["ab/x.png", "ab/cd.png", "ab/.hidden.png", f"{'ab' * 32}.png"]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a picture")
        os.utime(tmp_path / name, (time.time() - 2 * 24 * 3600,) * 2)
    store = Store(tmp_path, 1e-9)
    cached(store, {"stage": "s"}, tmp_path / "out" / "a.txt", lambda partial: partial.write_text("x"))
    assert verify(store) == [] and prune(store, 0.0) <= 1
    assert all((tmp_path / name).read_text() == "a picture" for name in files)


def hammer(path: Path, out: Path, seed: int) -> int:
    """Fetch, compute, damage and prune one store at random, checking every artifact that comes out."""
    import random

    lot, store, hits = random.Random(seed), Store(path, 3e-5), 0
    for i in range(60):
        name = lot.choice("abcd")
        target = out / f"{seed}-{i % 3}.txt"
        made = cached(store, {"stage": name}, target, lambda partial, name=name: partial.write_text(name * 5000))
        hits += made.from_store
        assert target.read_text() == name * 5000
        entries = store.entries()
        if entries and lot.random() < 0.2:
            victim = lot.choice(entries)
            (discard if lot.random() < 0.5 else lambda e: (e / ARTIFACT).unlink(missing_ok=True))(victim)
    return hits


def test_many_jobs_may_share_a_store(tmp_path):
    """Folds on two GPUs put, fetch, prune and find damage at the same time."""
    (tmp_path / "out").mkdir()
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        hits = list(pool.map(partial(hammer, tmp_path / "store", tmp_path / "out"), range(4)))
    assert sum(hits) > 0
    assert sum(module.size_of(e) for e in Store(tmp_path / "store", 1).entries()) < 1e5


def test_an_entry_that_another_job_replaces_during_the_copy_is_computed(store, tmp_path, monkeypatch):
    """The entry is whole again by the time that the error is looked at, which ended the job."""
    parts, out, copyfile = {"stage": "score_choices"}, tmp_path / "a.txt", shutil.copyfile
    cached(store, parts, out, lambda partial: partial.write_text("x"))

    def replaced_meanwhile(source, target):
        monkeypatch.setattr(shutil, "copyfile", copyfile)
        (entry,) = store.entries()
        module.discard(entry)
        module.put(store, entry.name, out, parts, 1.0)
        raise FileNotFoundError(source)

    monkeypatch.setattr(shutil, "copyfile", replaced_meanwhile)
    assert not cached(store, parts, out, lambda partial: partial.write_text("x")).from_store
    assert cached(store, parts, out, lambda partial: partial.write_text("x")).from_store


def test_the_command_lists_verifies_and_prunes(store, tmp_path):
    cached(store, {"stage": "train_adapter"}, tmp_path / "fold0", fill_folder)
    cached(store, {"stage": "score_choices"}, tmp_path / "a.txt", lambda partial: partial.write_text("x"))

    def command(*arguments: str) -> subprocess.CompletedProcess:
        run = [sys.executable, "-m", "vqaflow", "store", *arguments]
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        return subprocess.run(run, capture_output=True, text=True, env=environment, cwd=tmp_path)

    listed = command("list", "--store", str(store.path)).stdout
    assert "train_adapter" in listed and "score_choices" in listed
    assert command("verify", "--store", str(store.path)).stdout == "0 damaged entries removed\n"
    assert command("prune", "--store", str(store.path), "--gb", "0").stdout == "2 entries removed\n"
    assert command("list", "--store", str(store.path)).returncode == 0
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cat.png").touch()
    for arguments in (["list"], ["verify", "--store", "pictures"], ["prune", "--gb", "0", "--store", "pictures"]):
        missing = command(*arguments)
        assert missing.returncode == 1 and "this is not a store" in missing.stderr and "Traceback" not in missing.stderr
    assert "--gb 10" in command("prune").stderr


@pytest.mark.parametrize("size", ["nan", "inf", "-inf", "-1", "-0.5", "ten"])
def test_a_size_that_is_none_prunes_nothing(store, tmp_path, monkeypatch, capsys, size):
    """`--gb nan` would remove every adapter that was ever trained."""
    cached(store, {"stage": "train_adapter"}, tmp_path / "fold0", fill_folder)
    with pytest.raises(SystemExit, match="2"):
        main(["store", "prune", "--store", str(store.path), f"--gb={size}"])
    assert size in capsys.readouterr().err and len(store.entries()) == 1


def test_what_comes_from_the_store_still_says_how_long_it_took(tmp_path):
    """The cost of a member would be told as nothing after a rerun that took everything from the store."""
    store, out = Store(tmp_path / "store", 1.0), tmp_path / "a.txt"

    def slow(partial):
        time.sleep(0.15)
        partial.write_text("x")

    computed = cached(store, {"stage": "s"}, out, slow)
    assert computed.seconds >= 0.1
    assert cached(store, {"stage": "s"}, out, never) == (True, computed.seconds)
