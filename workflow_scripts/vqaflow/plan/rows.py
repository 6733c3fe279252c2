"""Which rows and image sizes a plan is based on, and their source: a plan never silently describes other data.

They come from the checked table if it was made from the configured CSV file; else from the CSV file itself and a sample
of its images; else they are assumed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_integer_dtype

from vqaflow.artifacts.csv_files import UnreadableTable, detect_encoding, is_blank, read_records
from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.results_folder import RESULTS, ResultsFolder
from vqaflow.config.sections import ColumnsConfig, section
from vqaflow.data.images.decoding import MAX_ASPECT, ImageProblem, declared_size
from vqaflow.data.images.finding import find_image
from vqaflow.data.opening import plain_names
from vqaflow.data.table_layout import lay_out, wanted_columns
from vqaflow.data.training_tables import further_tables
from vqaflow.runtime.errors import UserError

SAMPLED = 500  # how many images' headers are read for a CSV file: takes a second or two
SIZE_COLUMNS = ["id", "image_file", "width", "height"]


@dataclass(frozen=True)
class PlanRows:
    """The number of `rows` of the training table, (width, height) of images, and the sources of both, for messages.

    Without `sizes`, each image is assumed to have the largest size that the model is shown.
    """

    rows: int
    source: str
    sizes: Sequence[tuple[int, int]]
    sizes_source: str


def plan_rows(
    config: Mapping[str, Any], table: Path | None, rows_given: bool, results: ResultsFolder = RESULTS
) -> PlanRows:
    """The rows to plan for: those of `table` if there is one, else those of the configuration's data.train_csv.

    Raises UserError if neither can be read. With `rows_given` by the user, data.train_csv need not exist.
    """
    if table is not None:
        return of_table(named_table(table), f"{table}, the table named by --table")
    data = config["data"]
    csv_file = Path(data["train_csv"])
    if csv_file.is_file():
        images = [
            (row_id, root, name)
            for file, root, columns, prefix in training_files(data)
            for row_id, name in csv_images(file, columns, prefix, data["encoding"])
        ]
        fewer = data["on_bad_row"] == "quarantine" or data["contradictions"] == "leave_out"
        return of_csv(named_files(data), images, fewer, results.table("train"))
    if csv_file.is_relative_to(results.demo):
        reason = f"{csv_file} has not been made yet"
        return PlanRows(data["demo"]["train_rows"], f"data.demo.train_rows ({reason})", [], reason)
    reason = f"there is no file {csv_file}"
    if rows_given:
        return PlanRows(0, "", [], reason)
    raise UserError(f"data.train_csv: {reason}. Correct the path, or give the rows that train each fold with --rows.")


def named_table(path: Path) -> pd.DataFrame:
    """The table that the user names. Raises UserError if it is not a checked table."""
    cure = f"Give a table that the rule validate_tables has made, such as {RESULTS.table('train')}"
    if not path.is_file():
        raise UserError(f"--table: there is no file {path}. {cure}.")
    try:
        table = read_table(path, "validate_tables", SIZE_COLUMNS)
    except UserError:
        raise UserError(f"--table: {path} contains no image sizes. {cure}.") from None
    if table.empty or not all(map(is_integer_dtype, (table["width"], table["height"]))):
        raise UserError(f"--table: {path} has no rows with image sizes. {cure}.")
    return table


def of_table(table: pd.DataFrame, source: str) -> PlanRows:
    """All rows and sizes of a checked table."""
    sizes = usable(table[["width", "height"]].itertuples(index=False, name=None))
    return PlanRows(len(table), source, sizes, f"{len(sizes)} sizes from the same table")


def training_files(data: Mapping[str, Any]) -> Iterator[tuple[Path, Path, ColumnsConfig, str]]:
    """Each training table of the section `data`: its CSV file, image folder, columns, and what goes before its ids."""
    yield Path(data["train_csv"]), Path(data["image_root"]), section(ColumnsConfig, data["columns"]), ""
    for source in further_tables(data):
        yield source.csv, source.image_root, source.columns, source.id_prefix


def named_files(data: Mapping[str, Any]) -> str:
    """The CSV files of training rows, for messages."""
    return ", ".join(str(file) for file, *_ in training_files(data))


def of_csv(files: str, images: Sequence[tuple[str, Path, str]], fewer: bool, made: Path) -> PlanRows:
    """The rows of CSV `files` with these ids, folders and images; from the checked table `made` if it was from them.

    `fewer`: the checked table may lack rows of the files.
    """
    try:
        table, reason = read_table(made, "validate_tables", SIZE_COLUMNS), f"{made} contains other rows"
        checked = set(table[SIZE_COLUMNS[:2]].itertuples(index=False, name=None))
        wanted = {(row_id, str(root / name)) for row_id, root, name in images}
        if checked and (checked == wanted or (fewer and checked < wanted)):
            return of_table(table, f"{made}, the checked rows of {files}")
    except UserError:
        reason = f"there is no readable {made} yet"
    looked_at = [images[i * len(images) // SAMPLED] for i in range(SAMPLED)] if len(images) > SAMPLED else images
    sizes = usable(size_of(name, root) for _, root, name in looked_at)
    roots = ", ".join(dict.fromkeys(str(root) for _, root, _ in images))
    sizes_source = f"{len(sizes)} sizes from {len(looked_at)} files under {roots}"
    return PlanRows(len(images), f"{files} ({reason})", sizes, sizes_source)


def usable(sizes: Any) -> list[tuple[int, int]]:
    """The `sizes` of images that the model can be shown."""
    return [size for size in sizes if min(size) > 0 and max(size) / min(size) <= MAX_ASPECT]


def size_of(name: str, root: Path) -> tuple[int, int]:
    """Width and height in the header of a table's image; (0, 0) if it cannot be read."""
    try:
        return declared_size(find_image(name, root, follow_links=True))  # only the header is read
    except ImageProblem:
        return 0, 0


def csv_images(
    path: Path, names: ColumnsConfig, id_prefix: str = "", encoding: str | None = None
) -> list[tuple[str, str]]:
    """Id, behind `id_prefix`, and image of each row of a CSV file. Raises UserError if it cannot be read."""
    wanted = {name: names_of for name, names_of in wanted_columns(names, False).items() if name in ("id", "path")}
    if not path.is_file():
        raise UserError(f"data.more_train: there is no file {path}. Correct the path.")
    try:
        records = read_records(path, detect_encoding(path, encoding))
        _, header = next(records, (0, []))
        layout, problems = lay_out(plain_names(path, header), wanted, [])
        if problems:
            raise problems[0]
        places = [layout.columns[name][1] for name in wanted]
        images = [
            (id_prefix + cells[places[0]], cells[places[1]])
            for _, cells in records
            if len(cells) > max(places) and not is_blank(cells) and cells != header
        ]
    except UnreadableTable as fault:
        line = f" line {fault.line}" if fault.line else ""
        raise UserError(f"{path}{line}: {fault.what}. {fault.cure_or_key}.") from None
    if not images:
        raise UserError(f"{path}: the table has no rows. Give a table with rows.")
    return images
