"""The advice in sentences and tables, for the terminal and for the page."""

from collections.abc import Iterator
from dataclasses import replace

from vqaflow.evaluation.picks.advise import Advice, Change, Entry, Pair, half_width
from vqaflow.evaluation.picks.candidates import CURRENT

SHOWN = 3
ENTRY_HEADER = [
    "file",
    "pick",
    "OOF accuracy, 95 % interval",
    "NLL",
    "public score",
    "expected on test",
    "public - private",
]
PAIR_HEADER = [
    "files",
    "test answers differ",
    "noise of public difference",
    "… in the score",
    "public - private",
    "OOF difference, 95 % interval",
    "only one right",
    "p, corrected",
    "errors shared",
    "on OOF rows",
]
HOW_TO_READ = (
    "Noise of a public difference is one standard deviation, in right answers: sqrt(q · D · share), with D the test "
    "answers that differ and q the share of them where one of the two files is right. q comes from OOF rows; without "
    "OOF answers it is 1, its largest value. Differences below twice the noise are what chance makes. Public - private "
    "is ± a 95 % interval, in points, of how far the two scores of a file (or of a difference) come apart. Only one "
    "right: OOF rows that pick 1 (or the file behind “against”) alone has right, then those of the other file. "
    "Expected on test starts from OOF accuracy and counts differences only as far as test answers differ."
)
SOURCES = [
    "Difference of two public scores: on each of K = D · share differing public rows one file alone is right (+1 or "
    "-1) or both are wrong (0). If neither is better, the signs are independent and the variance of their sum is "
    "q · D · share. Divided by the m = share · n public rows it is the noise of the score.",
    "Public against private score: drawing without replacement, standard deviation "
    "sqrt(v · n² / (m · (n - m) · (n - 1))), with v = p (1 - p) for one file and q · D / n for a difference "
    "(Cochran, Sampling Techniques, 3rd ed. 1977).",
    "Real differences: sign-flip test of whole groups, corrected for the number of pairs (Westfall and Young 1993), "
    "and a bootstrap interval over whole groups; both must say so.",
    "Expected best of two scores: normal scores with the accuracies and the covariance of OOF rights and wrongs, "
    "summed by group (Clark, Operations Research 9, 1961).",
    "Public scores: Bayes' rule for normals, μ + ΣHᵀS⁻¹(y - Hμ) with S = H(Σ + V/m)Hᵀ (Gelman et al., Bayesian Data "
    "Analysis, 3rd ed. 2013, section 3.5). Test rows may be harder or easier than training rows for all files alike "
    "(± 5 points), so a single public score changes no pick. Rounding of scores to a step s adds the variance s² / 12.",
    "The best of k equally good files: expected maximum of k normal values (David and Nagaraja, Order Statistics, 3rd "
    "ed. 2003).",
]


def percent(share: float | None, digits: int = 2) -> str:
    """A share in percent."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def points(share: float, sign: str = "") -> str:
    """A difference of shares, in points of percent."""
    return f"{100 * share:{sign}z.2f}"


def bounds(interval: tuple[float, float] | None, sign: str = "") -> str:
    """An interval in percent; with a single group there is none."""
    if interval is None:
        return "[one group]"
    return f"[{100 * interval[0]:{sign}z.2f}, {100 * interval[1]:{sign}z.2f}]"


def title_of(entry: Entry) -> str:
    """A candidate's name, with those that give the same test answers."""
    return f"{entry.name} (= {', '.join(entry.same)})" if entry.same else entry.name


def lead(advice: Advice) -> Iterator[str]:
    """What the advice is about."""
    board, first = advice.board, advice.entries[advice.picks[0].place]
    yield (
        f"{board.rows:,} test rows, {board.public:,} of them taken as public ({percent(board.share, 0)}); "
        f"{len(advice.entries)} different submissions."
    )
    yield (
        f"The public score of one file is within ±{points(half_width(first.shift))} points of its private score in "
        "95 of 100 cases, by the drawing of public rows alone."
    )


def pick_lines(advice: Advice, number: int) -> Iterator[str]:
    """Why pick `number` (from 0) is picked."""
    pick = advice.picks[number]
    entry = advice.entries[pick.place]
    if entry.oof:
        yield f"OOF accuracy {percent(entry.oof['accuracy'])} {bounds(entry.oof['interval'])}, n = {entry.oof['n']:,}."
    else:
        yield "It has no OOF answers: only its public score speaks for it."
    if number == 0:
        yield from first_lines(advice, pick.place)
        return
    pair = advice.pair(advice.picks[0].place, pick.place)
    if pair.shared_errors is not None:
        yield (
            f"It errs on other rows: of the OOF rows that it or pick 1 answers wrongly, both fail on "
            f"{percent(pair.shared_errors, 0)}. {pair.differing:,} test answers differ."
        )
    gain = pick.expected_best - advice.picks[number - 1].expected_best
    yield (
        f"The best of the {number + 1} private scores is expected to be {points(gain)} points above the best of the "
        f"first {number}."
        if number > 1
        else f"The better of the two private scores is expected to be {points(gain)} points above that of pick 1 alone."
    )
    if pair.real:
        yield "It is worse than pick 1 by more than noise, as are all others: this pick gains little."


def first_lines(advice: Advice, place: int) -> Iterator[str]:
    """How sure it is that the first pick is the best."""
    rivals = [pair for pair in advice.pairs if place in (pair.first, pair.second) and pair.real is not None]
    near = [pair for pair in rivals if not pair.real]
    if len(rivals) > len(near):
        yield f"It is better than {len(rivals) - len(near)} of {len(rivals)} others by more than noise."
    if near:
        yield f"{len(near)} of {len(rivals)} others are within noise of it. The highest of several is a little lucky."
    current = next((other for other, entry in enumerate(advice.entries) if entry.name == CURRENT), None)
    if current not in (None, place) and not advice.pair(current, place).real:
        yield "Its lead over the current submission is within noise."


def verdict(advice: Advice) -> str:
    """Which differences on OOF rows are real, in one sentence."""
    tested = [pair for pair in advice.pairs if pair.real is not None]
    if not tested:
        return "There is only one candidate with OOF answers, and so nothing to choose by OOF rows."
    real = [pair for pair in tested if pair.real]
    if not real:
        return f"No difference is real: all {len(tested)} OOF differences are within noise."
    names = [f"{advice.entries[better(p)].name} above {advice.entries[worse(p)].name}" for p in real[:SHOWN]]
    more = f" and {len(real) - SHOWN} more" if len(real) > SHOWN else ""
    return f"{len(real)} of {len(tested)} OOF differences are more than noise: {'; '.join(names)}{more}."


def better(pair: Pair) -> int:
    """The place with the higher OOF accuracy."""
    return pair.second if pair.gain > 0 else pair.first


def worse(pair: Pair) -> int:
    """The place with the lower OOF accuracy."""
    return pair.first if pair.gain > 0 else pair.second


def file_lines(advice: Advice) -> Iterator[str]:
    """What can and cannot be known of files without OOF answers."""
    for place, entry in enumerate(advice.entries):
        if entry.oof is None:
            pair = advice.pair(0, place)
            yield (
                f"{entry.name}: it has no OOF answers, so its accuracy cannot be known before the competition ends. "
                f"{pair.differing:,} of {advice.board.rows:,} test answers differ from the {advice.entries[0].name}: "
                f"on all test rows the scores are at most {points(pair.differing / advice.board.rows)} points apart. "
                f"The current probabilities expect {entry.own_view:+z.1f} right answers of the difference, but cannot "
                "know what this file knows better."
                + (" Without a public score (--public) it is never recommended." if entry.public is None else "")
            )


def public_lines(advice: Advice) -> Iterator[str]:
    """What the public scores say and do not say."""
    if (public := advice.public) is None:
        return
    if public.impossible:
        yield from impossible_lines(advice)
        return
    if public.tries > 1:
        yield (
            f"Of {public.tries} submissions that are equally good, the best public score is {points(public.luck)} "
            "points too high on average, by chance alone."
        )
    yield from top_lines(advice)
    for change in public.changes:
        yield change_line(advice, change)
    if not public.changes:
        yield "The public scores change no pick."


def impossible_lines(advice: Advice) -> Iterator[str]:
    """Public scores that cannot be those of the files: their difference is larger than that of the answers."""
    for pair in advice.public.impossible:
        first, second = advice.entries[pair.first], advice.entries[pair.second]
        apart = abs(first.public - second.public) * advice.board.public
        yield (
            f"Check the public scores of {first.name} and {second.name}: they are {apart:.0f} right answers "
            f"apart, but only {pair.differing} answers differ. Is --share right, and each score of its file?"
        )
    yield "Until then no public score counts: the picks are those of the OOF answers alone."


def top_lines(advice: Advice) -> Iterator[str]:
    """Whether the best public score is a reason to pick that file."""
    top, first = advice.public.top, advice.picks[0].place
    scores = [advice.entries[place].public for place in (top, first)]
    if top == first or None in scores:
        return
    pair = advice.pair(top, first)
    ahead = (scores[0] - scores[1]) * advice.board.public
    name = advice.entries[top].name
    text = f"{name} is {ahead:.0f} right public answers ahead of pick 1; the noise of that is {pair.noise:.1f}."
    if ahead < 2 * pair.noise:
        yield f"{text} To pick it for its public score would be tuning to the public board."
    else:
        yield text


def change_line(advice: Advice, change: Change) -> str:
    """One pick that public scores would change, and whether to follow them."""
    old, new = advice.entries[change.old].name, advice.entries[change.new].name
    what = f"With the public scores, pick {change.number} would be {new} instead of {old}. It is the better one with a"
    if change.followed:
        return f"{what} probability of {percent(change.chance, 0)}: more than noise, so the advice follows."
    why = "that would be tuning to the public board" if change.tuning else "the public scores do not show that it is"
    return f"{what} probability of only {percent(change.chance, 0)}: {why}. Keep {old}."


def entry_cells(advice: Advice, place: int) -> list[str]:
    """A candidate's line in the table of `ENTRY_HEADER`."""
    entry = advice.entries[place]
    numbers = [str(number) for number, pick in enumerate(advice.picks, start=1) if pick.place == place]
    oof = f"{percent(entry.oof['accuracy'])} {bounds(entry.oof['interval'])}" if entry.oof else "none"
    return [
        title_of(entry),
        "".join(numbers),
        oof,
        "" if entry.nll is None else f"{entry.nll:.4f}",
        percent(entry.public),
        percent(entry.expected),
        f"±{points(half_width(entry.shift))}",
    ]


def pair_cells(advice: Advice, pair: Pair, against: int | None = None) -> list[str]:
    """A pair's line in the table of `PAIR_HEADER`; `against` is the file that all lines have in common, if any."""
    if pair.second == against:
        pair = turned(pair)
    first, second = advice.entries[pair.first].name, advice.entries[pair.second].name
    names = second if pair.first == against else f"{second} against {first}"
    limit = "" if pair.gain is not None else "≤ "
    noise = [f"{limit}{pair.noise:.1f}", f"{limit}{points(pair.noise_score)}", f"±{points(half_width(pair.shift))}"]
    if pair.gain is None:
        return [names, f"{pair.differing:,}", *noise, "", "", "", "", "not known"]
    return [
        names,
        f"{pair.differing:,}",
        *noise,
        f"{points(pair.gain, '+')} {bounds(pair.interval, '+')}",
        f"{pair.only_first} : {pair.only_second}",
        f"{pair.p_value:.3g}",
        percent(pair.shared_errors, 0),
        ("higher" if pair.gain > 0 else "lower") if pair.real else "within noise",
    ]


def turned(pair: Pair) -> Pair:
    """The same pair with its files in the other order."""
    swapped = replace(pair, first=pair.second, second=pair.first)
    if pair.gain is None:
        return swapped
    interval = None if pair.interval is None else (-pair.interval[1], -pair.interval[0])
    return replace(
        swapped, gain=-pair.gain, interval=interval, only_first=pair.only_second, only_second=pair.only_first
    )


def described(advice: Advice) -> Iterator[str]:
    """The lines that the command prints."""
    from vqaflow.reporting.terminal_table import table_lines

    yield from lead(advice)
    yield ""
    yield from table_lines(ENTRY_HEADER, [entry_cells(advice, place) for place in range(len(advice.entries))])
    yield ""
    first = advice.picks[0].place
    if shown := [pair for pair in advice.pairs if first in (pair.first, pair.second)]:
        yield f"Against pick 1, {advice.entries[first].name}:"
        yield from table_lines(PAIR_HEADER, [pair_cells(advice, pair, first) for pair in shown])
        yield HOW_TO_READ
    yield ""
    yield from (f"note: {note}" for note in advice.notes)
    yield verdict(advice)
    yield from file_lines(advice)
    yield from public_lines(advice)
    for number, pick in enumerate(advice.picks):
        yield f"Pick {number + 1}: {title_of(advice.entries[pick.place])}. {' '.join(pick_lines(advice, number))}"
    yield from missing_line(advice)


def missing_line(advice: Advice) -> Iterator[str]:
    """What to do if there are fewer candidates than selections."""
    if len(advice.picks) < 2:
        yield "There is no second candidate: give earlier submission files, or add a member (config members)."
