"""Which CSV file of a competition is what: training rows, test rows, the sample submission, or nothing of use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from vqaflow.artifacts.csv_files import UnreadableTable
from vqaflow.data.competition.columns import Guess, guess_columns
from vqaflow.data.competition.folder import Listing
from vqaflow.data.opening import OpenTable, open_table
from vqaflow.data.problems import Problems
from vqaflow.data.table_layout import TableLayout, first_line_fault
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

LOOKED_AT = 500  # rows by which the columns are guessed
NOTES = ("sep=", "#", "//", "%", "--")  # how a first line begins that is not a header
SAMPLE_WORDS = ("sample", "example", "submission", "submit", "format")  # the likelier ones first
ANSWER_WORDS = ("answer", "solution", "gold", "label", "key")


IN_WORDS_OF_INIT = (
    ("set data.encoding: ", "give --encoding "),
    ("name its encoding in data.encoding", "give --encoding NAME"),
    ("which data.encoding names", "which --encoding names"),
    ("the line or the key", "the line or --encoding"),
)


@dataclass(frozen=True)
class Table:
    """A CSV file that can be read, and what its columns seem to hold."""

    opened: OpenTable
    guess: Guess

    @property
    def path(self) -> Path:
        """The file."""
        return self.opened.path

    @property
    def header(self) -> list[str]:
        """The names of its columns."""
        return [name for name, _ in self.opened.layout.extras.values()]

    def column(self, name: str) -> list[str]:
        """All cells of a column."""
        place = self.header.index(name)
        return [cells[place] for _, cells in self.opened.records() if place < len(cells)]


@dataclass(frozen=True)
class Roles:
    """The tables by what they are for. `unused` says of each other file why it is left out."""

    train: Table
    more: tuple[Table, ...]
    test: Table
    sample: Table | None
    unused: tuple[str, ...]
    assumed: tuple[str, ...]
    unfit_sample: str = ""


@dataclass(frozen=True)
class Named:
    """Files that the user names himself, and the encoding of those that are not UTF-8; None: found."""

    train: Path | None = None
    test: Path | None = None
    sample: Path | None = None
    encoding: str | None = None


def lay_out_any(header: list[str]) -> tuple[TableLayout, list[UnreadableTable]]:
    """All columns of a header as they are, and what is wrong with it if it is none."""
    fault = None
    if len(header) < 2 or header[0].strip().lower().startswith(NOTES):
        fault = first_line_fault(header, {})
    names: dict[str, tuple[str, int]] = {}
    for place, name in enumerate(header):
        names[name if name not in names else f"{name} ({place + 1})"] = (name, place)
    return TableLayout({}, names, len(header)), [fault] if fault else []


def in_words_of_init(problem: str) -> str:
    """A message about an encoding that names the option: there is no file of settings yet."""
    for key, option in IN_WORDS_OF_INIT:
        problem = problem.replace(key, option)
    return problem


def read_tables(paths: Iterable[Path], encoding: str | None = None) -> tuple[list[Table], dict[Path, str]]:
    """The CSV files that can be read, and of the others what is wrong."""
    tables, faults = [], {}
    for path in paths:
        problems = Problems([path])
        opened = open_table(path, lay_out_any, problems, encoding=encoding)
        if opened is None:
            faults[path] = in_words_of_init(str(problems.found[0]))
            continue
        header = [name for name, _ in opened.layout.extras.values()]
        rows = [cells for _, cells in islice(opened.records(), LOOKED_AT)]
        tables.append(Table(opened, guess_columns(header, rows)))
    return tables, faults


def find_roles(listing: Listing, named: Named) -> Roles:
    """Sort the tables of a folder. Raises UserError if there are no training or test rows, with what to do."""
    own = [path for path in (named.train, named.test, named.sample) if path is not None]
    for path in own:
        if not path.is_file():
            raise UserError(f"{path}: there is no such file. Correct the path.")
    known = {path.resolve() for path in listing.csvs}
    paths = [*listing.csvs, *(path for path in own if path.resolve() not in known)]
    tables, faults = read_tables(paths, named.encoding)
    tables, assumed = with_test_choices(tables), []
    answered = [table for table in tables if table.guess.asks and is_answered(table)]
    asked = [table for table in tables if table.guess.asks and table not in answered]
    test = pick(tables, named.test) or best_test(asked)
    if test is None and len(answered) > 1:
        test = next((table for table in answered if "test" in table.path.name.lower()), None)
        if test:
            assumed.append(f"{test.path.name} has answers, but is called test: its answers are not used")
    train = pick(tables, named.train) or best_train([table for table in answered if table is not test])
    if train is None or test is None:
        raise UserError(without_role(listing.folder, tables, faults, train, test))
    require_one_form(train, test)
    sample = pick(tables, named.sample) or best_sample(tables, test, (train, test))
    more, left_out = further(train, [t for t in answered if t not in (train, test)])
    used = {table.path for table in (train, test, sample, *more) if table}
    unused = [f"{path.name}: cannot be read ({what})" for path, what in faults.items()]
    unused += left_out
    told = {text.split(":")[0] for text in unused}
    unused += [
        f"{table.path.name}: not needed (columns {', '.join(table.header[:6])})"
        for table in tables
        if table.path not in used and table.path.name not in told
    ]
    unfit = "" if sample else unfit_sample(tables, test)
    return Roles(train, tuple(more), test, sample, tuple(unused), tuple(assumed), unfit)


def with_test_choices(tables: Sequence[Table]) -> list[Table]:
    """The tables, the choices of those with answers being the columns that the test table has too."""
    test = best_test([table for table in tables if not has_answers(table.guess) and len(table.header) > 3])
    if test is None:
        return list(tables)
    guessed = []
    for table in tables:
        rows = [cells for _, cells in islice(table.opened.records(), LOOKED_AT)]
        guess = guess_columns(table.header, rows, test.header)
        guessed.append(replace(table, guess=guess))
    train = best_train([table for table in guessed if table.guess.asks and has_answers(table.guess)])
    if train and not test.guess.asks:  # columns of choices without a common name are told by the answers only
        found = train.guess
        names = {found.id, found.image, found.question, *found.choices}
        guessed = [
            replace(table, guess=replace(found, answer="", people=()))
            if not table.guess.asks and names <= set(table.header)
            else table
            for table in guessed
        ]
    return guessed


def has_answers(guess: Guess) -> bool:
    """Whether there is a column of answers."""
    return bool(guess.answer or guess.people)


def is_answered(table: Table) -> bool:
    """Whether a table's columns of answers have something in them."""
    names = table.guess.people or ((table.guess.answer,) if table.guess.answer else ())
    return any(cell.strip() for name in names for cell in table.column(name))


def pick(tables: Sequence[Table], path: Path | None) -> Table | None:
    """The table of a file that the user has named. Raises UserError if it cannot be read."""
    if path is None:
        return None
    found = next((table for table in tables if table.path.resolve() == path.resolve()), None)
    if found is None:
        _, faults = read_tables([path])
        raise UserError(next(iter(faults.values())))
    return found


def best_test(tables: Sequence[Table]) -> Table | None:
    """The table of test rows: the one that is called so, else the one with most rows."""
    return max(tables, key=lambda t: ("test" in t.path.name.lower(), t.opened.rows, str(t.path)), default=None)


def best_train(tables: Sequence[Table]) -> Table | None:
    """The main table of training rows: with one right answer per row, called train, with most rows."""

    def rank(table: Table) -> tuple[bool, bool, bool, int, str]:
        name = table.path.stem.lower()
        return (bool(table.guess.answer), name == "train", "train" in name, table.opened.rows, str(table.path))

    return max(tables, key=rank, default=None)


def best_sample(tables: Sequence[Table], test: Table, taken: Sequence[Table]) -> Table | None:
    """The sample submission: two columns, of which the first has the ids of the test table."""
    ids = set(test.column(test.guess.id))
    found = [
        table
        for table in tables
        if table not in taken and len(table.header) == 2 and set(table.column(table.header[0])) == ids
    ]
    others = [table for table in found if not any(word in table.path.stem.lower() for word in ANSWER_WORDS)]
    return min(others, key=lambda table: (sample_rank(table), len(table.path.parts), str(table.path)), default=None)


def sample_rank(table: Table) -> int:
    """How far down in SAMPLE_WORDS the first word stands that a file's name has."""
    name = table.path.stem.lower()
    return next((place for place, word in enumerate(SAMPLE_WORDS) if word in name), len(SAMPLE_WORDS))


def unfit_sample(tables: Sequence[Table], test: Table) -> str:
    """What to say of a file that is called like a sample submission, but is none of the test table; "" if none is."""
    for table in tables:
        if sample_rank(table) < len(SAMPLE_WORDS) and table is not test and not table.guess.asks:
            what = f"{table.path.name} is called like a sample submission, but has {len(table.header)} columns"
            if len(table.header) == 2:
                what = f"{table.path.name} is called like a sample submission, but has other ids than {test.path.name}"
            return f"{what}. Correct it, and set data.sample_submission to it"
    return ""


def further(train: Table, others: Sequence[Table]) -> tuple[list[Table], list[str]]:
    """Further tables of training rows, and why others are left out: their ids are known, or their choices differ."""
    ids = set(train.column(train.guess.id))
    more, left_out = [], []
    for table in others:
        own = set(table.column(table.guess.id))
        if len(table.guess.choices) != len(train.guess.choices):
            counts = f"{len(table.guess.choices)} choices, {train.path.name} {len(train.guess.choices)}"
            left_out.append(f"{table.path.name}: not used, it has {counts}")
        elif own & ids:
            shared = f"{len(own & ids)} of its {len(own)} ids are in a table that is used"
            left_out.append(f"{table.path.name}: not used, {shared} (if it has other rows: data.more_train, id_prefix)")
        else:
            more.append(table)
            ids |= own
    return more, left_out


def require_one_form(train: Table, test: Table) -> None:
    """Raise UserError if training and test table call their columns differently: data.columns holds for both."""
    for name in ("id", "image", "question", "choices"):
        ours, theirs = getattr(train.guess, name), getattr(test.guess, name)
        wanted = [ours] if isinstance(ours, str) else ours
        if missing := [column for column in wanted if column not in test.header]:
            there = theirs if isinstance(theirs, str) else ", ".join(theirs)
            what = f"it has no column {missing[0]!r}, as {train.path.name} has for {name}, but {there!r}"
            raise UserError(f"{test.path}: {what}. Rename its columns like those of {train.path}.")


def without_role(
    folder: Path, tables: Sequence[Table], faults: dict[Path, str], train: Table | None, test: Table | None
) -> str:
    """What to say if there are no training rows or no test rows."""
    if faults:
        return "\n        ".join(faults.values())
    if train is not None and test is None:
        what = f"{train.path.name} has answers, but no table has questions without them (a test table)"
        return f"{folder}: {what}. Put the competition's test table there, or name it with --test FILE."
    if test is not None and train is None:
        what = f"{test.path.name} has questions, but no table has answers to learn from (a training table)"
        return f"{folder}: {what}. Put the competition's training table there, or name it with --train FILE."
    seen = "; ".join(f"{table.path.name} lacks {some(table.guess.lacking())}" for table in tables[:4])
    cure = "Add or rename columns: id, path, question, a, b, c, d, answer; or write my.yaml by hand (docs/data.md)"
    return f"{folder}: no table has the columns of questions with choices: {seen}. {cure}."
