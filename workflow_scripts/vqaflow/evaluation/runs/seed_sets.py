"""Compare two sets of runs, each of one setting with several training seeds: is the setting better, or its seeds?

One run against another says which of two finished runs is better. It does not say which setting is: another training
seed would have given another run. The difference of two sets' mean accuracies varies with the rows and with the seeds:

    V_rows = G / (G - 1) · sum over groups of (d_g - n_g · d)² / N²      d_g: sum of the rows' mean differences
    V_A = s_A² / S_A, V_B = s_B² / S_B                                   s²: variance of the accuracies over seeds
    t = d / sqrt(V_rows + V_A + V_B)

V_rows is the variance of a ratio over clusters (Cochran, Sampling Techniques, 3rd ed. 1977, section 9.7). The degrees
of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946): (sum of V)² / (V_rows² / (G - 1) + V_A² / (S_A - 1) +
V_B² / (S_B - 1)). Each V holds some of what rows and seeds do together, so that the test errs to the side of noise.
P-values by question type are multiplied by their number (Bonferroni).

Shapes: N rows, S runs of a set (A and B: those of either set), G groups, C choices.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from vqaflow.artifacts.columns import ALL_LETTERS, probabilities_in
from vqaflow.evaluation.compare import read_run, shared_rows
from vqaflow.evaluation.comparison_text import interval
from vqaflow.reporting.sign_flips import joined_groups
from vqaflow.reporting.statistics import CONFIDENCE
from vqaflow.reporting.terminal_table import table_lines
from vqaflow.runtime.errors import UserError


@dataclass(frozen=True)
class SetComparison:
    """Sets A and B on `n` rows: accuracies of their runs, and summaries of B - A (see `summarized`)."""

    n: int
    accuracies: tuple[list[float], list[float]]
    overall: dict[str, Any]
    by_type: dict[str, dict[str, Any]]


def compare_sets(first: Sequence[Path], second: Sequence[Path]) -> SetComparison:
    """Compare the OOF answers of two sets of results folders, on the rows that all have.

    Raises UserError if a set has one run only, or if two runs of a set have the same answers.
    """
    for folders in (first, second):
        if len(set(folders)) < 2:
            raise UserError(
                f"--seeds: {folders[0]} is alone in its set. Give at least two runs of each setting, with other seeds."
            )
    folders = list(dict.fromkeys([*first, *second]))
    rows = shared_rows([(folder, read_run(folder)) for folder in folders])
    by_folder = dict(zip(folders, rows, strict=True))
    right_A, right_B = (right_answers({folder: by_folder[folder] for folder in part}) for part in (first, second))
    groups_N = rows[0]["group"].to_numpy()
    for other in rows[1:]:
        groups_N = joined_groups(groups_N, other["group"].to_numpy())
    qtypes = rows[0]["qtype"].to_numpy()
    parts = {str(qtype): qtypes == qtype for qtype in sorted(set(qtypes))}
    by_type = {
        name: summarized(right_A[:, mine_N], right_B[:, mine_N], groups_N[mine_N], len(parts))
        for name, mine_N in parts.items()
    }
    accuracies = right_A.mean(1).tolist(), right_B.mean(1).tolist()
    return SetComparison(len(groups_N), accuracies, summarized(right_A, right_B, groups_N), by_type)


def right_answers(runs: Mapping[Path, pd.DataFrame]) -> np.ndarray:
    """Which rows each run answers right (S, N). Raises UserError if two runs are the same."""
    p = {folder: run[probabilities_in(run)].to_numpy() for folder, run in runs.items()}
    for one, other in combinations(p, 2):
        if np.array_equal(p[one], p[other]):
            raise UserError(f"--seeds: {one} and {other} have the same answers. Give runs with different seeds.")
    answers_N = next(iter(runs.values()))["answer"].map(ALL_LETTERS.index).to_numpy()
    return np.array([p_NC.argmax(1) == answers_N for p_NC in p.values()])


def summarized(right_AN: np.ndarray, right_BN: np.ndarray, groups_N: np.ndarray, tests: int = 1) -> dict[str, Any]:
    """Mean accuracies, B - A, its interval, and the p-value, multiplied by the number of `tests`.

    Interval and p-value are None with one group.
    """
    mean_a, mean_b = float(right_AN.mean()), float(right_BN.mean())
    summary = {"n": len(groups_N), "a": mean_a, "b": mean_b, "gain": mean_b - mean_a, "interval": None, "p_value": None}
    _, group_N = np.unique(groups_N, return_inverse=True)
    size_G = np.bincount(group_N)
    if len(size_G) < 2:
        return summary
    difference_N = right_BN.mean(0) - right_AN.mean(0)
    off_G = np.bincount(group_N, weights=difference_N) - size_G * summary["gain"]
    of_rows = len(size_G) / (len(size_G) - 1) * float((off_G**2).sum()) / len(groups_N) ** 2
    of_seeds = [float(right_SN.mean(1).var(ddof=1)) / len(right_SN) for right_SN in (right_AN, right_BN)]
    variances = [of_rows, *of_seeds]
    free = [len(size_G) - 1, len(right_AN) - 1, len(right_BN) - 1]
    total = sum(variances)
    if total == 0:
        return summary | {"interval": (summary["gain"],) * 2, "p_value": 1.0 if summary["gain"] == 0 else 0.0}
    degrees = total**2 / sum(value**2 / n for value, n in zip(variances, free, strict=True))
    error = float(np.sqrt(total))
    half = float(student.ppf((1 + CONFIDENCE) / 2, degrees)) * error
    p_value = min(1.0, tests * 2 * float(student.sf(abs(summary["gain"]) / error, degrees)))
    ends = summary["gain"] - half, summary["gain"] + half
    return summary | {"interval": ends, "p_value": p_value, "rows": of_rows**0.5, "seeds": sum(of_seeds) ** 0.5}


def described(found: SetComparison) -> Iterator[str]:
    """The lines that the command prints."""
    for name, accuracies in zip("AB", found.accuracies, strict=True):
        each = ", ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies)
        deviation = 100 * float(np.std(accuracies, ddof=1))
        yield f"{name}: {len(accuracies)} runs, {each} %; standard deviation over seeds {deviation:.2f} points"
    lines = [line_of(name, summary) for name, summary in ({"all": found.overall} | found.by_type).items()]
    yield from table_lines(["rows", "n", "mean of A", "mean of B", "B - A, 95 % interval", "p"], lines)
    if len(found.by_type) > 1:
        yield f"p-values by type are multiplied by their number, {len(found.by_type)} (Bonferroni)."
    yield verdict(found.overall)


def line_of(name: str, summary: Mapping[str, Any]) -> list[str]:
    """One row of the table."""
    means = [f"{100 * summary[key]:.2f} %" for key in "ab"]
    p_value = "" if summary["p_value"] is None else f"{summary['p_value']:.3g}"
    gain = f"{100 * summary['gain']:+z.2f} {interval(summary['interval'], '+')}"
    return [name, f"{summary['n']:,}", *means, gain, p_value]


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: is the setting better by more than noise of rows and training seeds?"""
    if summary["p_value"] is None or summary["p_value"] >= 1 - CONFIDENCE:
        return "The difference is within the noise of rows and training seeds: keep the simpler setting."
    return f"{'B' if summary['gain'] > 0 else 'A'} is better, by more than the noise of rows and training seeds."
