"""Which epoch of an adapter to keep (`train.keep`): rules compared on rows that chose nothing, the demo's test rows.

Each fold is trained once per base and seed, to its end. At each epoch, the held-out rows and the test rows are scored
in all cyclic choice orders. A rule picks an epoch by the held-out rows; the test rows say how good the pick was.

Shapes: E epochs, N held-out rows, T test rows, C choices, F folds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.demo.trainings import logp_of, open_training, right_choices
from vqaflow.reporting.terminal_table import table_lines
from vqaflow.training.checkpoints import stop_on_signals


@dataclass(frozen=True)
class Curves:
    """A training: at each epoch, the accuracy that chooses (E), and log-probabilities of held-out and test rows."""

    base: str
    fold: int
    seed: int
    accuracy_E: np.ndarray  # of the held-out rows in one choice order, as training measures it
    held_out_ENC: np.ndarray
    held_out_N: np.ndarray  # the right choices
    test_ETC: np.ndarray
    test_T: np.ndarray

    @property
    def nll_E(self) -> np.ndarray:  # noqa: N802
        """The cross-entropy of the held-out rows at each epoch."""
        return -self.held_out_ENC[:, np.arange(len(self.held_out_N)), self.held_out_N].mean(1)


def last(own: Curves, others: Sequence[Curves]) -> int:
    """The last epoch."""
    return len(own.accuracy_E) - 1


def best_accuracy(own: Curves, others: Sequence[Curves]) -> int:
    """The first epoch with the best accuracy on the held-out rows, as `keep: best`."""
    return int(own.accuracy_E.argmax())


def best_nll(own: Curves, others: Sequence[Curves]) -> int:
    """The epoch with the least cross-entropy on the held-out rows."""
    return int(own.nll_E.argmin())


def others_accuracy(own: Curves, others: Sequence[Curves]) -> int:
    """The best epoch of the other folds' mean accuracy: the own held-out rows choose nothing."""
    return int(np.mean([one.accuracy_E for one in others], axis=0).argmax())


def others_nll(own: Curves, others: Sequence[Curves]) -> int:
    """The best epoch of the other folds' mean cross-entropy."""
    return int(np.mean([one.nll_E for one in others], axis=0).argmin())


RULES: Mapping[str, Callable[[Curves, Sequence[Curves]], int]] = {
    "last": last,
    "best accuracy": best_accuracy,
    "best cross-entropy": best_nll,
    "other folds' accuracy": others_accuracy,
    "other folds' cross-entropy": others_nll,
}


def train_curves(config: Mapping[str, Any], at: ResultsFolder, base: str, fold: int, seed: int) -> Curves:
    """Train one fold of the demo in `at` with `base`, and measure each epoch.

    Raises UserError if the demo has not been made.
    """
    opened = open_training(config, at, base, fold, seed)
    trainer = opened.trainer
    found: list[tuple[float, np.ndarray, np.ndarray]] = []

    def measure(record: dict[str, float]) -> None:
        found.append((record["val_accuracy"], logp_of(trainer, opened.held_out), logp_of(trainer, opened.tests)))

    trainer.on_validation = measure
    with stop_on_signals() as stop:
        trainer.run(at.folder / "work" / "epochs" / f"{Path(base).name}-{fold}-{seed}", "epochs", stop)
    accuracies, of_held_out, of_tests = (np.stack(values) for values in zip(*found, strict=True))
    right = [right_choices(rows) for rows in (opened.held_out, opened.tests)]
    return Curves(Path(base).name, fold, seed, accuracies, of_held_out, right[0], of_tests, right[1])


def judge(runs: Sequence[Curves]) -> dict[str, Any]:
    """How good each rule's epochs are, by base: means over folds and seeds, and of the folds' mean over seeds."""
    bases = dict.fromkeys(run.base for run in runs)
    return {base: {name: _judged([run for run in runs if run.base == base], name) for name in RULES} for base in bases}


def _judged(runs: Sequence[Curves], rule: str) -> dict[str, Any]:
    """A rule on the trainings of one base; differences are to the last epoch, paired by fold and seed."""
    seeds = dict.fromkeys(run.seed for run in runs)
    singles, differences, pooled, held_out = [], [], [], []
    for seed in seeds:
        folds = [run for run in runs if run.seed == seed]
        p_FTC = []
        for own in folds:
            epoch = RULES[rule](own, [one for one in folds if one is not own])
            singles.append(measures(own.test_ETC[epoch], own.test_T))
            differences.append(singles[-1] - measures(own.test_ETC[-1], own.test_T))
            held_out.append(measures(own.held_out_ENC[epoch], own.held_out_N))
            p_FTC.append(np.exp(own.test_ETC[epoch]))
        pooled.append(measures(np.log(np.mean(p_FTC, axis=0)), folds[0].test_T))
    names = ("accuracy", "nll")
    spread = np.std(differences, axis=0, ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else [None, None]
    return {
        "single": dict(zip(names, np.mean(singles, axis=0).tolist(), strict=True)),
        "less_last": dict(zip(names, np.mean(differences, axis=0).tolist(), strict=True)),
        "standard_error": dict(zip(names, map(_plain, spread), strict=True)),
        "mean_of_folds": dict(zip(names, np.mean(pooled, axis=0).tolist(), strict=True)),
        "held_out": dict(zip(names, np.mean(held_out, axis=0).tolist(), strict=True)),
    }


def _plain(value: Any) -> float | None:
    return None if value is None else float(value)


def measures(logp_TC: np.ndarray, answers_T: np.ndarray) -> np.ndarray:
    """Accuracy and cross-entropy."""
    right_T = logp_TC.argmax(1) == answers_T
    return np.array([right_T.mean(), -logp_TC[np.arange(len(answers_T)), answers_T].mean()])


def judged_lines(judged: Mapping[str, Any]) -> list[str]:
    """The figures as tables, one per base."""
    lines = []
    for base, rules in judged.items():
        rows = []
        for name, found in rules.items():
            error = found["standard_error"]["accuracy"]
            told = "" if error is None else f" ± {100 * error:.2f}"
            rows.append(
                [
                    name,
                    f"{found['single']['accuracy']:.4f}",
                    f"{100 * found['less_last']['accuracy']:+z.2f}{told}",
                    f"{found['mean_of_folds']['accuracy']:.4f}",
                    f"{found['mean_of_folds']['nll']:.4f}",
                    f"{found['held_out']['accuracy']:.4f}",
                ]
            )
        header = ["kept epoch", "one adapter", "points over last", "mean of folds", "its NLL", "held-out rows"]
        lines += [base, *table_lines(header, rows), ""]
    return lines
