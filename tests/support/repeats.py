"""Twenty steps of training per family, for tests that two runs give equal bytes; as a command, on the device here.

    PYTHONPATH=workflow_scripts:tests/support python -m repeats OUT.json

It runs two processes at once (each compiles and tunes its own kernels), compares their adapters' bytes, and looks
whether a store that a CPU has filled gives a GPU another precision's adapter.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import random_families
import random_others
import training_world
from vqaflow.artifacts.adapter_files import WEIGHTS, read_run
from vqaflow.runtime.digests import file_digest

FIRST = "qwen2_5_vl"
MAKERS = {FIRST: None}  # training_world's own base
MAKERS |= {name: random_families for name in ("qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")}
MAKERS |= {name: random_others for name in random_others.NAMES}
STEPS = 21  # 20 rows in steps of 8, for 7 epochs


def trained(world: Path, family: str, name: str, store: Path | None = None) -> Path:
    """The adapter of a training on a random base of `family`, in the precision that `auto` gives here."""
    if MAKERS[family] is not None:
        MAKERS[family].save(family, world / "base")
    settings = {"epochs": 7, "keep": "last", "validate_every": 7, "checkpoint_minutes": 60}
    given = training_world.job(world, name, **settings)
    precision = {"compute_dtype": "auto", "quantization": "none"}
    given["model"] |= precision | {"max_pixels": 64 * 64, "min_pixels": 32 * 32}
    if store:
        given["store"] = training_world.Store(store, 1)
    return training_world.run(given)


def fingerprint(adapter: Path) -> dict[str, object]:
    """The digest of an adapter's weights, and how it was trained."""
    run = read_run(adapter)
    return {"weights": file_digest(adapter / WEIGHTS)} | {key: run[key] for key in ("dtype", "device", "steps_done")}


def run_all(families: Sequence[str], out: Path) -> None:
    """Train each family once, and write the fingerprints to `out`; a family that fails has its error."""
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for family in families:
            world = training_world.make_world(Path(folder) / family)
            try:
                found[family] = fingerprint(trained(world, family, "run"))
            except Exception as error:
                found[family] = {"error": f"{type(error).__name__}: {error}"[:500]}
            out.write_text(json.dumps(found, indent=1), encoding="utf-8")


def one_store(folder: Path) -> dict[str, object]:
    """What one store gives to a process without a GPU, and then to this one."""
    world, store = training_world.make_world(folder / "world"), folder / "store"
    code = "import sys, repeats; from pathlib import Path; a = map(Path, sys.argv[1:]); w, s = a; "
    code += f"repeats.trained(w, {FIRST!r}, 'cpu', s)"
    without = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code, str(world), str(store)], env=without, check=True)
    return {
        "cpu": fingerprint(world / "cpu" / "adapter"),
        "here": fingerprint(trained(world, FIRST, "here", store)),
    }


def main(out: Path) -> None:
    """Run the command."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.json" for name in ("first", "second")]
        code = "import sys, repeats; from pathlib import Path; repeats.run_all(list(repeats.MAKERS), Path(sys.argv[1]))"
        running = [subprocess.Popen([sys.executable, "-c", code, str(file)]) for file in files]
        for process in running:
            process.wait()
        first, second = (json.loads(file.read_text(encoding="utf-8")) for file in files)
        told = {family: {"equal": first[family] == second.get(family), **first[family]} for family in first}
        found = {"families": told, "second": second, "one_store": one_store(Path(folder) / "shared")}
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    for family, about in told.items():
        print(family, about)
    print(found["one_store"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
