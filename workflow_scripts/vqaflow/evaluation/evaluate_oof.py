"""Rule evaluate_oof: how good the answers are, how sure that is, and where they fail.

The headline comes from the OOF ensemble: each row was predicted by adapters that had not seen it, and pooled with
parameters fitted on other rows. Numbers of members and of single passes stand beside it. `vqaflow evaluate_oof` runs it
by hand.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqaflow.evaluation.answerers import answerer_line, answerer_metrics, source_metrics
from vqaflow.evaluation.baselines import baseline_metrics, kept_epoch, part_metrics
from vqaflow.evaluation.blind import FIGURE as BLIND_FIGURE
from vqaflow.evaluation.blind import blind_lines, blind_metrics, draw_blind, gallery_notes, read_blind
from vqaflow.evaluation.evidence import Evidence, read_evidence
from vqaflow.evaluation.figures import draw_all
from vqaflow.evaluation.members import member_lines, member_metrics
from vqaflow.evaluation.metrics import checkpoint_choice, ensemble_metrics, expectation, leaderboard, learning_summary
from vqaflow.evaluation.mistakes import write_mistakes
from vqaflow.evaluation.pages.summary import PAGE as SUMMARY
from vqaflow.evaluation.pages.summary import write_summary
from vqaflow.evaluation.picks.page import PAGE as PICKS
from vqaflow.evaluation.picks.page import pick_page
from vqaflow.evaluation.searched import search_metrics
from vqaflow.evaluation.single_passes import (
    error_correlation,
    fold_agreement,
    predictions_by_view,
    read_passes,
    single_pass_metrics,
)
from vqaflow.reporting.closing_line import searched_text
from vqaflow.reporting.statistics import widest
from vqaflow.runtime.files import atomic_folder, write_json
from vqaflow.runtime.stage import CLOSING, log


def evaluate_oof(
    *,
    oof: Path,
    test: Path,
    recipe: Path,
    members: Sequence[Path],
    scores: Sequence[Path],
    adapters: Sequence[Path],
    train_table: Path,
    test_table: Path,
    folds: Path,
    out_dir: Path,
    searches: Sequence[Path] = (),
) -> None:
    """Write metrics.json, one PNG per figure and the pages into `out_dir`, which is replaced as a whole.

    What the members cost is in a file of its own, costs.json: minutes differ from run to run, the numbers do not.

    `oof`, `test` and `recipe` are the ensemble's files, `members` are the folders results/members/{member}, `scores`
    and `adapters` are those of all members that have some. `searches` are the files best.yaml that trainings followed.
    """
    tables = {"train_table": train_table, "test_table": test_table, "folds": folds}
    found = read_evidence(oof=oof, recipe=recipe, members=members, scores=scores, adapters=adapters, **tables)
    blind = read_blind(found)
    metrics = all_metrics(found) | search_metrics(found.rows, searches)
    metrics |= {"blind": blind_metrics(found.rows, blind)} if blind else {}
    metrics |= {"baselines": baseline_metrics(found, blind)} | part_metrics(found)
    with atomic_folder(out_dir) as folder:
        write_json(folder / "metrics.json", metrics)
        write_json(
            folder / "costs.json", {name: {"minutes": one.note["minutes"]} for name, one in found.answers.items()}
        )
        draw_all(metrics, histories(found), folder)
        if blind:
            draw_blind(metrics, folder / BLIND_FIGURE)
        write_mistakes(found.rows, folder, gallery_notes(found, blind))
        write_summary(metrics, folder / SUMMARY)
        by_name = dict(zip(found.answers, members, strict=True))
        pick_page(oof=oof, test=test, members=by_name, out=folder / PICKS, **tables)
    say(metrics)


def all_metrics(found: Evidence) -> dict[str, Any]:
    """The content of metrics.json."""
    rows, recipe, logs = found.rows, found.recipe, histories(found)
    by_view = predictions_by_view(found.oof, found.named)
    pooling = {name: answers.note["order_pooling"] for name, answers in found.answers.items()}
    passes = read_passes(rows, found.files, pooling, found.named)
    kept = {found.named(*place): training.keep for place, training in found.trainings.items()}
    masses = {found.named(*place): training.label_mass for place, training in found.trainings.items()}
    return (
        ensemble_metrics(rows, recipe)
        | source_metrics(rows)
        | answerer_metrics(rows)
        | {"members": member_metrics(rows, found.answers, found.oof, recipe)}
        | single_pass_metrics(rows, by_view, passes)
        | {
            "recipe": {key: recipe[key] for key in ("chosen", "default", "reason", "nested")},
            "calibration": recipe["calibration"],
            "error_correlation": {"views": error_correlation(rows, by_view), "folds": agreement_of_folds(found)},
            "learning": {
                name: learning_summary(history) | kept_epoch(history, kept[name]) | {"label_mass": masses[name]}
                for name, history in logs.items()
            },
            "checkpoint_choice": checkpoint_choice(logs, kept),
            "expected": expectation(recipe),
            "leaderboard": leaderboard(recipe),
        }
    )


def histories(found: Evidence) -> dict[str, Any]:
    """The training logs by adapter (`fold0`, or `main/fold0` if there are several members)."""
    return {
        found.named(*place): training.history
        for place, training in found.trainings.items()
        if training.history is not None
    }


def agreement_of_folds(found: Evidence) -> dict[str, Any] | None:
    """How alike the folds' adapters answer; by member if there are several; None if no member trains."""
    tuned = {member.name: fold_agreement(member, found.test_rows) for member in found.members if member.folds}
    if len(found.members) > 1:
        return tuned
    return next(iter(tuned.values()), None)


def say(metrics: dict[str, Any]) -> None:
    """Log the headline and what it means."""
    overall = metrics["overall"]
    low, high = (100 * bound for bound in widest(overall))
    log.info(
        "OOF accuracy %.2f %% [%.2f, %.2f], n = %d", 100 * overall["accuracy"], low, high, overall["n"], extra=CLOSING
    )
    if line := searched_text(metrics):
        log.info("OOF accuracy %s", line)
    if line := answerer_line(metrics):
        log.info("%s", line)
    for line in [*member_lines(metrics["members"]), *blind_lines(metrics)]:
        log.info("%s", line)
    if metrics["checkpoint_choice"]["adapters"]:
        log.info("%s", metrics["checkpoint_choice"]["text"])
    log.info("%s", metrics["leaderboard"]["text"])
