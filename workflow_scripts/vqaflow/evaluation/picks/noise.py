"""How far scores on a part of the test rows scatter by chance alone.

The public board shows the score on m of the n test rows, drawn at random without replacement; the other n - m rows give
the private score. Two files that differ in D answers differ on K of the public rows, and K is D·m/n on average. Each of
these rows counts +1 if the first file alone is right, -1 if the second alone is, and 0 if both are wrong. Let q be the
share that counts: q = 1 if one of the two is always right, less if there are more than two choices.

- If neither file is better, the K rows are +1 and -1 with equal chances. The difference of the public scores then has
  the variance E[K]·q, so the standard deviation is sqrt(q·D·m/n) right answers, or sqrt(q·D·m/n) / m of the score. (A
  sum of independent signs; by the law of total variance, that K is random adds nothing, since the mean is 0 for any K.)
- Public and private score of one file with accuracy p: the public rows' share of right answers has the variance
  p(1 - p)/m · (n - m)/(n - 1) around the share on all n (W. G. Cochran, Sampling Techniques, 3rd ed. 1977, theorem 2.2
  and section 3.2), and private - all = -(public - all)·m/(n - m). So the difference of public and private has the
  standard deviation sqrt(p(1 - p)·n² / (m·(n - m)·(n - 1))).
- The same for the difference of two files, whose values are +1, -1 and 0: q·D/n replaces p(1 - p). This is its largest
  value, reached if both files have equally many right answers.

Shapes: K files, N rows.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from vqaflow.runtime.errors import UserError

TWO_SIDED = float(norm.ppf(0.975))  # a 95 % interval is so many standard deviations to each side
LEAST_ROWS = 2  # of the test table: a public and a private one


@dataclass(frozen=True)
class Board:
    """A leaderboard: the number of test rows, and how many of them the public score counts."""

    rows: int
    public: int

    @property
    def private(self) -> int:
        """The rows that the private score counts."""
        return self.rows - self.public

    @property
    def share(self) -> float:
        """The share of the test rows that is public."""
        return self.public / self.rows


def board_of(share: float, rows: int) -> Board:
    """The board of a test table of this many `rows`, of which the `share` is public.

    Raises UserError if it leaves no public or no private row.
    """
    if rows < LEAST_ROWS:
        raise UserError(
            f"test table: it has {rows} row, and advice needs a public and a private one. There is no advice for it: "
            f"give results of {LEAST_ROWS} test rows or more."
        )
    board = Board(rows, round(share * rows) if 0 < share < 1 else 0)
    if not 0 < board.public < rows:
        digits = len(str(rows)) + 1
        least = math.ceil(10**digits / rows) / 10**digits
        raise UserError(
            f"--share {share:g}: it leaves no public or no private row of {rows}. Give a share from "
            f"{least:.{digits}f} to {1 - least:.{digits}f}."
        )
    return board


def public_noise(board: Board, differing: int, decisive: float = 1.0) -> float:
    """Standard deviation, in right answers, of the difference of two public scores if neither file is better.

    `differing` is D, the number of test answers that differ; `decisive` is q, the share of them where one is right.
    """
    return math.sqrt(decisive * differing * board.share)


def shift_noise(board: Board, variance: float) -> float:
    """Standard deviation of public minus private score, as a share, if a row's value has this `variance` over all rows.

    `variance` is p(1 - p) for the score of one file, and qD/n for the difference of two.
    """
    n, m = board.rows, board.public
    return math.sqrt(variance / m / (n - m) / max(n - 1, 1)) * n


def luck(tries: int) -> float:
    """The expected maximum of `tries` independent standard normal values: how lucky the best of them is.

    From the distribution of the largest order statistic: the integral of k·x·φ(x)·Φ(x)^(k - 1) (H. A. David and H. N.
    Nagaraja, Order Statistics, 3rd ed. 2003, section 3.1).
    """
    if tries < 2:
        return 0.0
    largest, _ = quad(lambda x: tries * x * norm.pdf(x) * norm.cdf(x) ** (tries - 1), -12, 12)
    return float(largest)


def differences(answers_KN: np.ndarray) -> np.ndarray:
    """The number of rows on which each two of K files answer differently (K, K)."""
    return np.array([(answers_KN != answers_N).sum(1) for answers_N in answers_KN])
