"""What is too old, too new, missing or broken on a machine, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass

from vqaflow.plan.doctor.facts import BaseFacts, Facts
from vqaflow.plan.doctor.probe import OWN, REQUIRED, SECONDS, CardFacts
from vqaflow.plan.doctor.supported import BOUNDS, PYTHON, release

NOT_IN_DIGESTS = True  # what a machine has is not a result
# The oldest NVIDIA driver for each major version of CUDA, by NVIDIA's table of minor version compatibility.
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
BFLOAT16, FP8 = (8, 0), (8, 9)  # the compute capabilities with which the units came
FEW_GIB = 2.0  # of free disk; adapters, scores and pages of a small run
KAGGLE_LOCK = "requirements-kaggle.lock"


@dataclass(frozen=True)
class Finding:
    """Something that a user should know. `stops`: a run will end with an error, or leave a GPU that is there unused.

    The sentences `what` and `cure` have no full stop.
    """

    where: str
    what: str
    cure: str
    stops: bool = False

    @property
    def text(self) -> str:
        """The finding as a message."""
        return f"{self.where}: {self.what}. {self.cure}."


def findings(facts: Facts) -> list[Finding]:
    """What is found, that which stops a run first."""
    found = [*of_python(facts), *of_packages(facts), *of_driver(facts), *of_cards(facts), *of_bases(facts)]
    found += of_disk(facts)
    return sorted(found, key=lambda finding: not finding.stops)


def lock_for(facts: Facts) -> str:
    """The set of pins that suits the machine: Kaggle's own where the service or the driver needs it."""
    is_old = bool(facts.driver) and release(facts.driver)[0] < OLDEST_DRIVER[13]
    return KAGGLE_LOCK if is_old or facts.service == "Kaggle" else "requirements.lock"


def of_python(facts: Facts) -> Iterator[Finding]:
    """Python's version."""
    if release(facts.python)[:2] < PYTHON:
        oldest = ".".join(map(str, PYTHON))
        what = f"version {facts.python} is too old, vqaflow needs {oldest} or newer"
        yield Finding("python", what, f"Make the environment with a newer one: make PYTHON=python{oldest}", True)


def of_packages(facts: Facts) -> Iterator[Finding]:
    """Packages that are missing, broken, or outside of the versions that are supported."""
    install = f"Install {lock_for(facts)} (docs/versions.md)"
    for name, bounds in BOUNDS.items():
        have = facts.packages.get(name, "")
        if not have:
            if name in REQUIRED:
                yield Finding(name, "it is not installed", install, True)
            elif four_bits := [base.name for base in facts.bases if base.quantization == "nf4"]:
                what = f"it is not installed, and model.quantization: nf4 of {four_bits[0]} needs it"
                yield Finding(name, what, install, True)
            elif any(base.quantization == "auto" for base in facts.bases):
                what = "it is not installed; a base too large for the card in 16 bits needs it"
                yield Finding(name, what, f"{install}, or set model.quantization to none")
            continue
        if release(have) < release(bounds.oldest):
            what = f"version {have} is older than {bounds.oldest}, the oldest that vqaflow is tested with"
            yield Finding(name, what, install)
        elif release(have)[:2] > release(bounds.newest)[:2]:
            what = f"version {have} is newer than {bounds.newest}, the newest that vqaflow is tested with"
            yield Finding(name, what, f"If a run fails in it, {install[0].lower()}{install[1:]}")
    broken = facts.probed.broken
    for name in ("torch",) if "torch" in broken else tuple(broken):  # without torch none of the others can be imported
        what = "its modules cannot be imported with these packages" if name == OWN else "it cannot be imported"
        stops = name != "bitsandbytes" or any(base.quantization == "nf4" for base in facts.bases)
        yield Finding(name, f"{what} ({broken[name]})", install, stops)
    if late := facts.probed.late:
        what = f"it was still being imported after {SECONDS / 60:.0f} minutes, so no more was looked at"
        yield Finding(late, what, "Try again when the machine is less busy")


def of_driver(facts: Facts) -> Iterator[Finding]:
    """A driver, and why torch finds no card with it."""
    probed = facts.probed
    if not facts.driver or probed.cards or "torch" in (probed.late, *probed.broken) or not facts.packages.get("torch"):
        return
    major = release(probed.cuda)[0] if probed.cuda else 0
    oldest = OLDEST_DRIVER.get(major, 0)
    if not major:
        what = f"it was built for CPUs, so the GPU of the driver {facts.driver} is not used"
        yield Finding("torch", what, f"Install torch as {lock_for(facts)} does", True)
    elif (driver := release(facts.driver)[0]) < oldest:
        what = f"version {facts.driver} is too old for torch's CUDA {probed.cuda}, which needs {oldest} or newer"
        cure = "Update the driver"
        if older := [cuda for cuda, least in OLDEST_DRIVER.items() if 12 <= cuda < major and least <= driver]:
            cure += f", or install a torch for CUDA {older[-1]} and the rest from {KAGGLE_LOCK} (docs/versions.md)"
        yield Finding("driver", what, cure, True)
    elif facts.hidden:
        yield Finding("card", "CUDA_VISIBLE_DEVICES hides the GPUs, so runs use the CPU", "Unset it to use them")
    else:
        said = f" ({probed.no_cards})" if probed.no_cards else ""
        what = f"torch finds no GPU although the driver {facts.driver} is there{said}"
        yield Finding("card", what, "See whether nvidia-smi lists one, and restart the machine with a GPU", True)


def of_cards(facts: Facts) -> Iterator[Finding]:
    """Cards that torch has no code for, or that lack what the configuration asks for."""
    for card in dict.fromkeys(facts.probed.cards):
        if not is_served(card, facts.probed.kernels):
            what = f"torch has no code for {card.name} (compute capability {dotted(card)})"
            cure = (
                f"Take another card, or a torch that was built for it; this one has {', '.join(facts.probed.kernels)}"
            )
            yield Finding("card", what, cure, True)
        for base in facts.bases:
            yield from of_card_and_base(card, base)


def of_card_and_base(card: CardFacts, base: BaseFacts) -> Iterator[Finding]:
    """What a base's settings need and a card lacks."""
    lacks = f"{card.name} (compute capability {dotted(card)}) has no"
    if base.quantization == "fp8" and card.capability < FP8:
        cure = "Use none, or nf4 if the 16-bit weights do not fit"
        yield Finding("model.quantization", f"{lacks} FP8 units, which fp8 of {base.name} needs", cure, True)
    elif card.capability < BFLOAT16 and base.compute_dtype != "float32":
        if base.overflows_float16:
            what = f"{lacks} bfloat16 units, and {base.family} does not work in float16"
            yield Finding("model.base", what, "Use a Qwen3-VL base, or model.compute_dtype: float32", True)
        elif base.compute_dtype == "bfloat16":
            what = f"{lacks} bfloat16 units, which {base.name} is to be computed in"
            yield Finding("model.compute_dtype", what, "Use float16 or auto", True)


def is_served(card: CardFacts, kernels: tuple[str, ...]) -> bool:
    """Whether torch has code that the card runs: for its own major number and no later minor one, or portable code."""
    portable = [capability_of(name) for name in kernels if name.startswith("compute_")]
    own = [capability_of(name) for name in kernels if name.startswith("sm_")]
    return (
        not kernels
        or any(found <= card.capability for found in portable)
        or any(major == card.capability[0] and minor <= card.capability[1] for major, minor in own)
    )


def capability_of(kernel: str) -> tuple[int, int]:
    """The compute capability of torch's name for it: sm_75 is (7, 5), and sm_120a is (12, 0)."""
    digits = "".join(sign for sign in kernel.partition("_")[2] if sign.isdigit())
    return int(digits[:-1]), int(digits[-1])


def dotted(card: CardFacts) -> str:
    """A card's compute capability as NVIDIA writes it."""
    return f"{card.capability[0]}.{card.capability[1]}"


def of_bases(facts: Facts) -> Iterator[Finding]:
    """Bases that are not on this machine."""
    for base in facts.bases:
        if not base.is_here and not base.is_on_hub:
            what = f"{base.name!r} is no folder with a config.json, and no name of a hub"
            yield Finding(
                "model.base", what, "Correct the path, or give a hub name such as Qwen/Qwen3-VL-4B-Instruct", True
            )
        elif not base.is_here and facts.offline:
            what = f"{base.name} is not on this machine, and {facts.offline} keeps the hub out"
            cure = f"Unset it, or run `hf download {base.name}` where the hub is in reach and give the folder"
            yield Finding("model.base", what, cure, True)


def of_disk(facts: Facts) -> Iterator[Finding]:
    """The disk of the results."""
    if not facts.is_writable:
        what = "the folder, or the one that it would be made in, cannot be written"
        yield Finding(facts.results, what, "Name another with --results, or change its permissions", True)
    elif facts.disk_gib < FEW_GIB:
        what = f"only {facts.disk_gib:.1f} GiB are free on its disk"
        yield Finding(facts.results, what, "Free some, or make it a link to a folder on another disk")
