"""The files among which the final selections are chosen: their answers to OOF and test rows.

Candidates are the current submission, each member alone, the plain mean of the members, the plain mean without each
member, kept runs, and submission files. Those that give the same answers to all test rows are one candidate, since
they are the same submission.

Shapes: K candidates, N rows, F files, C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import ALL_LETTERS, PROBABILITY, probability_columns
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.artifacts.reading import letters_of_table, read_json, read_table
from vqaflow.artifacts.results_folder import MEMBER_NOTE
from vqaflow.ensemble.submission.answers import Accepted
from vqaflow.reporting.statistics import negative_log_likelihood
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

CURRENT, MEAN = "current submission", "plain mean"


class OtherRows(UserError):
    """A whole file, but of other rows than the tables."""


@dataclass
class Candidate:
    """One possible selection: its answers (0 to C-1) to the test rows and, if they are known, to the OOF rows."""

    name: str
    test_N: np.ndarray
    oof_N: np.ndarray | None = None
    nll: float | None = None
    same: list[str] = field(default_factory=list)  # names of others with the same answers


@dataclass(frozen=True)
class Candidates:
    """The candidates, those with OOF answers first; `answers_N` and `groups_N` are of the training rows."""

    all: list[Candidate]
    answers_N: np.ndarray
    groups_N: np.ndarray
    test_ids: list[str]
    current_test_NC: np.ndarray  # the current submission's probabilities
    notes: list[str]

    @property
    def test_rows(self) -> int:
        """The number of test rows."""
        return len(self.test_ids)

    @property
    def right_KN(self) -> np.ndarray:  # noqa: N802
        """Which OOF rows each candidate with OOF answers has right."""
        return np.array([candidate.oof_N == self.answers_N for candidate in self.known])

    @property
    def known(self) -> list[Candidate]:
        """The candidates with OOF answers."""
        return [candidate for candidate in self.all if candidate.oof_N is not None]

    def place(self, wanted: str) -> int:
        """The place of the candidate called `wanted`: ``current``, ``main`` (a member or a kept run), ``old.csv`` …

        Raises UserError if there is none, or if several have this name.
        """
        names = {name: place for place, one in enumerate(self.all) for name in (one.name, *one.same)}
        if wanted in names:
            return names[wanted]
        forms = [CURRENT if wanted == "current" else "", *(f"{kind} {wanted}" for kind in ("member", "run", MEAN))]
        found = {place for name, place in names.items() if name in forms or name.endswith(f"/{wanted}")}
        if len(found) != 1:
            what = "several candidates have this name" if found else "there is no such candidate"
            known = ", ".join(one.name for one in self.all)
            raise UserError(f"--public {wanted}: {what}. Name one of {known}, or give a CSV file.")
        return found.pop()


def read_candidates(
    *,
    train_table: Path,
    test_table: Path,
    folds: Path,
    oof: Path,
    test: Path,
    members: Mapping[str, Path],
    runs: Mapping[str, Path],
    files: Sequence[Path] = (),
    accepted: Accepted | None = None,
) -> Candidates:
    """Read all candidates. `oof` and `test` are the ensemble's; `members` and `runs` are folders with such files.

    `members` are those of results/members, `runs` are results folders, `files` are submission files, with
    the answers that are `accepted`. Raises UserError if a file is of other rows, or has other labels.
    """
    train = read_table(train_table, "validate_tables", ["id", "answer"])
    rows = train.merge(read_table(folds, "make_folds", ["id", "group"]), on="id", validate="1:1")
    if len(rows) != len(train):
        raise UserError(f"{folds}: it is of other rows than {train_table}. Run the rule make_folds again.")
    letters = letters_of_table(train_table, "validate_tables")
    reader = Reader(rows, read_table(test_table, "validate_tables", ["id"])["id"], letters)
    current = reader.probabilities(CURRENT, oof, test)
    found = [reader.candidate(CURRENT, current), *reader.pools(members), *reader.runs(runs)]
    found += [reader.submission(file, accepted) for file in files if accepted]
    found.sort(key=lambda candidate: candidate.oof_N is None)
    return Candidates(
        merged(found), reader.answers_N, rows["group"].to_numpy(), list(reader.ids), current[1], reader.notes
    )


def merged(found: Sequence[Candidate]) -> list[Candidate]:
    """The candidates without those that are the same submission as an earlier one, which keeps their names."""
    kept: list[Candidate] = []
    for candidate in found:
        if twin := next((one for one in kept if np.array_equal(one.test_N, candidate.test_N)), None):
            twin.same.append(candidate.name)
        else:
            kept.append(candidate)
    return kept


class Reader:
    """Reads candidates for the rows of the tables: `rows` (id, answer, group) and the test table's `ids`.

    `letters` are those of the tables' choices.
    """

    def __init__(self, rows: pd.DataFrame, ids: pd.Series, letters: Sequence[str]) -> None:
        self.rows, self.ids, self.letters = rows, ids, letters
        self.answers_N = rows["answer"].map(ALL_LETTERS.index).to_numpy()
        self.notes: list[str] = []

    def probabilities(self, name: str, oof: Path, test: Path) -> tuple[np.ndarray, np.ndarray]:
        """The probabilities of OOF rows (N, C) and test rows (N, C), in the tables' order."""
        return self.read(name, oof, self.rows["id"]), self.read(name, test, self.ids)

    def read(self, name: str, file: Path, ids: pd.Series) -> np.ndarray:
        """The probabilities (N, C) in `file` for `ids`."""
        names = probability_columns(self.own_letters(name, file))
        frame = read_table(file, "ensemble_probabilities", ["id", *names]).set_index("id")
        if not frame.index.is_unique:
            raise UserError(f"{file}: an id occurs more than once ({name}). Run the rules again.")
        if len(frame) != len(ids) or not ids.isin(frame.index).all():
            raise OtherRows(f"{file}: it is of other rows than the tables ({name}). Run the rules again.")
        return frame.loc[ids, names].to_numpy()

    def own_letters(self, name: str, file: Path) -> tuple[str, ...]:
        """The letters of the choices in `file`. Raises UserError unless they are as many as those of the tables."""
        letters = letters_of_table(file, "ensemble_probabilities", PROBABILITY)
        if len(letters) != len(self.letters):
            raise UserError(
                f"{file}: {name} has {len(letters)} choices per row, the tables have {len(self.letters)}: their "
                "answers cannot be compared. Leave it out."
            )
        return letters

    def candidate(self, name: str, both: tuple[np.ndarray, np.ndarray]) -> Candidate:
        """A candidate that answers with the most probable choice."""
        oof_NC, test_NC = both
        return Candidate(name, test_NC.argmax(1), oof_NC.argmax(1), negative_log_likelihood(oof_NC, self.answers_N))

    def pools(self, members: Mapping[str, Path]) -> list[Candidate]:
        """Each member, their plain mean, and the plain mean without each member; the members' notes are kept.

        A file that looks in-fold has such a note: its OOF accuracy is then too high.
        """
        for name, folder in members.items():
            if (path := folder / MEMBER_NOTE).is_file():  # older runs have none
                note = read_json(path, "pool_member").get("note")
                self.notes += [f"member {name}: {note}"] if note else []
        alone = {
            name: self.probabilities(f"member {name}", folder / "oof.parquet", folder / "test.parquet")
            for name, folder in members.items()
        }
        found = [self.candidate(f"member {name}", both) for name, both in alone.items()]
        if len(alone) > 1:
            oof_NC, test_NC = (np.sum(split, axis=0) for split in zip(*alone.values(), strict=True))
            found.append(self.candidate(MEAN, (oof_NC / len(alone), test_NC / len(alone))))
        if len(alone) > 2:
            rest = len(alone) - 1
            for name, both in alone.items():
                without = ((oof_NC - both[0]) / rest, (test_NC - both[1]) / rest)
                found.append(self.candidate(f"{MEAN} without {name}", without))
        return found

    def runs(self, runs: Mapping[str, Path]) -> list[Candidate]:
        """Kept runs. One that was made from other training rows is a candidate without OOF answers, with a note."""
        found = []
        for name, folder in runs.items():
            test_NC = self.read(f"run {name}", folder / "ensemble" / "test.parquet", self.ids)
            oof = folder / "ensemble" / "oof.parquet"
            try:
                found.append(self.candidate(f"run {name}", (self.read(f"run {name}", oof, self.rows["id"]), test_NC)))
            except OtherRows:
                self.notes.append(f"run {name}: its training rows are others, so its OOF accuracy is not comparable.")
                found.append(Candidate(f"run {name}", test_NC.argmax(1)))
        return found

    def submission(self, file: Path, accepted: Accepted) -> Candidate:
        """A submission file: the id in the column `id` or the first one, the answer in the other column."""
        header, records = read_csv(file)
        if len(header) != 2:
            raise UserError(f"{file}: it has {len(header)} columns. Give a submission of two, the id and the answer.")
        place = header.index("id") if "id" in header else 0
        given = {record[place]: record[1 - place] for record in records}
        if len(given) < len(records):
            raise UserError(f"{file}: an id occurs more than once. Give each test row one answer.")
        if missing := [i for i in self.ids if i not in given]:
            raise UserError(
                f"{file}: ids {some(missing)} of the test table are missing. Give a file of this test table."
            )
        if extra := sorted(given.keys() - set(self.ids)):
            raise UserError(f"{file}: ids {some(extra)} are not in the test table. Give a file of this test table.")
        letters = [accepted.letter(row_id, given[row_id]) for row_id in self.ids]
        if bad := sorted({given[i] for i, letter in zip(self.ids, letters, strict=True) if letter is None}):
            raise UserError(
                f"{file}: answers {some(bad)} are not those of the submission, which is written {accepted.labels}. "
                "Write them alike."
            )
        return Candidate(file.as_posix(), np.array([ALL_LETTERS.index(letter) for letter in letters if letter]))
