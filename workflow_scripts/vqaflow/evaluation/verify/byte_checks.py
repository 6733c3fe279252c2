"""Checks by digests: images are those of the tables, and artifacts of any kind are as their rules wrote them."""

from collections.abc import Iterator
from pathlib import Path

from vqaflow.artifacts.reading import damaged, read_json
from vqaflow.evaluation.verify.card_checks import COMMAND as CARDS
from vqaflow.evaluation.verify.results import Note, Results, place_of
from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import MANIFEST, read_manifest
from vqaflow.runtime.output_records import DIGEST, OUTPUTS, RECORDS, records_in, rule_of

# What rules write into the results folder, besides files at its top.
FOLDERS = ("tables", "eda", "hpo", "adapters", "scores", "members", "ensemble", "evaluation", "answers")
FILES = ("folds.parquet", "folds.report.json", "base.*.json", "submission.csv", "submission.validated.json")
UNRECORDED = ("problems.failed.csv",)  # what a validate_tables that stopped leaves


def check_images(results: Results) -> str:
    """The image of each row has the bytes that the tables were made of, as far as the images are here."""
    wanted = {
        file: (row_id, sha256)
        for table in (results.train, results.test)
        for file, row_id, sha256 in zip(table["image_file"], table["id"], table["sha256"], strict=True)
        if isinstance(sha256, str)
    }
    found = {file: place for file in wanted if (place := place_of(results.at, file)).is_file()}
    if not found:
        return f"none of {len(wanted)} images is here: not checked"
    for file, (row_id, sha256) in wanted.items():
        if file not in found:
            raise UserError(
                f"{file}: the image of row {row_id!r} is missing, others are there. Put it there, or run snakemake."
            )
        if file_digest(found[file]) != sha256:
            raise UserError(
                f"{file}: the image of row {row_id!r} was replaced or changed since the tables were made. Put the old "
                "one back, or run snakemake again: it makes everything that follows of the new one."
            )
    return f"{len(found)} images have the bytes that the tables were made of"


def check_bases(results: Results) -> str:
    """Each member's note of its base can be read; a quantised base has files of the sizes that its manifest says."""
    notes = [path for note in results.notes if (path := results.at.base_note(note.name)).is_file()]
    for path in notes:
        said = read_json(path, "store_base", ["base", "folder", "quantization", "compute_dtype"])
        if said["folder"] is None:
            continue
        folder = results.at.bases / said["folder"]
        sizes = {file.name: file.stat().st_size for file in folder.glob("*") if file.name != MANIFEST}
        if folder.exists() and read_manifest(folder) != sizes:
            raise damaged(folder, "store_base", ValueError("its files do not have the sizes that its manifest says"))
    return f"{len(notes)} notes of bases" if notes else "no base is stored"


def check_bytes(results: Results) -> str:
    """Every artifact has the bytes that its rule wrote, and each has a record of them."""
    folder, recorded = results.at.folder, {}
    for record in records_in(folder):
        rule = rule_of(record, folder)
        said = read_json(record, rule, [OUTPUTS, DIGEST])
        if said[DIGEST] != value_digest(said[OUTPUTS]):
            raise damaged(record, rule, ValueError("it does not match its own digest"))
        for name, digest in said[OUTPUTS].items():
            recorded[name] = rule
            there = (folder / name).is_file()
            # Missing: the demo, a page on runs that are no longer kept, or a search that is no longer asked for.
            if not there and (is_of_old_search(folder, name) or not is_artifact(name)):
                continue
            if not there and rule == CARDS:  # training an adapter again takes its card with it
                continue
            if is_used(results, name) and (not there or file_digest(folder / name) != digest):
                what = "was changed since its rule wrote it, or made again by a command" if there else "is missing"
                cure = f"{'Delete it and run' if there else 'Run'} the rule {rule} again."
                cure = "Write it again: vqaflow cards." if rule == CARDS else cure
                raise UserError(f"{folder / name}: {what} (see {record}). {cure}")
    used = [name for name in artifacts_in(folder) if is_used(results, name)]
    if unknown := [name for name in used if name not in recorded]:
        raise UserError(
            f"{folder / unknown[0]}: has no record in {folder / RECORDS} of what its rule wrote ({len(unknown)} such "
            "files). Delete it and run snakemake again: finished trainings and scorings are taken from the store."
        )
    return f"{len(used)} files are as their rules wrote them"


def is_of_old_search(folder: Path, name: str) -> bool:
    """Whether the path is of a search without a result: `check_search` finds what a search with one lacks."""
    parts = Path(name).parts
    return parts[0] == "hpo" and not (folder / parts[0] / parts[1] / "best.yaml").exists()


def is_artifact(name: str) -> bool:
    """Whether the path, in the results folder, is one where rules write."""
    path = Path(name)
    return path.parts[0] in FOLDERS or any(path.match(pattern) for pattern in FILES if len(path.parts) == 1)


def artifacts_in(folder: Path) -> Iterator[str]:
    """The files that rules have written, by their paths in the results folder."""
    for pattern in (*(f"{name}/**/*" for name in FOLDERS), *FILES):
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and not path.name.startswith(".") and path.name not in UNRECORDED:
                yield path.relative_to(folder).as_posix()


def is_used(results: Results, name: str) -> bool:
    """Whether a file is of the run's members: what was left of earlier ones, which Snakemake keeps, does not count."""
    top, *rest = Path(name).parts
    notes: dict[str, Note] = {note.name: note for note in results.notes}
    if top.startswith("base.") and top.endswith(".json"):
        return top.removeprefix("base.").removesuffix(".json") in results.members
    if top not in ("adapters", "scores", "members", "hpo"):
        return True
    if top in ("members", "hpo"):
        return rest[0] in results.members
    note = notes.get(rest[0])
    if note is None:
        return False
    if top == "adapters":
        return rest[1].removeprefix("fold") in note.adapters
    if len(rest) < 4:
        return False
    views = {*note.said["views"], *note.said.get("shown", {})}
    return rest[2].removeprefix("fold") in note.scored_parts(rest[1]) and Path(rest[3]).stem in views
