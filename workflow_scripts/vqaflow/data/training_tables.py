"""The tables that training rows come from, one or several, and how the answers in each are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.csv_files import UnreadableTable
from vqaflow.artifacts.labels import Labels
from vqaflow.artifacts.table_schema import RESERVED
from vqaflow.config.sections import ColumnsConfig, merged, section
from vqaflow.data.answer_labels import Given, find_labels, given_labels, see_answers
from vqaflow.data.opening import OpenTable, open_table
from vqaflow.data.people import people_columns
from vqaflow.data.problems import FATAL, Problems
from vqaflow.data.table_layout import TableLayout, lay_out, missing_column, repeated_column, wanted_columns
from vqaflow.runtime.stage import log

OWN_KEY = "data: {{answers: {}}}"  # the line of the configuration that says how answers are written
ENTRY_KEY = "answers: {}"


@dataclass(frozen=True)
class TableSource:
    """A table of training rows, data's own or an entry of data.more_train; `name` is what its rows have as `source`.

    `id_prefix` is put before its ids. `entry` is the configuration's key of the entry, "" for data's own table.
    """

    csv: Path
    image_root: Path
    name: str
    columns: ColumnsConfig
    answers: Given = None
    answers_by: tuple[str, ...] | None = None
    id_prefix: str = ""
    entry: str = ""


@dataclass(frozen=True)
class TrainTable:
    """A table of training rows that can be read: the labels of its answers, and the columns that hold them.

    `people` are the columns of several people's answers, by the names that the layout has for them; none if the column
    `answer` holds one right answer.
    """

    source: TableSource
    opened: OpenTable
    labels: Labels
    people: tuple[str, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns with answers."""
        return self.people or ("answer",)


def further_tables(data: Mapping[str, Any]) -> tuple[TableSource, ...]:
    """The tables of `more_train` in the section `data`; what an entry leaves out is data's own."""
    tables = []
    for number, entry in enumerate(data.get("more_train") or ()):
        answers_by = entry.get("answers_by", data.get("answers_by"))
        tables.append(
            TableSource(
                csv=Path(entry["csv"]),
                image_root=Path(entry.get("image_root", data["image_root"])),
                name=source_name(entry),
                columns=section(ColumnsConfig, merged(data["columns"], entry.get("columns") or {})),
                answers=entry.get("answers", data.get("answers")),
                answers_by=None if answers_by is None else tuple(answers_by),
                id_prefix=entry.get("id_prefix", ""),
                entry=f"data.more_train.{number}",
            )
        )
    return tuple(tables)


def source_name(entry: Mapping[str, Any]) -> str:
    """What the rows of an entry of data.more_train have as their source."""
    return entry.get("name") or Path(entry["csv"]).stem


def open_training(source: TableSource, problems: Problems, encoding: str | None = None) -> TrainTable | None:
    """Open a training table and find how its answers are written; None, with the problems noted, if that fails.

    `encoding` is data.encoding.
    """
    opened = open_table(source.csv, partial(lay_out_training, source=source), problems, encoding=encoding)
    if opened is None:
        return None
    layout, names = opened.layout, source.columns.choices
    people = people_in(layout, source)
    found = source.answers_by is None and bool(people)
    letters = ALL_LETTERS[: len(names)]
    seen = see_answers(opened.records(), layout, people or ("answer",), letters)
    if source.answers is not None:
        labels = given_labels(source.answers, names)
    else:
        labels = find_labels(seen, names, ENTRY_KEY if source.entry else OWN_KEY)
    if not isinstance(labels, Labels):
        what, cure, kind = labels
        cure += f", in the entry of {source.csv} (data.more_train)" if source.entry else ""
        column = "" if people else layout.user_name("answer")
        if found:
            what = f"{told_columns(people, layout)} seem to hold the answers of several people, but {what}"
            cure += ", or name the column of the right answer in data.columns.answer"
        problems.add(source.csv, 0, "", column, "", problem=what, cure=cure, kind=kind, severity=FATAL)
        return None
    if found:
        what = "%s: there is no column %r; %s are read as the answers of %d people (data.answers_by)"
        log.info(what, source.csv, source.columns.answer, told_columns(people, layout), len(people))
    if not labels.is_plain:
        log.info("%s: answers are written %s; read as a to %s", source.csv, labels, letters[-1])
    last = max(place for _, place in layout.columns.values())
    checked = not people and layout.columns["answer"][1] == last  # then a cell that has moved is no label
    return TrainTable(source, replace(opened, may_be_short=checked), labels, people)


def lay_out_training(header: Sequence[str], source: TableSource) -> tuple[TableLayout, list[UnreadableTable]]:
    """Find a training table's columns, and what is wrong with its header.

    The columns of several people's answers are among the extra ones.
    """
    names = source.columns
    known = {names.id, names.image, names.question, *names.choices}  # choices may be called answer1, answer2, …
    others = [name for name in header if name not in known]
    people = source.answers_by or (people_columns(others, names.answer) if by_several(header, source) else ())
    layout, faults = lay_out(header, wanted_columns(names, with_answer=not people), RESERVED)
    if layout.columns:
        faults += [missing_person(name, source, header) for name in people if name not in header]
        faults += [repeated_column(name) for name in people if header.count(name) > 1]
    return layout, faults


def by_several(header: Sequence[str], source: TableSource) -> bool:
    """Whether columns of several people's answers are looked for: nothing names them, and there is no right answer."""
    return source.answers_by is None and source.columns.answer not in header


def missing_person(name: str, source: TableSource, header: Sequence[str]) -> UnreadableTable:
    """The problem of a column of data.answers_by that a table lacks."""
    fault = missing_column(name, header)
    where = f"{source.entry or 'data'}.answers_by"
    cure = f"Correct {where}"
    if source.columns.answer in header:
        cure += f", or set it to null: this table has a column {source.columns.answer!r}"
    return UnreadableTable(fault.kind, 1, fault.what, cure)


def people_in(layout: TableLayout, source: TableSource) -> tuple[str, ...]:
    """The layout's names of the columns that hold several people's answers, in their order."""
    if "answer" in layout.columns:
        return ()
    header = [user_name for user_name, _ in layout.extras.values()]
    wanted = source.answers_by or people_columns(header, source.columns.answer)
    by_user = {user_name: name for name, (user_name, _) in layout.extras.items()}
    return tuple(by_user[name] for name in wanted)


def told_columns(people: Sequence[str], layout: TableLayout) -> str:
    """The user's names of the columns with people's answers, for a message."""
    names = [layout.user_name(name) for name in people]
    return ", ".join(names) if len(names) < 4 else f"{names[0]} to {names[-1]}"
