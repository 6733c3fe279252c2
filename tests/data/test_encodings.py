"""Tables in other encodings: what would break if a wrong one were named, or if the user's own name were not used.

The texts ask about pictures in the languages that each encoding was made for.
"""

import unicodedata
from pathlib import Path

import pytest

from competition import COLUMNS, Competition
from vqaflow.artifacts.csv_files import UnreadableTable, detect_encoding, read_csv
from vqaflow.artifacts.encodings.guesses import likely_encodings
from vqaflow.artifacts.labels import sample_encoding
from vqaflow.commands.command_line import main
from vqaflow.config.data_check import encoding_problems
from vqaflow.ensemble.submission.sample import read_sample

QUESTIONS = {}
for line in Path(__file__).with_name("questions_in_languages.txt").read_text(encoding="utf-8").splitlines():
    name, question = line.split("\t")
    QUESTIONS[name] = QUESTIONS.get(name, "") + question + "\n"
ENCODINGS = {
    "ru": "cp1251 koi8_r iso8859_5 cp866 mac_cyrillic cp855",
    "uk": "cp1251 koi8_u iso8859_5 cp1125 mac_cyrillic",
    "bg": "cp1251 iso8859_5 cp866 mac_cyrillic",
    "sr": "cp1251 iso8859_5 cp855",
    "kk": "kz1048 ptcp154",
    "el": "cp1253 iso8859_7 cp737 cp869 mac_greek",
    "he": "cp1255 iso8859_8 cp862",
    "ar": "cp1256 iso8859_6 cp720",
    "th": "cp874 iso8859_11",
    "tr": "cp1254 iso8859_9 cp857 mac_turkish iso8859_3",
    "fr": "cp1252 iso8859_15 cp850 cp437 mac_roman iso8859_1",
    "de": "cp1252 cp850 mac_roman cp437",
    "es": "cp1252 cp850 mac_roman cp437",
    "pt": "cp1252 cp850 mac_roman",
    "pl": "cp1250 iso8859_2 cp852 mac_latin2",
    "cs": "cp1250 iso8859_2 cp852 mac_latin2",
    "hu": "cp1250 iso8859_2 cp852 mac_latin2",
    "hr": "cp1250 iso8859_2 cp852 mac_croatian",
    "ro": "cp1250 iso8859_2 cp852 mac_romanian",
    "lv": "cp1257 iso8859_13 iso8859_4 cp775",
    "lt": "cp1257 iso8859_13 iso8859_4 cp775",
    "et": "cp1257 iso8859_15",
    "sv": "cp1252 cp850 mac_roman",
    "da": "cp1252 cp865 cp850 mac_roman",
    "is": "cp1252 cp861 mac_iceland iso8859_10",
    "mt": "iso8859_3",
    "eo": "iso8859_3",
    "cy": "iso8859_14",
    "vi": "cp1258",
}
TONES = "\u0300\u0301\u0303\u0309\u0323"


def written(text, encoding):
    """The bytes of a text; cp1258 writes the tones of Vietnamese as characters of their own."""
    if encoding != "cp1258":
        return text.encode(encoding, errors="ignore")  # some lack a letter or a sign of the language
    parts = []
    for c in text:
        plain = unicodedata.normalize("NFD", c)
        base = unicodedata.normalize("NFC", "".join(part for part in plain if part not in TONES))
        parts.append(base + "".join(part for part in plain if part in TONES))
    return "".join(parts).encode(encoding)


@pytest.mark.parametrize(
    ("language", "encoding"), [(language, name) for language, names in ENCODINGS.items() for name in names.split()]
)
def test_the_first_guess_reads_the_text_right(language, encoding):
    """The user is told to set data.encoding to it: a wrong one would train on nonsense."""
    data = written(QUESTIONS[language], encoding)
    shown = b"".join(line for line in data.splitlines(keepends=True) if not line.isascii())
    assert shown.decode(likely_encodings(shown)[0].codec) == shown.decode(encoding)


@pytest.mark.parametrize(
    ("sentence", "encoding"),
    [
        ("It’s what the “sign” says — isn’t it?", "cp1252"),
        ("It costs £5 or 7€, doesn’t it?", "cp1252"),
        ("the dog’s bowl, at 25°C", "cp1252"),
        ("½ cup of sugar in the café…", "cp1252"),
        ("It’s what the “sign” says — isn’t it?", "mac_roman"),
    ],
)
def test_a_few_signs_in_english_are_read_as_signs(tmp_path, sentence, encoding):
    """Read as letters of another language, they would be the likeliest words of that language."""
    rows = "2,What is the colour of the thing on the table?\n" * 60
    (tmp_path / "a.csv").write_bytes(f"id,q\n1,{sentence}\n{rows}".encode(encoding))
    with pytest.raises(UnreadableTable) as caught:
        detect_encoding(tmp_path / "a.csv")
    assert sentence.encode(encoding).decode(caught.value.codec) == sentence, caught.value.what


def test_an_encoding_that_reads_alike_in_part_is_told_next(tmp_path):
    """Old Cyrillic of a Mac differs from cp1251 in a few letters: both are named, in order."""
    (tmp_path / "a.csv").write_bytes(("id,q\n1," + QUESTIONS["ru"]).encode("cp1251"))
    with pytest.raises(UnreadableTable) as caught:
        detect_encoding(tmp_path / "a.csv")
    assert "it looks like cp1251 (Cyrillic), or else mac-cyrillic (Cyrillic, of a Mac)" in caught.value.what
    assert caught.value.cure_or_key == "Save the file as CSV in UTF-8, or set data.encoding: cp1251"


@pytest.mark.parametrize(
    ("encoding", "read"),
    [
        ("koi8_r", "koi8-r"),
        ("utf-16", "utf-16"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32-le", "utf-32-le"),
        ("utf-7", "utf-7"),
        ("iso2022_jp_2", "iso2022_jp_2"),
        ("KOI8-R", "koi8-r"),
    ],
)
def test_the_named_encoding_is_read(tmp_path, encoding, read):
    text = "id,q\n1,Какого цвета чашка?\n2,да\n"
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert detect_encoding(tmp_path / "a.csv", encoding) == read
    rows = read_csv(tmp_path / "a.csv", encoding)[1]
    assert rows == [["1", "Какого цвета чашка?"], ["2", "да"]]
    for other in ("id,q\n1,ABC\n", "id,q\n1,무슨 색\n"):
        (tmp_path / "b.csv").write_text(other, encoding="utf-8")  # a table beside it may be in UTF-8
        assert read_csv(tmp_path / "b.csv", encoding)[1] == [other.split("\n")[1].split(",")]


def test_the_key_goes_before_the_guess_of_korean(tmp_path):
    """A short Chinese text may be everyday syllables in CP949."""
    (tmp_path / "a.csv").write_bytes(b"id,q\n1," + "가나다".encode("cp949") + b"\n")
    assert detect_encoding(tmp_path / "a.csv") == "cp949"
    assert detect_encoding(tmp_path / "a.csv", "gbk") == "gbk"


def test_a_wrong_name_stops_with_the_line_and_the_guess(tmp_path):
    (tmp_path / "a.csv").write_bytes("id,q\n1,x\n2,Какого цвета чашка?\n".encode("koi8_r"))
    with pytest.raises(UnreadableTable, match="not of the encoding gbk, which data.encoding names") as caught:
        detect_encoding(tmp_path / "a.csv", "gbk")
    assert caught.value.line == 3 and "koi8-r" in caught.value.what


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("koi8r", "did you mean 'koi8_r'?"),
        ("ANSI", "did you mean 'cp949' (of Windows in Korean), 'cp1252'"),
        ("Unicode", "did you mean 'utf_16'?"),
        ("UTF-8 with BOM", "did you mean 'utf_8_sig'?"),
        ("utf8mb4", "did you mean 'utf_8'?"),
        ("KO16MSWIN949", "did you mean 'cp949'?"),
        ("x-windows-932", "did you mean 'cp932'?"),
        ("base64", "Write a name"),
        ("idna", "Write a name"),
        ("한글", "Write a name"),
    ],
)
def test_a_name_that_is_no_encoding_is_refused(name, told):
    assert any(told in problem for problem in encoding_problems("data.encoding", name))


@pytest.mark.parametrize("name", [None, "gbk", "GB18030", "Shift_JIS", "cp1252", "windows-1251", "latin1", "TIS-620"])
def test_a_name_of_an_encoding_passes(name):
    assert not list(encoding_problems("data.encoding", name))


@pytest.mark.parametrize("encoding", ["gb18030", "koi8_r", "utf-16"])
def test_all_three_tables_are_read_in_it(tmp_path, encoding):
    data = Competition(tmp_path)
    data.encoding = encoding
    for rows in (data.train, data.test):
        for row in rows:
            row["question"] = "Какого цвета чашка?"
            row |= {letter: f"жёлтый {letter}" for letter in "abcd"}
    data.sample = [{"номер": row["id"], "ответ": "a"} for row in data.test]
    message = data.fail()
    assert "or set data.encoding: " in message, message
    columns = {**COLUMNS}
    train, test = data.run(encoding=encoding, columns=columns)
    assert train["a"].iloc[0] == test["a"].iloc[0] == "жёлтый a"
    labels = tmp_path / "out" / "labels.json"
    assert sample_encoding(labels) == encoding
    assert read_sample(tmp_path / "sample.csv", labels).columns == ("номер", "ответ")


def test_init_takes_the_encoding_and_writes_it(tmp_path, monkeypatch, capsys):
    data = Competition(tmp_path)
    data.encoding = "koi8_r"
    for rows in (data.train, data.test):
        for row in rows:
            row["question"] = "Какого цвета чашка?"
            row |= {letter: f"жёлтый {letter}" for letter in "abcd"}
    for name, rows in (("train", data.train), ("test", data.test)):
        data.write(name, rows)
    data.write("sample", [{"id": row["id"], "answer": "a"} for row in data.test])
    monkeypatch.chdir(tmp_path)
    command = ["init", ".", "--card", "t4", "--output", "my.yaml"]
    with pytest.raises(SystemExit):
        main(command)
    assert "or give --encoding koi8_r" in capsys.readouterr().err
    main([*command, "--encoding", "koi8_r"])
    assert "encoding: koi8_r" in (tmp_path / "my.yaml").read_text(encoding="utf-8")
