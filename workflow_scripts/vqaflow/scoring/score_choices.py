"""Rule score_choices: one view of one fold's rows (OOF) or of the test rows, scored by that fold's adapter.

The untuned base of a member without training scores all rows of a table.

Shapes: R rows of a shard, K choice orders, C choices of the table.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd

from vqaflow.artifacts.adapter_files import CONFIG, WEIGHTS, adapter_digest, check_files, require_part
from vqaflow.artifacts.parquet_files import READ_ERRORS, read_parquet, write_parquet
from vqaflow.artifacts.reading import letters_of_table, read_table
from vqaflow.artifacts.rows import Row, all_asked
from vqaflow.artifacts.score_files import TRANSCRIPT, empty_scores, scores_frame, write_scores
from vqaflow.model.base_digest import base_digest
from vqaflow.model.resolved import resolved
from vqaflow.runtime.artifact_store import Store, cached
from vqaflow.runtime.code_digest import code_digest
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path, write_json
from vqaflow.runtime.locks import Lease
from vqaflow.runtime.messages import reason_of
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import CLOSING, log
from vqaflow.runtime.versions import decisive_versions
from vqaflow.scoring.selection import RowsToScore, Task, select_rows
from vqaflow.scoring.session import Session

# Rows per shard: the most that a killed job loses, and enough to fill batches of similar rows.
SHARD_ROWS = 512
AHEAD = "ahead.parquet"  # the scores of another job, until they are in the store


@dataclass(frozen=True)
class ScoringPlaces:
    """Folders of a scoring: `work` for finished shards until it ends, the others are shared with later jobs.

    `bases` keeps quantised bases, `vision` image features, at most `vision_gb` gigabytes of them (0: none).
    """

    work: Path
    bases: Path
    vision: Path
    vision_gb: float


@dataclass(frozen=True)
class Other:
    """Another scoring with the same base and adapter: its task, its rows, and the folder of its unfinished shards."""

    task: Task
    rows: RowsToScore
    work: Path


def score_choices(
    *,
    task: Task,
    rows: RowsToScore,
    adapter: Path | None,
    out: Path,
    cost: Path,
    places: ScoringPlaces,
    store: Store,
    batch_tokens: int,
    devices: int = 1,
    others: Sequence[Other] = (),
) -> None:
    """Score the rows that `rows` and the view of `task` select, with the adapter in folder `adapter`, if any.

    Writes the scores to `out`, and the seconds that they took to `cost` (JSON). A killed job resumes from its finished
    shards. One pass has at most `batch_tokens` tokens; the base's layers lie on `devices` GPUs. If the base had to be
    loaded, the scores of `others` are put in the store too. Raises UserError if the adapter's files are not those that
    training wrote, or if it was trained on other folds than its own.
    """
    with Session(adapter, places.bases, places.vision, places.vision_gb, batch_tokens, devices) as session:
        mine = Scoring.of(task, rows, adapter, places.work)
        with mine.alone():
            made = cached(store, mine.parts, out, lambda partial: mine.write(session, partial))
            write_json(cost, {"seconds": made.seconds, "rows": len(mine.selected), "orders": len(mine.orders)})
            shutil.rmtree(places.work, ignore_errors=True)
        if session.base is not None and store.gb > 0:
            for other in others:
                score_ahead(other, session, store)


def score_ahead(other: Other, session: Session, store: Store) -> None:
    """Put the scores of another job in the store, unless they are there or are being made.

    What goes wrong is told by that job itself. A killed one's shards are used, and its own job uses what this one left.
    """
    try:
        scoring = Scoring.of(other.task, other.rows, session.folder, other.work)
        with scoring.alone(wait=False) as is_alone:
            if not is_alone or store.entry(value_digest(scoring.parts)).exists():
                return
            ahead = other.work / AHEAD
            cached(store, scoring.parts, ahead, lambda partial: scoring.write(session, partial))
            ahead.unlink()
            if store.entry(value_digest(scoring.parts)).exists():
                shutil.rmtree(other.work, ignore_errors=True)
    except Exception as error:
        log.info("%s: left to its own job (%s)", other.work, reason_of(error))


@dataclass(frozen=True)
class Scoring:
    """One file of scores: which rows, in which orders, and all that it depends on (`parts`)."""

    task: Task
    letters: str
    selected: list[Row]
    orders: Sequence[str]
    about: dict[str, Any]
    parts: dict[str, Any]
    work: Path

    @classmethod
    def of(cls, task: Task, rows: RowsToScore, adapter: Path | None, work: Path) -> "Scoring":
        """What `score_choices` does with these arguments, before anything is loaded."""
        if adapter:
            require_part(adapter, check_files(adapter, (WEIGHTS, CONFIG)), rows.part, rows.held_out())
        letters = letters_of_table(rows.table, "validate_tables")
        orders = task.shown(letters)
        selected = select_rows(rows, task)
        log.info("%s, fold %s: %d rows in %d choice orders", task.name, rows.part, len(selected), len(orders))
        about = {"adapter": adapter_digest(adapter) if adapter else None, "rows": value_digest(all_asked(selected))}
        parts = {
            "stage": "score_choices",
            "code": code_digest(__file__),
            "versions": decisive_versions(),
            "base": base_digest(task.model),
            "model": resolved(task.model),
            "prompt": task.prompt.content(task.view.read),
            "view": task.view.rendering(),
            "orders": orders,
            **about,
        }
        return cls(task, letters, selected, orders, about, parts, work)

    @contextmanager
    def alone(self, wait: bool = True) -> Iterator[bool]:
        """Hold what makes this the only process that scores this file; gives whether it does.

        Where the file system has no locks, nothing is scored for others, and nothing is waited for.
        """
        self.work.parent.mkdir(parents=True, exist_ok=True)
        lease, is_alone = Lease(self.work.with_name(f".{self.work.name}.lock")), wait
        with suppress(UserError):
            is_alone = lease.take()
            if wait and not is_alone:
                log.info("waiting for another job, which scores this ahead")
                is_alone = lease.take(wait=True)
        try:
            yield is_alone
        finally:
            if lease.is_held:
                lease.release()

    def write(self, session: Session, partial: Path) -> None:
        """Write the scores to `partial`."""
        scores = self._score(session) if self.selected else empty_scores(self.letters)
        write_scores(scores, self.about, partial)

    def _score(self, session: Session) -> pd.DataFrame:
        """Score the rows, shard by shard; the result is in their order."""
        scorer, items, rows = session.scorer(self.selected, self.orders, self.task)
        base = session.base
        scores = _in_shards(scorer, items, self.work, [value_digest(self.parts), str(base.dtype), base.quantization])
        place = {row_id: i for i, row_id in enumerate(row.id for row in rows)}
        scores = scores.iloc[scores["id"].map(place).argsort(kind="stable")].reset_index(drop=True)
        if self.task.view.read:
            scores[TRANSCRIPT] = scores["id"].map({row.id: row.transcript for row in rows})
        return scores


def _is_whole(shard: Path) -> bool:
    """Whether a shard was finished by an earlier run; a damaged one is scored again."""
    if not shard.exists():
        return False
    try:
        read_parquet(shard)
    except READ_ERRORS as error:
        log.warning("%s: cannot be read (%s); its rows are scored again", shard, reason_of(error))
        return False
    return True


def _in_shards(scorer: Any, items: Sequence[Any], work: Path, context: Any) -> pd.DataFrame:
    """Scores of `items` in their order; shards finished by an earlier run with the same `context` are read."""
    began, done, parts = monotonic(), 0, []
    with ProgressBar(len(items), f"score {work.name}") as bar:
        for start in range(0, len(items), SHARD_ROWS):
            shard = items[start : start + SHARD_ROWS]
            content = all_asked(item.row for item in shard)
            file = work / f"{value_digest([context, content])}.parquet"
            if _is_whole(file):
                bar.advance(len(shard))
            else:
                logits_RKC = scorer.score(shard, lambda n: bar.advance(n))
                with atomic_path(file) as partial:
                    write_parquet(scores_frame([item.row.id for item in shard], scorer.orders, logits_RKC), partial)
                done += len(shard)
            parts.append(read_table(file, "score_choices"))
    log.info("%d rows scored, %.1f rows/s", done, done / (monotonic() - began), extra=CLOSING)
    return pd.concat(parts, ignore_index=True)
