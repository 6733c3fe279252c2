"""Rows that are too long for the prompt: what would break if only training or scoring found them, hours later."""

import pytest

from competition import Competition


@pytest.fixture
def data(tmp_path):
    return Competition(tmp_path)


@pytest.mark.parametrize("table", ["train", "test"])
@pytest.mark.parametrize(("cell", "text"), [("question", "word " * 4000), ("b", "가" * 5000)])
def test_a_pasted_document_stops_the_run_with_its_row_and_cell(data, table, cell, text):
    getattr(data, table)[2][cell] = text
    message = data.fail(max_tokens=1000)
    row = getattr(data, table)[2]["id"]
    assert f"id {row!r}" in message and "1 problem (1 too_long)" in message, message
    assert f"Shorten the cell {cell}, or raise prompt.max_tokens" in message and "max_tokens is 1,000" in message


def test_a_row_that_may_be_too_long_is_told_and_used(data):
    data.train[1]["question"] = "word " * 1200  # 6,000 characters: 750 to 1,500 tokens
    train, _ = data.run(max_tokens=1000)
    assert len(train) == len(data.train)
    assert ("too_long", data.train[1]["id"], "") in data.kinds()


def test_the_same_row_passes_a_higher_limit(data):
    data.train[1]["question"] = "word " * 4000
    data.run(max_tokens=8192)
    assert data.problems().empty
