"""What this machine has, as far as a run depends on it. Asks no network, and imports no model library itself."""

import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vqaflow.data.images.visual_tokens import HUB_NAME, base_file
from vqaflow.model.families.known import family_of_base
from vqaflow.plan.doctor.probe import PACKAGES, Probed, probe
from vqaflow.plan.machine import driver_version, memory_gib, service_at
from vqaflow.runtime.gpu_lease import NO_DEVICES, VISIBLE

NOT_IN_DIGESTS = True  # what a machine has is not a result
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
TRUE = {"1", "on", "yes", "true"}  # as huggingface_hub reads them
ROOT = Path("/")


@dataclass(frozen=True)
class BaseFacts:
    """A base that the configuration names: whether it is here, and what its family and the settings ask of a card."""

    name: str
    is_here: bool
    quantization: str
    compute_dtype: str
    family: str = ""
    overflows_float16: bool = False

    @property
    def is_on_hub(self) -> bool:
        """Whether it can be downloaded: its name is one of the hub, and no folder."""
        return bool(HUB_NAME.fullmatch(self.name)) and not Path(self.name).exists()


@dataclass(frozen=True)
class Facts:
    """A machine. `packages` are versions by name, "" where one is missing; `hidden` says that no GPU may be seen.

    `offline` is the variable that keeps the hub out of reach, or "". `results` is the folder that `disk_gib` is of.
    """

    python: str
    system: str
    cores: int
    memory_gib: float
    disk_gib: float
    results: str
    is_writable: bool
    packages: Mapping[str, str]
    driver: str = ""
    service: str = ""
    hidden: bool = False
    offline: str = ""
    probed: Probed = field(default_factory=Probed)
    bases: tuple[BaseFacts, ...] = ()


def facts_here(
    results: Path, models: Sequence[Mapping[str, Any]], environment: Mapping[str, str] = os.environ, root: Path = ROOT
) -> Facts:
    """This machine, for runs with these sections `model` of a configuration whose results go to a folder.

    `root` is that of the system's files.
    """
    packages = {name: version_of(name) for name in PACKAGES}
    nearest = next(folder for folder in (results.absolute(), *results.absolute().parents) if folder.exists())
    service = service_at(environment, root)
    bases = {base_facts(model): None for model in models}
    return Facts(
        platform.python_version(),
        f"{system_name(root)}, {platform.machine()}",
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib(root),
        shutil.disk_usage(nearest).free / 2**30,
        str(results),
        os.access(nearest, os.W_OK),
        packages,
        driver_version(root),
        service.name if service else "",
        environment.get(VISIBLE, "0") in NO_DEVICES,
        next((name for name in OFFLINE if environment.get(name, "").lower() in TRUE), ""),
        probe(packages),
        tuple(bases),
    )


def base_facts(model: Mapping[str, Any]) -> BaseFacts:
    """What a section `model` of the configuration asks for."""
    name, revision = model["base"], model["revision"]
    family = family_of_base(name, revision)
    return BaseFacts(
        name,
        base_file(name, revision, "config.json") is not None,
        model["quantization"],
        model["compute_dtype"],
        family.name if family else "",
        bool(family and family.float16),
    )


def version_of(package: str) -> str:
    """The installed version of a package; "" if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def system_name(root: Path) -> str:
    """The system by the name that it gives itself."""
    try:
        lines = (root / "etc/os-release").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return sys.platform
    named = [line.partition("=")[2].strip("\"'") for line in lines if line.startswith("PRETTY_NAME=")]
    return named[0] if named else sys.platform
