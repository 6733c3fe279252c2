"""The submission in the competition's own labels: a file in other ones is counted as all wrong."""

import json

import numpy as np
import pandas as pd
import pytest

from vqaflow.artifacts.labels import SIGNS, Labels, labels_content
from vqaflow.commands.command_line import main
from vqaflow.ensemble.submission.answers import accepted_of_run
from vqaflow.ensemble.submission.checks import rows_to_constant
from vqaflow.ensemble.submission.validate_submission import validate_submission
from vqaflow.ensemble.submission.write_submission import write_submission
from vqaflow.runtime.errors import UserError

IDS = [f"{i:03d}" for i in range(1, 13)]
RIGHT = list("abcdabcdabcd")
COLUMNS = ["choice one", "choice two", "choice three", "choice four"]
FAMILIES = [*SIGNS, "columns", "texts"]


def text_of(letter, number):
    return f"답 {letter}, {number}"


def label(family, letter, number):
    if family == "texts":
        return text_of(letter, number)
    return (COLUMNS if family == "columns" else SIGNS[family])["abcd".index(letter)]


@pytest.fixture
def world(tmp_path):
    """A checked test table, an ensemble whose answers are RIGHT, and an empty sample."""
    table = pd.DataFrame({"id": IDS} | {x: [text_of(x, i) for i in range(12)] for x in "abcd"})
    table.to_parquet(tmp_path / "test.parquet", index=False)
    p = np.full((12, 4), 0.1)
    p[np.arange(12), ["abcd".index(x) for x in RIGHT]] = 0.7
    ensemble = pd.DataFrame({"id": IDS} | {f"p_{x}": p[:, i] for i, x in enumerate("abcd")})
    ensemble.to_parquet(tmp_path / "ensemble.parquet", index=False)
    sample(tmp_path, [""] * 12)
    return tmp_path


def sample(world, answers):
    pd.DataFrame({"id": IDS, "answer": answers}).to_csv(world / "sample.csv", index=False)


def labels(world, family):
    """labels.json for a submission in a family."""
    found = Labels.of_family(family, COLUMNS)
    path = world / "labels.json"
    path.write_text(json.dumps(labels_content(Labels.of_family("letters", COLUMNS), found, {})), encoding="utf-8")
    return path


def answered(world, answers):
    pd.DataFrame({"id": IDS, "answer": answers}).to_csv(world / "submission.csv", index=False, lineterminator="\n")


def write(world, family):
    write_submission(
        test=world / "ensemble.parquet",
        sample_submission=world / "sample.csv",
        out=world / "submission.csv",
        labels=labels(world, family),
        test_table=world / "test.parquet",
    )
    return pd.read_csv(world / "submission.csv", dtype=str)["answer"].tolist()


def validate(world, **changes):
    paths = {"submission": world / "submission.csv", "sample_submission": world / "sample.csv"}
    paths |= {"test_table": world / "test.parquet", "metrics": None, "out": None}
    return validate_submission(**(paths | changes))


def test_the_second_of_two_equal_choices_is_an_answer_of_the_ensemble(world):
    """Its text is that of the first one, too: the last rule of a finished run must not call the file edited."""
    table = pd.read_parquet(world / "test.parquet")
    table.loc[2, "a"] = table.loc[2, "c"]
    table.to_parquet(world / "test.parquet", index=False)
    assert write(world, "texts")[2] == text_of("c", 2)
    paths = {"labels": world / "labels.json", "ensemble": world / "ensemble.parquet"}
    assert validate(world, **paths)["rows"] == 12
    answered(world, [text_of(letter, i) for i, letter in enumerate("bbcdabcdabcd")])
    assert "rows '001' have other answers" in refused(world, **paths)


def refused(world, **changes):
    with pytest.raises(UserError) as error:
        validate(world, **changes)
    return str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_written_and_accepted_and_each_other_one_refused(world, family):
    """What a scorer would count as all wrong must not be called valid, nor the right file be refused."""
    expected = [label(family, letter, i) for i, letter in enumerate(RIGHT)]
    assert write(world, family) == expected
    report = validate(world, labels=world / "labels.json")
    assert report["letters"] == dict.fromkeys("abcd", 3) and ("labels" in report) == (family != "letters")
    for other in FAMILIES:
        found = [label(other, letter, i) for i, letter in enumerate(RIGHT)]
        if other != family:
            answered(world, found)
            message = refused(world, labels=world / "labels.json")
            assert f"{Labels.of_family(family, COLUMNS)}." in message and "answers (" in message


@pytest.mark.parametrize("family", [*SIGNS, "texts"])
def test_by_hand_the_sample_shows_the_labels(world, family):
    """Today a sample with `A` or `1` gives a file with `a`, called valid, and the right file is refused."""
    sample(world, [label(family, "a", i) for i in range(12)])
    answered(world, [label(family, letter, i) for i, letter in enumerate(RIGHT)])
    assert validate(world)["letters"] == dict.fromkeys("abcd", 3)
    if family != "letters":
        answered(world, RIGHT)
        assert "answers (12)" in refused(world)


def test_by_hand_the_file_s_own_numbers_say_where_they_count_from(world):
    sample(world, ["1"] * 12)
    for family in ("from 0", "from 1"):
        answered(world, [label(family, letter, 0) for letter in RIGHT])
        assert validate(world)["letters"] == dict.fromkeys("abcd", 3)
    answered(world, list("123401234123"))
    assert "unknown answers (1): 005: '0'. Answers are written 1 to 4." in refused(world)


def test_the_command_takes_labels(world, capsys):
    answered(world, [label("columns", letter, 0) for letter in RIGHT])
    command = ["validate_submission", str(world / "submission.csv"), "--sample", str(world / "sample.csv")]
    command += ["--test", str(world / "test.parquet")]
    with pytest.raises(SystemExit):
        main(command)
    main([*command, "--labels", str(labels(world, "columns"))])


@pytest.mark.parametrize(
    ("family", "answer", "words"),
    [
        ("capitals", "b", "lower-case answers (1): 003: 'b'. Answers are written A to D."),
        ("capitals", " B", "padded answers (1)"),
        ("capitals", "E", "non-letter answers (1)"),
        ("from 1", "5", "unknown answers (1): 003: '5'. Answers are written 1 to 4."),
        ("from 1", "", "blank answers (1)"),
        ("columns", "choice Two", "upper-case answers (1)"),
        ("texts", "답 a, 9", "unknown answers (1): 003: '답 a, 9'. Answers are written as the texts of the choices."),
        ("texts", " 답 a, 2", "padded answers (1)"),
    ],
)
def test_a_wrong_label_is_named_with_the_right_ones(world, family, answer, words):
    found = [label(family, letter, i) for i, letter in enumerate(RIGHT)]
    answered(world, [*found[:2], answer, *found[3:]])
    assert words in refused(world, labels=labels(world, family))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_choice_that_its_row_lacks_is_refused(world, family):
    table = pd.read_parquet(world / "test.parquet")
    table.loc[2, "c"] = None
    answered(world, [label(family, letter, i) for i, letter in enumerate(RIGHT)])
    table.to_parquet(world / "test.parquet", index=False)
    message = refused(world, labels=labels(world, family))
    assert ("absent-choice answers (1): 003" if family != "texts" else "unknown answers (1): 003") in message
    with pytest.raises(
        UserError, match="rows '003' do not have the choice that is their answer. Run the rule ensemble"
    ):
        write(world, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_without_choices_is_answered_all_the_same(world, family):
    """A quarantined test row must stay in the submission, and its answer cannot be checked."""
    table = pd.read_parquet(world / "test.parquet")
    table.loc[2, ["a", "b", "c", "d"]] = None
    table.to_parquet(world / "test.parquet", index=False)
    written = write(world, family)[2]
    assert written == ("c" if family == "texts" else label(family, "c", 2))
    assert validate(world, labels=world / "labels.json")["rows"] == 12
    accepted = accepted_of_run(world / "labels.json", world / "test.parquet")
    assert accepted.label("003", "c") == written and accepted.letter("003", written) == "c"


@pytest.mark.parametrize(("choices", "rows"), [(2, 21), (3, 14), (4, 11), (10, 7)])
def test_equal_answers_are_no_chance_from_some_row_on(choices, rows):
    """One in a million: with two choices 11 equal answers may well be right."""
    assert rows_to_constant(choices) == rows
    assert choices ** -(rows - 1) <= 1.0001e-6 < choices ** -(rows - 2)


def test_five_choices_are_written(tmp_path):
    """A letter beyond d would be left out of the submission without a word."""
    p = np.eye(5)[[4, 0, 1, 2, 3]]
    pd.DataFrame({"id": list("vwxyz")} | {f"p_{x}": p[:, i] for i, x in enumerate("abcde")}).to_parquet(
        tmp_path / "ensemble.parquet"
    )
    pd.DataFrame({"id": list("vwxyz")} | {x: x * 2 for x in "abcde"}).to_parquet(tmp_path / "test.parquet")
    pd.DataFrame({"id": list("vwxyz"), "answer": "1"}).to_csv(tmp_path / "sample.csv", index=False)
    given = {"answers": {}, "submission": {x: str(i) for i, x in enumerate("abcde", start=1)}}
    (tmp_path / "labels.json").write_text(json.dumps(given))
    out = tmp_path / "submission.csv"
    paths = {"sample_submission": tmp_path / "sample.csv", "labels": tmp_path / "labels.json"}
    write_submission(test=tmp_path / "ensemble.parquet", out=out, test_table=tmp_path / "test.parquet", **paths)
    assert out.read_text() == "id,answer\nv,5\nw,1\nx,2\ny,3\nz,4\n"
    report = validate_submission(submission=out, test_table=tmp_path / "test.parquet", metrics=None, out=None, **paths)
    assert report["letters"] == dict.fromkeys("abcde", 1)
    paths.pop("labels")
    assert validate_submission(submission=out, test_table=tmp_path / "test.parquet", metrics=None, out=None, **paths)


def test_a_damaged_labels_file_is_named(world):
    answered(world, RIGHT)
    (world / "labels.json").write_text('{"submission": {"x": 1}}')
    assert "labels.json: its 'submission' does not map letters to labels" in refused(
        world, labels=world / "labels.json"
    )
    (world / "labels.json").write_text("{}")
    assert "labels.json: is damaged (it has no submission)" in refused(world, labels=world / "labels.json")


def test_texts_need_the_choices(world):
    answered(world, RIGHT)
    pd.DataFrame({"id": IDS}).to_csv(world / "test.csv", index=False)
    message = refused(world, labels=labels(world, "texts"), test_table=world / "test.csv")
    assert "test.csv: has no choices a, b, c, but the answers are texts of choices. Give the checked" in message
