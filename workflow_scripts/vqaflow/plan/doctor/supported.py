"""The oldest and newest versions that vqaflow is run with: the one place that says so.

`python -m vqaflow.plan.doctor.supported SET` prints what a set of pins is resolved with (`make lock-kaggle`,
`make lock-oldest`). It needs nothing but Python: no package is installed yet where a lock is made.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

NOT_IN_DIGESTS = True  # what a machine has is not a result
PYTHON = (3, 11)  # the oldest; pyproject.toml says it to pip


@dataclass(frozen=True)
class Bounds:
    """The oldest version with which the core tests pass, and the newest, that of requirements.lock."""

    oldest: str
    newest: str


# transformers 5.15.1 is the oldest that has all that is imported.
BOUNDS: Mapping[str, Bounds] = {
    "torch": Bounds("2.10.0", "2.15.0"),
    "torchvision": Bounds("0.25.0", "0.29.2"),
    "transformers": Bounds("5.15.1", "5.24.0"),
    "peft": Bounds("0.19.0", "0.21.2"),
    "bitsandbytes": Bounds("0.49.0", "0.50.2"),
}

# What Kaggle's image of August 2026 has, below the next version. torch and torchvision stay as they are there.
KAGGLE: Mapping[str, Bounds] = {
    "torch": Bounds("2.10.0", "2.12"),
    "torchvision": Bounds("0.25.0", "0.27"),
    "transformers": Bounds("5.15.1", "5.16"),
    "peft": Bounds("0.19.0", "0.21"),
}

SETS: Mapping[str, tuple[str, ...]] = {
    "kaggle": tuple(f"{name}>={between.oldest},<{between.newest}" for name, between in KAGGLE.items()),
    "oldest": tuple(f"{name}=={bounds.oldest}" for name, bounds in BOUNDS.items()),
}


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparisons: 2.11.0+cu128 is (2, 11, 0), and 2.12.0rc1 is (2, 12, 0)."""
    numbers: list[int] = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


if __name__ == "__main__":
    print("\n".join(SETS[sys.argv[1]]))
