"""Versions of the packages that a result depends on."""

import sys
from importlib.metadata import version

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "qwen-vl-utils")
# These make pixels, positions and the model's code, and their minor releases have changed them without a warning. The
# other packages only change rounding.
DECISIVE_PACKAGES = ("transformers", "qwen-vl-utils")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {name: version(name) for name in PACKAGES} | {"python": sys.version.split()[0]}


def decisive_versions() -> dict[str, str]:
    """Versions of the packages whose releases change results; they are part of the key of a stored result."""
    return {name: version(name) for name in DECISIVE_PACKAGES}
