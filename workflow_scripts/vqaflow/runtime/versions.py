"""Versions of the packages that a result depends on."""

import sys
from importlib.metadata import version

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "qwen-vl-utils")
# They make pixels, positions and the model's code; their minor releases have changed each in silence. The others change
# a result by no more than rounding.
DECISIVE_PACKAGES = ("transformers", "qwen-vl-utils")


def package_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {name: version(name) for name in PACKAGES} | {"python": sys.version.split()[0]}


def decisive_versions() -> dict[str, str]:
    """Versions of the packages whose releases change results; they belong to what a kept result depends on."""
    return {name: version(name) for name in DECISIVE_PACKAGES}
