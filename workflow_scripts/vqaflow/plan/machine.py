"""The machine that a run will use: its cards, memory, disk and driver, and a notebook service's limits."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vqaflow.plan.cards import Card, card_here, card_named
from vqaflow.runtime.gpu_lease import visible_devices

NOT_IN_DIGESTS = True  # a plan is not a result
DRIVER = Path("proc/driver/nvidia/version")
ANOTHER = "t4"  # what is planned for where there is no GPU: what most people get first


@dataclass(frozen=True)
class Service:
    """A notebook service: how one knows that one is there, by environment variables and folders, and its limits."""

    name: str
    variables: tuple[str, ...]
    folder: str
    session_hours: float
    note: str


SERVICES = (
    Service(
        "Kaggle",
        ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"),
        "kaggle/working",
        12,
        "a session ends after 12 hours; /kaggle/working keeps 20 GB",
    ),
    Service(
        "Colab",
        ("COLAB_RELEASE_TAG", "COLAB_GPU", "COLAB_BACKEND_VERSION"),
        "content/sample_data",
        12,
        "a session ends after 12 hours at most, and its disk with it: keep results/ on Google Drive",
    ),
)


@dataclass(frozen=True)
class Machine:
    """Its first card and how many it has, GiB of memory and of free disk, and the service that it belongs to.

    `is_here` is false where the card is another machine's: named by the user, or assumed (`is_assumed`) because there
    is none here. `notes` are what the user should know.
    """

    card: Card
    cards: int
    is_here: bool
    is_assumed: bool
    memory_gib: float
    disk_gib: float
    service: Service | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The cards in words."""
        return f"{self.cards} x {self.card.title}" if self.cards > 1 else self.card.title

    def lines(self) -> list[str]:
        """The machine in words."""
        where = "no GPU here; assumed " if self.is_assumed else ""
        cure = ", as Kaggle has (--card and --cards name yours)" if self.is_assumed else ""
        place = f"{self.service.name}: {self.service.note}" if self.service else ""
        space = f"memory {self.memory_gib:.0f} GiB, free disk {self.disk_gib:.0f} GiB"
        return [
            f"card: {where}{self.title}, {self.card.gib:.1f} GiB{cure}",
            space,
            *([place] if place else []),
            *self.notes,
        ]


def find_machine(
    card: Card | None, cards: int | None, environment: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> Machine:
    """This machine, with the user's `card` and number of `cards` in place of its own. `root` is that of the files."""
    here, notes = card_here(), []
    driver = driver_version(root)
    if here is None and driver:
        notes.append(f"the NVIDIA driver {driver} is there, but torch finds no GPU: {no_gpu_reason()}")
    elif here is not None and driver:
        notes.append(f"NVIDIA driver {driver}")
    service = service_at(environment, root)
    if card is None and here is None and cards is None:
        cards = 2 if service is None or service.name == "Kaggle" else 1
    return Machine(
        card or here or card_named(ANOTHER),
        cards or (count_here() if here and card is None else 1),
        card is None and here is not None,
        card is None and here is None,
        memory_gib(root),
        shutil.disk_usage(Path.cwd()).free / 2**30,
        service,
        tuple(notes),
    )


def service_at(environment: Mapping[str, str], root: Path) -> Service | None:
    """The service that this machine belongs to, if it does to one."""
    for service in SERVICES:
        if any(name in environment for name in service.variables) or (root / service.folder).is_dir():
            return service
    return None


def driver_version(root: Path) -> str:
    """The version of NVIDIA's driver; "" if there is none."""
    try:
        first = (root / DRIVER).read_text(encoding="utf-8", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return ""
    return next((word for word in first.split() if word[0].isdigit() and "." in word), "")


def no_gpu_reason() -> str:
    """Why torch may find no GPU although there is a driver."""
    import torch

    if torch.version.cuda is None:
        return "it was built for CPUs. Install torch from the package index, as requirements.lock does."
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides them. Unset it."
    return f"it needs a driver for CUDA {torch.version.cuda}. Update the driver, or start the machine with a GPU."


def count_here() -> int:
    """The number of GPUs that jobs here may use."""
    return len(visible_devices())


def memory_gib(root: Path) -> float:
    """GiB of the machine's memory."""
    for line in (root / "proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) / 2**20
    return 0.0
