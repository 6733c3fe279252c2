"""The scripts of docs/examples, which make pages, for the tests of these pages."""

import importlib.util
from types import ModuleType

from places import ROOT


def example(name: str) -> ModuleType:
    """A script of docs/examples as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "docs" / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
