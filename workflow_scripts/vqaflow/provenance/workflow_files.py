"""The workflow's own files in a crate: the Snakefile, its rules and scripts, the package, and the configuration."""

import shutil
from pathlib import Path

from vqaflow.provenance.entities import Graph, copied_file, path_id, ref
from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.errors import UserError

WORKFLOW = "workflow"  # the folder in the crate
SNAKEFILE = f"{WORKFLOW}/Snakefile"
SETTINGS = f"{WORKFLOW}/settings.yaml"
FILES = ("Snakefile", "config.yaml", "requirements.lock", "LICENSE", "rules/*.smk", "workflow_scripts/*.py")
FILES += ("schemas/*.yaml", "envs/*.yaml")
PACKAGE = "workflow_scripts/vqaflow"
LANGUAGE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"


def copy_workflow(workflow: Path, folder: Path) -> None:
    """Copy the workflow into the crate. Raises UserError if `workflow` is not its repository."""
    if not (workflow / "Snakefile").is_file():
        raise UserError(f"{workflow}: has no Snakefile. Give the folder of the workflow: --workflow FOLDER.")
    for pattern in FILES:
        for path in sorted(workflow.glob(pattern)):
            target = folder / WORKFLOW / path.relative_to(workflow)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.pyc")
    shutil.copytree(workflow / PACKAGE, folder / WORKFLOW / PACKAGE, ignore=ignored, copy_function=shutil.copyfile)


def add_workflow(graph: Graph, parts: list[str], folder: Path) -> None:
    """Add the workflow's files; the package is one folder, with the digest of the list of its files."""
    package = folder / WORKFLOW / PACKAGE
    for path in sorted((folder / WORKFLOW).rglob("*")):
        if path.is_file() and not path.is_relative_to(package):
            name = path.relative_to(folder).as_posix()
            parts.append(path_id(name))
            graph.add(copied_file(folder, name, file_digest(path)))
    files = {path.relative_to(package).as_posix(): file_digest(path) for path in package.rglob("*") if path.is_file()}
    digest = graph.add(
        {
            "@id": "#package-digest",
            "@type": "PropertyValue",
            "propertyID": "sha256",
            "name": "digest of the list of the package's files and their digests",
            "value": value_digest(files),
        }
    )
    name = f"{WORKFLOW}/{PACKAGE}/"
    parts.append(name)
    graph.add({"@id": name, "@type": "Dataset", "name": "The package vqaflow", "identifier": digest})
    graph.add(
        {
            "@id": LANGUAGE,
            "@type": "ComputerLanguage",
            "name": "Snakemake",
            "identifier": ref("https://doi.org/10.1093/bioinformatics/bts480"),
            "url": ref("https://snakemake.readthedocs.io"),
        }
    )
