"""Write the folder that goes to Kaggle or Colab: the notebook, the packed workflow, and for Kaggle the wheels.

python -m notebooks.kit kaggle --competition NAME --user USER [--model HANDLE] [--config my.yaml] [--goes-on]

A Kaggle notebook takes its inputs from datasets, and has no internet here: build/kaggle/inputs is a dataset with the
workflow and all packages as wheels; build/kaggle/kernel is for `kaggle kernels push`. Nothing is sent by this command.
docs/kaggle.md
"""

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from notebooks.cells import notebook

from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_json, write_text
from vqaflow.runtime.stage import stage

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-kaggle.lock"
PARTS = ("Snakefile", "config.yaml", "LICENSE", "NOTICE", "requirements-kaggle.lock", "rules", "schemas", "envs")
PARTS += ("profiles", "assets", "docs/captions", "workflow_scripts")
NOT_PACKED = ("__pycache__", ".egg-info")
SHORT = {"min": 5, "max": 50}  # letters of a title on Kaggle
MOST_BYTES = 2 * 10**9  # of a dataset of wheels, which is sent from a home's line
PYTHON = "3.12"  # of Kaggle's image
# Older tags are among the platforms of a newer one, but pip wants each to be named.
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
PLATFORMS += ("manylinux_2_12", "manylinux2010", "manylinux_2_5", "manylinux1", "linux")
T4X2 = "NvidiaTeslaT4"  # what kaggle's own client calls two T4
FIXED = (1980, 1, 1, 0, 0, 0)  # the time of packed files, so that equal files make an equal archive


@dataclass(frozen=True)
class Kit:
    """What the notebook is to work on: a competition and a model by their names on Kaggle, and a file of settings.

    `user` is the owner of notebook and dataset; `goes_on`: the notebook takes its own earlier output as an input.
    """

    competition: str | None
    user: str
    model: str | None = None
    config: Path | None = None
    goes_on: bool = False

    def __post_init__(self) -> None:
        for option, value in (("COMPETITION", self.competition), ("USER", self.user)):
            if value is not None and not re.fullmatch(r"[\w-]+", value):
                raise UserError(f"{option} {value!r}: is not a name in an address of Kaggle. Copy it from the address.")
        if self.model is not None and len(self.model.split("/")) != 5:
            raise UserError(
                f"MODEL {self.model!r}: is not OWNER/MODEL/FRAMEWORK/VARIATION/VERSION. Copy it from the model's page."
            )
        if self.config is not None and not self.config.is_file():
            raise UserError(f"CONFIG {self.config}: is not there. Give a file of settings, or leave CONFIG out.")

    @property
    def title(self) -> str:
        """The notebook's title; Kaggle makes its address from it."""
        return f"vqaflow {self.competition or 'demo'}".replace("_", "-").lower()[: SHORT["max"]].rstrip("-")

    @property
    def name(self) -> str:
        """The notebook's name in its address."""
        return self.title.replace(" ", "-")

    @property
    def inputs(self) -> str:
        """The name of the dataset."""
        return f"{self.name[: SHORT['max'] - 7].rstrip('-')}-inputs"

    @property
    def kernel_metadata(self) -> dict[str, object]:
        """What `kaggle kernels push` reads."""
        return {
            "id": f"{self.user}/{self.name}",
            "title": self.title,
            "code_file": "kaggle.ipynb",
            "language": "python",
            "kernel_type": "notebook",
            "is_private": True,
            "enable_gpu": True,
            "enable_tpu": False,
            "enable_internet": False,
            "machine_shape": T4X2,
            "keywords": [],
            "dataset_sources": [f"{self.user}/{self.inputs}"],
            "competition_sources": [self.competition] if self.competition else [],
            "kernel_sources": [f"{self.user}/{self.name}"] if self.goes_on else [],
            "model_sources": [self.model] if self.model else [],
        }

    @property
    def dataset_metadata(self) -> dict[str, object]:
        """What `kaggle datasets create` reads."""
        licenses = [{"name": "other"}]  # each package has its own
        return {"id": f"{self.user}/{self.inputs}", "title": self.inputs.replace("-", " "), "licenses": licenses}


def pack_workflow(kit: Kit, target: Path, root: Path = ROOT) -> None:
    """Write the workflow, kit.json and the settings as a zip file; equal files give equal bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    facts = {"competition": kit.competition, "model": kit.model}
    note = target.with_name("kit.json")
    write_json(note, facts)
    files = [(path.relative_to(root).as_posix(), path) for path in _files(root)] + [("kit.json", note)]
    files += [("my.yaml", kit.config)] if kit.config else []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, FIXED), path.read_bytes(), zipfile.ZIP_DEFLATED)
    note.unlink()


def _files(root: Path) -> Iterator[Path]:
    for part in PARTS:
        paths = [root / part] if (root / part).is_file() else sorted((root / part).rglob("*"))
        for path in paths:
            if path.is_file() and not any(part.endswith(NOT_PACKED) for part in path.relative_to(root).parts):
                yield path


def fetch_wheels(lock: Path, folder: Path) -> None:
    """Download all of a lock for Kaggle's Python, checked by its hashes; what comes as source becomes a wheel.

    Raises UserError if pip fails, or if a package can only be built on the machine itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = set(folder.iterdir())
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_x86_64")]
    abis = ["--abi", f"cp{PYTHON.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
    options = ["--no-deps", "--require-hashes", "--python-version", PYTHON, "--implementation", "cp", *abis, *platforms]
    _pip("download", *options, "--dest", str(folder), "-r", str(lock), lock=lock)
    for source in sorted(path for path in set(folder.iterdir()) - there if path.suffix != ".whl"):
        _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(source), lock=lock)
        source.unlink()
    if built := [path.name for path in folder.glob("*.whl") if "-linux_" in path.name]:
        raise UserError(f"{lock}: {built[0]} was built for this machine alone. Pin a version that has wheels.")


def _pip(*words: str, lock: Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    if subprocess.run(command, check=False).returncode != 0:
        raise UserError(f"{lock}: pip cannot fetch all of it, as its last lines say. Mend that, and run it again.")


def write_wheel_list(folder: Path) -> int:
    """Write wheels.lock, which names each wheel by its sha256; returns the bytes of all. Raises UserError over 2 GB."""
    wheels = sorted(folder.glob("*.whl"))
    size = sum(path.stat().st_size for path in wheels)
    if size > MOST_BYTES:
        raise UserError(
            f"{folder}: the wheels take {size / 1e9:.2f} GB, more than {MOST_BYTES / 1e9:g} GB. Take large packages "
            "out of the lock, such as those that Kaggle has."
        )
    lines = [f"{_requirement(path)} --hash=sha256:{file_digest(path)}\n" for path in wheels]
    write_text(folder / "wheels.lock", "".join(lines))
    return size


def _requirement(wheel: Path) -> str:
    name, version, *_ = wheel.name.split("-")
    return f"{name}=={version}"


def write_kaggle(kit: Kit, out: Path, lock: Path = LOCK, root: Path = ROOT) -> list[str]:
    """Write both folders for Kaggle; returns what was written, and the next commands."""
    kernel, inputs = out / "kernel", out / "inputs"
    for folder in (kernel, inputs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    write_text(kernel / "kaggle.ipynb", notebook("kaggle"))
    write_json(kernel / "kernel-metadata.json", kit.kernel_metadata)
    write_json(inputs / "dataset-metadata.json", kit.dataset_metadata)
    pack_workflow(kit, inputs / "workflow.zip", root)
    fetch_wheels(lock, inputs)
    size = write_wheel_list(inputs)
    data = f"the data of {kit.competition}" if kit.competition else "the demo"
    model = f"the model {kit.model}" if kit.model else "the base that the settings name"
    return [
        f"{inputs}: a dataset of {len(list(inputs.glob('*.whl')))} wheels, {size / 1e6:.0f} MB, and the workflow",
        f"{kernel}: the notebook, for two T4 without internet, with {data} and {model}",
        "next, with Kaggle's own client (docs/kaggle.md):",
        f"  kaggle datasets create -p {inputs}      # later: kaggle datasets version -p {inputs} -m again",
        f"  kaggle kernels push -p {kernel}",
    ]


def write_colab(kit: Kit, out: Path, root: Path = ROOT) -> list[str]:
    """Write the folder for Drive; returns what was written, and what to do next."""
    out.mkdir(parents=True, exist_ok=True)  # it may be the folder in Drive, with what was kept
    write_text(out / "colab.ipynb", notebook("colab"))
    pack_workflow(kit, out / "workflow.zip", root)
    data = f" Put {kit.competition}.zip, the competition's download, beside it." if kit.competition else ""
    return [
        f"{out}: the notebook and the workflow. Copy the folder to Drive as MyDrive/vqaflow.{data}",
        "next: open colab.ipynb in Colab with an L4 or A100 (Runtime, Change runtime type), and run all cells",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="notebooks.kit", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("service", choices=["kaggle", "colab"])
    parser.add_argument("--competition", help="its name in its address; without it, the demo")
    parser.add_argument("--user", default="", help="your name on Kaggle")
    parser.add_argument("--model", help="OWNER/MODEL/FRAMEWORK/VARIATION/VERSION on Kaggle")
    parser.add_argument("--config", type=Path, help="your settings; without them, the notebook runs vqaflow init")
    parser.add_argument("--goes-on", action="store_true", help="the notebook's earlier output is an input")
    parser.add_argument("--out", type=Path, help="the folder to write (default: build/SERVICE)")
    options = parser.parse_args(arguments)
    with stage(None):
        if options.service == "kaggle" and not options.user:
            raise UserError("USER: is missing. Give your name on Kaggle: make kaggle COMPETITION=… USER=….")
        kit = Kit(options.competition, options.user or "nobody", options.model, options.config, options.goes_on)
        out = options.out or Path("build") / options.service
        print(*(write_kaggle if options.service == "kaggle" else write_colab)(kit, out), sep="\n")


if __name__ == "__main__":
    main()
