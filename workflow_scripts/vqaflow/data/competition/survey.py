"""A competition's folder in terms of the configuration: what is certain, what was assumed, and what cannot be told."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.labels import Labels
from vqaflow.config.sections import ColumnsConfig
from vqaflow.data.competition.columns import Guess
from vqaflow.data.competition.folder import Listing, list_folder
from vqaflow.data.competition.pictures import Pictures, extensions_of, find_pictures, roots_to_try, sizes_of
from vqaflow.data.competition.tables import Named, Roles, Table, find_roles
from vqaflow.data.images.decoding import ImageProblem
from vqaflow.data.images.finding import find_image
from vqaflow.data.opening import open_table
from vqaflow.data.problems import Problems
from vqaflow.data.sample_submission import decide_submission_labels
from vqaflow.data.table_layout import lay_out, lay_out_sample, wanted_columns
from vqaflow.data.training_tables import TableSource, TrainTable, open_training
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

FEW = 0.01  # a share of rows below which empty cells are mistakes, and not how the table is made
MOST_LEFT_OUT = 0.05  # data.max_quarantined


@dataclass
class Survey:
    """What a folder holds, for the section `data` of a configuration.

    `found`, `assumed` and `unknown` are lines for the user; those of `unknown` name the key to set. `sizes` are (width,
    height) of sampled images.
    """

    folder: Path
    roles: Roles
    image_root: Path
    sizes: list[tuple[int, int]]
    labels: Labels | None = None
    people: dict[Path, int] = field(default_factory=dict)  # of each table that several people answered
    roots: dict[Path, Path] = field(default_factory=dict)  # image folders of tables that have another one
    test_root: Path | None = None  # that of the test table, if it is another one
    encoding: str | None = None
    follow_links: bool = False
    missing_choices: bool = False
    quarantine: bool = False
    found: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def columns(self) -> dict[str, Any]:
        """The keys of data.columns that have to be named."""
        return self.roles.train.guess.config()

    @property
    def rows(self) -> int:
        """The number of training rows."""
        return sum(table.opened.rows for table in (self.roles.train, *self.roles.more))


def survey(folder: Path, named: Named, image_root: Path | None = None) -> Survey:
    """Look at a competition's folder. Raises UserError, with what to do, if a run cannot be configured from it."""
    listing = list_folder(folder)
    roles = find_roles(listing, named)
    with quiet():
        seen = with_pictures(listing, roles, image_root)
        seen.encoding = named.encoding
        describe_tables(seen)
        read_labels(seen)
    seen.assumed += roles.assumed
    seen.unknown += [roles.unfit_sample] if roles.unfit_sample else []
    return seen


@contextmanager
def quiet() -> Iterator[None]:
    """Let the readers' own log lines away: the same is told in the survey's words."""
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def with_pictures(listing: Listing, roles: Roles, given: Path | None) -> Survey:
    """The survey with the folder of the images. Raises UserError if there is none that serves."""
    trained, tested = (pictures_of(listing, table, given) for table in (roles.train, roles.test))
    for table, pictures in ((roles.train, trained), (roles.test, tested)):
        if not pictures.hits:
            raise UserError(without_pictures(table, pictures, listing, given))
    root, test_root = best_roots(trained, tested)
    sizes = sizes_of(trained, root) + sizes_of(tested, test_root)
    seen = Survey(listing.folder, roles, root, sizes, test_root=None if test_root == root else test_root)
    tell_pictures(seen, roles.train, trained, root)
    tell_pictures(seen, roles.test, tested, test_root)
    seen.follow_links = root in trained.linked or test_root in tested.linked
    for table in roles.more:
        pictures = pictures_of(listing, table, given)
        own = pictures.best if pictures.best and pictures.rank(pictures.best) > pictures.rank(root) else root
        if own != root:
            seen.roots[table.path] = own
        tell_pictures(seen, table, pictures, own)
    if seen.follow_links:
        seen.assumed.append(f"links in {root} may lead out of it (data.follow_links: true)")
    if seen.test_root:
        what = f"the image paths of {roles.test.path.name} start from {test_root}"
        seen.assumed.append(f"{what}, those of {roles.train.path.name} from {root} (data.test_image_root)")
    return seen


def best_roots(trained: Pictures, tested: Pictures) -> tuple[Path, Path]:
    """The folders that training and test images start from: one for both, unless each has a better one of its own."""
    assert trained.best is not None and tested.best is not None
    for root in trained.hits:
        if trained.rank(root) >= trained.rank(trained.best) and tested.rank(root) >= tested.rank(tested.best):
            return root, root
    return trained.best, tested.best


def pictures_of(listing: Listing, table: Table, given: Path | None) -> Pictures:
    """The image paths of a table, tried from all folders that they may start from."""
    cells = table.column(table.guess.image)
    return find_pictures(cells, roots_to_try(listing, table.path, cells, given), table.path.stem)


def tell_pictures(seen: Survey, table: Table, pictures: Pictures, root: Path) -> None:
    """Note images that are missing."""
    hits, count = pictures.hits.get(root, 0), len(pictures.sampled)
    if hits < count:
        what = f"{table.path.name}: {count - hits} of {count} sampled rows have no image under {root}"
        seen.unknown.append(f"{what}. Put the images there, or correct data.image_root")


def without_pictures(table: Table, pictures: Pictures, listing: Listing, given: Path | None) -> str:
    """What to say if no image of a table is found."""
    if not pictures.sampled:
        return f"{table.path}: its column {table.guess.image!r} is empty. Fill in the image paths."
    cell = pictures.sampled[0]
    place = given or listing.folder
    if cell.startswith("/"):
        what = f"the image paths are absolute, such as {cell}, and there is no such file"
        tail = next((t for t in tails(cell) for f in listing.folders if (f / t).is_file()), "")
        cure = f"Cut them down to {tail} in the table" if tail else "Make them relative to the folder of the images"
        return f"{table.path}, column {table.guess.image}: {what}. {cure}."
    if hint := hint_of(cell, [given] if given else listing.folders):
        return f"{table.path}, column {table.guess.image}: {hint}"
    what = f"no image of {len(pictures.sampled)} sampled rows was found, such as {cell}"
    if listing.pictures:
        what += f", though {listing.pictures} pictures lie below {listing.folder}"
    cure = f"Put the images where {place / cell} exists, or give the folder that the paths start from: --image-root"
    return f"{table.path}, column {table.guess.image}: {what}. {cure}."


def hint_of(cell: str, roots: Sequence[Path]) -> str:
    """What is wrong with an image path, if a file is there that it may mean; "" if not."""
    for root in roots:
        try:
            find_image(cell, root, follow_links=True)
        except ImageProblem as problem:
            if "but there is " in problem.what or "\\" in cell or "://" in cell:
                return f"{problem.what} (such as {cell}). {problem.cure}."
    return ""


def tails(cell: str) -> list[str]:
    """A path without its first folders, the longest rest first."""
    parts = [part for part in cell.split("/") if part]
    return ["/".join(parts[start:]) for start in range(len(parts))]


def describe_tables(seen: Survey) -> None:
    """What was found, in lines for the terminal."""
    roles = seen.roles
    seen.found.append(f"training table {told(roles.train)}")
    seen.found += [f"further training table {told(table)}" for table in roles.more]
    seen.found.append(f"test table {told(roles.test)}")
    seen.found.append(f"sample submission {roles.sample.path}" if roles.sample else "no sample submission")
    guess = roles.train.guess
    shown = {"id": guess.id, "image": guess.image, "question": guess.question, "answer": guess.answer}
    names = ", ".join(f"{name} {column!r}" for name, column in shown.items() if column)
    seen.found.append(f"columns: {names}, {len(guess.choices)} choices {', '.join(guess.choices)}")
    pixels = sorted(width * height for width, height in seen.sizes)
    width, height = max(seen.sizes, key=lambda size: -abs(size[0] * size[1] - pixels[len(pixels) // 2]))
    suffixes = extensions_of(roles.train.column(guess.image)[:500])
    seen.found.append(
        f"images {suffixes} under {seen.image_root}, {len(seen.sizes)} sampled, typical {width} x {height}"
    )
    seen.found += [f"left out: {text}" for text in roles.unused]


def told(table: Table) -> str:
    """A table with its rows and encoding."""
    encoding = {"utf-8-sig": "UTF-8", "cp949": "CP949"}.get(table.opened.encoding, table.opened.encoding)
    return f"{table.path}: {table.opened.rows:,} rows, {encoding}"


def config_of(guess: Guess) -> ColumnsConfig:
    """The columns as the readers take them."""
    return ColumnsConfig(guess.id, guess.image, guess.question, guess.choices, guess.answer or "answer")


def read_labels(seen: Survey) -> None:
    """How answers are written, who gave them, and which rows lack an answer or a choice."""
    empty, unanswered, trains = 0, 0, []
    for number, table in enumerate((seen.roles.train, *seen.roles.more)):
        entry = f"data.more_train.{number - 1}" if number else ""
        root = seen.roots.get(table.path, seen.image_root)
        people = table.guess.people or None
        source = TableSource(table.path, root, table.path.stem, config_of(table.guess), answers_by=people, entry=entry)
        problems = Problems([table.path])
        opened = open_training(source, problems, seen.encoding)
        if opened is None:
            seen.unknown.append(str(problems.found[0]).removesuffix("."))
        else:
            trains.append(opened)
        if people:
            seen.people[table.path] = len(people)
        empty += rows_without_choice(table)
        unanswered += rows_without_answer(table)
    if trains and trains[0].source.csv == seen.roles.train.path:
        seen.labels = trains[0].labels
        seen.found.append(f"answers are written {trains[0].labels}")
        read_sample_labels(seen, trains[0])
    judge_empty(seen, empty, rows_without_choice(seen.roles.test), unanswered)


def rows_without_choice(table: Table) -> int:
    """The number of rows with an empty cell among their choices."""
    return count_empty(table, table.guess.choices, any)


def rows_without_answer(table: Table) -> int:
    """The number of rows that nobody has answered."""
    return count_empty(table, table.guess.people or (table.guess.answer,), all)


def count_empty(table: Table, names: Sequence[str], how: Any) -> int:
    """The number of rows of whose cells in the columns `names` any, or all, are empty."""
    places = [table.header.index(name) for name in names]
    rows = (cells for _, cells in table.opened.records() if len(cells) > max(places))
    return sum(how(not cells[place].strip() for place in places) for cells in rows)


def judge_empty(seen: Survey, in_train: int, in_test: int, unanswered: int) -> None:
    """What follows from empty cells: rows with fewer choices, or training rows that cannot be used.

    A test row with an empty choice would stop the run, as each needs an answer.
    """
    every = seen.rows
    if in_test or in_train > FEW * every:
        seen.missing_choices = True
        what = f"{in_train + in_test:,} rows have an empty choice: read as rows with fewer choices"
        seen.assumed.append(f"{what} (data.missing_choices: accept)")
    bad = unanswered + (0 if seen.missing_choices else in_train)
    if 0 < bad <= MOST_LEFT_OUT * every:
        seen.quarantine = True
        rows = "1 training row lacks" if bad == 1 else f"{bad:,} training rows lack"
        seen.assumed.append(f"{rows} an answer or a choice: left out (data.on_bad_row: quarantine)")
    elif bad:
        what = f"{bad:,} of {every:,} training rows lack an answer or a choice, which stops the run"
        seen.unknown.append(f"{what}. Fill them in, or set data.on_bad_row and data.max_quarantined")


def read_sample_labels(seen: Survey, train: TrainTable) -> None:
    """Note if it cannot be known how the submission is written."""
    table = seen.roles.sample
    if table is None:
        return
    names, problems = train.source.columns, Problems([table.path])
    sample = open_table(table.path, lay_out_sample, problems, exact=True, encoding=seen.encoding)
    lay_out_test = partial(lay_out, wanted=wanted_columns(names, False), reserved=())
    test = open_table(seen.roles.test.path, lay_out_test, problems, encoding=seen.encoding)
    if sample is None or test is None:
        seen.unknown.append(str(problems.found[0]).removesuffix("."))
        return
    letters = ALL_LETTERS[: len(names.choices)]
    labels = decide_submission_labels(sample, test, train.labels, None, letters, problems)
    if labels is None:
        seen.unknown.append(str(problems.found[0]).removesuffix("."))
    else:
        seen.found.append(f"the submission is written {labels}")
