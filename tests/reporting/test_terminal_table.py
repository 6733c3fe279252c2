"""Tables for the terminal: aligned in Korean too, whole in a pipe, and nothing in the data is obeyed."""

import os
import subprocess
import sys

import pytest
from rich.cells import cell_len

from places import SCRIPTS
from vqaflow.reporting.terminal_table import WIDEST, table_lines


def test_korean_letters_are_two_columns_wide():
    header, first, second = table_lines(["id", "x"], [["가나", "1"], ["abc", "2"]])
    assert (header, first, second) == ("id    x", "가나  1", "abc   2")


def test_long_cells_are_cut_and_others_are_whole():
    """Nine long columns are wider than any terminal."""
    header, *lines = table_lines(list("abcdefghi"), [["질문" * 50] * 9, ["x" * WIDEST] * 9])
    assert lines[0].count("…") == 9 and lines[1] == "  ".join(["x" * WIDEST] * 9)
    assert {cell_len(cell) for cell in lines[0].split("…")[:1]} <= {WIDEST - 2, WIDEST - 1}


@pytest.mark.parametrize("text", ["[red]stop[/red]", "[/]", ":smile:", "[link=http://192.0.2.1]x", "\\[b]"])
def test_data_is_no_markup(text):
    assert table_lines([text], [[text]]) == [text, text]


@pytest.mark.parametrize("sign", ["\x1b", "\n", "\r", "\t", "\x07", "\x9b", "\u200b", "\u202e", "\ud800"])
def test_a_terminal_obeys_no_sign_in_the_data(sign):
    """A question could clear the screen, change the window's title or hide what follows it."""
    assert table_lines(["id"], [[f"a{sign}[31mb"]]) == ["id", "a [31mb"]


@pytest.mark.parametrize("more", [{"COLUMNS": "20"}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}, {}])
def test_a_pipe_gets_whole_lines_without_colours(more):
    code = (
        "from vqaflow.reporting.terminal_table import table_lines as t; print(*t(['h'] * 5, [['x' * 40] * 5]), sep='|')"
    )
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)} | more
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == (" " * 41).join("h" * 5) + "|" + "  ".join(["x" * 40] * 5) + "\n"
