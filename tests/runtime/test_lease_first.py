"""Nothing may use CUDA before the lease: it reads CUDA_VISIBLE_DEVICES once, and every job would then run on GPU 0."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from places import PACKAGE, ROOT, SCRIPTS

# Libraries that use CUDA, or ask it for devices, when they are imported or later. None may be there before the lease.
GUARD = """
import sys
FORBIDDEN = {"torch", "triton", "bitsandbytes", "transformers", "accelerate", "peft", "pynvml", "cupy", "jax"}

from importlib.machinery import ModuleSpec

class Forbid:  # asking whether a library is there is no import
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, origin="forbidden") if name in FORBIDDEN else None
    def create_module(self, spec):
        raise AssertionError(f"{spec.name} is imported before the lease")
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Forbid())
import vqaflow.runtime.gpu_lease as module
LEASED = 77
def leased(*_, **__):
    raise SystemExit(LEASED)
module.lease_gpu = module.lease_gpus = leased
"""
COMMAND = "from vqaflow.commands.command_line import main\nmain(sys.argv[1:])"
# A rule's script, with something in the place of Snakemake's object that has every entry.
SCRIPT = """
import builtins, runpy
class Anything:
    def __getattr__(self, name):
        return self
    def __getitem__(self, name):
        return self
    def __iter__(self):
        return iter(())
class Given(Anything):
    log = [None]
builtins.snakemake = Given()
runpy.run_path(sys.argv[1])
"""
# The commands that lease, with what they must be given.
LEASING = {
    "train_adapter": ["--fold", "0"],
    "merge_adapter": ["--fold", "0"],
    "score_choices": ["--fold", "0", "--split", "oof"],
    "run_trials": ["--worker", "0"],
    "label_mass": [],
    "store_base": [],
    "tiny_base": ["--family", "qwen2_5_vl", "--out", "nowhere"],
    "bench train": ["--shape", "tiny"],
    "bench score": ["--shape", "tiny"],
    "verify adapter": ["nowhere"],
    "simulate epochs": [],
    "simulate intervals": ["--seeds", "1"],
}
DRIVER = """
static int started = 0;
int cuInit(unsigned flags) { started = 1; return 0; }
int cuCtxGetCurrent(void **context) { *context = 0; return started ? 0 : 3; }
"""
ASKS = """
import ctypes, sys
from pathlib import Path
from vqaflow.runtime.gpu_lease import Device, cuda_has_started, lease_gpu
said = [cuda_has_started()]
driver = ctypes.CDLL(sys.argv[1] + "/libcuda.so.1")
said.append(cuda_has_started())
driver.cuInit(0)
said.append(cuda_has_started())
print(said)
lease_gpu(Path(sys.argv[1]) / "locks", [Device("0", "GPU-a")])
"""


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = os.environ | {"PYTHONPATH": os.pathsep.join([str(SCRIPTS), *sys.path])} | environment
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=300)


def leases(file: Path) -> bool:
    """Whether a command or a rule's script reserves GPUs."""
    return "lease_gpu" in file.read_text(encoding="utf-8")


def test_every_command_that_leases_is_tried_below() -> None:
    """A new one would be missing from this test."""
    found = {file.stem for file in (PACKAGE / "commands").glob("*/*.py") if leases(file)}
    assert found == {name.partition(" ")[0] for name in LEASING}


@pytest.mark.parametrize("name", LEASING)
def test_a_command_leases_before_anything_can_use_cuda(name: str) -> None:
    """Two trainings by hand, side by side, would both run on GPU 0, each saying another one."""
    done = run(GUARD + COMMAND, *name.split(), *LEASING[name])
    assert done.returncode == 77, done.stdout + done.stderr


@pytest.mark.parametrize("script", sorted(file.name for file in SCRIPTS.glob("*.py") if leases(file)))
def test_a_rule_leases_before_anything_can_use_cuda(script: str) -> None:
    """The same for the jobs of Snakemake."""
    done = run(GUARD + SCRIPT, str(SCRIPTS / script))
    assert done.returncode == 77, done.stdout + done.stderr


def test_the_guard_finds_an_early_import() -> None:
    """Else the tests above could not fail."""
    done = run(GUARD + "import vqaflow.model.base")
    assert done.returncode == 1 and "torch is imported before the lease" in done.stderr


@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler for a driver that only says whether it was started")
def test_a_lease_after_cuda_has_started_is_refused(tmp_path: Path) -> None:
    """It would say that a GPU is reserved, and use another one."""
    (tmp_path / "driver.c").write_text(DRIVER, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "driver.c"], check=True)
    done = run(ASKS, str(tmp_path), LD_LIBRARY_PATH=str(tmp_path))
    assert done.stdout == "[False, False, True]\n", done.stderr
    assert "CUDA was used before the lease" in done.stderr
