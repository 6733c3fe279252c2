"""`vqaflow doctor` on this machine, and with packages that are broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT, SCRIPTS
from vqaflow.plan.doctor import probe as probing
from vqaflow.plan.doctor.facts import base_facts, facts_here, system_name
from vqaflow.plan.doctor.probe import Probed, probe, probed

MODEL = {"base": "Qwen/Qwen3.5-4B", "revision": None, "quantization": "fp8", "compute_dtype": "auto"}
FALLING = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


def packages_of(folder: Path, **texts: str) -> None:
    """Write modules into `folder`."""
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


def doctor(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`vqaflow doctor` in a folder."""
    command = [sys.executable, "-m", "vqaflow", "doctor", *arguments]
    given = os.environ | {"PYTHONPATH": str(SCRIPTS)} | environment
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=given)


def test_this_machine_runs_the_demo() -> None:
    """The versions of requirements.lock, with which these tests run, must not be called wrong."""
    done = doctor(ROOT, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"], said["findings"]) == (0, True, []), done.stdout + done.stderr
    assert said["facts"]["probed"]["broken"] == {} and said["facts"]["probed"]["late"] == ""
    assert said["facts"]["bases"][0]["is_here"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise OSError('libcudart.so.13: no such file\\nmore')", "OSError: libcudart.so.13: no such file"),
        (FALLING, "importing it ended Python with SIGSEGV"),
        ("import os; os._exit(3)", "importing it ended Python with exit status 3"),
        ("print('[1]'); import sys; sys.exit('enough')", "SystemExit: enough"),
    ],
)
def test_a_broken_torch_is_told_not_raised(tmp_path, monkeypatch, text, said) -> None:
    """The doctor is called because something is broken."""
    packages_of(tmp_path, torch=text, transformers="")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert probe({"torch": "2.15.0"}).broken == {"torch": said}


def test_a_broken_package_leaves_the_others_known(tmp_path, monkeypatch) -> None:
    packages_of(tmp_path, torchvision="raise RuntimeError('operator torchvision::nms does not exist')", peft="")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = probe({"torchvision": "0.29.2", "peft": "0.21.2"}).broken
    assert broken == {"torchvision": "RuntimeError: operator torchvision::nms does not exist"}


def test_a_package_that_takes_too_long_is_named(monkeypatch) -> None:
    """A busy machine is not a broken one."""

    def wait(command: list[str], **options: object) -> None:
        said = b'{"name": "torch", "error": "", "found": {"cuda": "12.8"}}\n{"begin": "peft"}\n'
        raise subprocess.TimeoutExpired(command, 900, output=said)

    monkeypatch.setattr(probing.subprocess, "run", wait)
    assert probe({"torch": "2.10.0", "peft": "0.21.2"}) == Probed(late="peft", cuda="12.8")


def test_the_command_ends_with_one_if_something_stops_a_run(tmp_path: Path) -> None:
    """A notebook's cell that calls it must fail there, not an hour later."""
    (tmp_path / "my.yaml").write_text("model: {base: nobody/has-this}\n", encoding="utf-8")
    packages_of(tmp_path, torch="raise OSError('broken')")
    path = f"{tmp_path}{os.pathsep}{SCRIPTS}"
    done = doctor(tmp_path, "--config", "my.yaml", PYTHONPATH=path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "STOPS   torch: it cannot be imported (OSError: broken)" in done.stdout
    assert (
        "STOPS   model.base: nobody/has-this is not on this machine, and HF_HUB_OFFLINE keeps the hub out"
        in done.stdout
    )
    assert len(done.stdout.splitlines()) <= 10


def test_cards_are_read_from_what_torch_said() -> None:
    line = json.dumps({"found": {"cuda": "12.8", "kernels": ["sm_75"], "cards": [["Tesla T4", 14.7, 7, 5]]}})
    found = probed(line, 0)
    assert (found.cuda, found.kernels, found.cards[0].capability) == ("12.8", ("sm_75",), (7, 5))


def test_what_a_base_needs_is_known_without_its_files(tmp_path, monkeypatch) -> None:
    """It is not downloaded yet when the doctor is asked."""
    monkeypatch.chdir(tmp_path)
    known = base_facts(MODEL)
    assert (known.is_here, known.is_on_hub, known.overflows_float16) == (False, True, True)


def test_facts_are_those_of_the_files_of_the_system(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("vqaflow.plan.doctor.facts.probe", lambda packages: Probed())
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text('NAME=x\nPRETTY_NAME="Ubuntu 22.04"\n', encoding="utf-8")
    (tmp_path / "proc" / "driver" / "nvidia").mkdir(parents=True)
    told = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.172.08  Tue Jul\n"
    (tmp_path / "proc" / "driver" / "nvidia" / "version").write_text(told, encoding="utf-8")
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 33554432 kB\n", encoding="utf-8")
    environment = {"KAGGLE_URL_BASE": "x", "CUDA_VISIBLE_DEVICES": "-1", "TRANSFORMERS_OFFLINE": "true"}
    facts = facts_here(tmp_path / "not" / "yet", [MODEL, MODEL], environment, tmp_path)
    assert (facts.driver, facts.memory_gib, facts.service) == ("570.172.08", 32.0, "Kaggle")
    assert facts.hidden and facts.offline == "TRANSFORMERS_OFFLINE" and facts.is_writable
    assert facts.system.startswith("Ubuntu 22.04, ") and len(facts.bases) == 1
    assert system_name(tmp_path / "nowhere") == sys.platform
