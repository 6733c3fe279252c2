"""CSV files as people and programs save them: what would break if one were misread, or refused without its cause."""

import gzip
import io
import random
import zipfile

import pandas as pd
import pytest

from competition import Competition
from vqaflow.artifacts.csv_files import UnreadableTable, detect_encoding, read_csv

CHINESE = (
    "id,path,question,a,b,c,d,answer\nq1,1.png,这张图片里有几只猫？,一只,两只,三只,四只,a\n"
    "q2,2.png,桌子上放着什么颜色的杯子？,红色,蓝色,绿色,黄色,b\nq3,3.png,这是什么东西,猫,狗,鸟,马,c\n"
)
TRADITIONAL = (
    "id,path,question,a,b,c,d,answer\nq1,1.png,這張圖片裡有幾隻貓？,一隻,兩隻,三隻,四隻,a\n"
    "q2,2.png,桌子上放著什麼顏色的杯子？,紅色,藍色,綠色,黃色,b\n"
)
JAPANESE = (
    "id,path,question,a,b,c,d,answer\nq1,1.png,この写真には何匹の猫がいますか。,一匹,二匹,三匹,四匹,a\n"
    "q2,2.png,テーブルの上のカップは何色ですか。,赤,青,緑,黄色,b\n"
)
FRENCH = (
    "id,path,question,a,b,c,d,answer\nq1,1.png,De quelle couleur est la forêt en été ?,dorée,grisâtre,bleue,brûlée,a\n"
)
KOREAN = (
    "id,path,question,a,b,c,d,answer\nq1,1.png,사진에 보이는 컵은 무슨 색인가요?,빨간색,파란색,초록색,노란색,a\n"
    "q2,2.png,간판에 적힌 한자는 무엇인가요?,漢字,美人,大韓,日本,b\n"
)


@pytest.fixture
def data(tmp_path):
    data = Competition(tmp_path)
    data.run()
    return data


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [
        (CHINESE, "gbk", "GBK (simplified Chinese)"),
        ("id,q\nx,这是什么东西\ny,猫 狗 鸟 马\n", "gb2312", "GBK (simplified Chinese)"),
        (CHINESE, "gb18030", "GBK (simplified Chinese)"),
        (TRADITIONAL, "big5", "Big5 (traditional Chinese)"),
        (JAPANESE, "euc_jp", "EUC-JP (Japanese)"),
        ("id,q\nx,亜はどれですか\n", "euc_jp", "EUC-JP (Japanese)"),
        (JAPANESE, "shift_jis", "Shift_JIS (Japanese)"),
        (JAPANESE, "iso2022_jp", "ISO-2022-JP"),
        (FRENCH, "cp1252", "cp1252 (Western European)"),
        (KOREAN, "johab", "Johab (Korean)"),
        (FRENCH, "utf-32", "UTF-32"),
        (KOREAN, "utf-32-le", "UTF-32"),
        (KOREAN, "utf-16", "the file is in UTF-16"),
        (FRENCH, "utf-16-le", "UTF-16"),
    ],
)
def test_text_of_another_encoding_is_refused_by_name(tmp_path, text, encoding, words):
    """Chinese read as Korean trains a model on syllables that mean nothing, without a word."""
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(UnreadableTable) as caught:
        detect_encoding(path)
    assert words in caught.value.what and "Save" in caught.value.cure, caught.value


@pytest.mark.parametrize(
    ("text", "encoding", "decoder"),
    [(CHINESE, "gbk", "cp949"), (JAPANESE, "euc_jp", "cp949"), (TRADITIONAL, "big5", "cp949")],
)
def test_no_sample_of_its_lines_passes_as_korean(tmp_path, text, encoding, decoder):
    """Whichever rows a table has: the letters that happen to be Hangul must not decide."""
    words = [cell for line in text.splitlines()[1:] for cell in line.split(",")[2:7]]
    decodable, rng = 0, random.Random(1)
    for _ in range(300):
        data = ("id,q\n" + "\n".join(rng.sample(words, 3)) + "\n").encode(encoding)
        try:
            data.decode(decoder)
        except UnicodeDecodeError:
            continue
        decodable += 1
        (tmp_path / "a.csv").write_bytes(data)
        with pytest.raises(UnreadableTable):
            detect_encoding(tmp_path / "a.csv")
    assert decodable > 5, "else the test says nothing"


@pytest.mark.parametrize("encoding", ["cp949", "euc_kr"])
def test_korean_with_hanja_signs_and_jamo_is_read(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes((KOREAN + "q3,3.png,초성 ㄱㅅ의 뜻은 ① ㎝ 가운데?,ㄱ,ㄴ,“ㄷ”,25℃,a\n").encode(encoding))
    assert detect_encoding(path) == "cp949"


def test_a_bad_byte_in_utf8_is_told_as_that(tmp_path):
    """Not as another encoding: there is one byte to correct."""
    path = tmp_path / "a.csv"
    path.write_bytes(KOREAN.encode() + b"q3,\xb0\xa1,x\n")
    with pytest.raises(UnreadableTable, match="the text is UTF-8, but this line") as caught:
        detect_encoding(path)
    assert caught.value.line == 4


def xlsx():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train.csv", "id")
    return buffer.getvalue()


def parquet():
    buffer = io.BytesIO()
    pd.DataFrame({"id": ["1"]}).to_parquet(buffer)
    return buffer.getvalue()


KINDS = {
    "gzip": (gzip.compress(b"id,path\n", mtime=0), "gunzip"),
    "zip archive": (zipped(), "Unpack"),
    ".xlsx": (xlsx(), "Save it as CSV"),
    ".xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Save it as CSV"),
    "parquet": (parquet(), "Save it as CSV"),
    "JSON Lines": (b'{"id": "1", "question": "?"}\n{"id": "2"}\n', "Save it as CSV"),
    "a JSON file": (b'[\n  {"id": "1"}\n]\n', "Save it as CSV"),
    "web page": (b"\n<!DOCTYPE html>\n<html><title>Sign in, please</title></html>", "Log in"),
    "git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
    "a PNG picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "Give a CSV"),
}


@pytest.mark.parametrize("words", KINDS)
def test_a_file_of_another_kind_is_called_what_it_is(data, words):
    """One message; not an encoding, a quotation mark, or seven columns that are missing."""
    content, cure = KINDS[words]
    (data.folder / "train.csv").write_bytes(content)
    message = data.fail(write=False)
    assert words in message and cure in message and "1 problem (1 not_csv)" in message, message


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("sep=,", "a note for Excel ('sep=')"),
        ("sep=;", "a note for Excel ('sep=;')"),
        ("# made by Kim on 3 May, v2", "a comment"),
        (None, "has none of the columns id,path,question,a,b,c,d,answer"),
    ],
)
def test_a_first_line_that_is_no_header_is_one_problem(data, first, words):
    """Eight missing columns would hide it."""
    data.edit("train", lambda lines: [first, *lines] if first else lines[1:])
    message = data.fail(write=False)
    assert words in message and "1 problem (1 header)" in message and "no column" not in message, message


def test_empty_columns_of_excel_are_left_out(data):
    """Deleted columns stay in the file as commas, in the header and in each row."""
    before = data.run(write=False)
    for name in ("train", "test", "sample"):
        data.edit(name, lambda lines: [line + ",,," for line in lines])
    after = data.run(write=False)
    assert all(table.equals(old) for table, old in zip(after, before, strict=True)) and data.problems().empty


def test_an_empty_cell_at_the_end_of_each_row_is_no_fault(data):
    """Some programs end each row with a comma, but not the header."""
    before = data.run(write=False)
    for name in ("train", "test"):
        data.edit(name, lambda lines: [lines[0], *(line + "," for line in lines[1:])])
    after = data.run(write=False)
    assert all(table.equals(old) for table, old in zip(after, before, strict=True)) and data.problems().empty


def test_a_row_with_one_cell_more_than_the_others_stays_a_fault(data):
    """A comma without quotes moves the choices: an empty cell at the end must not hide that."""
    for row in data.test:
        row["note"] = ""
    data.write("test", data.test)
    data.edit("test", lambda lines: [line.replace("무슨 색인가요? 2", "무슨, 색인가요? 2") for line in lines])
    assert "the row has 9 cells, the header 8" in data.fail(write=False)
    assert data.kinds() == {("cells", "test_0002", "")}


def test_unnamed_columns_with_cells_are_kept(data):
    data.edit("train", lambda lines: [lines[0] + ",,", *(f"{line},x{i},y" for i, line in enumerate(lines[1:]))])
    train, _ = data.run(write=False)
    assert list(train)[-2:] == ["csv_9", "csv_10"] and train["csv_9"][1] == "x1"


def test_two_unread_columns_of_one_name_are_kept(data):
    """Nobody reads them; they are no reason to stop."""
    data.edit("train", lambda lines: [lines[0] + ",note,note", *(line + ",x,y" for line in lines[1:])])
    train, _ = data.run(write=False)
    assert list(train)[-2:] == ["note", "csv_note"] and (train["note"][0], train["csv_note"][0]) == ("x", "y")


@pytest.mark.parametrize("on_bad_row", ["stop", "quarantine"])
def test_rows_of_empty_cells_are_left_out_with_one_warning(data, on_bad_row):
    """Rows emptied in Excel stay in the file as commas; hundreds of them must not be hundreds of problems."""
    before = data.run(write=False)
    for name in ("train", "test", "sample"):
        data.edit(name, lambda lines: [*lines[:3], "," * lines[0].count(","), *lines[3:], *[",,,,,,,, "] * 40])
    after = data.run(write=False, on_bad_row=on_bad_row)
    assert all(table.equals(old) for table, old in zip(after, before, strict=True))
    listed = data.problems()
    assert list(listed["kind"]) == ["empty_rows"] * 3 and set(listed["severity"]) == {"warning"}
    assert listed["problem"].str.startswith("41 rows").all() and set(listed["row"]) == {"4"}
    assert len(read_csv(data.folder / "sample.csv")[1]) == 6, "nor for what reads the sample later"


@pytest.mark.parametrize("on_bad_row", ["stop", "quarantine"])
def test_two_stray_quotation_marks_do_not_swallow_a_row(data, on_bad_row):
    """The text between them is one cell, so that two rows become one that looks right."""
    rows = [
        'train_0000,train/train_0000.png,"What is 5,a,b,c,d,a',
        'train_0001,train/train_0001.png,What is 6",a,b,c,d,a',
    ]
    data.edit("train", lambda lines: [lines[0], *rows, *lines[3:]])
    message = data.fail(write=False, on_bad_row=on_bad_row)
    assert "train.csv line 2: a quotation mark that opens in this line closes 1 line below" in message


def test_stray_quotation_marks_with_rows_between_them(data):
    def change(lines):
        lines[2] = lines[2].replace("무슨", '"무슨')
        lines[5] = lines[5].replace("색인가요? 4", '색인가요? 4"')
        return lines

    data.edit("test", change)
    assert "test.csv line 3: a quotation mark that opens in this line closes 3 lines below" in data.fail(write=False)


def test_questions_of_several_lines_with_commas_are_read(data):
    """Real ones have both, and are no fault."""
    data.train[1]["question"] = "Which, of the five,\nfrom left, right, above, below,\nor, as the case may be, behind?"
    data.train[2]["question"] = "One, two, three, four, five,\nsix, seven, eight"
    assert data.run()[0]["question"][2] == "One, two, three, four, five,\nsix, seven, eight"


@pytest.mark.parametrize(
    ("text", "encoding", "name"), [(CHINESE, "hz", "HZ"), (CHINESE, "utf-7", "UTF-7"), (JAPANESE, "utf-7", "UTF-7")]
)
def test_encodings_that_have_only_ascii_are_refused_by_name(tmp_path, text, encoding, name):
    """They decode as UTF-8, and a model would be trained on `+wKzJxA-`."""
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    with pytest.raises(UnreadableTable, match=f"in {name}.* Save the file as CSV in UTF-8"):
        detect_encoding(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "text", ["A+B", "blue+yellow", "3+abc-4", "+8210-1234-5678", "C++", "a ~{x} b", "Team+ABCD, +x"]
)
def test_plus_signs_and_tildes_are_text(tmp_path, text):
    """A file that is refused as UTF-7 and is not could not be mended."""
    (tmp_path / "a.csv").write_text(f"id,question\n1,{text}\n")
    assert detect_encoding(tmp_path / "a.csv") == "utf-8-sig"


@pytest.mark.parametrize("mark", [";", "\t", "|", ":", "~", "^", "#", "&", "\x1f", "||", " | ", "，", " ", "_"])
def test_cells_that_something_else_separates_are_told_by_its_name(data, mark):
    """A colon or a tilde was told as eight missing columns, or as a row in the place of the header."""
    for name in ("train", "test", "sample"):
        data.edit(name, lambda lines: [line.replace(",", mark) for line in lines])
    message = data.fail(write=False)
    shown = {"\t": "tabs", " ": "spaces"}.get(mark, repr(mark))
    assert f"Separate the cells by commas, not by {shown}" in message and "no column" not in message, message


@pytest.mark.parametrize("mark", [" , ", ", "])
@pytest.mark.parametrize("quoted", [False, True])
def test_spaces_around_the_commas_are_told_by_name(data, mark, quoted):
    """Ids and paths would begin with a space that nobody sees, or a quotation mark would be called stray."""

    def spaced(lines):
        rows = [line.split(",") for line in lines]
        return [mark.join(f'"{cell}"' if quoted else cell for cell in cells) for cells in rows]

    data.edit("train", spaced)
    message = data.fail(write=False)
    assert "1 problem (1 separator)" in message and "Remove the spaces around the commas" in message, message


def test_spaces_in_the_header_alone_are_no_fault(data):
    before = data.run(write=False)
    data.edit("train", lambda lines: [lines[0].replace(",", ", "), *lines[1:]])
    assert data.run(write=False)[0].equals(before[0])


@pytest.mark.parametrize("marks", ["''", "“”", "``", "「」"])
def test_quotation_marks_that_csv_does_not_know_are_told(data, marks):
    data.edit(
        "train", lambda lines: [",".join(marks[0] + cell + marks[1] for cell in line.split(",")) for line in lines]
    )
    message = data.fail(write=False)
    assert f"the names are in {marks[0]}…{marks[1]}" in message and "1 problem" in message, message
