"""Training: resumable to the bit, independent of how steps are cut, and readable by plain PEFT."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration

import rows
import tiny_qwen
from vqaflow.files import file_digest
from vqaflow.train_adapter import train_adapter

SMALL = {
    "epochs": 2,
    "batch_size": 4,
    "accumulation": 2,
    "learning_rate": 0.01,
    "choice_orders": 2,
    "checkpoint_minutes": 0,
    "trackers": [],
}
PATHS = ("table", "folds", "out", "work", "bases", "tracking")
RUN = """
import sys, yaml
from pathlib import Path
from vqaflow.progress import stage
from vqaflow.train_adapter import train_adapter
job = yaml.safe_load(open(sys.argv[1]))
with stage(None):
    train_adapter(**{k: Path(v) if k in PATHS else v for k, v in job.items()})
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with a base checkpoint, a table of 40 rows with images, and two folds."""
    folder = tmp_path_factory.mktemp("world")
    tiny_qwen.model().save_pretrained(folder / "base")
    tiny_qwen.processor().save_pretrained(folder / "base")
    table = pd.DataFrame(rows.make_rows(folder, 40))
    table["sha256"] = [file_digest(file) for file in table["image_file"]]
    table.to_parquet(folder / "train.parquet")
    folds = pd.DataFrame({"id": table["id"], "fold": [i % 2 for i in range(40)], "group": range(40)})
    folds.to_parquet(folder / "folds.parquet")
    return folder


def job(world: Path, name: str, **train: object) -> dict:
    """Arguments of `train_adapter` for fold 0 of the world, outputs under `name`."""
    config = yaml.safe_load((rows.ROOT / "config.yaml").read_text(encoding="utf-8"))
    model = vars(rows.model_config(base=str(world / "base"), max_pixels=56 * 56))
    return {
        "table": str(world / "train.parquet"),
        "folds": str(world / "folds.parquet"),
        "fold": 0,
        "model": model,
        "prompt": config["prompt"],
        "train": config["train"] | SMALL | train,
        "best": None,
        "out": str(world / name / "adapter"),
        "work": str(world / name / "work" / "train" / "fold0"),
        "store": {"path": str(world / name / "store"), "gb": 1},
        "bases": str(world / "bases"),
        "tracking": str(world / name / "tracking"),
    }


def run(arguments: dict) -> Path:
    """Train in this process; returns the adapter folder."""
    paths = {key: Path(arguments[key]) for key in PATHS}
    train_adapter(**(arguments | paths))
    return paths["out"]


def start(arguments: dict, world: Path) -> subprocess.Popen:
    """Train in a process of its own."""
    file = world / f"job{abs(hash(arguments['out']))}.yaml"
    file.write_text(yaml.safe_dump(arguments), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(rows.ROOT / "workflow_scripts")}
    return subprocess.Popen([sys.executable, "-c", RUN, file], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def uninterrupted(world: Path) -> Path:
    """The adapter of a run that nothing disturbed."""
    return run(job(world, "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_resumed_is_bit_identical(world: Path, uninterrupted: Path, kind: signal.Signals) -> None:
    """Whatever step it dies at, a run that is called again ends with the same bytes."""
    arguments = job(world, f"killed{kind}")
    checkpoint = Path(arguments["work"]) / "checkpoint.pt"
    rng = random.Random(int(kind))
    deaths = 0
    for _ in range(2):
        process = start(arguments, world)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.005)
        time.sleep(rng.random() * 0.2)
        process.send_signal(kind)
        process.communicate(timeout=60)
        deaths += process.returncode != 0
    assert deaths > 0, "no run was interrupted, so nothing was tested"
    final = start(arguments, world)
    messages = final.communicate(timeout=120)[1]
    assert final.returncode == 0, messages
    assert "going on from step" in messages
    name = "adapter_model.safetensors"
    assert file_digest(Path(arguments["out"]) / name) == file_digest(uninterrupted / name)


def test_plain_peft_loads_the_adapter_and_it_changes_the_logits(world: Path, uninterrupted: Path) -> None:
    """No code of ours is needed to use what was trained."""
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(world / "base", dtype=torch.float32)
    ids = torch.arange(20)[None]
    before = base(input_ids=ids).logits
    tuned = PeftModel.from_pretrained(base, uninterrupted)
    assert not torch.allclose(tuned(input_ids=ids).logits, before)
    assert {p.dtype for n, p in tuned.named_parameters() if "lora" in n} == {torch.float32}
    assert not any("visual" in n for n, _ in tuned.named_parameters() if "lora" in n), "the tower must stay as it is"


def test_steps_do_not_depend_on_how_they_are_cut(world: Path, uninterrupted: Path) -> None:
    """Half the batch with twice the accumulation is the same optimisation, the odd last batch included."""
    halved = run(job(world, "halved", batch_size=2, accumulation=4))
    ours = load_file(halved / "adapter_model.safetensors")
    for name, weight in load_file(uninterrupted / "adapter_model.safetensors").items():
        torch.testing.assert_close(ours[name], weight, atol=2e-4, rtol=1e-2)


def test_run_json_says_what_made_the_adapter(world: Path, uninterrupted: Path) -> None:
    """Another machine can tell base, prompt, pixels, versions and settings apart."""
    told = json.loads((uninterrupted / "run.json").read_text(encoding="utf-8"))
    assert told["parity"]["max_pixels"] == 56 * 56
    assert set(told["versions"]) >= {"torch", "transformers", "peft", "python"}
    assert told["train"]["learning_rate"] == 0.01
    assert told["rows"] == 20
    history = pd.read_csv(uninterrupted / "log.csv")
    assert history["step"].is_monotonic_increasing and history["val_accuracy"].between(0, 1).all()


def test_going_back_to_an_earlier_configuration_trains_nothing(world: Path, uninterrupted: Path) -> None:
    """The store has the adapter of every configuration that was trained before, to the byte."""
    arguments = job(world, "whole")
    before = file_digest(uninterrupted / "adapter_model.safetensors")
    started = time.monotonic()
    run(arguments)
    assert time.monotonic() - started < 5
    assert file_digest(uninterrupted / "adapter_model.safetensors") == before
