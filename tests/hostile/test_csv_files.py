"""CSV files of every kind that breaks readers: the cells that they hold, or one message that says what is wrong."""

import csv
import json
import os
from pathlib import Path

import pytest

import naughty
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.runtime.errors import UserError

# The kinds of csv-spectrum, made here: the file, and its records.
READ = {
    "simple": ("a,b,c\n1,2,3\n", [["1", "2", "3"]]),
    "Windows line ends": ("a,b,c\r\n1,2,3\r\n", [["1", "2", "3"]]),
    "old Mac line ends": ("a,b\r1,2\r3,4\r", [["1", "2"], ["3", "4"]]),
    "mixed line ends": ("a,b\r\n1,2\n3,4\r5,6", [["1", "2"], ["3", "4"], ["5", "6"]]),
    "no line end": ("a,b\n1,2", [["1", "2"]]),
    "comma in quotes": ('id,place,n\n1,"Seoul, Korea",2\n', [["1", "Seoul, Korea", "2"]]),
    "coordinates": ('id,at\n1,"37.56, 126.97"\n', [["1", "37.56, 126.97"]]),
    "empty cells": ('a,b,c\n1,"",""\n2,,4\n', [["1", "", ""], ["2", "", "4"]]),
    "empty cells, Windows": ('a,b,c\r\n1,"",""\r\n2,,4\r\n', [["1", "", ""], ["2", "", "4"]]),
    "doubled quotes": ('a,b\n1,"he said ""no"""\n', [["1", 'he said "no"']]),
    "JSON": ('a,b\n1,"{""type"": ""Point"", ""at"": [1, 2.5]}"\n', [["1", '{"type": "Point", "at": [1, 2.5]}']]),
    "line breaks": ('a,b,c\n"once upon\na time",5,6\n7,8,9\n', [["once upon\na time", "5", "6"], ["7", "8", "9"]]),
    "line breaks, Windows": ('a,b\r\n"one\r\ntwo",5\r\n', [["one\r\ntwo", "5"]]),
    "quotes and line breaks": ('a,b\n1,"""x"" \ny"\n', [["1", '"x" \ny']]),
    "other letters": ("a,b\n가,ʤ\n", [["가", "ʤ"]]),
    "byte order mark": ("\ufeffa,b\n1,2\n", [["1", "2"]]),
    "byte order mark before a quote": ('\ufeff"a",b\n1,2\n', [["1", "2"]]),
    "empty lines": ("a,b\n\n1,2\n\n\n3,4\n\n", [["1", "2"], ["3", "4"]]),
    "spaces stay": ("a,b\n 1 , 2\n", [[" 1 ", " 2"]]),
    "one column": ("a\n1\n2\n", [["1"], ["2"]]),
    "header alone": ("a,b\n", []),
    "header twice": ("a,b\n1,2\na,b\n3,4\n", [["1", "2"], ["3", "4"]]),
    "single quotes are text": ("a,b\n'1',it's\n", [["'1'", "it's"]]),
    "a quote within a cell": ('a,b\n1,5" wide\n', [["1", '5" wide']]),
    "backslashes are text": ("a,b\n1,x\\\n2,\\n\n", [["1", "x\\"], ["2", "\\n"]]),
    "line breaks of Unicode are text": ("a,b\n1,x\u2028y\x85z\x0b\n", [["1", "x\u2028y\x85z\x0b"]]),
    "a cell of 100,000 characters": (f"a,b\n1,{'x' * 100_000}\n", [["1", "x" * 100_000]]),
    "a thousand columns": (",".join(map(str, range(1000))) + "\n" + ",".join("x" * 1000), [["x"] * 1000]),
    "names twice": ("a,a\n1,2\n", [["1", "2"]]),
    "header of two lines": ('a,"b\nc"\n1,2\n', [["1", "2"]]),
}
# The bytes of a file, and words of its message.
REFUSED = {
    "nothing": (b"", "is empty"),
    "a byte order mark alone": (b"\xef\xbb\xbf", "is empty"),
    "white space": (b" \n\t\n", "is empty"),
    "a quote that is not closed": (b'a,b\n1,"2\n3,4\n', "line 2: a quotation mark is not closed"),
    "text behind a quote": (b'a,b\n1,"2"x\n', "line 2: a quotation mark is not closed, or is inside a cell"),
    "too few cells": (b"a,b,c\n1,2\n", "line 2: the row has 2 fields, the header 3"),
    "too many cells": (b"a,b\n1,2,3\n4,5\n", "line 2: the row has 3 fields, the header 2"),
    "a cell that is too long": (b"a,b\n1," + b"x" * 140_000, "line 2: a cell is longer than 131,072 characters"),
    "zero bytes": (b"a,b\n1,\0\n", "line 2: this line has zero bytes"),
    "zero bytes alone": (bytes(5000), "line 1: this line has zero bytes"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "is in UTF-16"),
    "UTF-16 without its mark": ("id,answer\n1,a\n".encode("utf-16-le"), "is in UTF-16"),
    "UTF-32": ("a,b\n1,2\n".encode("utf-32"), "is in UTF-32"),
    "Latin-1": ("id,b\n1,caf\u00e9 \u00e0 la cr\u00e8me\n".encode("latin-1"), "neither UTF-8 nor Korean"),
    "a byte that is no UTF-8": ("a,b\n가나다라,1\n".encode() + b"\xff,2\n", "line 3"),
    "an end within a character": ("a,b\n1,가나다".encode()[:-1], "it was cut off"),
    "a surrogate in UTF-8": (b"a,b\n1,\xed\xa0\x80\n", "line 2"),
    "ISO-2022-JP": ("a,b\n1,日本\n".encode("iso2022_jp"), "ISO 2022"),
    "gzip": (b"\x1f\x8b\x08\0" + bytes(40), "gzip"),
    "zip": (b"PK\x03\x04" + bytes(60), "not CSV"),
    "parquet": (b"PAR1" + bytes(60), "parquet"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(60), "PNG"),
    "PDF": (b"%PDF-1.7\n" + bytes(60), "PDF"),
    "a login page": (b"<!doctype html><html><body>log in</body></html>", "web page"),
    "JSON lines": (b'{"id": 1, "b": 2}\n{"id": 2, "b": 3}\n', "JSON"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git LFS"),
    "ELF": (b"\x7fELF\x02\x01\x01" + bytes(100), "not text"),
}


def read(path: Path, data: bytes) -> list[list[str]]:
    path.write_bytes(data)
    return read_csv(path)[1]


@pytest.mark.parametrize(("text", "records"), READ.values(), ids=READ)
def test_each_cell_is_read_as_it_stands(tmp_path, text, records):
    """A cell that is read otherwise is another question, or another answer."""
    assert read(tmp_path / "a.csv", text.encode()) == records


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, data, words):
    with pytest.raises(UserError) as error:
        read(tmp_path / "a.csv", data)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'a.csv'}") and words in message
    assert "\n" not in message and message.endswith(".")


@pytest.mark.parametrize("place", ["folder", "nowhere"])
def test_a_path_that_is_no_file_is_one_message(tmp_path, place):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"{place}: cannot be read"):
        read_csv(tmp_path / place)


def test_a_pipe_is_not_waited_for(tmp_path):
    """Of `<(zcat a.csv.gz)` the first look leaves nothing, and the second one waits without an end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: is a pipe or a device, not a file"):
        read_csv(tmp_path / "pipe")


@pytest.mark.parametrize("text", naughty.CASES)
def test_a_naughty_text_is_a_cell_like_others(tmp_path, text):
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["id", "text"], ["1", text], [text, "2"]])
    assert read_csv(path)[1] == [["1", text], [text, "2"]]


def test_the_published_files_of_csv_spectrum_are_read():
    """The corpus itself, where VQAFLOW_CORPORA has it."""
    folder = naughty.corpora() / "csv-spectrum"
    files = sorted((folder / "csvs").glob("*.csv"))
    assert len(files) >= 12
    for file in files:
        header, records = read_csv(file)
        wanted = json.loads((folder / "json" / f"{file.stem}.json").read_text(encoding="utf-8"))
        wanted = wanted if isinstance(wanted, list) else [wanted]
        found = [dict(zip(header, cells, strict=True)) for cells in records]
        for row in (*found, *wanted):
            row.pop("Contact Phone Number", None)  # the corpus has two numbers of one row
        assert found == wanted, file.name
