"""Rule score_choices: one view of one fold's rows (OOF) or of the test rows, scored by that fold's adapter.

`python -m vqaflow.score_choices --help` runs it by hand.
"""

import argparse
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts import read_table
from vqaflow.base_files import adapter_digest, base_digest
from vqaflow.code_digest import module_digest
from vqaflow.config import LETTERS, ModelConfig, PromptConfig, ViewConfig, checked_config, section
from vqaflow.errors import UserError
from vqaflow.files import atomic_path, value_digest
from vqaflow.gpu_lease import lease_gpu
from vqaflow.orders import scoring_orders
from vqaflow.parity import decisive_versions
from vqaflow.progress import ProgressBar, log, stage
from vqaflow.store import Store, cached

LOGITS = [f"logit_{letter}" for letter in LETTERS]
WHEN = re.compile(r"\s*margin\s*<\s*(\d+(?:\.\d*)?|\.\d+)\s*")
ROW_FIELDS = ["id", "question", *LETTERS, "qtype", "sha256", "width", "height"]
# Rows of one shard: what a killed job loses at most, and enough to fill batches of similar rows.
SHARD_ROWS = 512
PROBE_ROWS = 4


@dataclass(frozen=True)
class Task:
    """What is scored how; everything that the scores depend on but the rows and the adapter's weights."""

    model: ModelConfig
    prompt: PromptConfig
    view: ViewConfig
    orders: tuple[str, ...]


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
        "code": module_digest("score_choices"),
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


def select_rows(
    table: pd.DataFrame, folds: Path | None, fold: int, name: str, task: Task, margins_from: Path | None
) -> pd.DataFrame:
    """The rows that a view scores, in the table's order. Raises UserError if folds or margins cannot be read."""
    rows, view = table[table["usable"]], task.view
    if folds is not None:
        assigned = read_table(folds, "make_folds", ["id", "fold"])
        mine = set(assigned.loc[assigned["fold"] == fold, "id"])
        if missing := mine - set(table["id"]):
            raise UserError(
                f"{folds}: id {min(missing)!r} is not in the table. Make the folds again (rule make_folds)."
            )
        rows = rows[rows["id"].isin(mine)]
    if view.flip:
        rows = rows[~rows["flip_unsafe"]]
    elif (view.min_pixels, view.max_pixels) != (None, None):
        rows = rows[_is_resized(rows, task.model, view)]
    if view.when is None:
        return rows
    limit = margin_limit(name, view.when)
    if margins_from is None:
        raise UserError(f"config views.{name}.when: it needs the original view's scores. Keep the view `original`.")
    margins = margins_of(read_table(margins_from, "score_choices", ["id", *LOGITS]))
    return rows[rows["id"].map(margins) < limit]


def _is_resized(rows: pd.DataFrame, model: ModelConfig, view: ViewConfig) -> np.ndarray:
    """Whether a view shows each row's image in another size than the original view: equal ones would count twice."""
    from vqaflow.image_tokens import visual_grids  # loads torch, which most views need not wait for

    limits = model.min_pixels, model.max_pixels
    others = view.min_pixels or model.min_pixels, view.max_pixels or model.max_pixels
    grids, resized = (visual_grids(rows["width"], rows["height"], *pixels) for pixels in (limits, others))
    changed = np.array([one != other for one, other in zip(grids, resized, strict=True)], dtype=bool)
    if not changed.all():
        log.info("%d rows are left out: the view shows their images in the original's size", (~changed).sum())
    return changed


def margin_limit(name: str, when: str) -> float:
    """The number x of a view's condition ``margin < x``."""
    match = WHEN.fullmatch(when)
    if match is None:
        raise UserError(f"config views.{name}.when: {when!r} is no condition. Write `margin < x` with x from 0 to 1.")
    return float(match[1])


def margins_of(scores: pd.DataFrame) -> pd.Series:
    """Each id's margin: the best probability less the second best, pooled over orders by their geometric mean."""
    pooled_NC = pooled_over_orders(scores)
    weights_NC = np.exp(pooled_NC.to_numpy() - pooled_NC.to_numpy().max(1, keepdims=True))
    best_NC = np.sort(weights_NC / weights_NC.sum(1, keepdims=True), axis=1)
    return pd.Series(best_NC[:, -1] - best_NC[:, -2], index=pooled_NC.index)


def pooled_over_orders(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean log-probability (one row an id, four columns) of each letter over the orders, their geometric mean."""
    logits_RC = scores[LOGITS].to_numpy(np.float64)
    logp_RC = pd.DataFrame(logits_RC - np.logaddexp.reduce(logits_RC, axis=1, keepdims=True))
    return logp_RC.groupby(scores["id"].to_numpy()).mean()


def empty_scores() -> pd.DataFrame:
    """A table of scores without rows, its columns typed."""
    return scores_frame([], (), np.empty((0, 0, 4), np.float32))


def scores_frame(ids: Sequence[str], orders: Sequence[str], logits_RK4: np.ndarray) -> pd.DataFrame:
    """One row an (id, order) with the logits of the original letters."""
    frame = pd.DataFrame(
        {
            "id": pd.Series(np.repeat(np.array(ids, dtype=object), len(orders)), dtype="str"),
            "order": pd.Series(list(orders) * len(ids), dtype="str"),
        }
    )
    frame[LOGITS] = logits_RK4.reshape(-1, 4).astype(np.float32)
    return frame


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
    from vqaflow.adapters import read_adapter, use_adapter  # torch takes seconds: not for what the store has
    from vqaflow.encoding import RowEncoder
    from vqaflow.feature_cache import FeatureFolder
    from vqaflow.fused_decoder import FusedDecoder
    from vqaflow.kernels import can_compile
    from vqaflow.parity import check_parity
    from vqaflow.scoring import Scorer
    from vqaflow.store_base import open_base

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


def main() -> None:
    """Run the stage by hand."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.score_choices", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config.yaml")], help="later files override")
    parser.add_argument("--split", choices=["oof", "test"], required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--view", default="original")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of tables and adapters")
    arguments = parser.parse_args()
    split, results = arguments.split, arguments.results
    scores = results / "scores" / split / f"fold{arguments.fold}"
    with stage(None):
        config = checked_config(*arguments.config)
        if arguments.view not in config["views"]:
            parser.error(f"--view {arguments.view}: the config has {', '.join(config['views'])}")
        views = config["views"][arguments.view]
        lease_gpu()  # torch is not imported yet
        score_choices(
            table=results / "tables" / ("train.parquet" if split == "oof" else "test.parquet"),
            folds=results / "folds.parquet" if split == "oof" else None,
            fold=arguments.fold,
            view=arguments.view,
            views=views,
            adapter=results / "adapters" / f"fold{arguments.fold}",
            model=config["model"],
            prompt=config["prompt"],
            orders=config["orders"],
            margins_from=scores / "original.parquet" if views.get("when") else None,
            out=scores / f"{arguments.view}.parquet",
            work=results / "work" / "scores" / split / f"fold{arguments.fold}" / arguments.view,
            store={"path": config["hardware"]["store"], "gb": config["hardware"]["store_gb"]},
            features={"path": results / "work" / "vision", "gb": config["hardware"]["vision_gb"]},
            bases=results / "base",
            batch_tokens=config["hardware"]["score_batch_tokens"],
        )


if __name__ == "__main__":
    main()
