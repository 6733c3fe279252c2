"""Are training options worth it? Each against the default, on the demo with several seeds (trained by option_runs.py).

OOF and test rows are pooled and calibrated by the code of a run. The answers of the test rows, the demo's held-out
rows, choose nothing: they say whether a gain on OOF rows is real. Differences to the default are tested twice: by sign
flips of whole groups on the mean over the seeds, corrected for the number of options (reporting/sign_flips.py), and by
a t test that counts the noise of the seeds too (evaluation/runs/seed_sets.py).

Shapes: N rows, T test rows, K folds, S seeds, V views, C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.recipe_names import Recipe
from vqaflow.data.folds.groups import row_groups
from vqaflow.demo.option_runs import DEFAULT, OPTIONS, Run, Said, read_said, scores_file
from vqaflow.ensemble.pooling import average
from vqaflow.ensemble.recipes import CrossFit, Procedure, fit, nested
from vqaflow.ensemble.sources import Oof, Source
from vqaflow.ensemble.test_rows import PooledTest, sharpened
from vqaflow.evaluation.runs.seed_sets import summarized
from vqaflow.reporting.closing_line import read_answers
from vqaflow.reporting.sign_flips import sign_flip_p_values
from vqaflow.reporting.statistics import log_losses
from vqaflow.reporting.terminal_table import table_lines

SOURCES = (Source("main", "original"), Source("main", "hflip"))
PROCEDURE = Procedure((Recipe("mean"),), "temperature")
ROWS = ("oof", "test")
SEVERAL = "several seeds"  # the default's, pooled to one run


@dataclass(frozen=True)
class Demo:
    """Answers (0 to C-1) and groups of the training rows, in the order of `ids_N`, and of the test rows."""

    ids_N: np.ndarray
    answers: Mapping[str, np.ndarray]
    groups: Mapping[str, np.ndarray]


def read_demo(at: ResultsFolder, group_by: Sequence[str]) -> Demo:
    """The demo in a results folder; test rows are grouped as folds group training rows."""
    train, test = (read_table(at.table(name), "validate_tables") for name in ("train", "test"))
    group = read_table(at.folds, "make_folds", ["id", "group"]).set_index("id")["group"]
    right = test["id"].map(read_answers(at.demo_answers))
    answers = {"oof": train["answer"], "test": right}
    return Demo(
        train["id"].to_numpy(),
        {name: given.map(ALL_LETTERS.index).to_numpy() for name, given in answers.items()},
        {"oof": group.loc[train["id"]].to_numpy(), "test": row_groups(test, group_by, 0)},
    )


def answered(demo: Demo, folds: Sequence[Said], refit: Said | None = None) -> dict[str, np.ndarray]:
    """The calibrated probabilities of OOF (N, C) and test rows (T, C) that a run with these adapters would give."""
    place = {row: number for number, row in enumerate(demo.ids_N)}
    logp_NSC = np.full((len(place), len(SOURCES), folds[0].test_VTC.shape[2]), np.nan)
    for said in folds:
        logp_NSC[[place[row] for row in said.ids_N]] = said.held_out_VNC.transpose(1, 0, 2)
    cross = CrossFit(Oof(SOURCES, logp_NSC, demo.answers["oof"], demo.groups["oof"]), seed=0)
    fitted, _ = fit(PROCEDURE, cross)
    pooled = [fitted.pool(SOURCES, said.test_VTC.transpose(1, 0, 2).astype(np.float64)) for said in folds]
    singles = {str(fold): fitted.calibrate(p_TC) for fold, p_TC in enumerate(pooled)}
    mean_TC = average(pooled, "mean")
    if refit is not None:
        on_all = fitted.pool(SOURCES, refit.test_VTC.transpose(1, 0, 2).astype(np.float64))
        mean_TC = average([mean_TC, on_all], "mean")
    p_TC, _ = sharpened(PooledTest(singles, fitted.calibrate(mean_TC)))
    return {"oof": nested(PROCEDURE, cross).calibrated_NC, "test": p_TC}


def measured(demo: Demo, p: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Of OOF and test rows: whether each is right, and its cross-entropy."""
    return {
        rows: {
            "right": (p[rows].argmax(1) == demo.answers[rows]).astype(np.float64),
            "nll": log_losses(p[rows], demo.answers[rows]),
        }
        for rows in ROWS
    }


def read_options(at: ResultsFolder, demo: Demo, seeds: Sequence[int], folds: int) -> dict[str, list[Any]]:
    """What is measured of each option, by seed; options whose trainings are not all kept are left out."""
    found = {}
    for name, option in OPTIONS.items():
        source = DEFAULT if option.refit else name
        parts = [[Run(source, seed, str(fold)) for fold in range(folds)] for seed in seeds]
        more = [Run(name, seed, "all") if option.refit else None for seed in seeds]
        wanted = [run for runs in parts for run in runs] + [run for run in more if run]
        if all(scores_file(at, run).is_file() for run in wanted):
            found[name] = [
                measured(demo, answered(demo, [read_said(at, run) for run in runs], extra and read_said(at, extra)))
                for runs, extra in zip(parts, more, strict=True)
            ]
    if DEFAULT in found and len(seeds) > 1:
        folds_S = [[read_said(at, Run(DEFAULT, seed, str(fold))) for seed in seeds] for fold in range(folds)]
        found[SEVERAL] = [measured(demo, answered(demo, [mean_of_seeds(said) for said in folds_S]))]
    return found


def mean_of_seeds(said_S: Sequence[Said]) -> Said:
    """The logarithm of the seeds' mean probabilities, of adapters that held out the same rows."""
    held_out_VNC, test_VTC = (
        np.log(np.mean([np.exp(getattr(said, name).astype(np.float64)) for said in said_S], axis=0))
        for name in ("held_out_VNC", "test_VTC")
    )
    return Said(said_S[0].ids_N, held_out_VNC, test_VTC)


def judge(demo: Demo, found: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """By option: means over the seeds, each seed's accuracy, and differences to the default with their p-values.

    P-values by sign flips are corrected for the number of options, those of the t test are not.
    """
    others = [name for name in found if name != DEFAULT]
    told: dict[str, Any] = {name: {} for name in found}
    for rows in ROWS:
        values = {
            name: {kind: np.stack([one[rows][kind] for one in by_seed]) for kind in ("right", "nll")}
            for name, by_seed in found.items()
        }
        less = {
            kind: [values[name][kind].mean(0) - values[DEFAULT][kind].mean(0) for name in others]
            for kind in ("right", "nll")
        }
        p_values = {kind: sign_flip_p_values(less[kind], demo.groups[rows]) for kind in less}
        for name in found:
            told[name][rows] = {
                "accuracy": float(values[name]["right"].mean()),
                "nll": float(values[name]["nll"].mean()),
                "seeds": values[name]["right"].mean(1).tolist(),
            }
        for number, name in enumerate(others):
            told[name][rows] |= {
                "gain": float(less["right"][number].mean()),
                "gain_nll": float(less["nll"][number].mean()),
                "p_value": p_values["right"][number],
                "p_value_nll": p_values["nll"][number],
                "with_seeds": summarized(values[DEFAULT]["right"], values[name]["right"], demo.groups[rows])
                if len(values[name]["right"]) > 1
                else None,
            }
    return told


def judged_lines(judged: Mapping[str, Any]) -> list[str]:
    """The figures as a table, one line per option."""
    lines = []
    for name, told in judged.items():
        cells = [name]
        for rows in ROWS:
            one = told[rows]
            cells += [f"{one['accuracy']:.4f}", f"{one['nll']:.4f}"]
            if "gain" in one:
                cells += [f"{100 * one['gain']:+z.2f}", f"{one['p_value']:.3f}", f"{one['p_value_nll']:.3f}"]
            else:
                cells += [""] * 3
        lines.append(cells)
    parts = [[f"{rows}", "NLL", "points", "p", "p of NLL"] for rows in ("OOF", "test")]
    return table_lines(["option", *parts[0], *parts[1]], lines)
