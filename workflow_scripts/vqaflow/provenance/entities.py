"""Entities of an RO-Crate, as JSON-LD: files, people, licences, software, and the graph that holds them.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) with the terms of Workflow Run RO-Crate 0.5 (https://w3id.org/ro/wfrun).
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

Entity = dict[str, Any]
METADATA = "ro-crate-metadata.json"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
FORMATS = {
    "": "text/plain",  # Snakefile, LICENSE
    ".smk": "text/plain",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".lock": "text/plain",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".py": "text/x-python",
    ".yaml": "application/yaml",
}
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


@dataclass
class Graph:
    """The entities of a crate by @id."""

    entities: dict[str, Entity] = field(default_factory=dict)

    def add(self, entity: Entity) -> dict[str, str]:
        """Add an entity, or the properties that it has more than the one already here; returns the reference to it."""
        self.entities.setdefault(entity["@id"], {}).update(entity)
        return ref(entity["@id"])

    def as_json(self) -> Entity:
        """The document: the descriptor and the root first, the others by @id."""
        first = [METADATA, "./"]
        ids = first + sorted(self.entities.keys() - set(first))
        return {"@context": CONTEXT, "@graph": [compact(self.entities[name]) for name in ids]}


def compact(entity: Entity) -> Entity:
    """An entity whose lists of one value are that value, as RO-Crate recommends; empty lists are left out."""
    listed = {key: value for key, value in entity.items() if value != []}
    return {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in listed.items()}


def ref(name: str) -> dict[str, str]:
    """A reference to an entity."""
    return {"@id": name}


def refs(names: Iterable[str]) -> list[dict[str, str]]:
    """References to entities, each once, in order of their @id."""
    return [ref(name) for name in sorted(set(names))]


def path_id(path: str) -> str:
    """The @id of a file in the crate."""
    return quote(path)


def digest_id(digest: str, path: str) -> str:
    """The @id of a file that is not in the crate: its digest as a URI (RFC 6920), and which of equal files it is."""
    name = urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
    return f"ni:///sha-256;{name}?path={quote(path)}"


def shown_path(path: str) -> str:
    """A path for others: of an absolute one, or one that leads out of the run's folder, its last part alone."""
    parts = PurePath(path)
    return parts.name if parts.is_absolute() or ".." in parts.parts else parts.as_posix()


def file_entity(name: str, path: str, digest: str | None, size: int | None = None) -> Entity:
    """A file."""
    entity: Entity = {"@id": name, "@type": "File", "name": path}
    entity["encodingFormat"] = FORMATS.get(PurePath(path).suffix, "application/octet-stream")
    if digest is not None:
        entity["sha256"] = digest
    if size is not None:
        entity["contentSize"] = str(size)
    return entity


def copied_file(folder: Path, path: str, digest: str) -> Entity:
    """A file at `path` in the crate's `folder`."""
    return file_entity(path_id(path), path, digest, (folder / path).stat().st_size)


def license_value(graph: Graph, name: str | None) -> Any:
    """A licence: a reference if it has an address, else what was written; if none is given, that."""
    if name is None:
        return "No licence is given. Ask the authors."
    is_address = name.startswith(("https://", "http://"))
    if not is_address and not SPDX.fullmatch(name):
        return name
    address = name if is_address else f"https://spdx.org/licenses/{name}"
    return graph.add({"@id": address, "@type": "CreativeWork", "name": name, "description": f"The licence {name}"})


def people(graph: Graph, authors: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """The authors, with their organisations."""
    found = []
    for number, author in enumerate(authors):
        entity: Entity = {
            "@id": author.get("orcid") or f"#author-{number}",
            "@type": "Person",
            "name": author["name"],
        }
        if place := author.get("affiliation"):
            entity["affiliation"] = graph.add({"@id": f"#{quote(place)}", "@type": "Organization", "name": place})
        found.append(graph.add(entity))
    return found


def software(graph: Graph, name: str, version: str) -> dict[str, str]:
    """A Python package, or Python itself."""
    is_python = name == "python"
    address = "https://www.python.org/" if is_python else f"https://pypi.org/project/{name}/{version}/"
    return graph.add(
        {"@id": address, "@type": "SoftwareApplication", "name": name, "softwareVersion": version, "url": address}
    )


def moment(seconds: float) -> str:
    """A time in ISO 8601, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()
