"""The jobs of a finished run: what each wrote, by vqaflow's records, and what it read and when, by Snakemake's.

Snakemake keeps a record of each output in .snakemake/metadata, beside the results folder, under the output's path in
base64. It survives a copy of the folder, and is written by all versions that the workflow supports.
"""

import json
from ast import literal_eval
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqaflow.artifacts.reading import read_json
from vqaflow.evaluation.verify.byte_checks import is_artifact, is_used
from vqaflow.evaluation.verify.card_checks import COMMAND as CARDS
from vqaflow.evaluation.verify.results import Results
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.output_records import OUTPUTS, RECORDS, records_in, rule_of

HISTORY = ".snakemake/metadata"
PIECE = 254  # characters of a record's name; what is longer is in folders whose names begin with @
RESULTS = "results"  # how Snakemake's rules name the results folder


@dataclass(frozen=True)
class Job:
    """One run of a rule. `outputs` are digests by paths in the results folder; `began` and `ended` seconds since 1970.

    `inputs` are paths in the run's folder, `settings` the texts of its params, `KEY: VALUE`.
    """

    rule: str
    name: str
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    checksums: Mapping[str, str]
    settings: tuple[str, ...]
    began: float
    ended: float


def read_jobs(results: Results) -> list[Job]:
    """The jobs whose outputs the run uses, by the time at which they ended.

    Raises UserError if an output was changed or is missing, or if nothing says what a job read.
    """
    folder = results.at.folder
    history = folder.resolve().parent / HISTORY
    if not history.is_dir():
        raise UserError(
            f"{history}: is missing; only Snakemake's records say what each job read. Write the crate where "
            "the run was made, or copy the folder .snakemake there too."
        )
    jobs = [job for record in records_in(folder) if (job := read_job(results, record, history)) is not None]
    if not jobs:
        raise UserError(f"{folder / RECORDS}: has no record of a job. Give the results folder of a finished run.")
    return sorted(jobs, key=lambda job: (job.ended, job.rule, job.name))


def read_job(results: Results, record: Path, history: Path) -> Job | None:
    """The job that a record of its outputs is of; None if the run uses none of them."""
    folder = results.at.folder
    rule = rule_of(record, folder)
    if rule == CARDS:
        return None
    written = read_json(record, rule, [OUTPUTS])[OUTPUTS]
    kept = {name: digest for name, digest in written.items() if is_used(results, name)}
    outputs = {name: digest for name, digest in kept.items() if is_artifact(name) or (folder / name).is_file()}
    for name, digest in outputs.items():
        require_bytes(folder / name, digest, rule)
    told = [said for name in outputs if (said := history_of(history, f"{RESULTS}/{name}"))]
    if not outputs:
        return None
    if not told:
        raise UserError(f"{history}: does not say what the rule {rule} read. Run snakemake --forcerun {rule}.")
    said = told[0]
    sums = {path: text.removeprefix("sha256:") for path, text in (said.get("input_checksums") or {}).items()}
    return Job(
        rule=rule,
        name=record.relative_to(folder / RECORDS).with_suffix("").as_posix(),
        inputs=tuple(sorted(said["input"])),
        outputs=outputs,
        checksums=sums,
        settings=tuple(literal_eval(text) for text in said.get("params") or [] if text[:1] in ("'", '"')),
        began=said["starttime"],
        ended=said["endtime"],
    )


def require_bytes(path: Path, digest: str, rule: str) -> None:
    """Raise UserError unless a file has the bytes that its rule wrote."""
    if not path.is_file():
        raise UserError(f"{path}: is missing. Run the rule {rule}.")
    if file_digest(path) != digest:
        raise UserError(f"{path}: was changed since the rule {rule} wrote it. Delete it and run snakemake again.")


def history_of(history: Path, output: str) -> dict[str, Any] | None:
    """Snakemake's record of an output; None if there is none that can be read."""
    name = urlsafe_b64encode(output.encode()).decode()
    pieces = [name[start : start + PIECE] for start in range(0, len(name), PIECE)]
    path = history.joinpath(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(said, dict) and {"input", "starttime", "endtime"} <= said.keys() and said["endtime"]
    return said if whole else None
