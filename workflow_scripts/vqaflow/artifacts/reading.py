"""Reading what earlier rules have written; what is missing or damaged is reported with its cure."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image

from vqaflow.artifacts.columns import letters_in
from vqaflow.artifacts.parquet_files import READ_ERRORS, read_schema
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import parse_json
from vqaflow.runtime.messages import reason_of


def read_table(path: Path, rule: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A parquet file that `rule` makes. Raises UserError if it is missing, damaged or lacks one of `columns`."""
    require_file(path, rule)
    try:
        read_schema(path)
        return pd.read_parquet(
            path, columns=None if columns is None else list(columns), page_checksum_verification=True
        )
    except READ_ERRORS as error:
        raise damaged(path, rule, error) from None


def letters_of_table(path: Path, rule: str, prefix: str = "") -> tuple[str, ...]:
    """The letters of the choices that a parquet file has columns for, without its rows (see `letters_in`).

    Raises UserError if the file, which `rule` makes, is missing or damaged, or has no such columns.
    """
    require_file(path, rule)
    try:
        letters = letters_in(read_schema(path).names, prefix)
    except READ_ERRORS as error:
        raise damaged(path, rule, error) from None
    if not letters:
        raise damaged(path, rule, ValueError(f"it has no column {prefix}a"))
    return letters


def columns_in(path: Path, rule: str, wanted: Sequence[str]) -> list[str]:
    """Those of the `wanted` columns that a parquet file has, which `rule` makes. Raises UserError as `read_table`."""
    require_file(path, rule)
    try:
        names = read_schema(path).names
    except READ_ERRORS as error:
        raise damaged(path, rule, error) from None
    return [name for name in wanted if name in names]


def read_json(path: Path, rule: str, keys: Sequence[str] = ()) -> Any:
    """A JSON file that `rule` makes. Raises UserError if it is missing, damaged or lacks one of the dotted `keys`."""
    require_file(path, rule)
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, rule, error) from None
    return _with_keys(value, path, rule, keys)


def read_yaml(path: Path, rule: str, keys: Sequence[str] = ()) -> Any:
    """A YAML file that `rule` makes. Raises UserError as `read_json`."""
    require_file(path, rule)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise damaged(path, rule, error) from None
    return _with_keys(value, path, rule, keys)


def _with_keys(value: Any, path: Path, rule: str, keys: Sequence[str]) -> Any:
    if not isinstance(value, dict):
        raise damaged(path, rule, ValueError("it does not hold keys and values"))
    for key in keys:
        inner = value
        for part in key.split("."):
            if not isinstance(inner, dict) or part not in inner:
                raise damaged(path, rule, ValueError(f"it has no {key}"))
            inner = inner[part]
    return value


def read_csv_columns(path: Path, rule: str, columns: Sequence[str], texts: bool = False) -> pd.DataFrame:
    """Columns of a CSV that `rule` makes, as numbers or as `texts`.

    Raises UserError if it is missing, cut within a line, or lacks a column.
    """
    require_file(path, rule)
    try:
        text = path.read_text(encoding="utf-8")
        if not text.endswith("\n"):
            raise ValueError("its last line is not whole")
        as_texts: dict[str, Any] = {"dtype": "str", "keep_default_na": False} if texts else {}
        return pd.read_csv(StringIO(text), usecols=list(columns), **as_texts)
    except (OSError, ValueError) as error:
        raise damaged(path, rule, error) from None


def require_file(path: Path, rule: str) -> None:
    """Raise UserError unless `path` is a file with something in it."""
    if not path.is_file():
        raise UserError(f"{path}: is missing. Run the rule {rule}.")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty. Delete it and run the rule {rule} again.")


def damaged(path: Path, rule: str, error: Exception) -> UserError:
    """The error of a file that cannot be read; its reason in one line."""
    return UserError(f"{path}: is damaged ({reason_of(error)}). Delete it and run the rule {rule} again.")


def check_picture(path: Path, rule: str) -> None:
    """Raise UserError unless `path` is a whole image."""
    require_file(path, rule)
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on a broken PNG
        raise damaged(path, rule, error) from None
