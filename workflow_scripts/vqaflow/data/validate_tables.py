"""Turn raw CSV files and images into checked tables, and report everything that is wrong with them at once.

Files are read record by record: memory grows with the number of ids and images, not with the text. A run that stops
leaves problems.csv and a copy, problems.failed.csv, which stays when a workflow removes a failed rule's outputs. The
tables of an earlier run stay.

Shapes: N rows, C choices.
"""

import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow

from vqaflow.artifacts.columns import ALL_LETTERS, share_columns
from vqaflow.artifacts.labels import labels_content
from vqaflow.artifacts.parquet_files import PartsWriter, parquet_writer
from vqaflow.artifacts.table_schema import RESERVED, checked_schema, parquet_schema
from vqaflow.config.sections import ColumnsConfig, PromptConfig, entries, section
from vqaflow.data.answer_labels import Given
from vqaflow.data.checks import (
    Chunk,
    ImageChecks,
    OtherIds,
    check_answers,
    check_cells,
    check_choices,
    check_ids,
    check_images,
    check_length,
)
from vqaflow.data.images.decoding import STOP, ImageFacts
from vqaflow.data.near_ids import SeenIds
from vqaflow.data.opening import OpenTable, open_table
from vqaflow.data.people import plurality, shares_of
from vqaflow.data.problems import ERROR, FATAL, LEFT_OUT, Problems, grouped_lines, user_error
from vqaflow.data.quarantine import check_share
from vqaflow.data.repeats import KEEP, judge_repeats
from vqaflow.data.sample_submission import compare_ids, decide_submission_labels
from vqaflow.data.table_layout import lay_out, wanted_columns
from vqaflow.data.training_tables import TableSource, TrainTable, further_tables, open_training
from vqaflow.question_types.classify import QuestionType
from vqaflow.question_types.side_by_side import SideBySide, TypesToCome
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path, write_json
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import CLOSING, log

CHUNK_ROWS = 1000
PREFIX_CURE = "Change one of them, or give the entry in data.more_train an id_prefix"


@dataclass(frozen=True)
class RawFiles:
    """What a competition hands out: two tables, the sample submission, and the folder that image paths start from.

    `more` are further tables of training rows. `test_image_root` is the folder of the test table's paths, if another.
    """

    train_csv: Path
    test_csv: Path
    sample_submission: Path
    image_root: Path
    more: tuple[TableSource, ...] = ()
    test_image_root: Path | None = None

    @property
    def test_root(self) -> Path:
        """The folder that the image paths of the test table start from."""
        return self.test_image_root or self.image_root

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "RawFiles":
        """The files that the configuration's section `data` names."""
        names = ("train_csv", "test_csv", "sample_submission", "image_root")
        other = data.get("test_image_root")
        return cls(*(Path(data[name]) for name in names), further_tables(data), Path(other) if other else None)


@dataclass(frozen=True)
class TableSettings:
    """How the raw tables are read, and whether a bad row stops the run (`on_bad_row`: stop | quarantine).

    `truncated_images` and `missing_choices` (stop | accept), `follow_links`, `max_quarantined` (a share),
    `contradictions` (keep | leave_out), `encoding` (of tables that are not UTF-8), `answers`,
    `answers_by`, `submission_labels` and `max_tokens` (of prompt) are the configuration's; `resize_limits` are those of
    model/resize_limits.py.
    """

    columns: ColumnsConfig
    on_bad_row: str
    normal_form: str
    max_image_pixels: int
    truncated_images: str = STOP
    follow_links: bool = False
    resize_limits: Sequence[Sequence[int]] = ()
    max_quarantined: float = 0.05
    contradictions: str = KEEP
    missing_choices: str = STOP
    encoding: str | None = None
    answers: Given = None
    answers_by: Sequence[str] | None = None
    submission_labels: Given = None
    max_tokens: int = PromptConfig.max_tokens

    @classmethod
    def read(cls, values: Mapping[str, Any], resize_limits: Sequence[Sequence[int]]) -> "TableSettings":
        """The settings among `values`, the keys of the section `data` and prompt.normal_form."""
        columns = section(ColumnsConfig, values["columns"])
        return cls(**(entries(cls, values) | {"columns": columns, "resize_limits": resize_limits}))


@dataclass(frozen=True)
class TableFiles:
    """The files to write: the checked tables (see table_schema), all problems (see problems) and labels.json."""

    train: Path
    test: Path
    problems: Path
    labels: Path

    @property
    def failed(self) -> Path:
        """The copy of the problems that stays after a run that stopped."""
        return self.problems.with_suffix(f".failed{self.problems.suffix}")


def validate_tables(raw: RawFiles, settings: TableSettings, out: TableFiles) -> dict[str, str]:
    """Write the checked tables and the list of all problems; raises UserError if a problem stops the run.

    Returns the sha256 of each image file by its path (see `ImageChecks.seen`).
    """
    sources = training_sources(raw, settings)
    files = [source.csv for source in sources]
    roots = [*(source.image_root for source in sources), raw.test_root]
    problems = Problems([*files, raw.test_csv, raw.sample_submission, *roots])
    lay_out_test = partial(lay_out, wanted=wanted_columns(settings.columns, False), reserved=RESERVED)
    with ExitStack() as outputs:
        reader = TableReader(settings, problems, roots, outputs.enter_context(SideBySide()))
        # The test table is read first: then a training row with the id of a test row can be reported.
        partial_test, partial_train = (outputs.enter_context(atomic_path(file)) for file in (out.test, out.train))
        test = open_table(raw.test_csv, lay_out_test, problems, encoding=settings.encoding)
        test_ids, answerable = reader.check_test(test, partial_test, raw.test_root) if test else (SeenIds(), 0)
        tables = [table for source in sources if (table := open_training(source, problems, settings.encoding))]
        trained, read = reader.check_train(tables, partial_train, OtherIds(raw.test_csv, test_ids))
        if not problems.fatal:
            places = {row_id: (one.file, line) for one in read for row_id, line in one.ids.items()}
            for row_id in judge_repeats(partial_train, partial_test, settings.contradictions, places, problems):
                trained[places[row_id][0]] -= 1
        sample = compare_ids(
            test_ids, raw.test_csv, raw.sample_submission, settings.columns, problems, settings.encoding
        )
        written = None
        if sample and test and tables and tables[0].source is sources[0]:
            own = tables[0].labels
            written = decide_submission_labels(sample, test, own, settings.submission_labels, reader.letters, problems)
        problems.write(out.problems)
        stopping = problems.stopping(settings.on_bad_row)
        usable = {**dict.fromkeys(files, 0), **trained, raw.test_csv: answerable}
        useless = [path for path, count in usable.items() if not count]
        shutil.copyfile(out.problems, out.failed)  # removed below, if nothing stops the run
        if stopping:
            raise user_error(stopping, out.failed)
        if useless:
            raise UserError(f"{useless[0]}: no usable row is left. Correct the rows that {out.failed} lists.")
        check_share(problems, usable, settings.max_quarantined, out.failed)
        assert written is not None
        more = {table.source.name: table.labels for table in tables[1:]}
        write_json(out.labels, labels_content(tables[0].labels, written, more, settings.encoding))
    out.failed.unlink(missing_ok=True)
    log.info("tables: %d training and %d test rows", sum(trained.values()), len(test_ids), extra=CLOSING)
    if problems.found:
        log.warning("tables: %s; each is listed in %s", problems.count(), out.problems)
    for line in grouped_lines([problem for problem in problems.sorted() if problem.severity in (ERROR, LEFT_OUT)]):
        log.warning("tables: not usable: %s", line)
    return {path: sha256 for images in reader.images.values() if images for path, sha256 in images.seen().items()}


def training_sources(raw: RawFiles, settings: TableSettings) -> list[TableSource]:
    """All tables of training rows, data's own first."""
    people = None if settings.answers_by is None else tuple(settings.answers_by)
    name = raw.train_csv.stem
    own = TableSource(raw.train_csv, raw.image_root, name, settings.columns, settings.answers, people)
    return [own, *raw.more]


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


class TableReader:
    """Checks the tables of one run chunk by chunk and writes them as parquet."""

    def __init__(
        self, settings: TableSettings, problems: Problems, roots: Sequence[Path], questions: SideBySide
    ) -> None:
        self.settings, self.problems, self.questions = settings, problems, questions
        self.letters = ALL_LETTERS[: len(settings.columns.choices)]
        self.images = {root: open_image_root(root, settings, problems) for root in dict.fromkeys(roots)}

    def check_test(self, opened: OpenTable, out: Path, root: Path) -> tuple[SeenIds, int]:
        """Check the test table and write it to `out`; returns its ids with their lines, and how many are usable."""
        extras = list(opened.layout.extras)
        ids, usable = SeenIds(), 0
        schema = parquet_schema(False, extras, self.letters)
        with parquet_writer(out, schema) as write:
            for table in self.checked(self.test_chunks(opened, ids), root, opened.rows, "test table"):
                usable += int(table["usable"].sum())
                write_rows(write, table, schema)
        return ids, usable

    def test_chunks(self, opened: OpenTable, ids: SeenIds) -> Iterator[tuple[Chunk, dict[str, Any]]]:
        """The test table chunk by chunk, its cells checked; notes its ids in `ids`."""
        for chunk in self.chunks(opened):
            check_cells(chunk, FATAL, self.settings.missing_choices)  # each row needs an id of its own
            check_ids(chunk, ids, FATAL)
            check_length(chunk, self.settings.max_tokens)
            check_choices(chunk, self.settings.normal_form)
            yield chunk, {}

    def check_train(
        self, tables: Sequence[TrainTable], out: Path, test: OtherIds
    ) -> tuple[dict[Path, int], list[OtherIds]]:
        """Check the training tables and write their rows to `out`.

        Returns how many rows of each are usable, and the ids of all tables, those of `test` first.
        """
        extras = dict.fromkeys(name for table in tables for name in table.opened.layout.extras)
        with_shares = any(table.people for table in tables)
        schema = parquet_schema(True, extras, self.letters, with_shares)
        others, usable = [test], {}
        with parquet_writer(out, schema) as write:
            for table in tables:
                ids = SeenIds()
                usable.setdefault(table.source.csv, 0)
                chunks = self.training_chunks(table, ids, others, with_shares)
                title = "train table" if not table.source.entry else f"{table.source.name} table"
                for rows in self.checked(chunks, table.source.image_root, table.opened.rows, title):
                    usable[table.source.csv] += len(rows)
                    write_rows(write, rows, schema)
                others.append(OtherIds(table.source.csv, ids, PREFIX_CURE, "id_in_two_tables"))
        return usable, others

    def training_chunks(
        self, table: TrainTable, ids: SeenIds, others: Sequence[OtherIds], with_shares: bool
    ) -> Iterator[tuple[Chunk, dict[str, Any]]]:
        """A training table chunk by chunk, its cells checked, with the columns of its answers; notes its ids."""
        for chunk in self.chunks(table.opened, table.source.id_prefix):
            check_cells(chunk, ERROR, self.settings.missing_choices)
            answers = check_answers(chunk, table.labels, table.answers, self.settings.missing_choices)
            columns = answer_columns(chunk, answers, with_shares)
            chunk.frame = chunk.frame.assign(answer=columns["answer"])
            check_ids(chunk, ids, ERROR, others)
            check_length(chunk, self.settings.max_tokens)
            check_choices(chunk, self.settings.normal_form)
            yield chunk, columns | {"source": table.source.name}

    def chunks(self, opened: OpenTable, id_prefix: str = "") -> Iterator[Chunk]:
        """The table's records, some at a time."""
        records = opened.records()
        while batch := list(islice(records, CHUNK_ROWS)):
            yield Chunk(opened.path, opened.layout, batch, self.problems, id_prefix)

    def checked(
        self, chunks: Iterable[tuple[Chunk, Mapping[str, Any]]], root: Path, rows: int, title: str
    ) -> Iterator[pd.DataFrame]:
        """The rows of each chunk with what was found about them; bad rows are marked (test) or left out (train).

        With each chunk come further columns of training rows. The bar `title` shows how many of the `rows` are done.
        """
        self.questions.expect(rows)
        with ProgressBar(rows, title) as bar:
            for chunk, more, types in self.typed(chunks):
                yield self.table_of(chunk, more, types(), root)
                bar.advance(len(chunk.frame), problems=len(self.problems.found))

    def typed(
        self, chunks: Iterable[tuple[Chunk, Mapping[str, Any]]]
    ) -> Iterator[tuple[Chunk, Mapping[str, Any], TypesToCome]]:
        """Each chunk with its further columns and the types of its questions; the next ones are typed meanwhile."""
        waiting: deque[tuple[Chunk, Mapping[str, Any], TypesToCome]] = deque()
        for chunk, more in chunks:
            waiting.append((chunk, more, self.questions.types_of(typed_rows(chunk))))
            if len(waiting) > self.questions.ahead:
                yield waiting.popleft()
        yield from waiting

    def table_of(
        self, chunk: Chunk, more: Mapping[str, Any], types: Sequence[QuestionType], root: Path
    ) -> pd.DataFrame:
        """The checked rows of one chunk."""
        images = self.images[root]
        facts = check_images(chunk, images) if images else [None] * len(chunk.frame)
        table = chunk.frame.assign(
            **{x: pd.Series([row.get(x) for row in chunk.choices], dtype="str") for x in self.letters},
            **more,
            image_file=[str(root / name) for name in chunk.frame["path"]],
            usable=[position not in chunk.bad for position in range(len(chunk.frame))],
            **image_columns(facts),
            **type_columns(types),
        )
        if more:
            table = table[table["usable"]]
        if not self.problems.fatal:
            checked_schema(table, with_answer=bool(more)).validate(table)
        return table


def write_rows(write: PartsWriter, table: pd.DataFrame, schema: pyarrow.Schema) -> None:
    """Append rows; the columns that only other tables have are null."""
    lacking = [name for name in schema.names if name not in table]
    table = table.assign(**{name: pd.Series(None, index=table.index, dtype="str") for name in lacking})
    write(pyarrow.Table.from_pandas(table, schema=schema, preserve_index=False))


def answer_columns(chunk: Chunk, answers: Sequence[Sequence[str]], with_shares: bool) -> dict[str, Any]:
    """The columns of what was answered: of several people's `answers` the most frequent, and the share of each."""
    pairs = zip(chunk.frame["id"], answers, strict=True)
    columns: dict[str, Any] = {"answer": [plurality(row_id, given) if given else "" for row_id, given in pairs]}
    if with_shares:
        shares_NC, people_N = shares_of(answers, chunk.letters)
        columns |= dict(zip(share_columns(chunk.letters), shares_NC.T, strict=True)) | {"people": people_N}
    return columns


def image_columns(facts: Sequence[ImageFacts | None]) -> dict[str, pd.Series]:
    """The columns about the rows' images."""
    return {
        "sha256": pd.Series([fact and fact.sha256 for fact in facts], dtype="str"),
        "pixels": pd.Series([fact and fact.pixels for fact in facts], dtype="str"),
        "phash": pd.Series([fact and fact.phash for fact in facts], dtype="str"),
        "width": pd.Series([fact.width if fact else 0 for fact in facts], dtype="int64"),
        "height": pd.Series([fact.height if fact else 0 for fact in facts], dtype="int64"),
    }


def typed_rows(chunk: Chunk) -> list[dict[str, str]]:
    """What a row's type is decided by: the question and the choices that it has."""
    rows = zip(chunk.frame["question"], chunk.choices, strict=True)
    return [{"question": question, **choices} for question, choices in rows]


def type_columns(types: Sequence[QuestionType]) -> dict[str, pd.Series]:
    """The columns of question types, and of whether mirroring is unsafe."""
    return {
        "qtype": pd.Series([one.qtype for one in types], dtype="str"),
        "flip_unsafe": pd.Series([one.flip_unsafe for one in types], dtype="bool"),
    }
