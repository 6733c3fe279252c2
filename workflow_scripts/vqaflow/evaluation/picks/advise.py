"""Which files to select at the end of a competition, from what OOF answers show and public scores add.

The first pick is the candidate with the highest OOF accuracy. Each further pick is, among the candidates that are not
worse than the first by more than noise, the one with which the best of the picked private scores is highest on average:
it errs on other rows. Public scores change a pick only if they make the other candidate better with a probability of
`SURE`, or more where more submissions were tried: the one with the highest public score is also the luckiest one. If
they do not, the change would follow noise of the public board, and the advice says so. If two public scores cannot
both be right, none counts.

Shapes: K candidates, N rows, F files, R bootstrap draws, C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from vqaflow.evaluation.picks.beliefs import (
    Beliefs,
    expected_maximum,
    from_oof,
    of_one_row,
    on_test,
    updated,
    with_files,
)
from vqaflow.evaluation.picks.candidates import Candidate, Candidates
from vqaflow.evaluation.picks.intervals import bootstrap_means, interval_of
from vqaflow.evaluation.picks.noise import (
    TWO_SIDED,
    Board,
    board_of,
    differences,
    luck,
    public_noise,
    shift_noise,
)
from vqaflow.reporting.sign_flips import sign_flip_p_values
from vqaflow.reporting.statistics import CONFIDENCE, accuracy_summary, widest

SURE = 0.95


@dataclass(frozen=True)
class Entry:
    """A candidate as the advice shows it. Accuracies are shares; `expected` is the private score to expect."""

    name: str
    same: list[str]
    oof: dict[str, Any] | None  # n, right, accuracy, interval
    nll: float | None
    expected: float | None
    public: float | None
    shift: float  # standard deviation of public minus private score
    own_view: float | None  # right answers more than the current file, by the current file's probabilities


@dataclass(frozen=True)
class Pair:
    """Two candidates (by place): how their answers differ, and what noise does to a difference of their scores.

    `differing` counts test answers. `decisive` is the share of OOF answers that differ where one of the two is right
    (1, its largest value, without OOF answers). Noise is one standard deviation: `noise` in right answers on the public
    rows, `noise_score` in the public score, `shift` in the difference of public minus private score. Of OOF rows:
    `gain` of the second with its interval, the corrected p-value, `real` (more than noise), and the share of
    `shared_errors` among all rows that one of the two answers wrongly.
    """

    first: int
    second: int
    differing: int
    decisive: float
    noise: float
    noise_score: float
    shift: float
    gain: float | None = None
    interval: tuple[float, float] | None = None
    only_first: int | None = None
    only_second: int | None = None
    p_value: float | None = None
    real: bool | None = None
    shared_errors: float | None = None


@dataclass(frozen=True)
class Pick:
    """A selected candidate, and the expected best private score of it and the picks before it."""

    place: int
    expected_best: float


@dataclass(frozen=True)
class Change:
    """What public scores would change: the pick number `number` from `old` to `new`.

    `chance` is the probability that `new` has the higher true accuracy; `followed` is whether that suffices. If not, it
    would be `tuning` to follow a public score that is the better one.
    """

    number: int
    old: int
    new: int
    chance: float
    followed: bool
    tuning: bool


@dataclass(frozen=True)
class Public:
    """What public scores say: how far the best of `tries` equally good files would be ahead by chance (a share).

    `impossible` are the pairs whose scores cannot both be right. If there are any, no public score counts.
    """

    tries: int
    luck: float
    changes: list[Change]
    top: int
    impossible: list[Pair] = field(default_factory=list)


@dataclass(frozen=True)
class Advice:
    """The whole advice; `picks` are the recommended ones, `oof_picks` those without the public scores."""

    board: Board
    entries: list[Entry]
    pairs: list[Pair]
    picks: list[Pick]
    oof_picks: list[Pick]
    public: Public | None = None
    notes: list[str] = field(default_factory=list)

    def pair(self, first: int, second: int) -> Pair:
        """The pair of two places, in any order."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {first, second})


def advise(
    found: Candidates,
    share: float = 0.5,
    public: Mapping[int, float] | None = None,
    count: int = 2,
    tries: int = 0,
    step: float = 0.0,
) -> Advice:
    """Advice for `count` final selections among the candidates `found`, if `share` of the test rows is public.

    `public` are public scores (shares, rounded to multiples of `step`) by the candidate's place; `tries` is how many
    submissions were made in all, if more than these. Raises UserError if the share leaves no public or no private row.
    """
    public = dict(public or {})
    board = board_of(share, found.test_rows)
    means_KR = bootstrap_means(found.right_KN, found.groups_N)
    pairs = all_pairs(found, board, means_KR)
    prior = beliefs_of(found)
    impossible = [pair for pair in pairs if is_impossible(pair, public, board, step)]
    counted = {} if impossible else public
    posterior = updated(prior, counted, board.public, step)
    known = list(range(len(found.known)))
    oof_picks = choose(prior, known, pairs, count, board)
    picks, changes = oof_picks, []
    if counted:
        sure = 1 - (1 - SURE) / max(max(tries, len(public)) - 1, 1)  # corrected for the number of submissions
        picks, changes = choose_with_public(prior, posterior, known, public, pairs, count, board, sure)
    return Advice(
        board,
        [
            replace(entry(found, place, board, means_KR, posterior, counted), public=public.get(place))
            for place in range(len(found.all))
        ],
        pairs,
        picks,
        oof_picks,
        public_summary(public, pairs, max(tries, len(public)), changes, impossible) if public else None,
        list(found.notes),
    )


def beliefs_of(found: Candidates) -> Beliefs:
    """What is believed of all candidates before any public score."""
    right_KN, known = found.right_KN, len(found.known)
    differing_KK = differences(np.array([candidate.test_N for candidate in found.all]))
    oof_KK = differences(np.array([candidate.oof_N for candidate in found.known]))
    mean_K, truth_KK = from_oof(right_KN, found.groups_N)
    best = int(mean_K.argmax())
    shares_K = differing_KK[best, :known] / found.test_rows
    alike_K = np.minimum(shares_K / np.maximum(oof_KK[best] / right_KN.shape[1], 1e-9), 1.0)
    alike_K[best] = 1.0
    mean_K, truth_KK = on_test(mean_K, truth_KK, best, alike_K)
    if files := [candidate.test_N for candidate in found.all[known:]]:
        anchors = differing_KK[known:, :known].argmin(1).tolist()
        shared_FF = shared_differences(np.array(files), np.array([found.known[place].test_N for place in anchors]))
        mean_K, truth_KK = with_files(mean_K, truth_KK, anchors, shared_FF, found.test_rows)
    decisive_KK = differences(right_KN)
    decisive = float(decisive_KK.sum() / oof_KK.sum()) if oof_KK.any() else 1.0
    variance = float(mean_K[best] * (1 - mean_K[best]))
    return Beliefs(mean_K, truth_KK, of_one_row(differing_KK, found.test_rows, decisive, best, variance))


def shared_differences(files_FN: np.ndarray, anchors_FN: np.ndarray) -> np.ndarray:
    """Half the inner products (F, F) of one-hot(file) - one-hot(its anchor); the diagonal counts differing answers."""
    return np.array(
        [
            [
                ((mine == file).sum() - (mine == anchor).sum() - (near == file).sum() + (near == anchor).sum()) / 2
                for file, anchor in zip(files_FN, anchors_FN, strict=True)
            ]
            for mine, near in zip(files_FN, anchors_FN, strict=True)
        ]
    )


# --- pairs ---


def all_pairs(found: Candidates, board: Board, means_KR: np.ndarray | None) -> list[Pair]:
    """Every pair of candidates; p-values are corrected for the number of pairs with OOF answers."""
    test_KK = differences(np.array([candidate.test_N for candidate in found.all]))
    oof_KN = np.array([candidate.oof_N for candidate in found.known])
    right_KN = found.right_KN
    known = len(found.known)
    rights = combinations(right_KN.astype(np.float64), 2)
    p_values = iter(sign_flip_p_values([second_N - first_N for first_N, second_N in rights], found.groups_N))
    pairs = []
    for first, second in combinations(range(len(found.all)), 2):
        more, decisive = {}, 1.0
        if second < known:
            differing = int((oof_KN[first] != oof_KN[second]).sum())
            spread = interval_of(means_KR[second] - means_KR[first]) if means_KR is not None else None
            more = compared(right_KN[first], right_KN[second], spread, next(p_values))
            decisive = (more["only_first"] + more["only_second"]) / differing if differing else 1.0
        pairs.append(with_noise(board, first, second, int(test_KK[first, second]), decisive, more))
    return pairs


def compared(
    first_N: np.ndarray, second_N: np.ndarray, spread: tuple[float, float] | None, p_value: float
) -> dict[str, Any]:
    """The fields of a Pair that come from OOF rows; a difference is real if both tests of it agree."""
    only_first, only_second = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    wrong, both = int((~first_N | ~second_N).sum()), int((~first_N & ~second_N).sum())
    apart = spread is not None and not spread[0] <= 0 <= spread[1]
    return {
        "gain": (only_second - only_first) / len(first_N),
        "interval": spread,
        "only_first": only_first,
        "only_second": only_second,
        "p_value": p_value,
        "real": apart and p_value < 1 - CONFIDENCE,
        "shared_errors": both / wrong if wrong else None,
    }


def with_noise(board: Board, first: int, second: int, differing: int, decisive: float, more: Mapping[str, Any]) -> Pair:
    """A pair with the noise of its scores."""
    noise = public_noise(board, differing, decisive)
    shift = shift_noise(board, decisive * differing / board.rows)
    return Pair(first, second, differing, decisive, noise, noise / board.public, shift, **more)


def is_impossible(pair: Pair, public: Mapping[int, float], board: Board, step: float) -> bool:
    """Whether two public scores are farther apart than the answers of their files, and rounding, can make them."""
    if not {*ends(pair)} <= public.keys():
        return False
    apart = abs(public[pair.first] - public[pair.second]) * board.public
    return apart > pair.differing + max(1.0, step * board.public) + 1e-6  # the last: of floating-point numbers


# --- choosing ---


def choose(beliefs: Beliefs, allowed: Sequence[int], pairs: Sequence[Pair], count: int, board: Board) -> list[Pick]:
    """The candidate with the highest mean first; then, one by one, the one that raises the expected best score most."""
    chosen: list[int] = []
    while len(chosen) < min(count, len(allowed)):
        chosen.append(next_pick(beliefs, allowed, pairs, chosen, board))
    return as_picks(beliefs, chosen, board)


def next_pick(
    beliefs: Beliefs, allowed: Sequence[int], pairs: Sequence[Pair], chosen: Sequence[int], board: Board
) -> int:
    """The best candidate to add to the `chosen` ones; of equal ones the first."""
    if not chosen:
        return max(allowed, key=lambda place: (round(float(beliefs.mean_K[place]), 12), -place))
    left = [place for place in allowed if place not in chosen]
    worse = {pair.second if pair.gain < 0 else pair.first for pair in pairs if pair.real and chosen[0] in ends(pair)}
    within = [place for place in left if place not in worse] or left
    best = {place: expected_maximum(beliefs, [*chosen, place], board.private) for place in within}
    return max(within, key=lambda place: (round(best[place], 12), -place))


def ends(pair: Pair) -> tuple[int, int]:
    """Both places of a pair."""
    return pair.first, pair.second


def as_picks(beliefs: Beliefs, chosen: Sequence[int], board: Board) -> list[Pick]:
    """The chosen places with the expected best score of each and those before it."""
    return [
        Pick(place, expected_maximum(beliefs, chosen[: number + 1], board.private))
        for number, place in enumerate(chosen)
    ]


def choose_with_public(
    prior: Beliefs,
    posterior: Beliefs,
    known: Sequence[int],
    public: Mapping[int, float],
    pairs: Sequence[Pair],
    count: int,
    board: Board,
    sure: float,
) -> tuple[list[Pick], list[Change]]:
    """The picks with public scores, and where these would change a pick, with or without good reason."""
    allowed = sorted({*known, *public})
    chosen: list[int] = []
    changes = []
    while len(chosen) < min(count, len(allowed)):
        number = len(chosen)
        new = next_pick(posterior, allowed, pairs, chosen, board)
        if number >= len(known):  # OOF alone has no candidate left
            chosen.append(new)
            continue
        old = next_pick(prior, known, pairs, chosen, board)
        if new != old:
            chance = posterior.chance(new, old)
            higher = new in public and public[new] > public.get(old, 0.0)
            changes.append(Change(number + 1, old, new, chance, chance >= sure, higher and chance < sure))
        chosen.append(new if new != old and changes[-1].followed else old)
    return as_picks(posterior, chosen, board), changes


# --- what is shown of each ---


def entry(
    found: Candidates,
    place: int,
    board: Board,
    means_KR: np.ndarray | None,
    posterior: Beliefs,
    public: Mapping[int, float],
) -> Entry:
    """One candidate's own numbers; the expected score needs OOF answers or a public score."""
    candidate = found.all[place]
    known = candidate.oof_N is not None
    mean = min(max(float(posterior.mean_K[place]), 0.0), 1.0)
    return Entry(
        candidate.name,
        candidate.same,
        oof_summary(found.right_KN[place], None if means_KR is None else means_KR[place]) if known else None,
        candidate.nll,
        mean if known or place in public else None,
        public.get(place),
        shift_noise(board, mean * (1 - mean)),
        None if known else own_view(candidate, found),
    )


def oof_summary(right_N: np.ndarray, means_R: np.ndarray | None) -> dict[str, Any]:
    """OOF accuracy with n and the interval that covers those of rows and of groups."""
    summary = accuracy_summary(right_N) | {"bootstrap": None if means_R is None else interval_of(means_R)}
    return {key: summary[key] for key in ("n", "right", "accuracy")} | {"interval": widest(summary)}


def own_view(candidate: Candidate, found: Candidates) -> float:
    """How many more right answers than the current file's its own probabilities expect of a candidate (mostly < 0)."""
    rows_N = np.arange(found.test_rows)
    current_N = found.current_test_NC.argmax(1)
    gain_N = found.current_test_NC[rows_N, candidate.test_N] - found.current_test_NC[rows_N, current_N]
    return float(gain_N.sum())


def public_summary(
    public: Mapping[int, float], pairs: Sequence[Pair], tries: int, changes: list[Change], impossible: list[Pair]
) -> Public:
    """How lucky the best of the public scores is, and what it would change.

    A pair's noise is that of a difference: one of the two has 1/√2 of it beyond what all files share.
    """
    noise = [pair.noise_score**2 / 2 for pair in pairs if {*ends(pair)} <= public.keys()]
    typical = float(np.sqrt(np.mean(noise))) if noise else 0.0
    top = max(public, key=lambda place: (public[place], -place))
    return Public(tries, luck(tries) * typical, changes, top, impossible)


def half_width(deviation: float) -> float:
    """Half of a 95 % interval."""
    return TWO_SIDED * deviation
