"""Rule score_choices: one view of one fold's rows (OOF) or of the test rows, scored by that fold's adapter.

`python -m vqaflow.score_choices --help` runs it by hand.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.adapter_files import adapter_digest
from vqaflow.artifacts.columns import ROW_FIELDS
from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.score_files import empty_scores, scores_frame
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.model.base_digest import base_digest
from vqaflow.model.encoding.orders import scoring_orders
from vqaflow.runtime.artifact_store import Store, cached
from vqaflow.runtime.code_digest import code_digest
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log
from vqaflow.runtime.versions import decisive_versions
from vqaflow.scoring.selection import Task, select_rows

# Rows of one shard: what a killed job loses at most, and enough to fill batches of similar rows.
SHARD_ROWS = 512
PROBE_ROWS = 4


def score_choices(
    *,
    table: Path,
    folds: Path | None,
    fold: int,
    view: str,
    views: Mapping[str, Any],
    adapter: Path,
    model: Mapping[str, Any],
    prompt: Mapping[str, Any],
    orders: str | int,
    margins_from: Path | None,
    out: Path,
    work: Path,
    store: Mapping[str, Any],
    features: Mapping[str, Any],
    bases: Path,
    batch_tokens: int,
) -> None:
    """Score the rows of `table` that belong to `fold` (all usable ones without `folds`) in one view.

    `views` is that view's section of the config; `margins_from` are the original view's scores, which a view with a
    `when` needs. Finished shards of rows wait in `work`, so that a killed job goes on where it stopped. `features` says
    in which folder (`path`), and how many gigabytes (`gb`) of them, image features are kept for other folds; `bases` is
    the folder of quantised bases.
    """
    task = Task(
        section(ModelConfig, model),
        section(PromptConfig, prompt),
        section(ViewConfig, views),
        tuple(scoring_orders(orders)),
    )
    rows = select_rows(read_table(table, "validate_tables"), folds, fold, view, task, margins_from)
    log.info("%s, fold %s: %d rows in %d choice orders", view, fold, len(rows), len(task.orders))
    parts = {
        "stage": "score_choices",
        "code": code_digest(__file__),
        "versions": decisive_versions(),
        "base": base_digest(task.model),
        "model": asdict(task.model) | {"base": None},
        "prompt": asdict(task.prompt),
        "view": {"flip": task.view.flip, "pixels": [task.view.min_pixels, task.view.max_pixels]},
        "orders": task.orders,
        "adapter": adapter_digest(adapter),
        "rows": value_digest(rows[ROW_FIELDS].astype(str).to_numpy().tolist()),
    }

    def compute(partial: Path) -> None:
        if rows.empty:
            scores = empty_scores()
        else:
            scores = _score(rows, task, adapter, work, features, bases, batch_tokens, value_digest(parts))
        scores.to_parquet(partial, index=False)

    cached(Store(Path(store["path"]), store["gb"]), parts, out, compute)
    shutil.rmtree(work, ignore_errors=True)


def _score(
    rows: pd.DataFrame,
    task: Task,
    folder: Path,
    work: Path,
    features: Mapping[str, Any],
    bases: Path,
    batch_tokens: int,
    key: str,
) -> pd.DataFrame:
    """Score `rows` with the adapter in `folder`, shard by shard; the result stands in the order of `rows`.

    `key` is the digest of all that the scores depend on but the machine's precision.
    """
    from vqaflow.model.decoder.fused_decoder import FusedDecoder
    from vqaflow.model.decoder.merged_adapters import (  # torch takes seconds: not for what the store has
        read_adapter,
        use_adapter,
    )
    from vqaflow.model.encoding.row_encoder import RowEncoder
    from vqaflow.model.features.folder import FeatureFolder
    from vqaflow.model.numerics.elementwise import can_compile
    from vqaflow.model.parity import check_parity
    from vqaflow.model.stored_base import open_base
    from vqaflow.scoring.scorer import Scorer

    adapter = read_adapter(folder)
    base = open_base(task.model, bases)
    encoder = RowEncoder(base.processor, task.model, task.prompt)
    check_parity(folder, base, encoder, task.model, task.prompt)
    decoder = FusedDecoder(base, can_compile(base.device))
    kept = FeatureFolder(Path(features["path"]), base, encoder, task.view, features["gb"]) if features["gb"] else None
    scorer = Scorer(decoder, encoder, task.view, task.orders, batch_tokens, kept)
    items = scorer.prepare(rows.to_dict("records"))
    before = scorer.score(items[:PROBE_ROWS])
    use_adapter(decoder, adapter)
    if np.array_equal(before, scorer.score(items[:PROBE_ROWS])):
        raise UserError(f"{folder}: the adapter changes no logit. It was not trained or not saved; train it again.")
    scores = _in_shards(scorer, items, work, [key, str(base.dtype), base.quantization])
    place = {row_id: i for i, row_id in enumerate(rows["id"])}
    return scores.iloc[scores["id"].map(place).argsort(kind="stable")].reset_index(drop=True)


def _in_shards(scorer: Any, items: Sequence[Any], work: Path, context: Any) -> pd.DataFrame:
    """Scores of `items` in their order; shards that an earlier run of the same `context` finished are read."""
    began, done, parts = monotonic(), 0, []
    with ProgressBar(len(items), f"score {work.name}") as bar:
        for start in range(0, len(items), SHARD_ROWS):
            shard = items[start : start + SHARD_ROWS]
            content = [[str(item.row[key]) for key in ROW_FIELDS] for item in shard]
            file = work / f"{value_digest([context, content])}.parquet"
            if file.exists():
                bar.advance(len(shard))
            else:
                logits_RK4 = scorer.score(shard, lambda n: bar.advance(n))
                with atomic_path(file) as partial:
                    scores_frame([item.row["id"] for item in shard], scorer.orders, logits_RK4).to_parquet(partial)
                done += len(shard)
            parts.append(pd.read_parquet(file))
    log.info("%d rows scored, %.1f rows/s", done, done / (monotonic() - began))
    return pd.concat(parts, ignore_index=True)
