"""What fine-tuning and ensembling gained on the demo's held-out rows, against the untuned base under the same prompt.

`python -m vqaflow.demo_gain` reads a finished demo and its answers, which no rule reads; it ends with exit status 1 if
the ensemble falls short of what the demo promises. With data.demo.shuffle_answers it is the control: expect chance.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.base_model import load_base
from vqaflow.closing_line import read_answers, share
from vqaflow.config import LETTERS, ModelConfig, PromptConfig, ViewConfig, checked_config, section
from vqaflow.encoding import RowEncoder
from vqaflow.errors import UserError
from vqaflow.fused_decoder import FusedDecoder
from vqaflow.orders import scoring_orders
from vqaflow.progress import ProgressBar, stage
from vqaflow.score_choices import pooled_over_orders, scores_frame
from vqaflow.scoring import Scorer
from vqaflow.statistics import paired_summary

LEAST_ACCURACY, LEAST_GAIN = 0.90, 0.15


def demo_gain(config: dict[str, Any], results: Path) -> bool:
    """Print accuracies of base, single folds (original view) and submission, and whether the promise is kept."""
    answers_file, submission = results / "demo" / "test_answers.csv", results / "submission.csv"
    for file in (answers_file, submission):
        if not file.is_file():
            raise UserError(f"{file}: no such file. Run the demo first: make demo.")
    table = pd.read_parquet(results / "tables" / "test.parquet")
    answers = table["id"].map(read_answers(answers_file)).to_numpy()
    chosen = {"base": best_letters(base_scores(config, table), table["id"])}
    for file in sorted(results.glob("scores/test/fold*/original.parquet")):
        chosen[file.parent.name] = best_letters(pd.read_parquet(file), table["id"])
    chosen["submission"] = table["id"].map(read_answers(submission)).to_numpy()
    right = {name: letters == answers for name, letters in chosen.items()}
    for name, right_N in right.items():
        print(f"{name:11}", share(int(right_N.sum()), len(right_N)))
    gain = paired_summary(right["base"], right["submission"], table["sha256"].to_numpy())
    low, high = gain["bootstrap"]
    print(f"gain over base: {gain['gain']:.3f} (95 % {low:.3f} to {high:.3f}), McNemar p = {gain['mcnemar_p']:.2g}")
    single = float(np.mean([right_N.mean() for name, right_N in right.items() if name.startswith("fold")]))
    reached = float(right["submission"].mean())
    print(f"gain over the mean single fold: {reached - single:.3f}")
    return reached >= LEAST_ACCURACY and gain["gain"] >= LEAST_GAIN and reached >= single


def base_scores(config: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    """Scores of the rows by the base without an adapter, in the original view and the configured orders."""
    model, prompt = section(ModelConfig, config["model"]), section(PromptConfig, config["prompt"])
    base = load_base(model)
    encoder = RowEncoder(base.processor, model, prompt)
    orders = scoring_orders(config["orders"])
    scorer = Scorer(FusedDecoder(base), encoder, ViewConfig(), orders, config["hardware"]["score_batch_tokens"])
    items = scorer.prepare(table.to_dict("records"))
    with ProgressBar(len(items), "score the base") as bar:
        logits_RK4 = scorer.score(items, bar.advance)
    return scores_frame([item.row["id"] for item in items], orders, logits_RK4)


def best_letters(scores: pd.DataFrame, ids: pd.Series) -> np.ndarray:
    """The most probable letter of each of `ids`, by the geometric mean over the orders."""
    return np.array(LETTERS)[pooled_over_orders(scores).loc[ids].to_numpy().argmax(1)]


def main() -> None:
    """Compare a finished demo with its base."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.demo_gain", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config.yaml")], help="later files override")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of a finished demo")
    arguments = parser.parse_args()
    with stage(None):
        kept = demo_gain(checked_config(*arguments.config), arguments.results)
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()
