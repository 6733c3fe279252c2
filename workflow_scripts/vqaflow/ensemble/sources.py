"""The members' log-probabilities, as pool_member leaves them in results/members: checked, and test rows part by part.

Shapes: N rows, S sources, C choices. A source is one view of one member. Log-probabilities are float64 and normalised
over C; a source that lacks a row is NaN there, and a choice that a row lacks is -inf. In memory, a source's rows stand
together (the arrays are views of arrays S, C, N): pools work source by source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from vqaflow.artifacts.choices import OWN, choices_there
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.parquet_files import READ_ERRORS, read_slice
from vqaflow.artifacts.reading import damaged, letters_of_table, read_json, require_file
from vqaflow.artifacts.results_folder import MemberFolder
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

RULE = "pool_member"
NORMALISED = 1e-6  # how far the sum of a row's probabilities may be from 1


@dataclass(frozen=True)
class Source:
    """One view of one member."""

    member: str
    view: str


@dataclass(frozen=True)
class Oof:
    """Training rows: log-probabilities of each source, answers (0 to C - 1), and groups that stay together.

    `shares_NC` are the people's shares, if a table had several answerers.
    """

    sources: tuple[Source, ...]
    logp_NSC: np.ndarray
    answers_N: np.ndarray
    groups_N: np.ndarray
    shares_NC: np.ndarray | None = None

    @property
    def answers(self) -> np.ndarray:
        """What probabilities are compared with: the people's shares (N, C), or the answers (N)."""
        return self.answers_N if self.shares_NC is None else self.shares_NC

    @property
    def member_S(self) -> np.ndarray:
        """The number of each source's member."""
        return member_numbers(self.sources)


def member_numbers(sources: Sequence[Source]) -> np.ndarray:
    """The number (0 to M - 1) of each source's member, in the order in which the members appear."""
    names = list(dict.fromkeys(source.member for source in sources))
    return np.array([names.index(source.member) for source in sources], int)


@dataclass(frozen=True)
class Member:
    """The folder of a member and what its note says: tuned members have a part per fold. `letters` are its choices."""

    folder: Path
    name: str
    kind: str
    views: tuple[str, ...]
    parts: tuple[str, ...]
    refit: bool
    letters: tuple[str, ...]

    @property
    def folds(self) -> tuple[str, ...]:
        """The parts that are folds: "0", "1", …; none for an untuned member or a file."""
        return tuple(part for part in self.parts if part.isdecimal())

    def path(self, split: str) -> Path:
        """The log-probabilities of a split, oof or test, by view."""
        return MemberFolder(self.folder).views(split)


def read_members(folders: Sequence[Path]) -> list[Member]:
    """The members in these folders. Raises UserError if a note is damaged, or folds differ between members."""
    members = []
    for folder in map(Path, folders):
        path = MemberFolder(folder).note
        note = read_json(path, RULE, ["name", "kind", "views", "parts", "refit"])
        if not note["views"] or not note["parts"]:
            raise damaged(path, RULE, ValueError("it names no view or no part"))
        views, parts = tuple(note["views"]), tuple(note["parts"])
        letters = letters_of_table(MemberFolder(folder).views("oof"), RULE, f"{views[0]}_")
        members.append(Member(folder, note["name"], note["kind"], views, parts, note["refit"], letters))
    letters = max((member.letters for member in members), key=len, default=())  # what a file lacks, `_read` names
    members = [replace(member, letters=letters) for member in members]
    if not members:
        raise UserError("results/members: there is no member. Run the rule pool_member.")
    tuned = [member for member in members if member.folds]
    for member in tuned:
        if sorted(member.folds) != sorted(tuned[0].folds):
            raise UserError(
                f"{member.folder}: has folds {', '.join(member.folds)}, but {tuned[0].name} has "
                f"{', '.join(tuned[0].folds)}. Run the rule {RULE} again for both."
            )
    return members


def sources_of(members: Sequence[Member]) -> tuple[Source, ...]:
    """All views of all members, in the members' order."""
    return tuple(Source(member.name, view) for member in members for view in member.views)


def views_by_member(members: Sequence[Member]) -> dict[str, tuple[str, ...]]:
    """The views of each member, by its name."""
    return {member.name: member.views for member in members}


def read_oof(members: Sequence[Member], rows: pl.DataFrame) -> np.ndarray:
    """The OOF log-probabilities (N, S, C) of `rows` (id, fold, and their own letters)."""
    blocks, there_NC = [], choices_there(rows[OWN], members[0].letters)
    for member in members:
        path = member.path("oof")
        frame = _read(path, ["id", "fold", *_columns(member)], 0, None)
        blocks.append(_block(path, frame, member, rows["id"], there_NC))
        if member.folds and frame["fold"].to_list() != rows["fold"].to_list():
            raise UserError(f"{path}: its folds are not those of folds.parquet. Run the rule {RULE} again.")
    return np.concatenate(blocks).transpose(2, 0, 1)


class ViewsOfTest:
    """The log-probabilities of test `rows` (id, own letters), of which each member's current part is in memory."""

    def __init__(self, members: Sequence[Member], rows: pl.DataFrame) -> None:
        letters = members[0].letters
        self.members, self.ids, self.there_NC = members, rows["id"], choices_there(rows[OWN], letters)
        self.starts = {member.name: self._starts(member) for member in members}
        counts = [len(member.views) for member in members]
        self.first_of = dict(zip((m.name for m in members), np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
        self.logp_SCN = np.empty((sum(counts), len(letters), len(rows)))
        self.current: dict[str, str] = {}

    def read(self, parts: Mapping[str, str]) -> np.ndarray:
        """The log-probabilities (N, S, C) of each member's part by `parts`; they are overwritten by the next call."""
        for member in self.members:
            part = parts[member.name]
            if self.current.get(member.name) != part:
                path = member.path("test")
                frame = _read(path, ["id", *_columns(member)], self.starts[member.name][part], len(self.ids))
                first = self.first_of[member.name]
                self.logp_SCN[first : first + len(member.views)] = _block(path, frame, member, self.ids, self.there_NC)
                self.current[member.name] = part
        return self.logp_SCN.transpose(2, 0, 1)

    def _starts(self, member: Member) -> dict[str, int]:
        """The row of the file at which each part starts. Raises UserError unless each part has all rows once."""
        path = member.path("test")
        part = _read(path, ["part"], 0, None)["part"]
        runs = part.rle().struct.unnest()
        found = dict(zip(runs["value"].to_list(), runs["len"].to_list(), strict=True))
        if len(runs) != len(found) or set(found) != set(member.parts) or set(found.values()) != {len(self.ids)}:
            reason = f"it does not have the {len(self.ids)} test rows of {', '.join(member.parts)} in blocks"
            raise damaged(path, RULE, ValueError(reason))
        return {name: number * len(self.ids) for number, name in enumerate(found)}


def whole_sources(members: Sequence[Member]) -> set[int]:
    """The numbers of the sources that lack no row, neither of OOF nor of the test rows."""
    found, number = set(), 0
    for member in members:
        columns = [f"{view}_{ALL_LETTERS[0]}" for view in member.views]
        lacking = [_read(member.path(split), columns, 0, None).null_count().row(0) for split in ("oof", "test")]
        found |= {number + i for i, counts in enumerate(zip(*lacking, strict=True)) if not any(counts)}
        number += len(member.views)
    return found


def _columns(member: Member) -> list[str]:
    return [f"{view}_{letter}" for view in member.views for letter in member.letters]


def _read(path: Path, columns: list[str], start: int, rows: int | None) -> pl.DataFrame:
    """Some rows and columns of a file. Raises UserError if it is missing or damaged."""
    require_file(path, RULE)
    try:
        return read_slice(path, columns, start, rows)
    except READ_ERRORS as error:
        raise damaged(path, RULE, error) from None


def _block(path: Path, frame: pl.DataFrame, member: Member, ids: pl.Series, there_NC: np.ndarray) -> np.ndarray:
    """The log-probabilities (views, C, N) in `frame`, checked; `there_NC` are the choices that each row has."""
    if not frame["id"].equals(ids):
        raise UserError(f"{path}: its rows are not those of the table, in its order. Run the rule {RULE} again.")
    columns = _columns(member)
    try:
        values = frame.select(pl.col(columns).cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise damaged(path, RULE, error) from None
    logp_SCN = np.empty((len(member.views), len(member.letters), len(ids)))
    for number, name in enumerate(columns):
        logp_SCN[divmod(number, len(member.letters))] = values[name].to_numpy()
    absent = np.isnan(logp_SCN)
    if absent.sum() != sum(values.null_count().row(0)) or (absent != absent[:, :1]).any():
        raise damaged(path, RULE, ValueError("a log-probability is not a number"))
    with np.errstate(over="ignore"):
        off = np.abs(np.exp(logp_SCN).sum(1) - 1) > NORMALISED  # False where absent; infinite sums are off
    if off.any():
        bad = ids.gather(np.flatnonzero(off.any(0))).to_list()
        raise damaged(path, RULE, ValueError(f"rows {some(bad)} do not have probabilities that sum to 1"))
    lacks_SCN = np.isneginf(logp_SCN)
    if lacks_SCN.any() or not there_NC.all():
        wrong_SCN = (lacks_SCN == there_NC.T) & ~absent
        if wrong_SCN.any():
            bad = ids.gather(np.flatnonzero(wrong_SCN.any((0, 1)))).to_list()
            reason = f"in rows {some(bad)}, a log-probability is infinite, or is one of a choice that the row lacks"
            raise damaged(path, RULE, ValueError(reason))
    return logp_SCN
