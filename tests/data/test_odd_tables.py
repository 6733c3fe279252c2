"""Tables that programs and people have spoilt: one message says what is wrong, or nothing needs to be done."""

import gzip
import pickle

import pytest

from competition import Competition
from vqaflow.artifacts.csv_files import UnreadableTable, detect_encoding, read_csv

HEADER = "id,path,question,a,b,c,d,answer"


@pytest.fixture
def data(tmp_path):
    data = Competition(tmp_path)
    data.run()
    return data


def one_problem(data, kind, *words):
    """The checks stop with one problem of this kind, whose message has all the words."""
    message = data.fail(write=False)
    assert f"tables: 1 problem (1 {kind})" in message and all(word in message for word in words), message


HEADERS = {
    "spaces after the commas": lambda lines: [lines[0].replace(",", ", "), *lines[1:]],
    "a second byte order mark": lambda lines: ["\ufeff\ufeff" + lines[0], *lines[1:]],
    "invisible signs": lambda lines: [lines[0].replace("path", "path\u200b"), *lines[1:]],
    "rows of commas above it": lambda lines: [",,,,,,,", "", *lines],
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS)
def test_what_means_nothing_is_read_over(data, change):
    """Excel and editors leave these; no row or name is in doubt."""
    before = data.run(write=False)
    for name in ("train", "test"):
        data.edit(name, change)
    after = data.run(write=False)
    for table, old in zip(after, before, strict=True):
        assert table[list(old)].equals(old)
    assert data.problems().empty


def test_rows_may_only_lack_cells_that_nobody_reads(data):
    """Excel drops empty cells at the end of some rows; a row without its answer is another matter."""
    data.edit("train", lambda lines: [f"{lines[0]},note,more", *(f"{line},x,y" for line in lines[1:3]), *lines[3:]])
    train, _ = data.run(write=False)
    assert list(train["note"]) == ["x", "x", "", "", "", ""]
    data.edit("train", lambda lines: [*lines[:4], lines[4].rsplit(",", 1)[0], *lines[5:]])
    one_problem(data, "cells", "train_0003", "the row has 7 cells, the header 10")


def test_a_cell_that_a_test_row_lacks_in_the_middle_moves_no_other(data):
    """The choices would be read as the question and each other; no label of a test row shows it."""
    data.edit("test", lambda lines: [f"{lines[0]},source", *(f"{line},web" for line in lines[1:])])
    data.run(write=False)
    data.edit("test", lambda lines: [*lines[:2], without_cell(lines[2], 2), *lines[3:]])
    one_problem(data, "cells", "test_0001", "the row has 7 cells, the header 8")


def without_cell(line, place):
    cells = line.split(",")
    return ",".join(cells[:place] + cells[place + 1 :])


def test_people_s_answers_at_the_end_may_not_be_missing(data):
    """A row that was cut short would count as one that fewer people have answered."""
    people = ["answer1,answer2,answer3", *["a,a,b"] * 6]
    data.edit("train", lambda lines: [f"{x.rsplit(',', 1)[0]},{y}" for x, y in zip(lines, people, strict=True)])
    data.run(write=False)
    data.edit("train", lambda lines: [*lines[:-1], lines[-1].rsplit(",", 1)[0]])
    one_problem(data, "cells", "the row has 9 cells, the header 10")


@pytest.mark.parametrize("on_bad_row", ["stop", "quarantine"])
def test_a_header_that_is_repeated_is_left_out_with_a_warning(data, on_bad_row):
    """Files that were put together by `cat` have one for each part."""
    before = data.run(write=False)
    for name in ("train", "test", "sample"):
        data.edit(name, lambda lines: [*lines[:3], lines[0], *lines[3:], lines[0]])
    after = data.run(write=False, on_bad_row=on_bad_row)
    assert all(table.equals(old) for table, old in zip(after, before, strict=True))
    listed = data.problems()
    assert list(listed["kind"]) == ["repeated_header"] * 3 and set(listed["row"]) == {"4"}
    assert len(read_csv(data.folder / "sample.csv")[1]) == 6


@pytest.mark.parametrize("sign", ["\u200b", "\ufeff", "\x1a", "\u00a0", "\u3000"])
def test_rows_of_invisible_signs_are_empty(data, sign):
    data.edit("train", lambda lines: [*lines, sign, f"{sign},,,,,,,"])
    data.run(write=False)
    assert list(data.problems()["kind"]) == ["empty_rows"]


def test_a_row_with_little_in_it_is_one_problem(data):
    """A sum below the table would be seven problems."""
    data.edit("train", lambda lines: [*lines, "Total,,,,,,,"])
    one_problem(data, "empty_cell", "line 8, id 'Total': all cells that are read are empty, but for id. Delete the row")


FIRST_LINES = {
    "a title": (lambda lines: ["My table,,,,,,,", "", *lines], "which is in line 3; it is 'My table'"),
    "a title of one cell": (lambda lines: ["Made by Kim", *lines], "which is in line 2"),
    "two lines of notes": (lambda lines: ["Made by Kim", "in May", *lines], "which is in line 3"),
    "an error of a server": (lambda _: ["404: Not Found"], "it is '404: Not Found'"),
}


@pytest.mark.parametrize(("change", "words"), FIRST_LINES.values(), ids=FIRST_LINES)
def test_a_first_line_that_is_no_header_is_told(data, change, words):
    data.edit("train", change)
    one_problem(data, "header", "train.csv line 1: the first line", words)


SEPARATORS = {
    "two signs": (lambda lines: [lines[0].replace(",", ";") + ",note", *lines[1:]], "not by ';'"),
    "spaces": (lambda lines: [line.replace(",", "  ") for line in lines], "was read as one cell"),
    "full-width commas": (lambda lines: [line.replace(",", "，") for line in lines], "was read as one cell"),
    "quoted lines": (lambda lines: [f'"{line}"' for line in lines], "Remove the quotation marks around whole lines"),
}


@pytest.mark.parametrize(("change", "words"), SEPARATORS.values(), ids=SEPARATORS)
def test_what_separates_the_cells_is_one_problem(data, change, words):
    data.edit("train", change)
    one_problem(data, "separator", words)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (HEADER.upper(), "Are they 'ID', 'PATH', 'QUESTION', 'A', 'B', 'C', 'D', 'ANSWER'?"),
        (HEADER.replace("a,b,c,d", "opt1,opt2,opt3,opt4"), "no columns 'a', 'b', 'c', 'd' among"),
    ],
)
def test_many_missing_columns_are_one_problem(data, header, words):
    """Eight messages with the same cure hide it."""
    data.edit("train", lambda lines: [header, *lines[1:]])
    one_problem(data, "missing_column", words, "under data.columns")


def test_names_in_quotes_that_csv_does_not_know_are_told(data):
    data.edit("train", lambda lines: [", ".join(f"'{name}'" for name in HEADER.split(",")), *lines[1:]])
    one_problem(data, "quoting", "the names are in '…'", 'Put cells in "…", not in')


def test_a_sample_without_a_header_is_told(data):
    """Its first row would be taken for the names, and its id be missing."""
    data.edit("sample", lambda lines: lines[1:])
    one_problem(data, "header", "the first line is a row ('test_0000' is an id)")


@pytest.mark.parametrize("ids", [["k1", "flower 3"], ["강아지", "cat_12"], ["7", "x-9"]])
def test_stray_quotation_marks_are_found_where_ids_differ(data, ids):
    """The second row's file name shows it where its id is not like the first's."""
    rows = [
        f'{ids[0]},train/train_0000.png,"What is 5,a,b,c,d,a',
        f'{ids[1]},train/train_0001.png,What is 6",a,b,c,d,a',
    ]
    data.edit("train", lambda lines: [lines[0], *rows, *lines[3:]])
    one_problem(data, "quoting", "line 2: a quotation mark that opens in this line closes 1 line below")


@pytest.mark.parametrize("start", [60, 9000])
@pytest.mark.parametrize("length", [1, 2000])
def test_zero_bytes_are_damage(tmp_path, start, length):
    """They are invisible in an editor, and would become part of a cell."""
    lines = [HEADER, *(f"q{i},{i}.png,What is it?,a,b,c,d,a" for i in range(400))]
    text = "\n".join(lines).encode()
    (tmp_path / "a.csv").write_bytes(text[:start] + bytes(length) + text[start + length :])
    with pytest.raises(UnreadableTable, match="this line has zero bytes") as caught:
        detect_encoding(tmp_path / "a.csv")
    assert caught.value.line == text[:start].count(b"\n") + 1 and "Get the file again" in caught.value.cure


@pytest.mark.parametrize("lost", [1, 2])
def test_a_file_that_ends_within_a_character_was_cut(tmp_path, lost):
    (tmp_path / "a.csv").write_bytes("id,question\n1,무슨 색인가요".encode()[:-lost])
    with pytest.raises(UnreadableTable, match="the file ends here, within a character") as caught:
        detect_encoding(tmp_path / "a.csv")
    assert caught.value.line == 2


@pytest.mark.parametrize("signs", ["①,②,③,④", "25℃,“x”,3㎝,★", "ⓐ,㉠,→,□"])
def test_a_table_in_english_with_korean_signs_is_cp949(tmp_path, signs):
    (tmp_path / "a.csv").write_bytes(f"id,question,a,b,c,d\n1,Which?,{signs}\n".encode("cp949"))
    assert detect_encoding(tmp_path / "a.csv") == "cp949"


KINDS = {
    "a pointer of git LFS": (
        b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
        "git lfs pull",
    ),
    "a pointer of git-annex": (b"/annex/objects/SHA256E-s12--4d7a.csv\n", "git annex get"),
    "a note of DVC": (b"outs:\n- md5: 4d7a\n  path: train.csv\n", "dvc pull"),
    "a web page": (b'<?xml version="1.0"?>\n<!DOCTYPE html>\n<html></html>', "Log in"),
    "a page or file of markup": (b"<div>Please log in</div>", "Log in"),
    "a server's message": (b'{"code": 403, "message": "Accept the rules first"}', "Log in"),
    "a server's message about": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "Log in"),
    "a Python pickle": (pickle.dumps({"id": [1]}, 4), "to_csv"),
    "a compressed file (.Z)": (b"\x1f\x9d\x90\x01\x02", "Unpack"),
    "an lz4 file": (b"\x04\x22\x4d\x18\x01\x02", "Unpack"),
    "a zip archive": (b"PK\x05\x06" + bytes(18), "Unpack"),
    "a gzip file": (gzip.compress(b"id\n", mtime=0), "gunzip"),
    "a Stata file": (b"<stata_dta><header><release>118", "Save it as CSV"),
    "a rich text file": (b"{\\rtf1\\ansi id,path}", "Save it as CSV"),
    "an old Office file": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Save it as CSV"),
}


@pytest.mark.parametrize("words", KINDS)
def test_a_file_of_another_kind_is_called_what_it_is(data, words):
    content, cure = KINDS[words]
    (data.folder / "train.csv").write_bytes(content)
    one_problem(data, "not_csv", words, cure)


def test_a_path_that_is_no_readable_file_is_told(data):
    """Each ended in "no such file", or in a traceback."""
    path = data.folder / "train.csv"
    path.unlink()
    path.mkdir()
    one_problem(data, "file_missing", "it is a folder, not a file")
    path.rmdir()
    path.symlink_to(".git/annex/objects/SHA256E-s12--4d7a.csv")
    one_problem(data, "file_missing", "it is a link to .git/annex/objects/SHA256E-s12--4d7a.csv, which is not there")
    path.unlink()
    path.symlink_to("/proc/self/mem")
    one_problem(data, "file_missing", "the file cannot be read (Input/output error)")
