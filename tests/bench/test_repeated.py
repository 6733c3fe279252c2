"""A benchmark of several runs tells its median and how far the others lie from it."""

from vqaflow.bench.repeated import run_times


def rows_of(*seconds: float | None) -> list[list[dict]]:
    """A run for each time; None: the run failed."""
    runs = [
        [{"recipe": "ours", "batch": 4, "s/row": value, "rows/s": 1 / value, "peak GiB": 10 * value}]
        if value
        else [{"recipe": "ours", "batch": 4, "error": "out of memory"}]
        for value in seconds
    ]
    return runs


def test_the_row_is_the_run_in_the_middle_with_its_spread():
    """A single run says nothing about the next one; figures of one row must come from one run."""
    runs = iter(rows_of(0.5, 0.2, 0.4))
    (row,) = run_times(3, lambda: next(runs))
    assert (row["s/row"], row["rows/s"], row["peak GiB"]) == (0.4, 2.5, 4.0)
    assert row["spread"]["runs"] == 3
    assert row["spread"]["s/row"] == {"min": 0.2, "median": 0.4, "max": 0.5}
    assert row["spread"]["peak GiB"] == {"min": 2.0, "median": 4.0, "max": 5.0}


def test_one_run_has_no_spread():
    (row,) = run_times(1, lambda: rows_of(0.5)[0])
    assert "spread" not in row


def test_a_run_that_failed_is_not_counted():
    """Two runs of three are told as two; a row that always fails keeps its message."""
    runs = iter(rows_of(0.5, None, 0.4))
    (row,) = run_times(3, lambda: next(runs))
    assert row["s/row"] == 0.4 and row["spread"]["runs"] == 2
    (row,) = run_times(2, lambda: rows_of(None)[0])
    assert row["error"] == "out of memory"


def test_rows_are_merged_by_what_they_are_of():
    """Where a run lacks a row, or keeps the products of another number of layers, no two recipes are mixed."""
    first = [{"recipe": "Unsloth", "s/row": 1.0}, {"recipe": "ours, 3 layers keep products", "s/row": 0.1}]
    second = [{"recipe": "ours, 2 layers keep products", "s/row": 0.3}]
    runs = iter([first, second])
    unsloth, ours = run_times(2, lambda: next(runs))
    assert (unsloth["s/row"], unsloth["spread"]["runs"]) == (1.0, 1)
    assert (ours["recipe"], ours["spread"]["s/row"]["max"]) == ("ours, 3 layers keep products", 0.3)
