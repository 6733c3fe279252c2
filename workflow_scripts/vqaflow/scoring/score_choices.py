"""Rule score_choices: one view of one fold's rows (OOF) or of the test rows, scored by that fold's adapter.

The untuned base of a member without training scores all rows of a table.

Shapes: R rows of a shard, K choice orders, C choices of the table.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
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
from vqaflow.runtime.messages import reason_of
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import CLOSING, log
from vqaflow.runtime.versions import decisive_versions
from vqaflow.scoring.selection import RowsToScore, Task, select_rows

# Rows per shard: the most that a killed job loses, and enough to fill batches of similar rows.
SHARD_ROWS = 512
PROBE_ROWS = 4


@dataclass(frozen=True)
class ScoringPlaces:
    """Folders of a scoring: `work` for finished shards until it ends, the others are shared with later jobs.

    `bases` keeps quantised bases, `vision` image features, at most `vision_gb` gigabytes of them (0: none).
    """

    work: Path
    bases: Path
    vision: Path
    vision_gb: float


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
) -> None:
    """Score the rows that `rows` and the view of `task` select, with the adapter in folder `adapter`, if any.

    Writes the scores to `out`, and the seconds that they took to `cost` (JSON). A killed job resumes from its finished
    shards. One pass has at most `batch_tokens` tokens; the base's layers lie on `devices` GPUs. Raises UserError if the
    adapter's files are not those that training wrote, or if it was trained on other folds than its own.
    """
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

    def compute(partial: Path) -> None:
        if selected:
            scores = _score(selected, orders, task, adapter, places, batch_tokens, devices, value_digest(parts))
        else:
            scores = empty_scores(letters)
        write_scores(scores, about, partial)

    made = cached(store, parts, out, compute)
    write_json(cost, {"seconds": made.seconds, "rows": len(selected), "orders": len(orders)})
    shutil.rmtree(places.work, ignore_errors=True)


def _score(
    rows: Sequence[Row],
    orders: Sequence[str],
    task: Task,
    folder: Path | None,
    places: ScoringPlaces,
    batch_tokens: int,
    devices: int,
    key: str,
) -> pd.DataFrame:
    """Score `rows` in `orders`, shard by shard, with the adapter in `folder`, if any; the result is in their order.

    `key` is the digest of everything that the scores depend on except the machine's precision.
    """
    # torch takes seconds to import: skipped if the store has the scores
    from vqaflow.model.decoder.merged_adapters import read_adapter
    from vqaflow.model.numerics.elementwise import can_compile
    from vqaflow.model.parity import check_parity
    from vqaflow.model.pipeline.parts import kept_features, make_decoder, make_encoder, use
    from vqaflow.model.pipeline.reading import with_transcripts
    from vqaflow.model.stored_base import open_base
    from vqaflow.scoring.scorer import Scorer

    adapter = read_adapter(folder) if folder else None
    base = open_base(task.model, places.bases, devices=devices)
    encoder = make_encoder(base, task.model, task.prompt, len(orders[0]))
    if folder:
        check_parity(folder, base, encoder, task.model, task.prompt)
    decoder = make_decoder(base, can_compile(base.device))
    kept = kept_features(base, encoder, task.view, places.vision, places.vision_gb)
    rows = with_transcripts(rows, base, encoder, task.view, places.vision, kept)
    scorer = Scorer(decoder, encoder, task.view, orders, batch_tokens, kept)
    items = scorer.prepare(rows)
    if adapter:
        before = scorer.score(items[:PROBE_ROWS])
        use(decoder, adapter)
        if np.array_equal(before, scorer.score(items[:PROBE_ROWS])):
            raise UserError(f"{folder}: the adapter changes no logit. It was not trained or not saved. Train it again.")
    scores = _in_shards(scorer, items, places.work, [key, str(base.dtype), base.quantization])
    place = {row_id: i for i, row_id in enumerate(row.id for row in rows)}
    scores = scores.iloc[scores["id"].map(place).argsort(kind="stable")].reset_index(drop=True)
    if task.view.read:
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
