"""What importing the packages says, in a process of its own: a broken one is told, not raised.

Run as a module, it writes lines of JSON: a package's name before it is imported, and what became of it after. So even
a package that ends the process is known by name.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOT_IN_DIGESTS = True  # what a machine has is not a result
REQUIRED = ("torch", "torchvision", "transformers", "peft")
PACKAGES = (*REQUIRED, "bitsandbytes")
OWN = "vqaflow"  # its own modules, which import more of the packages than the packages themselves do
SECONDS = 900  # for all imports; a busy machine needs minutes for the first ones


@dataclass(frozen=True)
class CardFacts:
    """A GPU as torch sees it: GiB of memory, and its compute capability as major and minor number."""

    name: str
    gib: float
    capability: tuple[int, int]


@dataclass(frozen=True)
class Probed:
    """What the imports showed. `broken` says by package why it cannot be imported, without those not installed.

    `late` is the package that was still being imported when the time was over, "" for none. `cuda` is the version that
    torch was built for ("" for none), `kernels` what it has code for, such as sm_75. `no_cards` is torch's own reason.
    """

    broken: Mapping[str, str] = field(default_factory=dict)
    late: str = ""
    cuda: str = ""
    kernels: tuple[str, ...] = ()
    cards: tuple[CardFacts, ...] = ()
    no_cards: str = ""


def probe(installed: Mapping[str, str]) -> Probed:
    """Import the packages of `installed` (their versions by name; "" for those that are missing) in another process."""
    names = [name for name in PACKAGES if installed.get(name)]
    if all(installed.get(name) for name in REQUIRED):
        names.append(OWN)
    command = [sys.executable, "-m", __spec__.name, *names]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"PYTHONPATH": path}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except subprocess.TimeoutExpired as error:
        return probed((error.stdout or b"").decode(errors="replace"), None)
    return probed(done.stdout, done.returncode)


def probed(output: str, status: int | None) -> Probed:
    """Read the lines of the other process, which ended with exit status `status`; None if its time was over."""
    found: dict[str, Any] = {}
    begun, broken = "", {}
    for line in output.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue  # what a library printed
        if not isinstance(said, dict):
            continue
        begun = said.get("begin", "")
        if error := said.get("error"):
            broken[said["name"]] = error
        found |= said.get("found", {})
    if begun and status is not None:
        broken[begun] = f"importing it ended Python with {end_of(status)}"
    cards = tuple(CardFacts(name, gib, (major, minor)) for name, gib, major, minor in found.get("cards", []))
    late = begun if status is None else ""
    kernels, no_cards = tuple(found.get("kernels", [])), found.get("no_cards", "")
    return Probed(broken, late, found.get("cuda", ""), kernels, cards, no_cards)


def end_of(status: int) -> str:
    """How a process ended, in words."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def report(names: list[str]) -> None:
    """Import the packages one after the other and write what came of each."""
    for name in names:
        say(begin=name)
        error, found = "", {}
        try:
            if name == OWN:
                import vqaflow.model.separate.decoder
                import vqaflow.model.vision.whole_tower
                import vqaflow.model.vision.windows  # noqa: F401
            else:
                importlib.import_module(name)
            if name == "torch":
                found = of_torch()
        except BaseException as caught:  # a broken library raises anything
            first = (str(caught).strip().splitlines() or [""])[0]
            error = f"{type(caught).__name__}: {first}".removesuffix(": ")
        say(name=name, error=error, found=found)


def of_torch() -> dict[str, Any]:
    """What torch says of itself and of the cards."""
    import torch

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    found: dict[str, Any] = {"cuda": torch.version.cuda or ""}
    if not available:
        reasons = [str(warning.message).splitlines()[0] for warning in told]
        return found | {"no_cards": reasons[0] if reasons else ""}
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    rows = [(card.name, card.total_memory / 2**30, card.major, card.minor) for card in cards]
    return found | {"cards": rows, "kernels": torch.cuda.get_arch_list()}


def say(**values: Any) -> None:
    """Write a line that the other process reads."""
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    report(sys.argv[1:])
