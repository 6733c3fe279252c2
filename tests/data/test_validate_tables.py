"""Tables: what would break for the user if a cell were misread, a problem missed, or a row lost."""

import csv
import subprocess
import sys
from contextlib import nullcontext
from itertools import dropwhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from competition import COLUMNS, Competition
from vqaflow.artifacts.csv_files import UnreadableTable, detect_encoding, is_blank, read_records
from vqaflow.data import validate_tables
from vqaflow.ensemble.submission.sample import read_sample
from vqaflow.question_types import side_by_side
from vqaflow.question_types.side_by_side import SideBySide
from vqaflow.runtime.digests import file_digest


@pytest.fixture
def data(tmp_path):
    return Competition(tmp_path)


def test_a_clean_competition_passes(data):
    train, test = data.run()
    found = ["sha256", "pixels", "phash", "width", "height", "qtype", "flip_unsafe", "usable"]
    texts = ["id", "path", "image_file", "question", "a", "b", "c", "d"]
    assert list(train) == [*texts, "answer", "source", *found] and list(test) == [*texts, *found]
    assert list(train["id"]) == [row["id"] for row in data.train] and list(test["id"]) == [r["id"] for r in data.test]
    first = train.iloc[0]
    assert first["image_file"] == str(data.folder / first["path"]) and (first["width"], first["height"]) == (16, 12)
    assert first["sha256"] == file_digest(first["image_file"]) and len(first["phash"]) == 16
    assert train["usable"].all() and test["usable"].all() and data.problems().empty


def test_equal_input_gives_equal_bytes(data):
    data.run()
    before = {p.name: p.read_bytes() for p in (data.folder / "out").iterdir()}
    data.run()
    assert before == {p.name: p.read_bytes() for p in (data.folder / "out").iterdir()}


def test_a_large_table_gives_the_same_bytes(data, monkeypatch):
    """Its questions are typed in two other processes, while the rows before them are written."""
    data.train[2]["answer"] = "x"
    monkeypatch.setattr(validate_tables, "CHUNK_ROWS", 1)
    monkeypatch.setattr("competition.replaced_classifier", nullcontext)
    data.run(on_bad_row="quarantine", max_quarantined=0.5)
    before = {p.name: p.read_bytes() for p in (data.folder / "out").iterdir()}
    started = []
    monkeypatch.setattr(side_by_side, "MANY", 4)
    monkeypatch.setattr(side_by_side, "job_cores", lambda: 2)
    real = SideBySide._started
    monkeypatch.setattr(SideBySide, "_started", lambda self: started.append(real(self)) or started[-1])
    data.run(on_bad_row="quarantine", max_quarantined=0.5)
    assert len(started) == 2 and all(process.returncode is not None for process in started)
    assert before == {p.name: p.read_bytes() for p in (data.folder / "out").iterdir()}


@pytest.mark.parametrize(
    "values", [("1", "01", "nan", "None"), ("TRUE", "3/4", "007", "1e5"), ("NA", "null", "-", "0")]
)
def test_choices_stay_the_strings_they_are(data, values):
    """A table reader that guesses types shows the model `1.0` for `01`, and drops `nan`."""
    for row in data.train + data.test:
        row.update(zip("abcd", values, strict=True))
    for table in data.run():
        assert [tuple(row) for row in table[list("abcd")].values.tolist()] == [values] * 6
    assert data.problems().empty


def test_cells_may_hold_line_breaks_quotes_and_commas(data):
    data.train[1]["question"] = '첫째 줄\n"둘째" 줄, 끝\r\n'
    data.train[3]["answer"] = "x"
    message = data.fail()
    assert f"{data.folder}/train.csv line 7, id 'train_0003', column answer" in message, "lines are those of an editor"
    data.train[3]["answer"] = "a"
    assert data.run()[0]["question"][1] == '첫째 줄\n"둘째" 줄, 끝\r\n'


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2, max_size=4)
    )
)
def test_any_cells_survive_writing_and_reading(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    kept = list(dropwhile(is_blank, rows))  # the first row with something in it is the header
    assert [cells for _, cells in read_records(path, "utf-8-sig")] == kept or any(
        "\ufeff" in c for r in rows for c in r
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_encodings(data, encoding):
    """Excel in Korea saves CP949, or UTF-8 with a byte order mark that must not become part of the first name."""
    data.encoding = encoding
    data.train[0]["a"] = "똠방각하"  # only CP949 has this syllable, EUC-KR does not
    train, _ = data.run()
    assert train["a"][0] == "똠방각하" and train["question"][1] == "무슨 색인가요? 1" and list(train)[0] == "id"


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("id,q\n" + "x,ascii only\n" * 999_999 + "y,색\n", "utf-8", "utf-8-sig"),
        ("id,q\n" + "x,ascii only\n" * 999_999 + "y,색\n", "cp949", "cp949"),
        ("id,q\nx,색", "cp949", "cp949"),
        ("id,q\nx,색", "utf-8", "utf-8-sig"),
        ("id,q\nx,café 챕", "utf-8", "utf-8-sig"),
        ("", "utf-8", "utf-8-sig"),
    ],
)
def test_the_whole_file_decides_its_encoding(tmp_path, text, encoding, expected):
    """One Korean letter after twelve megabytes of ASCII is enough to decide, and the block's edge must not split it."""
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    assert detect_encoding(path) == expected


@settings(max_examples=60)
@given(st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1), st.integers(0, 3))
def test_any_korean_utf8_is_utf8(tmp_path_factory, text, offset):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(("x" * ((1 << 20) - offset) + text).encode())
    assert detect_encoding(path) == "utf-8-sig"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("id,q\nx,señor\ny,Äpfel".encode("latin-1"), 2),
        ("id,q\nx,Äpfel und Öl\n".encode("latin-1"), 2),
        ("id,q\nx,색".encode("utf-16"), 1),
        ("id,q\nx,색\ny,".encode() + b"\xff\n", 3),
    ],
)
def test_other_encodings_are_refused_not_guessed(tmp_path, content, line):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableTable, match="UTF-8") as caught:
        detect_encoding(path)
    assert caught.value.line == line


@pytest.mark.parametrize("rows", [30, 300_000])
def test_a_bad_byte_in_cp949_names_its_own_line(tmp_path, rows):
    """Not the first line with Korean in it, where there is nothing to find."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,q\n" + "x,색\n".encode("cp949") * rows + b"y,\xff\n")
    with pytest.raises(UnreadableTable, match="CP949 up to this line") as caught:
        detect_encoding(path)
    assert caught.value.line == rows + 2


def test_an_image_column_is_found_without_being_named(data):
    for row in data.train:
        row["image"] = row.pop("path")
    train, _ = data.run()
    assert train["path"][0] == "train/train_0000.png" and "image" not in train


def test_the_other_image_column_is_named_where_files_are_missing(data):
    """`path` is taken by default; where `image` has the files, the names in `path` lead nowhere."""
    for row in data.train:
        row["image"], row["path"] = row["path"], "old/" + row["path"]
    assert "or set data.columns.image to 'image', which is also a column" in data.fail()
    names = COLUMNS | {"image": "image"}
    assert len(data.run(columns=names)[0]) == 6


def test_own_column_names_and_extra_columns(data):
    """Extra columns are kept as text; those called like a column of ours get a prefix."""
    names = {"id": "번호", "image": "파일", "question": "질문", "choices": ["1", "2", "3", "4"], "answer": "정답"}
    ours = {"id": "번호", "path": "파일", "question": "질문", "a": "1", "b": "2", "c": "3", "d": "4", "answer": "정답"}
    data.train = [
        {ours[k]: v for k, v in row.items()} | {"출처": "01", "width": "9", "": str(i)}
        for i, row in enumerate(data.train)
    ]
    data.test = [{ours[k]: v for k, v in row.items()} | {"answer": ""} for row in data.test]
    data.sample = [{"번호": row["번호"], "정답": ""} for row in data.test]
    train, test = data.run(columns=names)
    assert list(train)[-3:] == ["출처", "csv_width", "csv_11"] and train["출처"][0] == "01" and train["width"][0] == 16
    assert "answer" not in test and list(test)[-1] == "csv_answer"
    data.train[2]["정답"] = "z"
    assert "column 정답" in data.fail(columns=names)


def spoil(data):
    """One of each fault that a row can have."""
    train, test = data.train, data.test
    train[0]["question"] = ""
    train[0]["b"] = " \u200b"
    train[0]["answer"] = ""
    train[1]["answer"] = "B"
    train[2]["answer"] = " c"
    train[3]["answer"] = "e"
    train[4]["id"] = "test_0001"
    train[5]["id"] = "train_0003"
    test[0]["path"] = "test/none.png"
    test[1]["path"] = "../secret.png"
    test[2]["path"] = str(data.folder.parent / "test_0002.png")
    (data.folder / "test" / "test_0003.png").write_bytes(b"")
    (data.folder / "test" / "test_0004.png").write_text("no image")
    half = data.folder / "test" / "test_0005.png"
    half.write_bytes(half.read_bytes()[:200])
    test += [data.row("test", 6), data.row("test", 7)]
    (data.folder / "test" / "test_0006.png").unlink()
    (data.folder / "test" / "test_0006.png").symlink_to(__file__)
    Image.new("1", (2000, 1000)).save(data.folder / "test" / "test_0007.png")  # more than max_image_pixels
    return {
        ("empty_cell", "train_0000", "question"),
        ("empty_cell", "train_0000", "b"),
        ("empty_cell", "train_0000", "answer"),
        ("answer_form", "train_0001", "answer"),
        ("answer_form", "train_0002", "answer"),
        ("answer_value", "train_0003", "answer"),
        ("id_in_train_and_test", "test_0001", "id"),
        ("duplicate_id", "train_0003", "id"),
        ("image_missing", "test_0000", "path"),
        ("image_outside", "test_0001", "path"),
        ("image_outside", "test_0002", "path"),
        ("image_empty", "test_0003", "path"),
        ("image_unreadable", "test_0004", "path"),
        ("image_truncated", "test_0005", "path"),
        ("image_outside", "test_0006", "path"),
        ("image_bomb", "test_0007", "path"),
    }


def test_every_problem_is_reported_at_once(data):
    """Correcting one fault per run would take a user an evening."""
    expected = spoil(data)
    message = data.fail()
    assert data.kinds() == expected
    assert "16 problems" in message and "3 empty_cell" in message and "Write b" in message and "and 4 more" in message
    assert "problems.failed.csv" in message and "quarantine" in message
    listed = data.problems()
    assert (listed["cure"] != "").all() and set(listed["severity"]) == {"error"}
    assert list(listed["file"].str.rsplit("/").str[-1]) == ["train.csv"] * 8 + ["test.csv"] * 8
    assert data.problems("problems.failed").equals(listed)


def test_a_stopped_run_keeps_the_tables_of_the_last_good_one(data):
    data.run()
    before = (data.folder / "out/train.parquet").read_bytes()
    data.train[0]["answer"] = "E"
    data.fail()
    assert (data.folder / "out/train.parquet").read_bytes() == before
    assert sorted(p.name for p in (data.folder / "out").iterdir()) == [
        "labels.json",
        "problems.csv",
        "problems.failed.csv",
        "test.parquet",
        "train.parquet",
    ]
    data.train[0]["answer"] = "a"
    data.run()
    assert not (data.folder / "out/problems.failed.csv").exists(), "an old list would mislead"


def test_quarantine_leaves_train_rows_out_and_keeps_test_rows(data):
    """A test row must stay in the submission, whatever its image."""
    expected = spoil(data)
    data.train.append(data.row("train", 6) | {"answer": "d"})
    data.test.append(data.row("test", 8))
    train, test = data.run(on_bad_row="quarantine")
    assert list(train["id"]) == ["train_0006"] and train["usable"].all() and train["width"].dtype == "int64"
    assert list(test["id"]) == [row["id"] for row in data.test] and list(test["usable"]) == [False] * 8 + [True]
    bad = test[:8]
    assert bad["sha256"].isna().all() and (bad["width"] == 0).all() and data.kinds() == expected


@pytest.mark.parametrize(("split", "column"), [("train", "answer"), ("test", "path")])
def test_quarantine_of_every_row_of_a_table_stops(data, split, column):
    """Trainings for a test table without one image end in a submission of guesses, or in nothing."""
    for row in getattr(data, split):
        row[column] = "E"
    assert f"{split}.csv: no usable row is left" in data.fail(on_bad_row="quarantine")
    assert len(data.problems("problems.failed")) == 6, "the list must survive the failed rule"


@pytest.mark.parametrize("on_bad_row", ["stop", "quarantine"])
def test_ids_that_do_not_tell_test_rows_apart_always_stop(data, on_bad_row):
    """No row can be set apart: each needs an answer under its own id."""
    data.test[1]["id"] = "test_0000"
    data.test[2]["id"] = ""
    data.sample = [{"id": i, "answer": ""} for i in ("test_0000", "test_0003", "test_0004", "test_0009", "test_0009")]
    message = data.fail(on_bad_row=on_bad_row)
    assert "set data.on_bad_row" not in message
    assert data.kinds() == {
        ("duplicate_id", "test_0000", "id"),
        ("empty_cell", "", "id"),
        ("duplicate_id", "test_0009", "id"),
        ("id_not_in_test", "test_0009", "id"),
        ("id_not_in_sample", "test_0005", "id"),
    }


def test_a_fifth_choice_is_named_as_what_it_is(data):
    """Another letter, the cure for a typo, would teach the model a wrong answer."""
    for row in data.train + data.test:
        row["e"] = "보라"
    data.train[2]["answer"] = "e"
    message = data.fail()
    assert "beyond the 4 of data.columns.choices ('e')" in message
    assert "Set data.columns.choices: [a, b, c, d, e], or leave out" in message
    assert "Write the letter" not in message


def test_equal_choices_are_reported_and_used(data):
    """The real competition has three such training rows and one such test row, which needs an answer."""
    data.train[0].update(a="빨강", b="빨강", answer="c")
    data.train[1].update(a="빨강", b="빨강 ", answer="b")
    data.train[2].update(a="3", b="３")
    data.test[0].update(c="x", d="x")
    train, test = data.run()
    assert len(train) == 6 and test["usable"].all() and train["b"][2] == "３"
    assert data.kinds() == {
        ("equal_choices", "train_0000", "b"),
        ("ambiguous_answer", "train_0001", "b"),
        ("merged_choices", "train_0002", "b"),
        ("equal_choices", "test_0000", "d"),
    }
    assert set(data.problems()["severity"]) == {"warning"}


def test_a_wrong_extension_is_reported_and_the_image_used(data):
    Image.new("RGB", (8, 8)).save(data.folder / "train/train_0000.png", format="JPEG")
    train, _ = data.run()
    assert train["usable"].all() and data.kinds() == {("image_extension", "train_0000", "path")}


def test_ragged_rows(data):
    """A forgotten quotation mark shifts cells: nothing of such a row can be trusted."""
    data.run()
    path = data.folder / "train.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] += ",more"
    lines[2] = lines[2].rsplit(",", 2)[0]
    path.write_text("\n".join([*lines[:4], "", *lines[4:]]) + "\n\n", encoding="utf-8")
    message = data.fail(write=False)
    assert data.kinds() == {("cells", "train_0000", ""), ("cells", "train_0001", "")}
    assert "9 cells, the header 8" in message and "6 cells" in message
    assert len(data.run(write=False, on_bad_row="quarantine")[0]) == 4


@pytest.mark.parametrize("cell", ['"open', '"closed" too early"'])
def test_broken_quotes_name_the_line_they_start_at(data, cell):
    """They swallow the rest of the file; its end does not help."""
    data.run()
    path = data.folder / "train.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] = f"train_0002,train/train_0002.png,{cell},1,2,3,4,a"
    path.write_text("\n".join(lines), encoding="utf-8")
    for on_bad_row in ("stop", "quarantine"):
        assert "train.csv line 4: a quotation mark" in data.fail(write=False, on_bad_row=on_bad_row)


def test_a_cell_that_is_too_long_is_reported_as_such(data):
    """A user who was sent to look for an open quotation mark would find none."""
    data.train[2]["question"] = "?" * 131_073
    message = data.fail()
    assert "train.csv line 4: a cell is longer than 131,072 characters" in message and "Shorten it" in message


def test_missing_columns_name_the_nearest_in_every_file(data):
    for row in data.train:
        row["Question"] = row.pop("question")
        row["anwser"] = row.pop("answer")
    for row in data.test:
        del row["c"]
    message = data.fail()
    assert "Is it 'Question'?" in message and "Is it 'anwser'?" in message
    assert "test.csv line 1: no column 'c'" in message and message.count("no column") == 3


def test_a_column_named_twice(data):
    data.run()
    path = data.folder / "test.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("a,b,c,d", "a,b,c,c"), encoding="utf-8")
    assert "two columns are called 'c'" in data.fail(write=False)


@pytest.mark.parametrize("header", ["id,answer", "id,label", "번호,정답"])
def test_a_sample_s_columns_may_be_called_anything(data, header):
    """The submission is written by place: a name that only the competition's sample has must not stop the run."""
    data.run()
    ids = "".join(f"{row['id']},\n" for row in data.test)
    (data.folder / "sample.csv").write_text(f"{header}\n{ids}", encoding="utf-8")
    assert len(data.run(write=False)[1]) == 6
    assert read_sample(data.folder / "sample.csv").columns == tuple(header.split(","))


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        (",id,answer", "0,{},", "Remove the first, unnamed column"),
        ("answer,id", ",{}", "Put the column 'id' first"),
        ("id,path,answer", "{},x,", "Keep two"),
        ("id", "{}", "Add a second column"),
        ("id;answer", "{};", "Separate the cells by commas"),
        ("id,answer", "{},,", "the row has 3 cells, the header 2"),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["stop", "quarantine"])
def test_a_sample_that_no_submission_can_be_made_from_stops_before_training(data, header, row, words, on_bad_row):
    """The sample's columns are only needed at the very end, after days of training."""
    data.run()
    rows = [header, *(row.format(test["id"]) for test in data.test)]
    (data.folder / "sample.csv").write_text("\n".join(rows), encoding="utf-8")
    message = data.fail(write=False, on_bad_row=on_bad_row)
    assert "sample.csv line" in message and words in message


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_separators_are_recognised(data, mark):
    """One fault, one message: eight missing columns would hide it."""
    data.run()
    path = data.folder / "train.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",", mark), encoding="utf-8")
    message = data.fail(write=False)
    assert "tables: 1 problem (1 separator)" in message and "Separate the cells by commas" in message


def test_missing_files_and_empty_tables_are_reported_together(data):
    data.run()
    (data.folder / "train.csv").unlink()
    (data.folder / "test.csv").write_text("")
    (data.folder / "sample.csv").write_text("id,answer\n")
    message = data.fail(write=False, image_root=data.folder / "images")
    for part in (
        "train.csv: no such file",
        "test.csv: the file is empty",
        "sample.csv: the table has no rows",
        "image_root",
    ):
        assert part in message
    assert "4 problems" in message


def test_one_file_is_inspected_once(data, monkeypatch):
    """Several questions about one picture are common; decoding is what takes the time."""
    from vqaflow.data import checks as table_checks

    seen = []
    real = table_checks.inspect_image
    monkeypatch.setattr(table_checks, "inspect_image", lambda path, limit: seen.append(path) or real(path, limit))
    for row in data.train:
        row["path"] = "train/../train/train_0000.png" if row["answer"] == "a" else "train/train_0000.png"
    train, _ = data.run()
    assert len(seen) == 1 + len(data.test) and train["sha256"].nunique() == 1


@pytest.mark.slow
def test_100_000_rows_within_2_gb(tmp_path):
    """Measured in a separate process, whose questions are of one type: its memory, with a fault in every row."""
    data = Competition(tmp_path, rows=1)
    base = data.train[0] | {"question": "이 사진에 보이는 것은 무엇인가요? " * 4}
    data.write("train", [base | {"id": f"train_{i:06d}", "answer": "E"} for i in range(100_000)])
    data.write("test", data.test)
    data.write("sample", [{"id": "test_0000", "answer": ""}])
    code = f"""
from pathlib import Path
from vqaflow.question_types import side_by_side
side_by_side.MANY = 10**9
side_by_side.classify_many = lambda rows: [side_by_side.QuestionType("general", False) for _ in rows]
from vqaflow.runtime.errors import UserError
from vqaflow.config.sections import ColumnsConfig
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
f = Path({str(tmp_path)!r})
try:
    validate_tables(RawFiles(f/"train.csv", f/"test.csv", f/"sample.csv", f),
        TableSettings(ColumnsConfig(**{COLUMNS!r}), on_bad_row="stop", normal_form="NFKC", max_image_pixels=10**6),
        TableFiles(f/"o/train.parquet", f/"o/test.parquet", f/"o/problems.csv", f/"o/labels.json"))
except UserError as error:
    assert "100000 problems" in str(error), error
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)  # of this program only: ru_maxrss would include its parent
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1500


def test_the_test_tables_images_may_lie_in_another_folder(data):
    """Kaggle's images/train and images/test with bare names, which may be the same in both."""
    for number, row in enumerate([*data.train, *data.test]):
        path = data.folder / row["path"]
        row["path"] = f"{number % len(data.train)}.png"
        path.rename(path.with_name(row["path"]))
    roots = {"image_root": data.folder / "train", "test_image_root": data.folder / "test"}
    train, test = data.run(**roots)
    assert list(train["path"]) == list(test["path"])
    assert not set(train["sha256"]) & set(test["sha256"]), "test rows would be shown training images"
    assert "nowhere: no such folder" in data.fail(**roots | {"test_image_root": data.folder / "nowhere"})
