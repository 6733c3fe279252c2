"""What the tables contain, as numbers and figures, before anything is trained."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import ALL_LETTERS, PEOPLE, QTYPES, letters_in, share_columns
from vqaflow.artifacts.reading import columns_in, letters_of_table, read_table
from vqaflow.config.sections import ViewConfig, section
from vqaflow.data.exploration.agreement import agreement_summary
from vqaflow.data.exploration.figures import draw_all
from vqaflow.data.folds.balance import shares
from vqaflow.data.folds.copies import near_report
from vqaflow.data.images.near_duplicates import BITS, hash_numbers, nearest_distance
from vqaflow.data.images.pictures import tokens_in_view
from vqaflow.data.images.visual_tokens import visual_tokens
from vqaflow.data.repeats import Repeats, question_keys
from vqaflow.reporting.statistics import wilson
from vqaflow.runtime.files import atomic_folder, write_json
from vqaflow.runtime.stage import CLOSING, log

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SAMPLE = 3000  # images per table for which the nearest training image is searched
FREQUENT = 20  # number of choice texts that are listed
EXPLORED_COLUMNS = [
    "id",
    "image_file",
    "question",
    "sha256",
    "pixels",
    "phash",
    "width",
    "height",
    "qtype",
    "flip_unsafe",
]
Tables = Mapping[str, pd.DataFrame]


def explore_data(
    *,
    train: Path,
    test: Path,
    folds: Path,
    min_pixels: int,
    max_pixels: int,
    out_dir: Path,
    token_pixels: int,
    views: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write ``summary.json`` and one PNG per figure (see figures.py) into `out_dir`, which is replaced as a whole.

    ``repeats.csv`` lists each test row that repeats a training row, and each training row that contradicts another.
    `min_pixels` and `max_pixels` are the model's, and `token_pixels` those along the side of its visual tokens; they
    decide how many visual tokens an image costs: exactly in the Qwen families, nearly in others. `views` are those that
    are scored: what an image costs in each is counted too.
    """
    letters = letters_of_table(train, "validate_tables")
    more = columns_in(train, "validate_tables", [PEOPLE, *share_columns(ALL_LETTERS)])
    tables = {
        "train": read_table(train, "validate_tables", [*EXPLORED_COLUMNS, *letters, "answer", *more]),
        "test": read_table(test, "validate_tables", [*EXPLORED_COLUMNS, *letters]),
    }
    given = (token_pixels, min_pixels, max_pixels)
    tables = {name: describe(table, *given) for name, table in tables.items()}
    assigned = read_table(folds, "make_folds", ["id", "fold", "group"])
    tables["train"] = tables["train"].merge(assigned, on="id", validate="one_to_one")
    repeats = Repeats(tables["train"], tables["test"])
    summary = summarise(tables, *given) | {"repeats": repeats.counts()}
    summary["visual_tokens"] |= tokens_by_view(tables, views or {}, *given)
    with atomic_folder(out_dir) as folder:
        write_json(folder / "summary.json", summary)
        repeats.listed().to_csv(folder / "repeats.csv", index=False, lineterminator="\n")
        draw_all(tables, summary, folder)
    tokens = summary["visual_tokens"]["train"]
    log.info(
        "eda: %d training and %d test rows, %.0f visual tokens per training image on average; see %s",
        len(tables["train"]),
        len(tables["test"]),
        tokens["mean"],
        out_dir,
        extra=CLOSING,
    )


def describe(table: pd.DataFrame, token_pixels: int, min_pixels: int, max_pixels: int) -> pd.DataFrame:
    """The table with the columns ``question_length`` (characters) and ``tokens`` (visual; 0: no image)."""
    tokens = visual_tokens(table["width"], table["height"], token_pixels, min_pixels, max_pixels)
    return table.assign(question_length=table["question"].str.len(), tokens=tokens)


def tokens_by_view(
    tables: Tables, views: Mapping[str, Mapping[str, Any]], token_pixels: int, min_pixels: int, max_pixels: int
) -> dict[str, Any]:
    """The visual tokens of a row's prompt in each view in which they are not those of the images as they are."""
    found: dict[str, Any] = {}
    for name, settings in views.items():
        view = section(ViewConfig, settings)
        smallest, largest = view.limits((min_pixels, max_pixels))
        count = partial(counted, token_pixels=token_pixels, min_pixels=smallest, max_pixels=largest)
        for table_name, table in tables.items():
            sizes = zip(table["width"], table["height"], strict=True)
            tokens = pd.Series(tokens_in_view(sizes, view, count))
            if not np.array_equal(tokens, table["tokens"]):
                found.setdefault(name, {})[table_name] = {**(spread(tokens) or {}), "total": int(tokens.sum())}
    return {"views": found} if found else {}


def counted(sizes: Sequence[tuple[int, int]], token_pixels: int, min_pixels: int, max_pixels: int) -> list[int]:
    """The visual tokens of pictures of these (width, height)."""
    widths, heights = zip(*sizes, strict=True) if sizes else ((), ())
    return visual_tokens(widths, heights, token_pixels, min_pixels, max_pixels)


def summarise(tables: Tables, token_pixels: int, min_pixels: int, max_pixels: int) -> dict[str, Any]:
    """The content of summary.json."""
    train = tables["train"]
    letters = letters_in(train)
    images = {name: table[table["width"] > 0] for name, table in tables.items()}
    return {
        "rows": {name: len(table) for name, table in tables.items()},
        "types": {name: counts(table["qtype"], QTYPES) for name, table in tables.items()},
        "flip_unsafe": {name: int(table["flip_unsafe"].sum()) for name, table in tables.items()},
        "answers": {
            "all": counts(train["answer"], letters),
            **{qtype: counts(train["answer"][train["qtype"] == qtype], letters) for qtype in QTYPES},
        },
        "question_length": {name: spread(table["question_length"]) for name, table in tables.items()},
        "choice_length": {name: spread(choice_lengths(table)) for name, table in tables.items()},
        "images": {
            name: {"width": spread(table["width"]), "height": spread(table["height"])} for name, table in images.items()
        },
        "visual_tokens": {
            "min_pixels": min_pixels,
            "max_pixels": max_pixels,
            "token_pixels": token_pixels,
            **{name: token_summary(table, min_pixels, max_pixels) for name, table in images.items()},
        },
        "duplicates": duplicates(tables),
        "shortcuts": shortcuts(train),
        "choices": frequent_choices(train),
        "folds": fold_summary(train),
        **agreement_summary(train),
    }


def counts(values: pd.Series, known: tuple[str, ...]) -> dict[str, int]:
    """How often each of the `known` values occurs."""
    found = values.value_counts()
    return {value: int(found.get(value, 0)) for value in known}


def spread(values: pd.Series) -> dict[str, float] | None:
    """Mean and quantiles; None if there are no values."""
    if values.empty:
        return None
    return {"mean": float(values.mean())} | {f"q{round(100 * q)}": float(values.quantile(q)) for q in QUANTILES}


def choice_lengths(table: pd.DataFrame) -> pd.Series:
    """Characters of every choice of every row."""
    return pd.concat([table[letter].str.len() for letter in letters_in(table)], ignore_index=True).dropna()


def token_summary(table: pd.DataFrame, min_pixels: int, max_pixels: int) -> dict[str, Any]:
    """What the images cost: tokens per row and in total, and how many rows the limits enlarge or shrink."""
    area = table["width"] * table["height"]
    return {
        **(spread(table["tokens"]) or {"mean": 0.0}),
        "total": int(table["tokens"].sum()),
        "rows_enlarged": int((area < min_pixels).sum()),
        "rows_shrunk": int((area > max_pixels).sum()),
    }


def duplicates(tables: Tables) -> dict[str, Any]:
    """Rows that share an image or a question, and how far images are from training images (bits of perceptual hash).

    The distances are those of up to SAMPLE evenly spaced images of each table. They show what folds.near_distance
    would link; ``near_images`` are pairs that it would, and that are now in different folds.
    """
    found: dict[str, Any] = {}
    train_images = tables["train"].drop_duplicates("pixels")
    train_hashes = hash_numbers(train_images["phash"])
    for name, table in tables.items():
        images = table.dropna(subset=["pixels"]).drop_duplicates("pixels")
        picked = images.iloc[np.unique(np.linspace(0, max(len(images) - 1, 0), min(SAMPLE, len(images))).astype(int))]
        hashes = hash_numbers(picked["phash"])
        nearest = nearest_distance(hashes, train_hashes, ignore_self=name == "train")
        found[name] = {
            "images": len(images),
            "rows_of_repeated_images": repeated(table["pixels"].dropna()),
            "rows_of_repeated_questions": repeated(pd.Series(question_keys(table))),
            "nearest_image_bits": np.bincount(nearest, minlength=BITS + 1).tolist(),
        }
    found["test_rows_of_training_images"] = int(tables["test"]["pixels"].isin(train_images["pixels"]).sum())
    found["near_images"] = near_report(tables["train"], tables["train"]["fold"].to_numpy())
    return found


def repeated(keys: pd.Series) -> int:
    """How many rows have a key that another row has too."""
    return int(keys.duplicated(keep=False).sum())


def shortcuts(train: pd.DataFrame) -> dict[str, Any]:
    """How often rules that use neither image nor question are right; chance is one over the number of choices."""
    lengths = np.stack([train[letter].str.len().astype(float) for letter in letters_in(train)], axis=1)
    answer = train["answer"].map(ALL_LETTERS.index).to_numpy()
    first = {"longest_choice": np.nanargmax(lengths, 1), "shortest_choice": np.nanargmin(lengths, 1)}
    commonest = train["answer"].mode()[0]
    first["commonest_letter"] = np.full(len(train), ALL_LETTERS.index(commonest))
    return {name: rate(int((guess == answer).sum()), len(train)) for name, guess in first.items()}


def frequent_choices(train: pd.DataFrame) -> list[dict[str, Any]]:
    """The most frequent choice texts: in how many rows they are a choice, and how often the right one."""
    long = train.melt(id_vars=["answer"], value_vars=list(letters_in(train)), var_name="letter", value_name="text")
    table = long.assign(right=long["letter"] == long["answer"]).groupby("text")["right"].agg(["size", "sum"])
    top = table.sort_values("size", ascending=False, kind="stable").head(FREQUENT)
    return [{"text": str(text), **rate(int(right), int(size))} for text, size, right in top.itertuples()]


def rate(right: int, n: int) -> dict[str, Any]:
    """A share with its interval."""
    return {"n": n, "right": right, "share": right / n, "wilson": wilson(right, n)}


def fold_summary(train: pd.DataFrame) -> dict[str, Any]:
    """Rows and groups of each fold, and its shares of types and answers."""
    by_fold = train.groupby("fold")
    return {
        "rows": by_fold.size().tolist(),
        "groups": by_fold["group"].nunique().tolist(),
        **{column: shares(train[column], train["fold"]) for column in ("qtype", "answer")},
    }
