"""The page of the advice on final selections, and how evaluate_oof makes it."""

from collections.abc import Mapping
from pathlib import Path

from vqaflow.evaluation.pages.html_page import (
    Cell,
    Span,
    box,
    cards,
    folded,
    heading,
    intervals,
    page,
    paragraphs,
    table,
)
from vqaflow.evaluation.picks.advise import Advice, Pair, advise
from vqaflow.evaluation.picks.candidates import read_candidates
from vqaflow.evaluation.picks.noise import LEAST_ROWS
from vqaflow.evaluation.picks.wording import (
    ENTRY_HEADER,
    HOW_TO_READ,
    PAIR_HEADER,
    SOURCES,
    bounds,
    entry_cells,
    file_lines,
    lead,
    missing_line,
    pair_cells,
    percent,
    pick_lines,
    public_lines,
    title_of,
    verdict,
)
from vqaflow.runtime.files import write_text

PAGE, TITLE = "picks.html", "Files for the final selection"
LOOKS = {"higher": "good", "lower": "bad"}  # of the verdict on OOF rows
MOST_PAIRS = 500  # of the folded table; with more, those without a pick are left out


def pick_page(
    *,
    train_table: Path,
    test_table: Path,
    folds: Path,
    oof: Path,
    test: Path,
    members: Mapping[str, Path],
    out: Path,
    share: float = 0.5,
) -> Advice | None:
    """Write the page on the ensemble (`oof`, `test`) and its `members` (folders by name), with no public score.

    With fewer than two test rows, of which none can be public and another private, the page says so.
    """
    found = read_candidates(
        train_table=train_table,
        test_table=test_table,
        folds=folds,
        oof=oof,
        test=test,
        members=members,
        runs={},
    )
    if found.test_rows < LEAST_ROWS:
        write_text(out, page(TITLE, [f"There is no advice for a test table of {found.test_rows} row."], []))
        return None
    advice = advise(found, share)
    write_page(advice, out)
    return advice


def write_page(advice: Advice, path: Path) -> None:
    """Write the page."""
    write_text(path, page(TITLE, lead(advice), parts(advice)))


def parts(advice: Advice) -> list[str]:
    """The page's sections."""
    picked = {pick.place for pick in advice.picks}
    made = [
        cards(
            box(f"Pick {number + 1}: {title_of(advice.entries[pick.place])}", pick_lines(advice, number))
            for number, pick in enumerate(advice.picks)
        ),
        *(box("One candidate", [line], "warning") for line in missing_line(advice)),
    ]
    if advice.public is not None:
        doubtful = advice.public.impossible or any(change.tuning for change in advice.public.changes)
        look = "warning" if doubtful else "card"
        made += [heading("Public scores"), box("What they say", public_lines(advice), look)]
    made += [heading("Candidates"), paragraphs([verdict(advice), *advice.notes]), chart(advice, picked)]
    rows = [[Cell(text) for text in entry_cells(advice, place)] for place in range(len(advice.entries))]
    made.append(table(ENTRY_HEADER, rows, "candidates"))
    made.append(paragraphs(file_lines(advice)))
    if advice.pairs:
        made += pair_parts(advice, picked)
    made.append(folded("Formulas and sources", paragraphs(SOURCES, "soft")))
    return made


def chart(advice: Advice, picked: set[int]) -> str:
    """The OOF accuracies with their intervals."""
    spans = [
        Span(
            entry.name,
            entry.oof["accuracy"],
            entry.oof["interval"],
            f"{percent(entry.oof['accuracy'])} {bounds(entry.oof['interval'])}",
            place in picked,
        )
        for place, entry in enumerate(advice.entries)
        if entry.oof
    ]
    return intervals(
        spans,
        f"OOF accuracy with its 95 % interval; dashed: {spans[0].name}. Green: the picks. Intervals that overlap do "
        "not show that files are equally good: the paired differences below are the test.",
    )


def pair_parts(advice: Advice, picked: set[int]) -> list[str]:
    """The pairs with a pick, and the others folded."""
    first = advice.picks[0].place
    near = [pair for pair in advice.pairs if first in (pair.first, pair.second)]
    others = [pair for pair in advice.pairs if first not in (pair.first, pair.second)]
    made = [
        heading(f"Against pick 1, {advice.entries[first].name}"),
        table(PAIR_HEADER, pair_rows(advice, near, first), "pairs with pick 1"),
        paragraphs([HOW_TO_READ], "soft"),
    ]
    if len(others) > MOST_PAIRS:
        others = [pair for pair in others if picked & {pair.first, pair.second}]
    if others:
        inner = table(PAIR_HEADER, pair_rows(advice, others), "other pairs")
        made.append(folded(f"{len(others)} other pairs", inner))
    return made


def pair_rows(advice: Advice, pairs: list[Pair], against: int | None = None) -> list[list[Cell]]:
    """The lines of a table of pairs; the verdict is coloured."""
    rows = []
    for pair in pairs:
        *texts, shown = pair_cells(advice, pair, against)
        rows.append([*map(Cell, texts), Cell(shown, LOOKS.get(shown, ""))])
    return rows
