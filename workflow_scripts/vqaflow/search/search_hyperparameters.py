"""Rule search_hyperparameters: the best parameters that the workers of run_trials have found, and what that rests on.

`vqaflow search_hyperparameters` runs it by hand.

Shapes: T trials, N held-out rows.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from vqaflow.artifacts.reading import read_json
from vqaflow.reporting.statistics import bootstrap_interval, widest, wilson
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_folder, atomic_path, write_text
from vqaflow.runtime.stage import CLOSING, log
from vqaflow.runtime.versions import package_versions
from vqaflow.search.corrected import corrected_accuracy
from vqaflow.search.figures import draw_search
from vqaflow.search.study import FILE, counted_trials, load_study, storage

HEADER = """\
# The best trial of a hyper-parameter search; train_adapter uses `parameters` instead of the same keys of `train`.
# `accuracy` is the highest of all trials on the same held-out rows: it is too high. `corrected` is what to expect on
# new rows (docs/hyperparameters.md). No row is excluded because the search saw it: training uses all rows, and the
# evaluation shows OOF accuracy without the folds of the search beside that of all rows.
"""
PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>Best parameters</title>
<style>:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }} body {{ margin: 2rem }}
td {{ padding: 0 2rem 0 0; vertical-align: top }} td + td {{ font-variant-numeric: tabular-nums }}</style>
{body}</html>
"""


def search_hyperparameters(
    *, workers: Sequence[Path], work: Path, trials: int, best_out: Path, study_out: Path, figures_out: Path
) -> None:
    """Write best.yaml, figures and a copy of the study; only its first `trials` finished trials are considered.

    `workers` are the files that run_trials has written, `work` is the folder of the study that they share.
    """
    name = study_name(workers)
    study = load_study(work / FILE, name)
    considered = counted_trials(study)[:trials]
    best = best_trial(considered)
    summary = summarize(study, considered, best)
    copy_study(work / FILE, study_out, name)
    with atomic_folder(figures_out) as folder:
        draw_search(considered, best, study.user_attrs["saw"], folder)
        write_text(folder / "best.html", as_page(summary))  # browsers do not open YAML from within a report
    write_text(best_out, HEADER + yaml.safe_dump(summary, sort_keys=False, allow_unicode=True, width=1000))
    expected = summary["corrected"] and summary["corrected"]["value"]
    log.info(
        "best of %d trials is trial %d: accuracy %s, to expect on new rows: %s",
        len(considered),
        best.number,
        shown(summary["accuracy"]["value"]),
        shown(expected),
        extra=CLOSING,
    )


def study_name(workers: Sequence[Path]) -> str:
    """The name of the study that all workers have worked on."""
    names = {read_json(path, "run_trials", ["study"])["study"] for path in workers}
    if len(names) > 1:
        raise UserError(
            f"{workers[0].parent}: the workers ran different searches ({', '.join(sorted(names))}): data, code or "
            "configuration changed in between. Run all of them again, and delete the files of workers no longer used."
        )
    return names.pop()


def best_trial(considered: Sequence[FrozenTrial]) -> FrozenTrial:
    """The complete trial with the highest accuracy, the first one if several are equal."""
    complete = [trial for trial in considered if trial.state is TrialState.COMPLETE]
    if not complete:
        reasons = sorted({trial.user_attrs["reason"] for trial in considered})
        why = (
            f"all {len(considered)} were pruned ({reasons[0]})" if reasons else "the time budget was too short for one"
        )
        raise UserError(
            f"hpo: no trial is complete: {why}. Change hpo.space, lower hpo.subset, "
            "or raise hpo.max_minutes or hpo.trials."
        )
    return max(complete, key=lambda trial: (trial.value, -trial.number))


def summarize(study: optuna.Study, considered: Sequence[FrozenTrial], best: FrozenTrial) -> dict[str, Any]:
    """The content of best.yaml; it does not depend on when or how fast the trials ran."""
    identity = study.user_attrs["identity"]
    start = next((t for t in considered if "fixed_params" in t.system_attrs and t.state is TrialState.COMPLETE), None)
    return {
        "parameters": best.user_attrs["parameters"],
        "accuracy": accuracy(best),
        "corrected": corrected(study, considered, best),
        "configuration_as_it_stands": accuracy(start) if start else None,
        "study": {
            "name": study.study_name,
            "digest": study_digest(considered),
            "best_trial": best.number,
            "complete": sum(trial.state is TrialState.COMPLETE for trial in considered),
            "pruned": sum(trial.state is TrialState.PRUNED for trial in considered),
            "seed": identity["search"]["seed"],
        },
        "saw": {"subset": identity["search"]["subset"], "folds": study.user_attrs["saw"], "excluded_from": "nothing"},
        "environment": identity["precision"] | package_versions() | {"optuna": optuna.__version__},
    }


def as_page(summary: Mapping[str, Any]) -> str:
    """The content of best.yaml as a page with one table per section."""
    parts = []
    for title, section in summary.items():
        rows = section.items() if isinstance(section, dict) else [("", "not among the trials")]
        cells = "".join(f"<tr><td>{escape(str(key))}<td>{escape(shown(value))}" for key, value in rows)
        parts.append(f"<h2>{escape(title.replace('_', ' '))}</h2><table>{cells}</table>\n")
    return PAGE.format(body="".join(parts))


def shown(value: Any) -> str:
    """A value as people read it: numbers to four digits, lists and mappings on one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {shown(one)}" for key, one in value.items())
    return "; ".join(map(shown, value)) if isinstance(value, list) else str(value)


def accuracy(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's accuracy over the held-out rows of all folds, with its Wilson interval and n."""
    right, n = trial.user_attrs["right"], trial.user_attrs["n"]
    return {"value": right / n, "right": right, "n": n, "wilson": list(wilson(right, n))}


def corrected(
    study: optuna.Study, considered: Sequence[FrozenTrial], best: FrozenTrial
) -> dict[str, float | list[float]] | None:
    """The accuracy to expect of the best trial on new rows, and its interval: that of whole groups, moved with it.

    None with fewer than two groups of held-out rows.
    """
    complete = [trial for trial in considered if trial.state is TrialState.COMPLETE]
    right_TN = np.array([list(chain(*trial.user_attrs["rows"])) for trial in complete], np.float64)
    groups_N = np.array(list(chain(*study.user_attrs["groups"])))
    value = corrected_accuracy(right_TN, groups_N)
    if value is None:
        return None
    right_N = right_TN[complete.index(best)]
    told, optimism = float(right_N.mean()), float(right_N.mean()) - value
    summary = accuracy(best) | {"bootstrap": bootstrap_interval(right_N, groups_N)}
    low, high = (min(1.0, max(0.0, end - optimism)) for end in widest(summary))
    return {"value": value, "too_high_by": told - value, "interval": [low, high]}


def study_digest(considered: Sequence[FrozenTrial]) -> str:
    """Digest of the trials' parameters and results."""
    return value_digest([[trial.number, trial.params, trial.value, trial.state.name] for trial in considered])


def copy_study(source: Path, target: Path, name: str) -> None:
    """Copy the file of all studies consistently; in the copy no trial of study `name` is still running."""
    with atomic_path(target) as partial:
        with closing(sqlite3.connect(source, timeout=300)) as original, closing(sqlite3.connect(partial)) as copy:
            original.backup(copy)
        copied = storage(partial)
        study = optuna.load_study(study_name=name, storage=copied)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            copied.set_trial_user_attr(trial._trial_id, "reason", "stopped before its end; it is not counted")
            study.tell(trial.number, state=TrialState.FAIL)
        copied.engine.dispose()
