"""What `vqaflow doctor` finds on made-up machines: a wrong word here sends someone to reinstall what was right."""

from dataclasses import replace

import pytest

from vqaflow.plan.doctor.facts import BaseFacts, Facts
from vqaflow.plan.doctor.findings import findings, is_served
from vqaflow.plan.doctor.lines import as_json, lines
from vqaflow.plan.doctor.probe import CardFacts, Probed
from vqaflow.plan.doctor.supported import BOUNDS

NEWEST = {name: bounds.newest for name, bounds in BOUNDS.items()}
T4 = CardFacts("Tesla T4", 14.7, (7, 5))
A100 = CardFacts("NVIDIA A100-SXM4-80GB", 79.1, (8, 0))
H100 = CardFacts("NVIDIA H100 80GB HBM3", 79.1, (9, 0))
P100 = CardFacts("Tesla P100-PCIE-16GB", 15.9, (6, 0))
CODE = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
ON_H100 = Probed(cuda="13.2", kernels=CODE, cards=(H100,))
NO_CARD = Probed(cuda="13.2")
QWEN = BaseFacts("Qwen/Qwen3-VL-8B-Instruct", False, "none", "auto", "Qwen3-VL")
WHOLE = Facts("3.11.7", "Debian", 16, 125.0, 500.0, "results", True, NEWEST, "580.65.06", probed=ON_H100, bases=(QWEN,))
KAGGLE = replace(
    WHOLE,
    python="3.12.11",
    driver="570.172.08",
    service="Kaggle",
    packages=NEWEST | {"torch": "2.10.0+cu128", "torchvision": "0.25.0+cu128", "transformers": "5.15.1"},
    probed=Probed(cuda="12.8", kernels=("sm_70", *CODE), cards=(T4, T4)),
)

# By what is wrong: the machine, the place, words of the message, and whether it stops a run.
CASES = {
    "an old Python": (replace(WHOLE, python="3.10.13"), "python", ["3.10.13 is too old", "3.11"], True),
    "no torch": (
        replace(WHOLE, packages=NEWEST | {"torch": ""}),
        "torch",
        ["not installed", "requirements.lock"],
        True,
    ),
    "an old torch": (
        replace(WHOLE, packages=NEWEST | {"torch": "2.9.1"}),
        "torch",
        ["2.9.1 is older than 2.10.0", "Install requirements.lock"],
        False,
    ),
    "a new peft": (
        replace(WHOLE, packages=NEWEST | {"peft": "0.22.0"}),
        "peft",
        ["0.22.0 is newer", "install requirements.lock"],
        False,
    ),
    "an old transformers at Kaggle": (
        replace(KAGGLE, packages=KAGGLE.packages | {"transformers": "5.10.0"}),
        "transformers",
        ["older than 5.15.1", "requirements-kaggle.lock"],
        False,
    ),
    "bitsandbytes for four bits": (
        replace(WHOLE, packages=NEWEST | {"bitsandbytes": ""}, bases=(replace(QWEN, quantization="nf4"),)),
        "bitsandbytes",
        ["nf4 of Qwen/Qwen3-VL-8B-Instruct needs it"],
        True,
    ),
    "bitsandbytes that may be needed": (
        replace(WHOLE, packages=NEWEST | {"bitsandbytes": ""}, bases=(replace(QWEN, quantization="auto"),)),
        "bitsandbytes",
        ["too large for the card in 16 bits"],
        False,
    ),
    "a broken torch": (
        replace(WHOLE, probed=Probed({"torch": "OSError: libcudart.so.13", "peft": "ImportError: torch"})),
        "torch",
        ["cannot be imported (OSError: libcudart.so.13)"],
        True,
    ),
    "broken four bits": (
        replace(WHOLE, probed=replace(ON_H100, broken={"bitsandbytes": "OSError: x"})),
        "bitsandbytes",
        ["cannot be imported"],
        False,
    ),
    "a transformers that lacks something": (
        replace(WHOLE, probed=replace(ON_H100, broken={"vqaflow": "ImportError: cannot import name 'x'"})),
        "vqaflow",
        ["its modules cannot be imported", "cannot import name 'x'"],
        True,
    ),
    "a busy machine": (
        replace(WHOLE, probed=replace(ON_H100, late="peft")),
        "peft",
        ["still being imported after 15 minutes"],
        False,
    ),
    "an old driver": (
        replace(WHOLE, driver="570.172.08", probed=NO_CARD),
        "driver",
        ["570.172.08 is too old for torch's CUDA 13.2", "580", "a torch for CUDA 12", "requirements-kaggle.lock"],
        True,
    ),
    "a very old driver": (
        replace(WHOLE, driver="470.1", probed=replace(NO_CARD, cuda="12.8")),
        "driver",
        ["needs 525 or newer. Update the driver."],
        True,
    ),
    "torch for CPUs beside a driver": (
        replace(WHOLE, probed=Probed()),
        "torch",
        ["built for CPUs", "Install torch as requirements.lock does"],
        True,
    ),
    "a hidden card": (replace(WHOLE, hidden=True, probed=NO_CARD), "card", ["CUDA_VISIBLE_DEVICES hides"], False),
    "a driver without a card": (
        replace(WHOLE, probed=replace(NO_CARD, no_cards="CUDA unknown error")),
        "card",
        ["finds no GPU although the driver 580.65.06", "(CUDA unknown error)", "nvidia-smi"],
        True,
    ),
    "a card that torch has no code for": (
        replace(WHOLE, probed=replace(ON_H100, cards=(P100,))),
        "card",
        ["no code for Tesla P100-PCIE-16GB (compute capability 6.0)", "sm_75"],
        True,
    ),
    "FP8 on a card without": (
        replace(WHOLE, probed=replace(ON_H100, cards=(A100,)), bases=(replace(QWEN, quantization="fp8"),)),
        "model.quantization",
        ["no FP8 units", "Use none, or nf4"],
        True,
    ),
    "bfloat16 on a T4": (
        replace(KAGGLE, bases=(replace(QWEN, compute_dtype="bfloat16"),)),
        "model.compute_dtype",
        ["Tesla T4 (compute capability 7.5) has no bfloat16 units", "Use float16 or auto"],
        True,
    ),
    "a family that needs bfloat16 on a T4": (
        replace(KAGGLE, bases=(replace(QWEN, family="Qwen3.5", overflows_float16=True),)),
        "model.base",
        ["Qwen3.5 does not work in float16", "Qwen3-VL"],
        True,
    ),
    "a folder that is not there": (
        replace(WHOLE, bases=(replace(QWEN, name="assets/no/base"),)),
        "model.base",
        ["'assets/no/base' is no folder"],
        True,
    ),
    "a base that is not here, offline": (
        replace(WHOLE, offline="HF_HUB_OFFLINE"),
        "model.base",
        ["HF_HUB_OFFLINE keeps the hub out", "hf download Qwen/Qwen3-VL-8B-Instruct"],
        True,
    ),
    "a folder that cannot be written": (replace(WHOLE, is_writable=False), "results", ["cannot be written"], True),
    "a full disk": (replace(WHOLE, disk_gib=1.2), "results", ["only 1.2 GiB are free"], False),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_found_with_its_cure(case: str) -> None:
    facts, where, words, stops = CASES[case]
    (found,) = findings(facts)
    assert (found.where, found.stops) == (where, stops)
    assert found.text.startswith(f"{where}: ") and found.text.endswith(".") and ". " in found.text
    assert [word for word in words if word not in found.text] == [], found.text
    assert as_json(facts, [found])["ok"] != stops


@pytest.mark.parametrize("facts", [WHOLE, KAGGLE, replace(WHOLE, driver="", probed=NO_CARD)])
def test_nothing_is_said_of_what_works(facts: Facts) -> None:
    """Kaggle's T4s, and a CPU, run what the configuration asks for."""
    assert findings(facts) == []


@pytest.mark.parametrize(
    "change",
    [
        {"probed": replace(ON_H100, cards=(H100,)), "driver": "535.1"},  # NVIDIA's forward compatibility package
        {"bases": (replace(QWEN, is_here=True),), "offline": "HF_HUB_OFFLINE"},
        {"bases": (replace(QWEN, quantization="fp8"),)},
        {"packages": NEWEST | {"bitsandbytes": ""}},  # of a base in 16 bits
        {"packages": NEWEST | {"torch": "2.15.3"}},  # a correction of the newest
    ],
)
def test_what_is_right_in_spite_of_its_looks_is_left_alone(change: dict) -> None:
    assert findings(replace(WHOLE, **change)) == []


def test_the_same_card_twice_is_one_finding_and_what_stops_comes_first() -> None:
    facts = replace(KAGGLE, bases=(replace(QWEN, compute_dtype="bfloat16"),), disk_gib=1.0)
    assert [finding.stops for finding in findings(replace(facts, python="3.10.1"))] == [True, True, False]


def test_a_card_runs_code_of_its_own_major_version_or_portable_code() -> None:
    ada, blackwell = CardFacts("L4", 22.0, (8, 9)), CardFacts("B300", 270.0, (10, 3))
    assert is_served(ada, CODE) and is_served(blackwell, CODE) and is_served(T4, CODE)
    assert not is_served(P100, CODE) and not is_served(CardFacts("V100", 15.8, (7, 0)), CODE)
    assert is_served(CardFacts("next", 15.8, (13, 0)), ("sm_90", "compute_90"))


def test_the_machine_is_told_in_ten_lines() -> None:
    """More would hide the line that matters."""
    facts = replace(KAGGLE, bases=(replace(QWEN, compute_dtype="bfloat16"),))
    told = lines(facts, findings(facts))
    assert len(told) == 8
    assert told[2] == (
        "cards   2 x Tesla T4 (14.7 GiB, compute capability 7.5, no bfloat16 and no FP8), driver 570.172.08"
    )
    assert told[6].startswith("STOPS   model.compute_dtype: ") and told[7].startswith("no ")
    assert lines(WHOLE, [])[-1] == "ok      nothing here stops a run"
