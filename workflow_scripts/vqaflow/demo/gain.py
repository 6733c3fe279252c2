"""What fine-tuning and ensembling gained on the demo's held-out rows, against the untuned base under the same prompt.

`vqaflow demo_gain` reads a finished demo and its answers, which no rule reads. The exit status is 1 if the ensemble
does not reach what the demo promises. With data.demo.shuffle_answers it is the control: expect chance.

Shapes: N rows of the test table, R scored rows, K choice orders, C choices.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import letters_in
from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.rows import rows_of
from vqaflow.artifacts.score_files import Logits, read_logits, row_index, score_file
from vqaflow.config.members import Member, member_named, members_of
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.model.base import load_base
from vqaflow.model.encoding.orders import scoring_orders
from vqaflow.model.pipeline.parts import make_decoder, make_encoder
from vqaflow.model.pipeline.reading import with_transcripts
from vqaflow.reporting.closing_line import read_answers, share
from vqaflow.reporting.statistics import paired_summary
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.progress import ProgressBar
from vqaflow.scoring.order_pooling import pool_orders
from vqaflow.scoring.scorer import Scorer

LEAST_ACCURACY, LEAST_GAIN = 0.90, 0.15


def demo_gain(config: dict[str, Any], results: Path) -> bool:
    """Print accuracies of base, single folds (main view) and submission. Returns whether the promise is kept.

    Base and folds are those of the member main.
    """
    at, member = ResultsFolder(results), member_named(members_of(config), "main")
    answers_file, submission = at.demo_answers, at.submission
    for file in (answers_file, submission):
        if not file.is_file():
            raise UserError(f"{file}: no such file. Run the demo first: make demo.")
    table = read_table(at.table("test"), "validate_tables")
    answers = table["id"].map(read_answers(answers_file)).to_numpy()
    chosen = {"base": best_letters(base_logits(member, config["hardware"]["score_batch_tokens"], table, at.vision))}
    index = row_index(table["id"].tolist())
    for part in member.parts("test", config["folds"]["n"]):
        file = score_file(at.scores(member.name, "test", part, member.main_view))
        chosen[f"fold{part}"] = best_letters(read_logits(file, index))
    chosen["submission"] = table["id"].map(read_answers(submission)).to_numpy()
    right = {name: letters == answers for name, letters in chosen.items()}
    for name, right_N in right.items():
        print(f"{name:11}", share(int(right_N.sum()), len(right_N)))
    gain = paired_summary(right["base"], right["submission"], table["sha256"].to_numpy())
    low, high = gain["bootstrap"]
    print(f"gain over base: {gain['gain']:.3f} (95 % {low:.3f} to {high:.3f}), sign-flip p = {gain['p_value']:.2g}")
    single = float(np.mean([right_N.mean() for name, right_N in right.items() if name.startswith("fold")]))
    reached = float(right["submission"].mean())
    print(f"gain over the mean single fold: {reached - single:.3f}")
    return reached >= LEAST_ACCURACY and gain["gain"] >= LEAST_GAIN and reached >= single


def base_logits(member: Member, batch_tokens: int, table: pd.DataFrame, work: Path) -> Logits:
    """Logits of the rows from the base without an adapter, in the member's main view and orders.

    Transcripts of a view that reads are kept under `work`.
    """
    view = section(ViewConfig, member.rendering(member.main_view))
    model, prompt = section(ModelConfig, member.model), section(PromptConfig, member.prompt)
    base = load_base(model)
    letters = letters_in(table)
    encoder = make_encoder(base, model, prompt, len(letters))
    orders = scoring_orders(member.orders, letters)
    scorer = Scorer(make_decoder(base, False), encoder, view, orders, batch_tokens)
    items = scorer.prepare(with_transcripts(rows_of(table), base, encoder, view, work))
    with ProgressBar(len(items), "score the base") as bar:
        logits_RKC = scorer.score(items, bar.advance)
    place = {item.row.id: i for i, item in enumerate(items)}
    return Logits(tuple(orders), np.ones(len(table), bool), logits_RKC[[place[i] for i in table["id"]]])


def best_letters(logits: Logits) -> np.ndarray:
    """The most probable letter of each row, by the geometric mean over the orders."""
    return np.array(logits.letters)[pool_orders(logits, "geometric").argmax(1)]
