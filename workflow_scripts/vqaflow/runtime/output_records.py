"""What each job has written, by its bytes: results/digests/RULE.json or RULE/JOB.json, named as its log.

Every script of a rule hands its outputs to `stage`, which records them when the job has ended well. `vqaflow verify`
compares: whatever was changed since, by a fault or by hand, is found and named, in artifacts of any kind.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.files import write_json

NOT_IN_DIGESTS = True  # a record says what a result is, and changes none
LOGS, RECORDS, LOCKS = "logs", "digests", "work/jobs"
OUTPUTS, DIGEST = "outputs", "digest"  # of a record: the digest of each output, and that of all these digests


def record_outputs(log: Path, outputs: Iterable[Path | str]) -> None:
    """Record the digests of a job's `outputs`, files or folders, whose log is RESULTS/logs/….log.

    Outputs outside the results folder are left out.
    """
    results = results_of(log)
    if results is None:
        return
    inside = [path for path in files_of(outputs) if path.is_relative_to(results)]
    digests = {path.relative_to(results).as_posix(): file_digest(path) for path in inside}
    if digests:
        record = results / RECORDS / log.relative_to(results / LOGS).with_suffix(".json")
        write_json(record, {OUTPUTS: digests, DIGEST: value_digest(digests)})


def results_of(log: Path) -> Path | None:
    """The results folder of a job whose log is RESULTS/logs/….log; None if it is elsewhere."""
    return next((folder.parent for folder in log.parents if folder.name == LOGS), None)


def lock_of(log: Path) -> Path | None:
    """The file that the only process of a job holds a lock on; None if its log is elsewhere."""
    results = results_of(log)
    return None if results is None else results / LOCKS / log.relative_to(results / LOGS).with_suffix(".lock")


def files_of(outputs: Iterable[Path | str]) -> Iterator[Path]:
    """The files among `outputs` and in folders among them; hidden ones are Snakemake's."""
    for output in map(Path, outputs):
        if output.is_dir():
            yield from (path for path in sorted(output.rglob("*")) if path.is_file() and not path.name.startswith("."))
        else:
            yield output


def records_in(results: Path) -> list[Path]:
    """All records of a results folder."""
    return sorted((results / RECORDS).glob("**/*.json"))


def rule_of(record: Path, results: Path) -> str:
    """The rule whose job wrote a record."""
    return record.relative_to(results / RECORDS).parts[0].removesuffix(".json")
