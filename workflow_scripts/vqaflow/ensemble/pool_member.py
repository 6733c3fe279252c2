"""Rule pool_member: what one member says of each row, from its scores or from someone's files.

`vqaflow pool_member` runs it by hand. The member's own answer is the plain mean over its views, seeds and folds. The
views stay apart in a second file, so that the pool of all members may leave one out.

Shapes: N rows, V views, S seeds, K choice orders, C choices of the tables. Log-probabilities are normalised over C.
They are NaN where a view does not have the row, and -inf for a choice that the row lacks.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vqaflow.artifacts.adapter_files import RUN
from vqaflow.artifacts.choices import OWN, choices_there, read_with_letters
from vqaflow.artifacts.columns import ALL_LETTERS, probability_columns
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.artifacts.parts import ALL, BASE, FILE, ORIGINAL, fold_of, without_seed
from vqaflow.artifacts.probability_files import read_pair
from vqaflow.artifacts.reading import letters_of_table, read_csv_columns, read_json, read_table
from vqaflow.artifacts.results_folder import MemberFolder
from vqaflow.artifacts.score_files import (
    Logits,
    ScoreFile,
    check_complete,
    read_logits,
    row_index,
    score_files,
    views_of,
)
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path, write_json
from vqaflow.runtime.messages import some
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import CLOSING, log
from vqaflow.scoring.order_pooling import log_softmax, pool_orders, position_prior, safe_log

Priors = dict[tuple[str, str], np.ndarray | None]  # the position prior of each (part, view), estimated on OOF rows
REFIT_NOTE = "its adapter on all rows has no OOF rows of its own: it counts on test rows as much as its folds together"

TAUGHT_NOTE = (
    "it learned from {teacher}; if {teacher} was trained on these rows, OOF accuracy is too high, by two points on the "
    "demo: do not choose by it (docs/soft_labels.md)"
)


@dataclass(frozen=True)
class Tables:
    """The checked tables, the folds, and the list of rows that the tables left out."""

    train: Path
    test: Path
    folds: Path
    problems: Path


@dataclass(frozen=True)
class Rows:
    """The rows that a member answers: `oof` has id, answer and fold; `test` has id.

    Both have their own letters in the column OWN; `letters` are those of the tables.
    """

    oof: pl.DataFrame
    test: pl.DataFrame
    letters: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """Log-probabilities by view: of OOF rows (N, V, C), and of test rows for each part without its seed."""

    views: list[str]
    oof_NVC: np.ndarray
    test: dict[str, np.ndarray]
    notes: list[str]


def pool_member(
    *,
    about: Mapping[str, Any],
    scores: Sequence[Path],
    files: Sequence[Path],
    records: Sequence[Path],
    tables: Tables,
    order_pooling: str,
    out: MemberFolder,
) -> None:
    """Pool the `scores` of a member over orders and seeds, or read its `files` (OOF, test), and write the folder `out`.

    `about` is what the configuration says of the member (Member.describe), `records` are JSON files whose `seconds`
    are its cost.
    """
    rows = read_rows(tables)
    if files:
        answers = from_files(files, rows, tables)
    else:
        answers = from_scores(score_files(scores), rows, order_pooling, about.get("main_view", ORIGINAL))
    notes = [*answers.notes, *([REFIT_NOTE] if ALL in answers.test else [])]
    notes += [TAUGHT_NOTE.format(teacher=about["teacher"])] if "teacher" in about else []
    for note in notes:
        log.info("%s: %s", about["name"], note)
    write_member(answers, rows, out)
    seconds = [read_seconds(path) for path in records]
    write_json(
        out.note,
        {
            **about,
            "views": answers.views,
            "parts": list(answers.test),
            "order_pooling": None if files else order_pooling,
            "note": "; ".join(notes),
            "minutes": round(sum(seconds) / 60, 2) if records else None,
        },
    )
    log.info("%s: %d OOF and %d test rows pooled", about["name"], len(rows.oof), len(rows.test), extra=CLOSING)


def read_seconds(path: Path) -> float:
    """The seconds that a training or a scoring took. Raises UserError if the file that says so is damaged."""
    rule = "train_adapter" if path.name == RUN else "score_choices"
    return float(read_json(path, rule, ["seconds"])["seconds"])


def read_rows(tables: Tables) -> Rows:
    """The rows of both tables, in their order. Raises UserError if a file is damaged, or if table and folds differ."""
    train = read_with_letters(tables.train, ["id", "answer"])
    assigned = pl.from_pandas(read_table(tables.folds, "make_folds", ["id", "fold"]))
    if alone := sorted(set(train["id"]) ^ set(assigned["id"])):
        raise UserError(
            f"{tables.folds}: rows {some(alone)} are only in this file or only in {tables.train}. "
            "Run the rule make_folds again."
        )
    oof = train.join(assigned, on="id", how="left", maintain_order="left")
    letters = tuple(letters_of_table(path, "validate_tables") for path in (tables.train, tables.test))
    if letters[0] != letters[1]:
        raise UserError(
            f"{tables.test}: has {len(letters[1])} columns of choices, but {tables.train} has {len(letters[0])}. Run "
            "the rule validate_tables again."
        )
    return Rows(oof, read_with_letters(tables.test, ["id"]), letters[0])


# --- from scores ---


def from_scores(files: Sequence[ScoreFile], rows: Rows, order_pooling: str, main: str = ORIGINAL) -> Answers:
    """What the score files of a member say, of which the view `main` has every row.

    Raises UserError if a file or a row is missing or too much.
    """
    views = views_of(files)
    logp_NVC, priors = np.full((len(rows.oof), len(views), len(rows.letters)), np.nan), {}
    test: dict[str, np.ndarray] = {}
    blocks = _blocks(files)
    needed = set() if ("oof", BASE) in blocks else {("oof", str(fold)) for fold in rows.oof["fold"]}
    if missing := sorted(needed - blocks.keys()):
        raise UserError(
            f"scores/{files[0].member}/oof/fold{missing[0][1]}: it has no scores. "
            "Run the rule score_choices for this fold."
        )
    with ProgressBar(len(files), "pool", unit="file") as bar:
        for (split, part), here in blocks.items():
            if split == "oof":
                fold = fold_of(part)
                mine = np.arange(len(rows.oof)) if fold is None else np.flatnonzero(rows.oof["fold"].to_numpy() == fold)
                index = row_index(rows.oof["id"].gather(mine))
                there_NC = choices_there(rows.oof[OWN].gather(mine), rows.letters)
                logp_NVC[mine] = pool_block(here, views, index, there_NC, order_pooling, priors, bar, main)
            else:
                index, there_NC = row_index(rows.test["id"]), choices_there(rows.test[OWN], rows.letters)
                test[part] = pool_block(here, views, index, there_NC, order_pooling, priors, bar, main)
    return Answers(views, logp_NVC, test, [])


def _blocks(files: Sequence[ScoreFile]) -> dict[tuple[str, str], list[ScoreFile]]:
    """The files by split and part without its seed; OOF first, as `score_files` sorts them, since their position priors
    serve the test rows.
    """
    blocks: dict[tuple[str, str], list[ScoreFile]] = defaultdict(list)
    for file in files:
        blocks[file.split, without_seed(file.part)].append(file)
    for split, other in (("oof", "test"), ("test", "oof")):
        for name, part in blocks.keys() - {(split, ALL)}:
            if name == split and (other, part) not in blocks:
                raise UserError(
                    f"scores/{files[0].member}/{other}/fold{part}: is missing, but {split} has this fold. "
                    "Score it (rule score_choices)."
                )
    return blocks


def pool_block(
    files: Sequence[ScoreFile],
    views: Sequence[str],
    index: pl.DataFrame,
    there_NC: np.ndarray,
    how: str,
    priors: Priors,
    bar: ProgressBar,
    main: str,
) -> np.ndarray:
    """The log-probabilities (N, V, C) of the rows in `index`: each file pooled over its orders, then over the seeds.

    `there_NC` says which choices each row has; the files must have logits of the same ones. `main` has all rows.
    OOF files add their position prior to `priors`; test files use it, or their own where no OOF row has the view.
    """
    by_view: dict[str, list[np.ndarray]] = defaultdict(list)
    present: dict[str, list[np.ndarray]] = defaultdict(list)
    for file in files:
        logits = read_logits(file, index)
        require_choices(file, index, logits, there_NC)
        prior = priors.get((file.part, file.view)) if file.split == "test" else None
        if prior is None and how == "prior" and logits.present_N.any():
            prior = priors[file.part, file.view] = required_prior(file, position_prior(logits))
        by_view[file.view].append(pool_orders(logits, how, prior))
        present[file.part].append(logits.present_N)
        bar.advance()
    for part, present_N in present.items():
        check_complete([file for file in files if file.part == part], present_N, index, main)
    logp_NVC = np.full((len(index), len(views), there_NC.shape[1]), np.nan)
    for view, logp in by_view.items():
        logp_NVC[:, views.index(view)] = logp[0] if len(logp) == 1 else mean_of_seeds(np.stack(logp))
    return logp_NVC


def require_choices(file: ScoreFile, index: pl.DataFrame, logits: Logits, there_NC: np.ndarray) -> None:
    """Raise UserError unless the logits of `file` are of the choices that each row has."""
    again = "Score again (rule score_choices)."
    if len(logits.letters) != there_NC.shape[1]:
        raise UserError(
            f"{file.path}: has {len(logits.letters)} choices, but the tables have {there_NC.shape[1]}. {again}"
        )
    if not logits.present_N.any():
        return
    scored_NC = np.isfinite(logits.logits_NKC[:, 0])
    other_N = logits.present_N & (scored_NC != there_NC).any(1)
    if other_N.any():
        bad = index["id"].gather(np.flatnonzero(other_N)).to_list()
        raise UserError(f"{file.path}: rows {some(bad)} have other choices there than in the tables. {again}")


def required_prior(file: ScoreFile, prior: np.ndarray | None) -> np.ndarray:
    """A position prior. Raises UserError if the orders of `file` do not identify it."""
    if prior is None:
        raise UserError(
            f"config ensemble.order_pooling: a position prior cannot be estimated from the orders of {file.path}. "
            "Score in more orders (config orders: cyclic) or use geometric."
        )
    return prior


def mean_of_seeds(logp_SNC: np.ndarray) -> np.ndarray:
    """The logarithm (N, C) of the seeds' mean probabilities; a seed that lacks the row does not count."""
    there_SN = ~np.isnan(logp_SNC[:, :, 0])
    count_N = there_SN.sum(0)
    total_NC = np.where(there_SN[..., None], np.exp(logp_SNC), 0.0).sum(0)
    mean_NC = np.full(total_NC.shape, np.nan)
    lacks_NC = np.isneginf(logp_SNC).any(0)
    mean_NC[count_N > 0] = log_softmax(np.where(lacks_NC, -np.inf, safe_log(total_NC))[count_N > 0])
    return mean_NC


# --- from someone's files ---


def from_files(files: Sequence[Path], rows: Rows, tables: Tables) -> Answers:
    """What someone's probability files say. Raises UserError with what is wrong with them."""
    problems = read_csv_columns(tables.problems, "validate_tables", ["id", "severity"], texts=True)
    left_out = problems["id"][problems["severity"] != "warning"].tolist()
    answers_N = rows.oof["answer"].replace_strict({letter: i for i, letter in enumerate(ALL_LETTERS)}).to_numpy()
    there = [choices_there(table[OWN], rows.letters) for table in (rows.oof, rows.test)]
    read = read_pair(
        *files, rows.oof["id"].to_list(), answers_N, rows.test["id"].to_list(), left_out, rows.letters, there
    )
    return Answers(
        [FILE],
        _logs(read.oof_NC, there[0])[:, None],
        {FILE: _logs(read.test_NC, there[1])[:, None]},
        list(read.notes),
    )


def _logs(p_NC: np.ndarray, there_NC: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, C) of a file: finite even for a probability of 0, but -inf for choices that a row lacks."""
    return log_softmax(np.where(there_NC, safe_log(p_NC), -np.inf))


# --- writing ---


def write_member(answers: Answers, rows: Rows, out: MemberFolder) -> None:
    """Write the member's own probabilities of both splits, and the log-probabilities of its views."""
    oof = {"id": rows.oof["id"], "fold": rows.oof["fold"]}
    _write(out.views("oof"), oof | view_columns(answers.views, answers.oof_NVC))
    blocks = [
        {"part": [part] * len(rows.test), "id": rows.test["id"]} | view_columns(answers.views, logp_NVC)
        for part, logp_NVC in answers.test.items()
    ]
    _write(out.views("test"), *blocks)
    _write(out.answers("oof"), oof | answer_columns(mean_of_views(answers.oof_NVC)))
    test_NC = mean_of_parts({part: mean_of_views(logp_NVC) for part, logp_NVC in answers.test.items()})
    _write(out.answers("test"), {"id": rows.test["id"]} | answer_columns(test_NC))


def mean_of_views(logp_NVC: np.ndarray) -> np.ndarray:
    """The mean (N, C) of the views' probabilities, over the views that have the row."""
    return np.nanmean(np.exp(logp_NVC), axis=1)


def mean_of_parts(by_part: Mapping[str, np.ndarray]) -> np.ndarray:
    """The mean over the parts; the adapter on all rows counts as much as those of all folds together."""
    folds = [p_NC for part, p_NC in by_part.items() if part != ALL]
    mean_NC = np.mean(folds, axis=0)
    return (mean_NC + by_part[ALL]) / 2 if ALL in by_part else mean_NC


def view_columns(views: Sequence[str], logp_NVC: np.ndarray) -> dict[str, Any]:
    """One column per view and letter; a row that a view lacks is null there."""
    return {
        f"{view}_{letter}": pl.Series(logp_NVC[:, v, c], nan_to_null=True)
        for v, view in enumerate(views)
        for c, letter in enumerate(ALL_LETTERS[: logp_NVC.shape[2]])
    }


def answer_columns(probabilities_NC: np.ndarray) -> dict[str, Any]:
    """The columns p_a, p_b, … of normalised probabilities."""
    names = probability_columns(ALL_LETTERS[: probabilities_NC.shape[1]])
    normal_NC = probabilities_NC / probabilities_NC.sum(1, keepdims=True)
    return {name: normal_NC[:, i] for i, name in enumerate(names)}


def _write(path: Path, *blocks: Mapping[str, Any]) -> None:
    """Write tables with the same columns below each other, as one file."""
    with atomic_path(path) as partial:
        write_parquet(pl.concat([pl.DataFrame(block) for block in blocks]), partial)
