"""A run's probabilities as files for others: the ensemble's, or one member's.

Shapes: N rows, C choices.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import PROBABILITY, probabilities_in, probability_columns
from vqaflow.artifacts.reading import letters_of_table, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.export.places import require_free
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path
from vqaflow.runtime.messages import did_you_mean
from vqaflow.runtime.stage import log

SPLITS = ("oof", "test")
FORMATS = (".csv", ".npz")


def export_probabilities(results: ResultsFolder, member: str | None, split: str, out: Path, force: bool) -> list[Path]:
    """Write the probabilities of `split` (oof, test or both) and return the files.

    `out` is a .csv (id, p_a, …) or an .npz (ids, and avg (N, C)); for both splits it has {split} in its name, or it is
    a folder, for oof.csv and test.csv. `member` None is the ensemble. Raises UserError if a file exists and `force` is
    not set, or if the results do not have the probabilities.
    """
    targets = files_of(out, split)
    for target in targets.values():
        require_free(target, force)
    tables = {name: read_answers(results, member, name) for name in targets}
    for name, target in targets.items():
        write_probabilities(tables[name], target)
        log.info("%s: the %d %s rows of %s", target, len(tables[name]), name, member or "the ensemble")
    return list(targets.values())


def files_of(out: Path, split: str) -> dict[str, Path]:
    """The file of each split that is written. Raises UserError if the name `out` is not one for them."""
    splits = SPLITS if split == "both" else (split,)
    if out.suffix == "" or out.is_dir():
        return {name: out / f"{name}.csv" for name in splits}
    if out.suffix not in FORMATS:
        raise UserError(f"--out {out}: its name ends neither in .csv nor in .npz. Give it one of these endings.")
    if len(splits) > 1 and "{split}" not in out.name:
        better = out.with_stem(f"{out.stem}_{{split}}")
        raise UserError(f"--out {out}: one file cannot take both splits. Write '{better}', or add --split oof.")
    return {name: out.with_name(out.name.replace("{split}", name)) for name in splits}


def read_answers(results: ResultsFolder, member: str | None, split: str) -> pd.DataFrame:
    """The columns id, p_a, … of a split. Raises UserError if the results do not have them."""
    if member is None:
        return _read(results.probabilities(split), "ensemble_probabilities")
    if member not in results.members():
        known = results.members()
        cure = did_you_mean(member, known) if known else "run the rule pool_member first."
        raise UserError(f"--member {member}: {results.folder} has no such member; {cure}")
    return _read(results.member(member).answers(split), "pool_member")


def _read(path: Path, rule: str) -> pd.DataFrame:
    return read_table(path, rule, ["id", *probability_columns(letters_of_table(path, rule, PROBABILITY))])


def write_probabilities(table: pd.DataFrame, target: Path) -> None:
    """Write one split, all digits kept, as its reader `artifacts.probability_files` expects it."""
    with atomic_path(target) as partial:
        if target.suffix == ".npz":
            ids = np.array(table["id"].tolist(), dtype=str)  # not an array of objects, which only pickle reads
            with partial.open("wb") as file:
                np.savez(file, ids=ids, avg=table[probabilities_in(table)].to_numpy(np.float64))
        else:
            table.to_csv(partial, index=False, lineterminator="\n")
