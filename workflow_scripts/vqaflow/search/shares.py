"""Trials of different length are compared at equal shares of their schedules, not at equal numbers of validations.

The learning rate ends at zero in every trial: after two of four epochs it is still high, after two of two it has ended.
A step of a trial is thus a share: `SHARES` steps are the whole schedule of one fold. Between two validations, the
accuracy is taken to be on the line that joins them.
"""

from collections.abc import Iterator

SHARES = 12  # validations of trials of 1, 2, 3, 4 or 6 epochs meet; each step is a write to the shared study


class Curve:
    """What one trial has reported so far: its last step (0: none) and the accuracy there."""

    def __init__(self, step: int, accuracy: float) -> None:
        self.step, self.accuracy = step, accuracy

    def until(self, step: int, accuracy: float) -> Iterator[tuple[int, float]]:
        """The steps since the last validation, which `step` ends, with their accuracies.

        Before the first validation of a fold nothing is known: these steps are left out.
        """
        last, before = self.step, self.accuracy
        if step <= last:  # a worker that took the trial over validates again what was reported
            return
        self.step, self.accuracy = step, accuracy
        known = last > 0 and (last - 1) // SHARES == (step - 1) // SHARES
        for at in range(last + 1 if known else step, step + 1):
            weight = (at - last) / (step - last)
            yield at, accuracy if at == step else before + weight * (accuracy - before)


def step_of(folds_done: int, share: float) -> int:
    """The step of a trial after so many folds and a share (0 to 1] of the next one's schedule."""
    return folds_done * SHARES + max(1, min(SHARES, round(share * SHARES)))
