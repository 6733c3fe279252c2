"""Turn raw CSV files and images into checked tables, and report everything that is wrong with them at once.

Files are read record by record: memory grows with the number of ids and images, not with the text. A run that stops
leaves problems.csv and a copy, problems.failed.csv, which stays when a workflow removes a failed rule's outputs. The
tables of an earlier run stay.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet

from vqaflow.artifacts.columns import LETTERS
from vqaflow.artifacts.csv_files import (
    Record,
    Shape,
    UnreadableTable,
    detect_encoding,
    is_blank,
    read_records,
    survey,
)
from vqaflow.artifacts.table_schema import RESERVED, CheckedTable, CheckedTrainTable, parquet_schema
from vqaflow.config.sections import ColumnsConfig
from vqaflow.data.checks import Chunk, ImageChecks, check_cells, check_choices, check_ids, check_images, check_width
from vqaflow.data.images.decoding import STOP, ImageFacts
from vqaflow.data.near_ids import NearIds, SeenIds
from vqaflow.data.problems import ERROR, FATAL, WARNING, Problems, user_error
from vqaflow.data.table_layout import TableLayout, lay_out, lay_out_sample, wanted_columns
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log

CHUNK_ROWS = 1000


@dataclass(frozen=True)
class RawFiles:
    """What a competition hands out: two tables, the sample submission, and the folder that image paths start from."""

    train_csv: Path
    test_csv: Path
    sample_submission: Path
    image_root: Path


@dataclass(frozen=True)
class TableSettings:
    """How the raw tables are read, and whether a bad row stops the run (`on_bad_row`: stop | quarantine).

    `truncated_images` (stop | accept) and `follow_links` are the configuration's; `resize_limits` are those of
    model/resize_limits.py.
    """

    columns: ColumnsConfig
    on_bad_row: str
    normal_form: str
    max_image_pixels: int
    truncated_images: str = STOP
    follow_links: bool = False
    resize_limits: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class TableFiles:
    """The files to write: the checked tables (see table_schema) and the list of all problems (see problems)."""

    train: Path
    test: Path
    problems: Path

    @property
    def failed(self) -> Path:
        """The copy of the problems that stays after a run that stopped."""
        return self.problems.with_suffix(f".failed{self.problems.suffix}")


def validate_tables(raw: RawFiles, settings: TableSettings, out: TableFiles) -> None:
    """Write the checked tables and the list of all problems; raises UserError if a problem stops the run."""
    problems = Problems([raw.train_csv, raw.test_csv, raw.sample_submission, raw.image_root])
    images = open_image_root(raw.image_root, settings, problems)
    reader = TableReader(settings, images, raw.image_root, problems)
    with ExitStack() as outputs:
        # The test table is read first: then a training row with the id of a test row can be reported.
        partial_test, partial_train = (outputs.enter_context(atomic_path(file)) for file in (out.test, out.train))
        test_ids, answerable = reader.check(
            raw.test_csv, partial_test, is_train=False, other_ids={}, other_file=raw.train_csv
        )
        _, trained = reader.check(
            raw.train_csv, partial_train, is_train=True, other_ids=test_ids, other_file=raw.test_csv
        )
        compare_ids(test_ids, raw.test_csv, raw.sample_submission, settings.columns, problems)
        problems.write(out.problems)
        stopping = problems.stopping(settings.on_bad_row)
        useless = [path for path, usable in ((raw.train_csv, trained), (raw.test_csv, answerable)) if not usable]
        if stopping or useless:
            shutil.copyfile(out.problems, out.failed)
        if stopping:
            raise user_error(stopping, out.failed)
        if useless:
            raise UserError(f"{useless[0]}: no usable row is left. Correct the rows that {out.failed} lists.")
    out.failed.unlink(missing_ok=True)
    log.info("tables: %d training and %d test rows", trained, len(test_ids))
    if problems.found:
        log.warning("tables: %s; each is listed in %s", problems.count(), out.problems)


def open_image_root(root: Path, settings: TableSettings, problems: Problems) -> ImageChecks | None:
    """Checks of the images in folder `root`; None, with the problem noted, if there is no such folder."""
    if root.is_dir():
        return ImageChecks(
            root,
            settings.max_image_pixels,
            settings.truncated_images,
            settings.follow_links,
            settings.resize_limits,
        )
    what, cure = "no such folder", "Set data.image_root to the folder that the image paths start from"
    problems.add(root, 0, "", "", "", problem=what, cure=cure, kind="image_root_missing", severity=FATAL)
    return None


def open_table(
    path: Path,
    lay_out_header: Callable[[list[str]], tuple[TableLayout, list[UnreadableTable]]],
    problems: Problems,
    exact: bool = False,
) -> tuple[TableLayout, Iterator[Record], int] | None:
    """The layout of a CSV file, its records and their number; None, with the problems noted, if it cannot be read.

    Records of empty cells only, as Excel saves emptied rows, are left out with a warning. Records that do not fit the
    header are given as they are; `exact`: also those that all have the same number of empty cells beyond it.
    """
    try:
        if not path.is_file():
            raise UnreadableTable("file_missing", 0, "no such file", "Correct the path under data in the configuration")
        encoding = detect_encoding(path)
        records = read_records(path, encoding)
        _, header = next(records, (0, []))
        if not header:
            raise UnreadableTable("empty_table", 0, "the file is empty", "Give a table with a header and rows")
        shape = survey(header, records)
        if exact:
            shape = replace(shape, most=len(header))
        layout, faults = lay_out_header(header[: shape.width])
        if not shape.rows:
            faults.append(UnreadableTable("empty_table", 0, "the table has no rows", "Give a table with rows"))
    except UnreadableTable as fault:
        faults = [fault]
    for fault in faults:
        problems.add(path, fault.line, "", "", "", problem=fault.what, cure=fault.cure, kind=fault.kind, severity=FATAL)
    if faults:
        return None
    warn_of_empty_rows(path, shape, problems)
    records = read_records(path, encoding)
    next(records)
    return layout, ((line, shape.fit(cells) or cells) for line, cells in records if not is_blank(cells)), shape.rows


def warn_of_empty_rows(path: Path, shape: Shape, problems: Problems) -> None:
    """Note once how many rows of the file have only empty cells."""
    if shape.blank:
        what = f"{shape.blank} rows have only empty cells, this one first" if shape.blank > 1 else "all cells are empty"
        cure = "Nothing needs to be done: such rows are left out"
        problems.add(path, shape.first_blank, "", "", "", problem=what, cure=cure, kind="empty_rows", severity=WARNING)


class TableReader:
    """Checks the tables of one run chunk by chunk and writes them as parquet."""

    def __init__(self, settings: TableSettings, images: ImageChecks | None, root: Path, problems: Problems) -> None:
        self.names, self.normal_form = settings.columns, settings.normal_form
        self.images, self.root, self.problems = images, root, problems

    def check(
        self, path: Path, out: Path, *, is_train: bool, other_ids: dict[str, int], other_file: Path
    ) -> tuple[dict[str, int], int]:
        """Check a table and write it to `out`; returns its ids with their lines, and how many rows are usable."""
        ids = SeenIds()
        opened = open_table(
            path,
            partial(lay_out, wanted=wanted_columns(self.names, is_train), reserved=RESERVED),
            self.problems,
        )
        if opened is None:
            return ids, 0
        layout, records, count = opened
        id_severity = ERROR if is_train else FATAL  # a test row without its own id cannot be answered
        schema = parquet_schema(is_train, list(layout.extras))
        usable = 0
        with ProgressBar(count, "train table" if is_train else "test table") as bar:
            with pyarrow.parquet.ParquetWriter(out, schema) as writer:
                while batch := list(islice(records, CHUNK_ROWS)):
                    chunk = Chunk(path, layout, batch, self.problems)
                    check_cells(chunk, id_severity)
                    check_ids(chunk, ids, id_severity, other_ids, other_file)
                    check_choices(chunk, self.normal_form)
                    table = self.checked(chunk, is_train)
                    usable += int(table["usable"].sum())
                    writer.write_table(pyarrow.Table.from_pandas(table, schema=schema, preserve_index=False))
                    bar.advance(len(batch), problems=len(self.problems.found))
        return ids, usable

    def checked(self, chunk: Chunk, is_train: bool) -> pd.DataFrame:
        """The chunk's rows with what was found about them; bad rows are marked (test) or left out (train)."""
        facts = check_images(chunk, self.images) if self.images else [None] * len(chunk.frame)
        table = chunk.frame.assign(
            image_file=[str(self.root / name) for name in chunk.frame["path"]],
            usable=[position not in chunk.bad for position in range(len(chunk.frame))],
            **image_columns(facts),
            **type_columns(chunk.frame),
        )
        if is_train:
            table = table[table["usable"]]
        if not self.problems.fatal:
            (CheckedTrainTable if is_train else CheckedTable).validate(table)
        return table


def image_columns(facts: Sequence[ImageFacts | None]) -> dict[str, pd.Series]:
    """The columns about the rows' images."""
    return {
        "sha256": pd.Series([fact and fact.sha256 for fact in facts], dtype="str"),
        "phash": pd.Series([fact and fact.phash for fact in facts], dtype="str"),
        "width": pd.Series([fact.width if fact else 0 for fact in facts], dtype="int64"),
        "height": pd.Series([fact.height if fact else 0 for fact in facts], dtype="int64"),
    }


def type_columns(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """The question types and whether mirroring is unsafe."""
    from vqaflow.question_types.classify import classify_many

    found = classify_many(frame[["question", *LETTERS]].to_dict("records"))
    return {
        "qtype": pd.Series([f.qtype for f in found], dtype="str"),
        "flip_unsafe": pd.Series([f.flip_unsafe for f in found], dtype="bool"),
    }


def told_near(what: str, cure: str, near: tuple[str, str] | None) -> tuple[str, str]:
    """The problem of a missing id and its cure, with the id that it may be, if there is one."""
    if near is None:
        return what, cure
    cure = "Write it alike in both files; if a spreadsheet has changed it, take the competition's original file"
    return f"{what}, but one with {near[0]!r}, which differs in {near[1]}", cure


def compare_ids(
    test_ids: dict[str, int], test_csv: Path, sample_submission: Path, names: ColumnsConfig, problems: Problems
) -> None:
    """Report why no submission can be made from the sample submission.

    Reasons are its columns, ids that only it or only the test table has, and repeated ids.
    """
    opened = open_table(sample_submission, partial(lay_out_sample, id_name=names.id), problems, exact=True)
    if opened is None:
        return
    layout, records, _ = opened
    seen = SeenIds()
    near_tests, near_samples = NearIds(test_ids), NearIds(seen)
    while batch := list(islice(records, CHUNK_ROWS)):
        chunk = Chunk(sample_submission, layout, batch, problems)
        check_width(chunk, FATAL)
        check_ids(chunk, seen, FATAL, {}, test_csv)
        for position, row_id in enumerate(chunk.frame["id"]):
            if test_ids and row_id not in test_ids:
                cure = f"Add the row to {test_csv}, or use that table's own sample submission"
                what, cure = told_near(f"{test_csv} has no row with this id", cure, near_tests.near(row_id))
                chunk.report(position, "id", what, cure, "id_not_in_test", FATAL)
    for row_id, line in test_ids.items():
        if row_id not in seen:
            what = f"{sample_submission} has no row with this id"
            cure = "Add it there, or use this table's own sample submission"
            what, cure = told_near(what, cure, near_samples.near(row_id))
            problems.add(
                test_csv,
                line,
                row_id,
                names.id,
                row_id,
                problem=what,
                cure=cure,
                kind="id_not_in_sample",
                severity=FATAL,
            )
