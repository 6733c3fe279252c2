"""What pyproject.toml cannot express: a wheel also holds config.yaml and its schema."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfiguration(build_py):
    """Put both files beside the module that reads them (see `vqaflow.config.loading.shipped`)."""

    def run(self) -> None:
        """Copy the package, then both files; an editable installation reads the repository's own."""
        super().run()
        if not self.editable_mode:
            for name in ("config.yaml", "schemas/config.schema.yaml"):
                self.copy_file(name, str(Path(self.build_lib, "vqaflow", "config", Path(name).name)))


setup(cmdclass={"build_py": BuildWithConfiguration})
