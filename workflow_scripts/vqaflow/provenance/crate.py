"""A Workflow Run RO-Crate of a finished run, in the profile Provenance Run Crate: each job as an action.

The crate is a folder: the workflow's files, the results with the digests of the run's own records,
ro-crate-metadata.json, and SHA256SUMS of them all. Files that show rows or pictures of the data are left out unless
asked for: they are named by their digests. Equal runs give equal bytes, but for the times of the jobs.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from vqaflow.artifacts.adapter_files import RUN, WEIGHTS, read_run
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.about import About, about_of
from vqaflow.config.loading import in_order
from vqaflow.config.named_values import named_values
from vqaflow.evaluation.cards.facts import CARD
from vqaflow.evaluation.verify.card_checks import adapters_of
from vqaflow.evaluation.verify.results import Results
from vqaflow.provenance.actions import add_actions
from vqaflow.provenance.crate_checks import SUMS, sums_of
from vqaflow.provenance.entities import (
    METADATA,
    Graph,
    copied_file,
    digest_id,
    file_entity,
    license_value,
    moment,
    path_id,
    people,
    ref,
    refs,
    shown_path,
)
from vqaflow.provenance.history import RESULTS, Job, read_jobs
from vqaflow.provenance.workflow_files import SETTINGS, add_workflow, copy_workflow
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_folder, read_manifest, write_json, write_text
from vqaflow.runtime.secrets import require_no_secret
from vqaflow.runtime.stage import CLOSING, log
from vqaflow.runtime.versions import package_versions

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
# Outputs that show rows or pictures of the data.
OF_DATA = ("demo/*", "tables/*", "answers/*", "eda/*", "evaluation/*.html")
PICTURES = "demo/*/*.png"  # thousands: told as one
RUN_SETTINGS = ("data", "folds", "ensemble")  # sections that no member overrides


@dataclass
class Crate:
    """A crate that is being filled: its folder, its graph, and the @id of each file by its path in the run's folder."""

    folder: Path
    about: About
    graph: Graph = field(default_factory=Graph)
    ids: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)

    def add_file(self, path: str, entity: dict[str, Any]) -> None:
        """Add a file, or a folder, that the run knows by `path`."""
        self.ids[path] = entity["@id"]
        self.parts.append(entity["@id"])
        self.graph.add(entity)


def write_crate(at: ResultsFolder, config: Mapping[str, Any], workflow: Path, out: Path, with_data: bool) -> None:
    """Write the crate of the run in `at`, made by `config` and the files of `workflow`, to the new folder `out`.

    Raises UserError if a file is not as its rule wrote it, `config` is not the run's, or a secret would be handed on.
    """
    if out.exists():
        raise UserError(f"{out}: is already there. Name a new folder, or delete this one.")
    results = Results(at)
    jobs = read_jobs(results)
    require_settings(config, jobs)
    with atomic_folder(out) as folder:
        crate = Crate(folder, about_of(config))
        copy_workflow(workflow, folder)
        settings = yaml.safe_dump(shared(config), allow_unicode=True, sort_keys=True)
        write_text(folder / SETTINGS, settings)
        add_workflow(crate.graph, crate.parts, folder)
        add_results(crate, results, jobs, with_data)
        add_inputs(crate, jobs, at.folder.resolve().parent)
        add_store_keys(crate, results, Store(Path(config["hardware"]["store"]), 0.0))
        versions = versions_of(results)
        add_actions(crate, jobs, versions)
        add_root(crate, jobs)
        require_no_secret_in(folder)
        write_json(folder / METADATA, crate.graph.as_json())
        require_no_secret(f"{out / METADATA}", (folder / METADATA).read_text(encoding="utf-8"))
        write_text(folder / SUMS, sums_of(folder))
    log.info("%s: %d jobs, %d files and folders", out, len(jobs), len(crate.parts), extra=CLOSING)


def shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration for others: without hints about this machine, which change no result."""
    return in_order({key: value for key, value in config.items() if key != "hardware"})


def require_settings(config: Mapping[str, Any], jobs: list[Job]) -> None:
    """Raise UserError if the run was made by another configuration than the one that is given."""
    mine: dict[str, str] = {}
    for key in RUN_SETTINGS:
        mine |= named_values(key, in_order(config[key]))
    for job in jobs:
        for text in job.settings:
            key = text.partition(":")[0]
            if key in mine and mine[key] != text:
                raise UserError(
                    f"config: {key} is not as it was when the rule {job.rule} ran. Give the run's own files: --config "
                    "FILE …, or run snakemake again."
                )


def add_results(crate: Crate, results: Results, jobs: list[Job], with_data: bool) -> None:
    """Add what the jobs wrote, and the model cards; pictures of the demo are told as one folder."""
    pictures: dict[str, str] = {}
    for job in jobs:
        for name, digest in job.outputs.items():
            if fnmatchcase(name, PICTURES):
                pictures[name] = digest
            else:
                add_result(crate, results, name, digest, with_data)
    if pictures:
        path, digest = f"{RESULTS}/demo", value_digest(pictures)
        entity = {
            "@id": f"{digest_id(digest, path)}/",
            "@type": "Dataset",
            "name": path,
            "description": f"{len(pictures)} pictures; the digest is that of the list of their names and digests",
        }
        crate.add_file(path, entity)
        crate.ids |= {f"{RESULTS}/{name}": entity["@id"] for name in pictures}
    for member, part in adapters_of(results):
        card = results.at.adapter(member, part) / CARD
        if card.is_file():
            name = card.relative_to(results.at.folder).as_posix()
            add_result(crate, results, name, file_digest(card), with_data)


def add_result(crate: Crate, results: Results, name: str, digest: str, with_data: bool) -> None:
    """Add a file of the results folder: a copy of it, or its digest alone."""
    path = f"{RESULTS}/{name}"
    if not with_data and any(fnmatchcase(name, pattern) for pattern in OF_DATA):
        entity = file_entity(digest_id(digest, path), path, digest, (results.at.folder / name).stat().st_size)
        crate.add_file(path, entity | {"license": license_value(crate.graph, crate.about.data_license)})
        return
    (crate.folder / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(results.at.folder / name, crate.folder / path)
    crate.add_file(path, copied_file(crate.folder, path, digest))


def add_inputs(crate: Crate, jobs: list[Job], run: Path) -> None:
    """Add what jobs read and none wrote: the user's tables, by their digests; they are never copied."""
    given = sorted({path for job in jobs for path in job.inputs} - crate.ids.keys())
    sums = {path: digest for job in jobs for path, digest in job.checksums.items()}
    for path in given:
        there = run / path
        digest = file_digest(there) if there.is_file() else sums.get(path)
        if digest is None:
            raise UserError(f"{path}: is missing, and nothing says which bytes it had. Put the run's own file there.")
        if sums.get(path, digest) != digest:
            raise UserError(
                f"{path}: was changed since the run read it. Put the old file back, or run snakemake again."
            )
        shown = shown_path(path)
        entity = file_entity(digest_id(digest, shown), shown, digest, there.stat().st_size if there.is_file() else None)
        crate.add_file(path, entity | {"license": license_value(crate.graph, crate.about.data_license)})


def add_store_keys(crate: Crate, results: Results, store: Store) -> None:
    """Say of each adapter's weights under which key the store holds them, if it holds these bytes."""
    for member, part in adapters_of(results):
        folder = results.at.adapter(member, part)
        key = read_run(folder).get("key")
        path = f"{RESULTS}/{(folder / WEIGHTS).relative_to(results.at.folder).as_posix()}"
        if key is None or path not in crate.ids:
            continue
        held = read_manifest(store.entry(key)).get("files", {}).get(WEIGHTS) == file_digest(folder / WEIGHTS)
        name = "key in the store, which holds these bytes" if held else "key in the store"
        entry = {"@id": f"#store-{key}", "@type": "PropertyValue", "propertyID": "vqaflow-store-key"}
        crate.graph.entities[crate.ids[path]]["identifier"] = crate.graph.add(entry | {"name": name, "value": key})


def versions_of(results: Results) -> dict[str, str]:
    """The versions that the run's trainings recorded; without a training, those that are installed."""
    for member, part in adapters_of(results):
        if (results.at.adapter(member, part) / RUN).is_file():
            return dict(read_run(results.at.adapter(member, part))["versions"])
    return package_versions()


def add_root(crate: Crate, jobs: list[Job]) -> None:
    """Add the descriptor, the profiles and the root, which holds all else."""
    graph, about = crate.graph, crate.about
    profiles = [
        graph.add({"@id": address, "@type": "CreativeWork", "name": name, "version": address.rpartition("/")[2]})
        for address, name in PROFILES.items()
    ]
    specification, workflow_profile = "https://w3id.org/ro/crate/1.1", list(PROFILES)[-1]
    graph.add(
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": ref("./"),
            "conformsTo": [ref(specification), ref(workflow_profile)],
        }
    )
    authors = people(graph, about.authors)
    actions = [name for name, one in graph.entities.items() if one.get("@type") in ("CreateAction", "OrganizeAction")]
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": about.name or "A run of vqaflow",
        "description": about.description
        or "A finished run of the workflow vqaflow: answers to questions about pictures.",
        "datePublished": moment(max(job.ended for job in jobs))[:10],
        "license": license_value(graph, about.license),
        "conformsTo": profiles,
        "hasPart": refs(crate.parts),
        "mainEntity": ref(path_id("workflow/Snakefile")),
        "mentions": refs(actions),
    }
    graph.add(root | ({"author": authors} if authors else {}))
    if authors:
        for name in actions:
            graph.entities[name]["agent"] = authors[0]


def require_no_secret_in(folder: Path) -> None:
    """Raise UserError if a file of the crate holds a secret."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            where = path.relative_to(folder).as_posix()
            require_no_secret(where, path.read_bytes().decode("utf-8", errors="ignore"))
