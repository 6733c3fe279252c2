"""Where the columns of a user's table are, and what is wrong with its header."""

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.csv_files import UnreadableTable
from vqaflow.config.sections import ColumnsConfig
from vqaflow.runtime.messages import nearest

OTHER_QUOTES = {"'": "'", "“": "”", "‘": "’", "`": "`", "«": "»", "「": "」"}
SEPARATORS = set(";|:~^#&@，、\x01\x1f\t")
MARK_NAMES = {"\t": "tabs", " ": "spaces", "\\t": "a backslash and a t"}
NO_HEADER = "no_header"  # the kind of a first line that may be a title: the header may follow
IMAGE_NAMES = ("path", "image")  # found without being named in data.columns


@dataclass(frozen=True)
class TableLayout:
    """Where a table's columns are: `columns` maps the names that vqaflow uses to (the user's name, position).

    `extras` does the same for columns that vqaflow does not read.
    """

    columns: Mapping[str, tuple[str, int]]
    extras: Mapping[str, tuple[str, int]]
    width: int

    def user_name(self, name: str) -> str:
        """The user's name of column `name`."""
        return (self.columns.get(name) or self.extras[name])[0]


def wanted_columns(names: ColumnsConfig, with_answer: bool) -> dict[str, tuple[str, ...]]:
    """The names that each column may have in the file; the configured one goes first."""
    image = (names.image, *(n for n in IMAGE_NAMES if n != names.image))
    wanted = {"id": (names.id,), "path": image, "question": (names.question,)}
    wanted |= {letter: (name,) for letter, name in zip(ALL_LETTERS, names.choices, strict=False)}
    return wanted | ({"answer": (names.answer,)} if with_answer else {})


def lay_out(
    header: Sequence[str], wanted: Mapping[str, tuple[str, ...]], reserved: Sequence[str]
) -> tuple[TableLayout, list[UnreadableTable]]:
    """Find the `wanted` columns in a file's `header`, and what is wrong with it.

    An extra column whose name is among `reserved`, or that an earlier column has, becomes ``csv_<name>``; one without
    a name ``csv_<position>``.
    """
    if fault := first_line_fault(header, wanted):
        return TableLayout({}, {}, len(header)), [fault]
    missing, problems = [], []
    columns = {}
    for name, choices in wanted.items():
        found = next((choice for choice in choices if choice in header), None)
        if found is None:
            missing.append(choices[0])
            continue
        columns[name] = (found, header.index(found))
        if header.count(found) > 1:
            problems.append(repeated_column(found))
    taken = {position for _, position in columns.values()}
    extras: dict[str, tuple[str, int]] = {}
    for position, user_name in enumerate(header):
        if position not in taken:
            name = user_name.strip() and user_name or f"csv_{position + 1}"
            while name in reserved or name in extras or (name in header and name != user_name):
                name = f"csv_{name}"
            extras[name] = (user_name, position)
    return TableLayout(columns, extras, len(header)), [*missing_columns(missing, header), *problems]


def first_line_fault(header: Sequence[str], wanted: Mapping[str, tuple[str, ...]]) -> UnreadableTable | None:
    """What is wrong with a first line that is not a header of comma-separated names, if it is not."""
    if not header:
        return UnreadableTable("empty_table", 0, "the file is empty", "Give a table with a header and rows")
    first = header[0].strip()
    if first.lower().startswith("sep="):
        what = f"the first line is a note for Excel ({first!r}), not the header"
        mark = first[4:5]
        cure = "Delete it" if mark in (",", "") else f"Delete it, and separate the cells by commas, not by {mark!r}"
        return UnreadableTable("header", 1, what, cure)
    known = [name for names in wanted.values() for name in names]
    if one_cell(header) or (len(header) == 1 and separator_of(header[0], known)):
        what = f"the header was read as one cell, {header[0]!r}"
        return UnreadableTable("separator", 1, what, by_commas(separator_of(header[0], known)))
    if mark := next((mark for mark in OTHER_QUOTES if in_quotes(header, mark, known)), None):
        what = f"the names are in {mark}…{OTHER_QUOTES[mark]}, which CSV takes for letters of the cells"
        return UnreadableTable("quoting", 1, what, f'Put cells in "…", not in {mark}…{OTHER_QUOTES[mark]}')
    if mark := next((mark for mark in ";\t|" if sum(cell.count(mark) for cell in header) > len(header)), None):
        what = f"the header was read as {len(header)} cells: {', '.join(map(repr, header))}"
        return UnreadableTable("separator", 1, what, by_commas(mark))
    if len(header) == 1 and "," in first:
        what = f"the header was read as one cell, {header[0]!r}"
        return UnreadableTable("separator", 1, what, "Remove the quotation marks around whole lines")
    matched = [name for name in known if name in header]
    if len(matched) > 1 or any(len(name) > 1 for name in matched):  # a row's answer may be the name of a column, `a`
        return None
    expected = ",".join(names[0] for names in wanted.values())
    if first.startswith(("#", "//", "%", "--")):
        what = f"the first line is a comment ({first[:60]!r}), not the header"
        return UnreadableTable("header", 1, what, f"Delete the lines above the header {expected}")
    by_lower = [column.strip().lower() for column in header]
    if any(nearest(name.lower(), by_lower, cutoff=0.6) for name in known if len(name) > 1):
        return None  # misspelt names, each with its own cure
    shown = ", ".join(map(repr, header[:9]))
    what = f"the first line has none of the columns {expected}; it is {shown}"
    cure = f"If it is a row, add the header {expected} above it; if it is the header, name your columns in data.columns"
    return UnreadableTable(NO_HEADER, 1, what, cure)


def separator_of(line: str, known: Sequence[str]) -> str:
    """What separates the names in a line that was read as one cell; "" if nothing or a comma does.

    It is the sign, or the signs, between which most `known` names stand; without them, one of SEPARATORS that occurs
    three times.
    """
    marks = Counter(re.findall(r"\\t|[^\w\s]+|_+|\s*[^\w\s]\s+|\s+", line))
    named = {mark: len({part.strip() for part in line.split(mark)} & set(known)) for mark in marks}
    best = max(marks, key=lambda mark: (named[mark], marks[mark]), default="")
    is_separator = named.get(best, 0) > 2 or (set(best.strip()) & SEPARATORS and marks[best] > 2)
    return best if is_separator and best.strip() != "," else ""


def by_commas(mark: str) -> str:
    """The cure for cells that `mark` separates."""
    cure = "Separate the cells by commas"
    if not mark:
        return cure
    shown = MARK_NAMES.get(mark) or repr(mark)
    pandas = f" (pandas: read_csv with sep={mark!r}, then to_csv with index=False)" if len(mark) == 1 else ""
    return f"{cure}, not by {shown}{pandas}"


def in_quotes(header: Sequence[str], mark: str, known: Sequence[str]) -> bool:
    """Whether most names of a header stand between quotation marks that CSV does not know."""
    pairs = [(cell.strip(), cell.strip().strip(mark + OTHER_QUOTES[mark])) for cell in header]
    return sum(cell != name and name in known for cell, name in pairs) > 2


def lay_out_sample(
    header: Sequence[str], id_name: str | None = None, ids: Container[str] = ()
) -> tuple[TableLayout, list[UnreadableTable]]:
    """Find ids and answers in a sample submission's `header`, and what is wrong with it.

    The first of its two columns holds the ids, the second the answers, whatever their names. A second column called
    `id_name` shows that the order is wrong; one of the test table's `ids` as a name shows that there is no header.
    """
    if header[0] in ids:
        what, cure = f"the first line is a row ({header[0]!r} is an id), not the header", "Add the header above it"
        return TableLayout({}, {}, len(header)), [UnreadableTable("header", 1, what, cure)]
    columns = zip(("id", "answer"), zip(header, range(2), strict=False), strict=False)
    layout = TableLayout(dict(columns), {}, len(header))
    ids_second = id_name is not None and header[1:2] == [id_name] and header[0] != id_name
    if len(header) == 2 and not ids_second:
        return layout, [repeated_column(header[0])] if header[0] == header[1] else []
    what = f"the columns are {', '.join(map(repr, header))}, but the ids must come first, then the answers"
    if not header[0].strip() and len(header) > 1:
        cure = "Remove the first, unnamed column (pandas writes none with index=False)"
    elif len(header) == 1:
        cure = "Separate the cells by commas" if one_cell(header) else "Add a second column, for the answers"
        if header[0].lower().startswith("sep="):
            cure = "Delete this line, which is a note for Excel"
        elif header[0].startswith("#"):
            cure = "Delete this line, which is a comment"
    elif len(header) == 2:
        cure = f"Put the column {id_name!r} first"
    else:
        cure = "Keep two columns: first the ids, then the answers"
    return layout, [UnreadableTable("sample_columns", 1, what, cure)]


def repeated_column(name: str) -> UnreadableTable:
    """The problem of a name that several columns have."""
    return UnreadableTable("repeated_column", 1, f"two columns are called {name!r}", "Rename one of them")


def one_cell(header: Sequence[str]) -> bool:
    """Whether the header was read as one cell because its names are not separated by commas."""
    return len(header) == 1 and any(mark in header[0] for mark in ";\t|，、")


def missing_columns(names: Sequence[str], header: Sequence[str]) -> list[UnreadableTable]:
    """The problems of columns that the header lacks: one, if it lacks more than two."""
    faults = [missing_column(name, header) for name in names]
    if len(faults) < 3:
        return faults
    near = [name for name in names if nearest_column(name, header)]
    cure = "Add them, or name yours under data.columns"
    if near:
        shown = ", ".join(repr(nearest_column(name, header)) for name in near)
        cure = f"Are they {shown}? Then rename those columns, or name them under data.columns"
    what = f"no columns {', '.join(map(repr, names))} among {', '.join(map(repr, header))}"
    return [UnreadableTable("missing_column", 1, what, cure)]


def nearest_column(name: str, header: Sequence[str]) -> str | None:
    """The column of the header whose name is the nearest to `name`, if it is near."""
    by_lower = {column.strip(" '\"").lower(): column for column in header}
    close = name.lower() if name.lower() in by_lower else nearest(name.lower(), by_lower, cutoff=0.6)
    return by_lower[close] if close else None


def missing_column(name: str, header: Sequence[str]) -> UnreadableTable:
    """The problem of a column that the header lacks; the cure names the nearest column that it has."""
    close = nearest_column(name, header)
    cure = "Add it, or name yours under data.columns"
    if close:
        cure = f"Is it {close!r}? Then rename that column, or name it under data.columns"
    return UnreadableTable("missing_column", 1, f"no column {name!r} among {', '.join(map(repr, header))}", cure)
