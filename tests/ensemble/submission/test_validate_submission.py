"""The submission: what the competition would refuse or, worse, accept and score wrongly."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqaflow.ensemble.submission.validate_submission import validate_submission
from vqaflow.ensemble.submission.write_submission import write_submission
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError

IDS = [f"{i:03d}" for i in range(1, 13)]  # '007' must not become 7
ANSWERS = list("abcdabcdabcd")
TMP_PATH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def world(tmp_path):
    """A sample, a test table and a valid submission."""
    (tmp_path / "sample.csv").write_text("id,answer\n" + "".join(f"{i},\n" for i in IDS), encoding="utf-8")
    (tmp_path / "test.csv").write_text("id,question\n" + "".join(f"{i},무엇?\n" for i in IDS), encoding="utf-8")
    (tmp_path / "submission.csv").write_bytes(submission())
    return tmp_path


def submission(ids=IDS, answers=ANSWERS, header="id,answer"):
    return (header + "\n" + "".join(f"{i},{a}\n" for i, a in zip(ids, answers, strict=True))).encode()


def validate(world, data=None, **changes):
    if data is not None:
        (world / "submission.csv").write_bytes(data)
    paths = {"submission": world / "submission.csv", "sample_submission": world / "sample.csv"}
    paths |= {"test_table": world / "test.csv", "metrics": None, "out": world / "validated.json"}
    return validate_submission(**(paths | changes))


def ensemble_file(world, ids=IDS, answers=ANSWERS):
    p = np.full((len(ids), 4), 0.1)
    p[np.arange(len(ids)), ["abcd".index(a) for a in answers]] = 0.7
    frame = pd.DataFrame({"id": ids} | {f"p_{letter}": p[:, i] for i, letter in enumerate("abcd")})
    frame.to_parquet(world / "ensemble.parquet", index=False)
    return world / "ensemble.parquet"


def write(world):
    write_submission(
        test=world / "ensemble.parquet", sample_submission=world / "sample.csv", out=world / "submission.csv"
    )
    return (world / "submission.csv").read_bytes()


def test_written_file_is_exactly_the_sample_s_shape(world):
    """The ensemble's order does not matter; the sample's does."""
    ensemble_file(world, IDS[::-1], ANSWERS[::-1])
    assert write(world) == submission()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949", "utf-8"])
def test_a_sample_saved_by_excel_gives_the_same_file(world, encoding):
    text = "id,정답\r\n" + "".join(f"{i},\r\n" for i in IDS)
    (world / "sample.csv").write_bytes(text.encode(encoding))
    ensemble_file(world)
    assert write(world) == submission(header="id,정답")
    assert validate(world)["columns"] == ["id", "정답"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [(IDS[1:], r"ensemble\.parquet: ids '001' are missing"), ([*IDS, "x"], r"sample\.csv: ids 'x' are missing")],
)
def test_ids_of_another_competition_are_refused_and_the_old_file_stays(world, ids, message):
    ensemble_file(world, ids, [ANSWERS[0]] * len(ids))
    with pytest.raises(UserError, match=message):
        write(world)
    assert (world / "submission.csv").read_bytes() == submission()


@pytest.mark.parametrize(
    "sample", ["id\n1\n", "id,answer,x\n1,,\n", "", "id,answer\n1,\n1,\n", "id,answer\n1\n", 'id,answer\n"1,\n']
)
def test_a_broken_sample_is_named(world, sample):
    ensemble_file(world)
    (world / "sample.csv").write_text(sample)
    with pytest.raises(UserError, match=r"sample\.csv"):
        write(world)


INVISIBLE = ("Cs", "Cc", "Cf", "Zs", "Zl", "Zp")
TEXT = st.text(st.characters(blacklist_categories=INVISIBLE), min_size=1, max_size=8)


@TMP_PATH
@given(st.data(), st.lists(TEXT, min_size=2, max_size=20, unique=True))
def test_every_valid_submission_is_written_and_accepted(tmp_path, data, ids):
    """Any ids at all (commas, quotes, Korean, leading zeros) and any answers that are not all the same."""
    answers = data.draw(st.lists(st.sampled_from("abcd"), min_size=len(ids), max_size=len(ids)))
    answers[:2] = "ab"
    frame = pd.DataFrame({"id": ids, "answer": ""})
    frame.to_csv(tmp_path / "sample.csv", index=False, encoding="utf-8")
    frame[["id"]].to_parquet(tmp_path / "test.parquet", index=False)
    ensemble_file(tmp_path, ids, answers)
    write(tmp_path)
    report = validate(tmp_path, test_table=tmp_path / "test.parquet")
    assert report["letters"] == {letter: answers.count(letter) for letter in "abcd"}
    assert json.loads((tmp_path / "validated.json").read_text())["sha256"] == file_digest(tmp_path / "submission.csv")


def with_answer(place, answer):
    return submission(answers=[*ANSWERS[:place], answer, *ANSWERS[place + 1 :]])


MUTATIONS = {
    "missing ids (1): '005'": submission(IDS[:4] + IDS[5:], ANSWERS[:4] + ANSWERS[5:]),
    "extra ids (1), which the sample lacks: '7'": submission([*IDS[:6], "7", *IDS[7:]]),
    "missing ids (1): '007'": submission([*IDS[:6], "7", *IDS[7:]]),
    "duplicate ids (1): '002'": submission([*IDS, "002"], [*ANSWERS, "a"]),
    "blank answers (1): 003: ''": with_answer(2, ""),
    "blank answers (1): 003: '  '": with_answer(2, "  "),
    "upper-case answers (1): 003: 'B'": with_answer(2, "B"),
    "padded answers (1): 003: ' b'": with_answer(2, " b"),
    "padded answers (1): 003: 'b\\u3000'": with_answer(2, "b\u3000"),
    "non-letter answers (1): 003: 'e'": with_answer(2, "e"),
    "non-letter answers (1): 003: 'ab'": with_answer(2, "ab"),
    "non-letter answers (1): 003: 'ａ'": with_answer(2, "ａ"),
    "non-letter answers (1): 003: 'nan'": with_answer(2, "nan"),
    "columns: the first line is 'id,label'": submission(header="id,label"),
    "'7' is nearly '007', and differs in leading zeros": submission([*IDS[:6], "7", *IDS[7:]]),
    "'007 ' is nearly '007', and differs in spaces around it": submission([*IDS[:6], "007 ", *IDS[7:]]),
    "Put the columns in the sample's order": submission(ANSWERS, IDS, header="answer,id"),
    "It is a row: write id,answer above it": submission().removeprefix(b"id,answer\n"),
    "write none (pandas: index=False)": pd.DataFrame({"id": IDS, "answer": ANSWERS}).to_csv().encode(),
    "The file is empty": b"",
    "columns: the first line is 'answer,id'": submission(ANSWERS, IDS, header="answer,id"),
    "columns: the first line is '001,a'": submission().removeprefix(b"id,answer\n"),
    "columns: the first line is ',id,answer'": pd.DataFrame({"id": IDS, "answer": ANSWERS}).to_csv().encode(),
    "columns: the first line is ''": b"",
    "columns: the first line is 'id;answer'": submission().replace(b",", b";"),
    "encoding: the file begins with a byte order mark": b"\xef\xbb\xbf" + submission(),
    "encoding: line 1 is not UTF-8": "id,정답\n".encode("cp949") + submission().split(b"\n", 1)[1],
    "constant: all 12 answers are 'a'": submission(answers=["a"] * 12),
    "fields: not as many as in the header (1): line 4": submission().replace(b"003,c", b"003,c,c"),
    "format: empty lines (1): line 3": submission().replace(b"002", b"\n002"),
    "format: line 13 is not CSV": submission().replace(b"012,d", b'012,"d'),
}


NOTES = {
    "order: row 1 has id '012', the sample has '001'": submission(IDS[::-1], ANSWERS[::-1]),
    "line ends: 13 CR": submission().replace(b"\n", b"\r\n"),
    "line ends: 1 CR (Windows line ends), first in line 4": submission().replace(b"003,c\n", b"003,c\r\n"),
}


@pytest.mark.parametrize("message", NOTES)
def test_what_competitions_take_is_a_note(world, caplog, message):
    """Kaggle finds rows by id and reads both line ends: refusing the file would cost a day's submission for nothing."""
    report = validate(world, NOTES[message])
    assert [message in note for note in report["notes"]] == [True] and message in caplog.text
    assert report["letters"] == {letter: 3 for letter in "abcd"}
    with pytest.raises(UserError) as error:
        validate(world, NOTES[message], strict=True, out=None)
    assert message in str(error.value)
    assert "notes" not in validate(world, submission(), strict=True)


def test_a_file_that_was_edited_by_hand_is_not_validated_as_the_ensemble_s(world):
    """Its accuracy was not measured: the report would claim that of other answers."""
    ensemble = ensemble_file(world)
    validate(world, NOTES["order: row 1 has id '012', the sample has '001'"], ensemble=ensemble)
    (world / "validated.json").unlink()
    with pytest.raises(UserError, match=r"rows '003' have other answers than .*ensemble.parquet") as error:
        validate(world, with_answer(2, "d"), ensemble=ensemble)
    assert "\n" not in str(error.value) and not (world / "validated.json").exists()
    assert validate(world, with_answer(2, "d"))["rows"] == 12, "by hand, any answers may be checked"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("id,answer\n001,a\n".encode("utf-16"), "the file is in UTF-16"),
        ("id,answer\n001,a\n".encode("utf-16-le"), "the file is in UTF-16"),
        (gzip.compress(submission(), mtime=0), "the file is a gzip file, not CSV. Unpack it"),
        (b"PK\x03\x04" + bytes(40), "the file is a zip archive, not CSV. Unpack it"),
        (b"<html>Sign in</html>", "a web page"),
    ],
)
def test_a_file_of_another_kind_is_named(world, data, words):
    """Not as a dozen of missing ids."""
    with pytest.raises(UserError) as error:
        validate(world, data)
    assert words in str(error.value) and "missing" not in str(error.value)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_separator_is_the_only_problem(world, mark):
    with pytest.raises(UserError) as error:
        validate(world, submission().replace(b",", mark.encode()))
    assert f"Separate the cells by commas, not by {mark!r}" in str(error.value)
    assert str(error.value).count("\n  - ") == 1, error.value


@pytest.mark.parametrize("header", ["question,ID", "question,Id", "image,image_id", "note,번호"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_ids_of_the_test_table_are_found_where_they_are(world, header, suffix):
    """In any column: a good file was refused, with the questions taken for the ids."""
    other, name = header.split(",")
    frame = pd.DataFrame({other: ["무엇?"] * 12, name: IDS})
    table = world / f"other.{suffix}"
    frame.to_csv(table, index=False) if suffix == "csv" else frame.to_parquet(table, index=False)
    if name == "image_id":
        (world / "sample.csv").write_text("image_id,answer\n" + "".join(f"{i},\n" for i in IDS))
    report = validate(
        world, submission(header="image_id,answer" if name == "image_id" else "id,answer"), test_table=table
    )
    assert report["rows"] == 12


def broken_tables(folder):
    """Test tables that cannot be read, with words of the message."""
    (folder / "text.parquet").write_text("id\n001\n")
    pd.DataFrame({"id": IDS}).to_parquet(folder / "cut.parquet")
    (folder / "cut.parquet").write_bytes((folder / "cut.parquet").read_bytes()[:100])
    (folder / "empty.parquet").write_bytes(b"")
    pd.DataFrame({"number": [1, 2]}).to_parquet(folder / "numbers.parquet")
    (folder / "folder.parquet").mkdir()
    (folder / "binary.csv").write_bytes(bytes(range(256)))
    return {
        "nowhere.parquet": "no such file",
        "nowhere.csv": "no such file",
        "folder.parquet": "no such file",
        "text.parquet": "is not a parquet file",
        "cut.parquet": "is not a parquet file",
        "empty.parquet": "is not a parquet file",
        "numbers.parquet": "no column 'id'",
        "binary.csv": "",
    }


def test_a_test_table_that_cannot_be_read_is_named_without_a_traceback(world):
    for name, words in broken_tables(world).items():
        with pytest.raises(UserError, match=name) as error:
            validate(world, test_table=world / name)
        assert words in str(error.value) and "\n" not in str(error.value), name


def test_a_test_table_with_an_empty_id_has_no_traceback(world):
    pd.DataFrame({"id": [*IDS[:-1], None]}).to_parquet(world / "other.parquet")
    with pytest.raises(UserError, match="sample and test table differ in 2 ids: '', '012'"):
        validate(world, test_table=world / "other.parquet")


def test_an_id_that_the_test_table_writes_in_another_way_is_named(world):
    """pandas makes 1.0 of 1 where a number is missing."""
    pd.DataFrame({"id": [f"{int(i)}.0" for i in IDS]}).to_parquet(world / "other.parquet")
    with pytest.raises(UserError, match=r"'1.0', which differs in .*, is only in the other"):
        validate(world, test_table=world / "other.parquet")


@pytest.mark.parametrize("message", MUTATIONS)
def test_each_malformed_kind_is_named_with_its_first_offender(world, message):
    with pytest.raises(UserError) as error:
        validate(world, MUTATIONS[message])
    assert message in str(error.value)
    assert not (world / "validated.json").exists()


@TMP_PATH
@given(st.data())
def test_any_single_change_of_an_answer_or_id_is_found(tmp_path, data):
    """No edit of one field that leaves the letters or the ids slips through."""
    place = data.draw(st.integers(0, 11))
    ids, answers = list(IDS), list(ANSWERS)
    text = data.draw(TEXT.filter(lambda t: not set(t) & set(',"')))
    if data.draw(st.booleans()):
        ids[place] = text
    else:
        answers[place] = text
    (tmp_path / "sample.csv").write_text("id,answer\n" + "".join(f"{i},\n" for i in IDS))
    (tmp_path / "test.csv").write_text("id\n" + "".join(f"{i}\n" for i in IDS))
    if ids == IDS and set(answers) <= set("abcd"):
        validate(tmp_path, submission(ids, answers))
    else:
        with pytest.raises(UserError):
            validate(tmp_path, submission(ids, answers))


def test_all_kinds_are_reported_at_once(world):
    """Nobody wants to correct a file six times."""
    data = b"\xef\xbb\xbf" + submission([*IDS[:5], "zzz", *IDS[6:]], ["A", "", *ANSWERS[2:]]).replace(b"\n", b"\r\n")
    with pytest.raises(UserError) as error:
        validate(world, data)
    for kind in ("encoding", "line ends", "missing", "extra", "upper-case", "blank"):
        assert f"- {kind}" in str(error.value)


def test_many_offenders_are_counted_not_listed(world):
    with pytest.raises(UserError, match=r"upper-case answers \(12\): .* and 7 more"):
        validate(world, submission(answers=[a.upper() for a in ANSWERS]))


@pytest.mark.parametrize(("rows", "accepted"), [(1, True), (2, True), (10, True), (11, False)])
def test_equal_answers_are_a_fault_only_where_they_cannot_be_chance(world, rows, accepted):
    """A tiny test table may well have one right letter; its run must come to its end."""
    (world / "sample.csv").write_text("id,answer\n" + "".join(f"{i},\n" for i in IDS[:rows]))
    (world / "test.csv").write_text("id\n" + "".join(f"{i}\n" for i in IDS[:rows]))
    data = submission(IDS[:rows], ["a"] * rows)
    if accepted:
        assert validate(world, data)["letters"]["a"] == rows
    else:
        with pytest.raises(UserError, match="constant: all 11 answers are 'a'"):
            validate(world, data)


def test_sample_and_test_table_must_agree(world):
    (world / "test.csv").write_text("id,question\n" + "".join(f"{i},?\n" for i in IDS[:-1]))
    with pytest.raises(UserError, match="sample and test table differ in 1 ids: '012'.*sample"):
        validate(world)


def test_the_report_says_on_which_accuracy_it_rests(world):
    overall = {"accuracy": 0.9, "n": 100, "right": 90, "wilson": [0.82, 0.94], "bootstrap": [0.84, 0.95]}
    (world / "metrics.json").write_text(json.dumps({"overall": overall}))
    report = validate(world, metrics=world / "metrics.json")
    assert report["oof"] == {"accuracy": 0.9, "n": 100, "wilson": [0.82, 0.94], "bootstrap": [0.84, 0.95]}
    (world / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"metrics\.json: is damaged \(it has no overall\.accuracy\)"):
        validate(world, metrics=world / "metrics.json")


@pytest.mark.parametrize(("data", "status"), [(submission(), 0), (submission(answers=["a"] * 12), 1)])
def test_command_exits_as_scripts_expect(world, data, status):
    (world / "submission.csv").write_bytes(data)
    command = [sys.executable, "-m", "vqaflow", "validate_submission", str(world / "submission.csv")]
    command += [
        "--sample",
        str(world / "sample.csv"),
        "--test",
        str(world / "test.csv"),
        "--out",
        str(world / "v.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status and (world / "v.json").exists() == (status == 0)
    assert "Traceback" not in done.stderr and ("valid" if status == 0 else "constant") in done.stderr


def test_a_missing_file_is_named(world):
    with pytest.raises(UserError, match=r"nowhere\.csv: cannot be read"):
        validate(world, submission=world / "nowhere.csv")
