"""Checks of a crate: the digests of its files, whether its graph is whole, and what a published validator says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vqaflow.provenance.entities import CONTEXT, METADATA
from vqaflow.provenance.tools import run_tool, tool
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError

SUMS = "SHA256SUMS"
VALIDATOR, PROFILE = "rocrate-validator", "provenance-run-crate"
# What the profiles demand of each kind of entity.
REQUIRED = {
    "Dataset": ("name",),
    "File": ("name", "sha256"),
    "CreateAction": ("instrument", "name", "startTime", "endTime", "actionStatus", "result"),
    "ControlAction": ("instrument", "object"),
    "OrganizeAction": ("instrument", "object", "result"),
    "ComputationalWorkflow": ("programmingLanguage", "hasPart", "step", "input", "output"),
    "HowToStep": ("workExample", "position"),
    "FormalParameter": ("additionalType", "workExample"),
    "SoftwareApplication": ("name",),
    "Person": ("name",),
}
ROOT = ("name", "description", "datePublished", "license", "hasPart", "mainEntity", "mentions", "conformsTo")


def check_crate(folder: Path) -> Iterator[str]:
    """Check a crate; yields a line per check. Raises UserError that names what is wrong."""
    entities = read_graph(folder)
    yield f"{check_graph(folder, entities)} entities are whole, and refer to each other"
    yield f"{check_files(folder, entities)} files have the digests that {METADATA} says"
    yield f"{check_sums(folder)} files have the digests that {SUMS} says, and there are no others"


def validate(folder: Path) -> str:
    """What the published validator says of a crate. Raises UserError if it refuses it, or is not installed."""
    tool(VALIDATOR)
    asked = ["validate", "--profile-identifier", PROFILE, "--requirement-severity", "required"]
    asked += ["--skip-availability-check", "--no-paging", "--output-format", "json", "--offline"]
    done = run_tool(VALIDATOR, [*asked, str(folder)])
    found = json_in(done.stdout)
    if done.returncode or not found.get("passed"):
        issues = [issue.get("message") for issue in found.get("issues", [])]
        if missing := [address for address in CONTEXT if any(address in str(issue) for issue in issues)]:
            raise UserError(
                f"{VALIDATOR}: needs {len(missing)} files from w3id.org once. Where there is a network, run: "
                f"{VALIDATOR} cache warm {' '.join(f'--url {address}' for address in CONTEXT)}"
            )
        said = "; ".join(dict.fromkeys(filter(None, issues))) or (done.stderr or done.stdout).strip()[-300:]
        raise UserError(f"{folder}: {VALIDATOR} does not accept it: {said}. Write it again: vqaflow crate write.")
    return f"{VALIDATOR} accepts it as {PROFILE}"


def json_in(text: str) -> dict[str, Any]:
    """The JSON object that a program printed; empty if it printed none."""
    start = text.find("{")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else ({}, 0)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def read_graph(folder: Path) -> dict[str, dict[str, Any]]:
    """The entities of a crate by @id."""
    path = folder / METADATA
    if not path.is_file():
        raise UserError(f"{folder}: has no {METADATA}, so it is not a crate. Write one: vqaflow crate write FOLDER.")
    try:
        graph = json.loads(path.read_text(encoding="utf-8"))["@graph"]
        found = {entity["@id"]: entity for entity in graph}
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: is damaged ({error!r}). Write the crate again.") from None
    if len(found) != len(graph):
        raise UserError(f"{path}: two entities have the same @id. Write the crate again.")
    return found


def check_graph(folder: Path, entities: dict[str, dict[str, Any]]) -> int:
    """The number of entities, which have what is required, and refer only to each other or to addresses."""
    path = folder / METADATA
    for name, keys in {"./": ROOT, METADATA: ("about", "conformsTo")}.items():
        require(path, entities.get(name, {"@id": name}), keys)
    for entity in entities.values():
        for kind in types_of(entity):
            require(path, entity, REQUIRED.get(kind, ()))
        for name in references(entity):
            if name not in entities and not name.startswith(("https://", "http://")):
                raise UserError(f"{path}: {entity['@id']} refers to {name}, which is not there. Write the crate again.")
    parts = set(references({"hasPart": entities["./"]["hasPart"]}))
    if loose := [name for name, one in entities.items() if "File" in types_of(one) and name not in parts]:
        raise UserError(f"{path}: {loose[0]} is not a part of the crate. Write the crate again.")
    return len(entities)


def require(path: Path, entity: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Raise UserError unless an entity has all of `keys`."""
    if missing := [key for key in keys if entity.get(key) in (None, "", [])]:
        raise UserError(f"{path}: {entity['@id']} has no {missing[0]}. Write the crate again.")


def types_of(entity: dict[str, Any]) -> list[str]:
    """The types of an entity."""
    found = entity.get("@type", [])
    return [found] if isinstance(found, str) else found


def references(value: Any) -> Iterator[str]:
    """The @id of each entity that a value, or an entity's property, refers to."""
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict) and inner.keys() == {"@id"}:
            yield inner["@id"]
        elif isinstance(inner, list):
            yield from references(inner)


def check_files(folder: Path, entities: dict[str, dict[str, Any]]) -> int:
    """The number of the crate's own files, each with the bytes that its entity says."""
    count = 0
    for name, entity in entities.items():
        if "File" not in types_of(entity) or ":" in name:
            continue
        path = folder / unquote(name)
        if not path.is_file():
            raise UserError(f"{path}: is missing. Copy the whole crate again.")
        if file_digest(path) != entity["sha256"]:
            raise UserError(f"{path}: was changed since the crate was written. Write the crate again.")
        count += 1
    return count


def sums_of(folder: Path) -> str:
    """The lines of SHA256SUMS: the digest and the path of each other file of a crate, as `sha256sum -c` reads them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return "".join(f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths)


def check_sums(folder: Path) -> int:
    """The number of a crate's files, all of which SHA256SUMS names with their digests. Raises UserError if not."""
    path = folder / SUMS
    if not path.is_file():
        raise UserError(f"{path}: is missing. Copy the whole crate again.")
    said, found = (lines_of(text) for text in (path.read_bytes().decode("utf-8", "replace"), sums_of(folder)))
    for name in sorted(said.keys() | found.keys()):
        if name not in said:
            raise UserError(f"{folder / name}: is not in {SUMS}. Delete it, or write the crate again.")
        if name not in found:
            raise UserError(f"{folder / name}: is missing (see {SUMS}). Copy the whole crate again.")
        if said[name] != found[name]:
            raise UserError(f"{folder / name}: was changed since the crate was written. Write the crate again.")
    return len(found)


def lines_of(sums: str) -> dict[str, str]:
    """The digests of a SHA256SUMS, by path."""
    lines = (line.partition("  ") for line in sums.splitlines())
    return {name: digest for digest, _, name in lines}
