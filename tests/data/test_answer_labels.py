"""Labels: a column of answers that is misread teaches wrong answers, and a submission in other labels is all wrong."""

import logging

import pytest

from competition import COLUMNS, Competition
from vqaflow.artifacts.labels import KOREAN, SIGNS, Labels, read_submission_labels

LETTERS = "abcd"
NAMED = COLUMNS | {"choices": ["choice one", "choice two", "choice three", "choice four"]}
FAMILIES = [*SIGNS, "columns", "texts"]


@pytest.fixture
def data(tmp_path):
    return Competition(tmp_path, rows=8)


def written(family, place, row, columns):
    """How a family writes the choice at `place` of a row."""
    if family == "texts":
        return row[columns["choices"][place]]
    return columns["choices"][place] if family == "columns" else SIGNS[family][place]


def rename(data, columns):
    """The tables with the user's own names of the choices."""
    names = dict(zip(LETTERS, columns["choices"], strict=True))
    for rows in (data.train, data.test):
        rows[:] = [{names.get(key, key): value for key, value in row.items()} for row in rows]


def write_answers(data, family, columns):
    for row in data.train:
        row["answer"] = written(family, LETTERS.index(row["answer"]), row, columns)


def write_sample(data, answers):
    data.sample = [{"id": row["id"], "answer": answer} for row, answer in zip(data.test, answers, strict=True)]


def expected_labels(family, columns):
    return "texts" if family == "texts" else {x: written(family, i, {}, columns) for i, x in enumerate(LETTERS)}


@pytest.mark.parametrize("sample", [*FAMILIES, "empty"])
@pytest.mark.parametrize("train", FAMILIES)
def test_answers_are_read_and_the_submission_is_written_in_any_two_families(data, train, sample, caplog):
    """One wrong pair of the 72 would cost a competition."""
    caplog.set_level(logging.INFO)
    columns = NAMED if "columns" in (train, sample) else COLUMNS
    rename(data, columns)
    right = [row["answer"] for row in data.train]
    write_answers(data, train, columns)
    if sample != "empty":
        write_sample(data, [written(sample, i % 4, row, columns) for i, row in enumerate(data.test)])
    table, _ = data.run(columns=columns)
    assert list(table["answer"]) == right
    found = data.labels()
    assert found["submission"] == expected_labels(train if sample == "empty" else sample, columns)
    answers = expected_labels(train, columns)
    assert found["answers"] == (answers if train == "texts" else {label: x for x, label in answers.items()})
    assert read_submission_labels(data.folder / "out/labels.json").is_one_to_one
    told = [record.message for record in caplog.records if "read as a to d" in record.message]
    assert len(told) == (train != "letters"), "told once, and only where there is something to tell"
    differ = [record.message for record in caplog.records if "like the sample submission" in record.message]
    assert len(differ) == (sample not in ("empty", train))


def test_what_was_found_is_told_in_the_user_s_words(data, caplog):
    caplog.set_level(logging.INFO)
    write_answers(data, "from 1", COLUMNS)
    write_sample(data, "ABCDABCD")
    data.run()
    assert f"{data.folder}/train.csv: answers are written 1 to 4; read as a to d" in caplog.messages
    words = "the submission is written A to D, like the sample submission; the training answers are 1 to 4"
    assert f"{data.folder}/sample.csv: {words}" in caplog.messages


@pytest.mark.parametrize(
    ("sample", "train", "labels"),
    [
        ("a", "letters", "letters"),
        ("A", "letters", "capitals"),
        ("A", "from 1", "capitals"),
        ("1", "from 1", "from 1"),
        ("1", "from 0", "from 0"),
        ("0", "from 0", "from 0"),
        ("0", "letters", "from 0"),
        ("4", "letters", "from 1"),
        ("①", "letters", "circled"),
        ("가", "capitals", KOREAN),
        ("choice one", "letters", "letters"),
        ("unknown", "letters", "letters"),
        ("정답을 쓰세요", "from 1", "from 1"),
    ],
)
def test_a_sample_s_placeholder_shows_the_family(data, sample, train, labels):
    """Most samples have one and the same answer in all rows."""
    write_answers(data, train, COLUMNS)
    write_sample(data, [sample] * 8)
    data.run()
    assert data.labels()["submission"] == expected_labels(labels, COLUMNS)


@pytest.mark.parametrize("on_bad_row", ["stop", "quarantine"])
@pytest.mark.parametrize(
    ("sample", "train", "words", "value"),
    [
        (["1"] * 8, "letters", "which may count from 0 or from 1; the training answers are a to d", "from 1"),
        (["0"] * 8, "from 1", "which may count from 0 or from 1; the training answers are 1 to 4", "from 0"),
        (["1", "2"] * 4, "texts", "'1', '2', which may count from 0 or from 1", "from 0"),
        (
            ["yes", "no"] * 4,
            "letters",
            "'yes', 'no', are not known labels of 4 choices",
            "{a: LABEL, b: LABEL, c: LABEL, d: LABEL}",
        ),
        (["e"] * 8, "letters", "'e' in all rows, are not known labels", "{a: LABEL"),
        (["w", "x", "y", "z"] * 2, "letters", "not known labels", "{a: 'w', b: 'x', c: 'y', d: 'z'}"),
    ],
)
def test_a_sample_that_leaves_it_open_is_refused_before_training(data, sample, train, words, value, on_bad_row):
    """After days of training a submission in the wrong labels is counted as all wrong."""
    write_answers(data, train, COLUMNS)
    write_sample(data, sample)
    message = data.fail(on_bad_row=on_bad_row)
    assert "sample.csv, column answer: the answers" in message and words in message
    assert f"`data: {{submission_labels: {value}" in message and "into your configuration" in message
    assert not (data.folder / "out/labels.json").exists()


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ("from 0", dict(zip(LETTERS, "0123", strict=True))),
        ("capitals", dict(zip(LETTERS, "ABCD", strict=True))),
        ({"a": "w", "b": "x", "c": 3, "d": "z"}, {"a": "w", "b": "x", "c": "3", "d": "z"}),
        ({"choice two": "B", "a": "A", "c": "C", "d": "D"}, dict(zip(LETTERS, "ABCD", strict=True))),
        ("texts", "texts"),
    ],
)
def test_the_configuration_decides_how_the_submission_is_written(data, given, labels):
    rename(data, NAMED)
    write_sample(data, ["1"] * 8)
    data.run(submission_labels=given, columns=NAMED)
    assert data.labels()["submission"] == labels


@pytest.mark.parametrize(
    ("answers", "words", "lines"),
    [
        ("12312312", "may count from 0 to 3 or from 1 to 4", ["answers: from 1", "answers: from 0"]),
        ("01234123", "go from 0 to 4, which are more than the 4 choices", ["answers: from 1", "answers: from 0"]),
        (
            ["1번", "2번", "3번", "4번"] * 2,
            "in an unknown way, or in several ways: '1번' (2, first in train_0000)",
            ["{'1번': a, '2번': b, "],
        ),
        (["yes", "no"] * 4, "'yes' (4, first in train_0000), 'no' (4, first in train_0001)", ["{'no': a, 'yes': b}"]),
        (["it's", "x"] * 4, "in an unknown way", ["{'it''s': a, 'x': b}"]),
        (["a", "b", "c", "d", "1", "2", "3", "4"], "or in several ways: 'a' (1, first in train_0000)", ["'1': a, "]),
        ([f"text {i}" for i in range(8)] + ["y"], "in an unknown way", ["LABEL: a"]),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["stop", "quarantine"])
def test_what_is_not_certain_is_asked_for(data, answers, words, lines, on_bad_row):
    """A guess that is wrong shifts every answer by one, and the run looks healthy."""
    rows = [data.row("train", i) | {"d": "검정"} for i in range(len(answers))]
    data.train = [row | {"answer": answer} for row, answer in zip(rows, answers, strict=True)]
    message = data.fail(on_bad_row=on_bad_row)
    assert words in message and "`data: {" in message, message
    assert all(line in message for line in lines), message
    assert "train.csv, column answer: the answers" in message


def test_numbers_that_are_also_texts_of_choices_are_asked_for(data):
    """'2' may be the second choice, or the one that says 2."""
    for row in data.train:
        row.update(zip(LETTERS, "4321", strict=True), answer="2")
    data.train[0]["answer"] = "4"
    message = data.fail()
    assert "may be labels (1 to 4) or the texts of choices" in message
    assert "`data: {answers: from 1}` or `data: {answers: texts}`" in message
    for given, letter in (("from 1", "b"), ("texts", "c")):
        assert data.run(answers=given)[0]["answer"][1] == letter


def test_numbers_of_which_one_is_no_text_are_asked_for_too(data):
    """One bad row must not turn counted things into labels."""
    for number, row in enumerate(data.train):
        row.update(zip(LETTERS, [str(number + i) for i in (3, 1, 2, 5)], strict=True), answer=str(number + 1))
    data.train[3]["answer"] = "1"
    assert "may be labels (1 to 4) or the texts of choices" in data.fail(on_bad_row="quarantine")


def test_numbers_that_are_also_texts_are_certain_where_both_mean_the_same(data):
    for row in data.train:
        row.update(zip(LETTERS, "1234", strict=True), answer="2")
    data.train[0]["answer"] = "4"
    assert list(data.run()[0]["answer"]) == ["d", *["b"] * 7]


def test_counted_things_are_texts_and_not_numbers_of_choices(data):
    """Were 1 to 4 taken for labels wherever they occur, counting questions would be taught wrongly."""
    for number, row in enumerate(data.train):
        row.update(zip(LETTERS, [str(number + i) for i in (3, 1, 2, 5)], strict=True), answer=str(number + 1))
    assert set(data.run()[0]["answer"]) == {"b"}


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("1", "answer_mixed", "the answer is not written like most others, which are a to d ('1')"),
        ("B", "answer_form", "Write b"),
        ("ｂ", "answer_form", "Write b"),
        ("x", "answer_value", "the answer is not one of a, b, c, d ('x'). Write the letter of the right choice"),
        ("e", "answer_value", "the answer is not one of a, b, c, d ('e')"),
    ],
)
def test_single_labels_of_another_kind_are_refused_with_their_rows(data, answer, kind, words):
    data.train[5]["answer"] = answer
    message = data.fail()
    assert "id 'train_0005', column answer" in message and words in message
    assert data.kinds() == {(kind, "train_0005", "answer")}


@pytest.mark.parametrize(
    ("family", "answer", "words"),
    [
        ("from 1", "①", "the label is written differently (upper case, spaces, full width) ('①'). Write 1"),
        ("from 1", "7", "not one of 1, 2, 3, 4 ('7'). Write the label of the right choice"),
        ("capitals", "b", "Write B"),
        ("capitals", "E", "not one of A, B, C, D"),
        ("circled", "2", "Write ②"),
        ("circled", "b", "not written like most others, which are ① to ④ ('b')"),
        ("texts", "보라", "not the text of exactly one of the row's choices ('보라'). Write the text"),
    ],
)
def test_faults_are_told_in_the_column_s_own_labels(data, family, answer, words):
    write_answers(data, family, COLUMNS)
    data.train[6]["answer"] = answer
    assert words in data.fail()


def test_a_text_that_two_choices_have_is_no_answer(data):
    write_answers(data, "texts", COLUMNS)
    data.train[3].update(a="같음", b="같음", answer="같음")
    assert "id 'train_0003'" in data.fail() and ("answer_value", "train_0003", "answer") in data.kinds()


@pytest.mark.parametrize(
    "given", [{"1번": "a", "2번": "choice two", "3번": "c", "4번": "d"}, {"1번": "a", "2번": "b", "3번": "c"}]
)
def test_the_configuration_says_what_labels_mean(data, given):
    """A label that it leaves out is refused, not guessed."""
    rename(data, NAMED)
    for row in data.train:
        row["answer"] = f"{LETTERS.index(row['answer']) + 1}번"
    if len(given) == 4:
        assert "".join(data.run(columns=NAMED, answers=given)[0]["answer"]) == "abcdabcd"
        assert data.labels()["submission"] == {x: f"{i}번" for i, x in enumerate(LETTERS, start=1)}
    else:
        assert "not one of 1번, 2번, 3번 ('4번')" in data.fail(columns=NAMED, answers=given)


def test_two_labels_of_one_choice_are_read_and_not_written(data):
    """What to write instead has to be said."""
    given = {"a": "a", "A": "a", "b": "b", "c": "c", "d": "d"}
    data.train[0]["answer"] = "A"
    message = data.fail(answers=given)
    assert "shows no answers, and data.answers does not have one label for each choice" in message
    assert data.run(answers=given, submission_labels="letters")[0]["answer"][0] == "a"


def test_names_of_columns_go_before_letters_that_they_look_like(data):
    """Who names the columns d, c, b, a and answers d means the column d."""
    columns = COLUMNS | {"choices": ["d", "c", "b", "a"]}
    table, _ = data.run(columns=columns)
    assert "".join(table["answer"]) == "dcbadcba" and table["d"][0] == "빨강"
    assert data.labels()["submission"] == {"a": "d", "b": "c", "c": "b", "d": "a"}


def test_numbers_as_names_of_columns_decide_where_numbers_count_from(data):
    columns = COLUMNS | {"choices": ["1", "2", "3", "4"]}
    rename(data, columns)
    for row in data.train:
        row["answer"] = "2"
    assert set(data.run(columns=columns)[0]["answer"]) == {"b"}


def test_labels_of_ten_choices(tmp_path):
    columns = COLUMNS | {"choices": [f"c{i}" for i in range(10)]}
    labels = Labels.of_family("from 1", columns["choices"])
    assert labels.letters["10"] == "j" and str(labels) == "1 to 10"
