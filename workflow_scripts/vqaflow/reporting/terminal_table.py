"""Tables for the terminal: aligned text without colours, the same on a screen, in a pipe and in a file."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

WIDEST = 48  # terminal columns of a cell; a Korean letter takes two
GAP = 2


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table. Cells longer than `WIDEST` end in "…"; square brackets in a text are not markup."""
    columns = [Column(plain(name), no_wrap=True, max_width=WIDEST) for name in header]
    table = Table(*columns, box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for cells in rows:
        table.add_row(*map(plain, cells))
    # As wide as the table can be: rich would fit it to the terminal, or to 80 columns in a pipe.
    console = Console(width=len(columns) * (WIDEST + GAP), color_system=None, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def plain(text: str) -> Text:
    """A text in one line, without control characters, some of which rich lets through (ESC, for example)."""
    return Text("".join(character if character.isprintable() else " " for character in text))
