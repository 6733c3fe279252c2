"""Several people's answers, several tables, and 2 to 10 choices: what would teach a wrong answer, or lose a row."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition import COLUMNS, Competition
from rows import prompt_config
from vqaflow.artifacts.choices import own_letters
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import rows_of
from vqaflow.data.people import people_columns, plurality
from vqaflow.data.training_tables import further_tables
from vqaflow.evaluation.export.rows import NoTemplate
from vqaflow.model.encoding.prompts import PromptRenderer

ANSWERS = ["aaaaa", "aabbc", "dd   ", "b    ", "abcd ", "ccccb"]
SHARES = ["share_a", "share_b", "share_c", "share_d"]


@pytest.fixture
def data(tmp_path):
    return Competition(tmp_path)


def by_people(data, names=("answer1", "answer2", "answer3", "answer4", "answer5"), answers=ANSWERS):
    """The training table with several people's answers in place of the right one."""
    for row, given in zip(data.train, answers, strict=True):
        del row["answer"]
        row |= dict(zip(names, (answer.strip() for answer in given), strict=True))


def add_table(data, name="dev", rows=4, **entry):
    """Another table beside the first, with pictures of its own; returns its rows and the source."""
    (data.folder / name).mkdir()
    added = [data.row(name, i) | {"answer": "abcd"[i % 4]} for i in range(rows)]
    section = {"columns": COLUMNS, "image_root": str(data.folder), "answers": None, "answers_by": None}
    entry = {"csv": str(data.folder / f"{name}.csv")} | entry
    return added, further_tables(section | {"more_train": [entry]})


@pytest.mark.parametrize(
    "names", ["answer{}", "answer_{}", "Answer {}", "annotator{}", "rater.{}", "정답{}", "평가자_{}"]
)
def test_several_people_s_answers_are_found_and_told(data, names, caplog):
    """`Is it 'answer5'? Then rename that` would train on one person's answers without a word."""
    caplog.set_level(logging.INFO)
    by_people(data, [names.format(i) for i in range(1, 6)])
    train, _ = data.run()
    first, last = names.format(1), names.format(5)
    told = f"there is no column 'answer'; {first} to {last} are read as the answers of 5 people (data.answers_by)"
    assert f"{data.folder}/train.csv: {told}" in caplog.messages
    assert train["people"].tolist() == [5, 5, 2, 1, 4, 5] and train["people"].dtype == "int64"
    expected = [[1, 0, 0, 0], [0.4, 0.4, 0.2, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0.25] * 4, [0, 0.2, 0.8, 0]]
    assert np.array_equal(train[SHARES].to_numpy(), expected)
    assert [answer for i, answer in enumerate(train["answer"]) if i not in (1, 4)] == list("adbc")
    assert train["answer"][1] in "ab" and train[last].tolist()[0] == "a", "what each person said stays"


def test_choices_called_like_answers_are_no_people(data):
    """`answer1` to `answer4` are choices, and the column of the right one is missing: it ended in a KeyError."""
    names = dict(zip("abcd", ("answer1", "answer2", "answer3", "answer4"), strict=True))
    data.train = [{names.get(key, key): cell for key, cell in row.items() if key != "answer"} for row in data.train]
    data.test = [{names.get(key, key): cell for key, cell in row.items()} for row in data.test]
    message = data.fail(columns=COLUMNS | {"choices": list(names.values())})
    assert "no column 'answer' among" in message


def test_ties_favour_no_letter():
    """The first letter in every tie would teach the model to prefer it."""
    found = Counter(plurality(f"row_{i}", "aabbc") for i in range(2000))
    assert set(found) == {"a", "b"} and abs(found["a"] - 1000) < 150
    assert plurality("row_1", "bbaac") == plurality("row_1", "aabbc"), "who said what must not matter"


def test_one_right_answer_goes_before_several_people_s(data):
    for row in data.train:
        row |= {"answer1": "b", "answer2": "b"}
    train, _ = data.run()
    assert "".join(train["answer"]) == "abcdab" and "people" not in train and train["answer1"][0] == "b"


def test_the_configuration_names_the_people_s_columns(data):
    by_people(data, ["kim", "lee", "park", "choi", "jung"])
    assert "no column 'answer'" in data.fail()
    train, _ = data.run(answers_by=["kim", "lee", "park"])
    assert train["people"].tolist() == [3, 3, 2, 1, 3, 3] and train["jung"][0] == "a"
    message = data.fail(answers_by=["kim", "leee"])
    assert "no column 'leee'" in message and "Correct data.answers_by" in message


def test_people_s_answers_have_labels_too(data, caplog):
    caplog.set_level(logging.INFO)
    by_people(data, answers=["11111", "11223", "44   ", "2    ", "1234 ", "33332"])
    train, _ = data.run()
    assert train["answer"][5] == "c" and "answers are written 1 to 4; read as a to d" in caplog.text


def test_columns_that_hold_no_labels_are_not_taken_for_people_s_answers(data):
    by_people(data, answers=[["좋아요", "x", "y", "z", str(i)] for i in range(6)])
    message = data.fail()
    assert "answer1 to answer5 seem to hold the answers of several people, but the answers are written" in message
    assert "name the column of the right answer in data.columns.answer" in message


def test_a_row_that_nobody_answered_and_a_wrong_label_are_errors(data):
    by_people(data, answers=[*ANSWERS[:4], "     ", "cc9cb"])
    message = data.fail()
    assert "id 'train_0004': nobody has answered: all columns of answers are empty" in message
    assert "id 'train_0005', column answer3: the answer is not one of a, b, c, d ('9')" in message
    assert data.run(on_bad_row="quarantine")[0]["id"].tolist() == [f"train_000{i}" for i in range(4)]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("id,answer1,answer2", "answer1,answer2"),
        ("id,answer1", ""),
        ("answer_type,answer_text,answer", ""),
        ("annotator_kim,annotator_lee,label", "annotator_kim,annotator_lee"),
        ("label1,label2,answer1,answer2,answer3", "answer1,answer2,answer3"),
        ("a1,a2,a3", ""),
        ("gold1,gold2", "gold1,gold2"),
    ],
)
def test_which_columns_look_like_people_s_answers(header, found):
    assert people_columns(header.split(","), "gold") == (found.split(",") if found else [])


def test_one_column_alone_is_no_group_of_people(data):
    by_people(data, answers=["a", "b", "c", "d", "a", "b"], names=["answer1"])
    assert "Is it 'answer1'? Then rename that column, or name it under data.columns" in data.fail()


def test_further_tables_are_training_rows_with_a_source(data):
    """The first table has right answers, the second several people's: both are in one table, each with shares."""
    added, more = add_table(data, answers_by=["answer1", "answer2"])
    data.write(
        "dev",
        [
            {k: v for k, v in row.items() if k != "answer"} | {"answer1": "c", "answer2": "cb"[i % 2], "note": "x"}
            for i, row in enumerate(added)
        ],
    )
    train, _ = data.run(more=more)
    assert train["source"].tolist() == ["train"] * 6 + ["dev"] * 4
    assert train["people"].tolist() == [1] * 6 + [2] * 4
    assert train[SHARES].to_numpy()[:2].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert train[SHARES].to_numpy()[6:8].tolist() == [[0, 0, 1, 0], [0, 0.5, 0.5, 0]]
    assert train["note"].isna().sum() == 6 and train["answer2"].tolist()[6:] == list("cbcb")
    assert list(data.labels()["more_train"]) == ["dev"]


def test_what_an_entry_leaves_out_is_data_s_own_and_it_may_differ_in_all(data):
    """Images are found under the entry's own folder; a row of another folder would show another picture."""
    added, _ = add_table(data, "others")
    names = {"id": "번호", "path": "image", "question": "질문", "a": "1", "b": "2", "c": "3", "d": "4", "answer": "답"}
    rows = [{names[key]: value for key, value in row.items()} for row in added]
    for row in rows:
        row |= {"답": str("abcd".index(row["답"]) + 1), "image": Path(row["image"]).name}
    data.write("others", rows)
    entry = {"csv": str(data.folder / "others.csv"), "image_root": str(data.folder / "others"), "name": "mine"}
    entry |= {"columns": {"id": "번호", "question": "질문", "choices": ["1", "2", "3", "4"], "answer": "답"}}
    section = {"columns": COLUMNS, "image_root": str(data.folder), "answers": {"x": "a"}, "answers_by": None}
    more = further_tables(section | {"more_train": [entry | {"answers": None, "id_prefix": "mine_"}]})
    train, _ = data.run(more=more)
    added = train[train["source"] == "mine"]
    assert added["id"].tolist() == [f"mine_others_000{i}" for i in range(4)] and "".join(added["answer"]) == "abcd"
    assert added["image_file"].tolist() == [f"{data.folder}/others/others_000{i}.png" for i in range(4)]
    assert added["sha256"].nunique() == 4 and train["sha256"].nunique() == 10
    assert all(Path(row.image_file).is_file() for row in rows_of(train))
    assert further_tables(section | {"more_train": [entry]})[0].answers == {"x": "a"}, "data's own"


def test_ids_that_two_tables_share_are_errors_that_name_both(data):
    added, more = add_table(data)
    added[1]["id"], added[2]["id"] = "train_0003", "test_0002"
    data.write("dev", added)
    message = data.fail(more=more)
    assert f"dev.csv line 3, id 'train_0003', column id: line 5 of {data.folder}/train.csv has the same id" in message
    assert "or give the entry in data.more_train an id_prefix" in message
    assert f"id 'test_0002', column id: line 4 of {data.folder}/test.csv has the same id" in message
    section = {"columns": COLUMNS, "image_root": str(data.folder)}
    entry = {"csv": str(data.folder / "dev.csv"), "id_prefix": "dev/"}
    train, _ = data.run(more=further_tables(section | {"more_train": [entry]}))
    assert train["id"].is_unique and train["id"][7] == "dev/train_0003"


def test_a_row_that_is_left_out_is_listed_by_the_id_that_others_know_it_by(data):
    """Someone's OOF file has the ids with their prefix: pool_member refused it for the rows that were left out."""
    added, more = add_table(data, id_prefix="dev/")
    added[1]["question"] = ""
    data.write("dev", added)
    train, _ = data.run(more=more, on_bad_row="quarantine")
    assert ("empty_cell", "dev/dev_0001", "question") in data.kinds() and len(train) == 6 + 3


def test_faults_of_a_further_table_name_its_file_and_its_entry(data):
    added, more = add_table(data, image_root="nowhere")
    for row in added:
        row["answer"] = "2"
    data.write("dev", added)
    message = data.fail(more=more)
    assert "dev.csv, column answer: the answers, '2' (4, first in dev_0000), may count from 0" in message
    assert "`answers: from 1` or `answers: from 0` into your configuration, in the entry of" in message
    assert "nowhere: no such folder" in message
    (data.folder / "dev.csv").unlink()
    assert "dev.csv: no such file" in data.fail(more=more)


def test_a_further_table_without_a_usable_row_stops(data):
    added, more = add_table(data)
    for row in added:
        row["path"] = "none.png"
    data.write("dev", added)
    assert "dev.csv: no usable row is left" in data.fail(more=more, on_bad_row="quarantine")


def test_people_of_data_and_a_right_answer_of_an_entry(data):
    by_people(data)
    added, _ = add_table(data)
    data.write("dev", added)
    section = {"columns": COLUMNS, "image_root": str(data.folder), "answers_by": ["answer1", "answer2"]}
    more = further_tables(section | {"more_train": [{"csv": str(data.folder / "dev.csv")}]})
    message = data.fail(more=more, answers_by=["answer1", "answer2"])
    assert "Correct data.more_train.0.answers_by, or set it to null: this table has a column 'answer'" in message
    entry = {"csv": str(data.folder / "dev.csv"), "answers_by": None}
    train, _ = data.run(more=further_tables(section | {"more_train": [entry]}), answers_by=["answer1", "answer2"])
    assert "".join(train["answer"][6:]) == "abcd"


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_two_to_ten_choices(data, count):
    """A fifth choice that is not read makes every row with that answer wrong."""
    letters = ALL_LETTERS[:count]
    names = [f"choice {letter}" for letter in letters]
    for number, row in enumerate([*data.train, *data.test]):
        for letter in "abcd":
            del row[letter]
        row |= {name: f"{name} {number}" for name in names}
    for number, row in enumerate(data.train):
        row["answer"] = str(1 + (number + count - 1) % count)
    columns = COLUMNS | {"choices": names}
    train, test = data.run(columns=columns)
    assert [row.letters for row in rows_of(train)] == ["".join(letters)] * 6
    assert train[letters[-1]].tolist() == [f"choice {letters[-1]} {i}" for i in range(6)]
    assert (
        train["answer"][0] == letters[-1]
        and letters[-1] in test
        and ALL_LETTERS[count % 10] not in list(test)[4:] * (count < 10)
    )
    assert data.labels()["submission"] == {letter: str(i) for i, letter in enumerate(letters, start=1)}


def test_a_further_column_called_like_a_letter_is_no_choice(data):
    """The number of choices is read from the checked table's columns."""
    for row in data.train:
        row |= {"e": "memo", "share_a": "1", "source": "web"}
    train, _ = data.run()
    assert {"csv_e", "csv_share_a", "csv_source"} <= set(train) and [row.letters for row in rows_of(train)] == [
        "abcd"
    ] * 6


def test_rows_may_lack_choices_if_the_configuration_says_so(data):
    data.train[0]["d"], data.train[1]["a"], data.train[2]["d"], data.test[3]["b"] = "", " ", "\u200b", ""
    message = data.fail()
    assert "column d: the cell is empty. Fill it in, or set data.missing_choices: accept if rows may have" in message
    train, test = data.run(missing_choices="accept")
    assert [row.letters for row in rows_of(train)] == ["abc", "bcd", "abc", *["abcd"] * 3]
    assert train["d"].isna().tolist() == [True, False, True, *[False] * 3]
    assert rows_of(test)[3].letters == "acd" and test["usable"].all() and len(train) == 6


def test_answers_and_numbers_of_choices_that_a_row_cannot_have(data):
    data.train[1]["b"] = ""
    for letter in "bcd":
        data.train[0][letter] = ""
        data.test[0][letter] = ""
    message = data.fail(missing_choices="accept")
    assert "id 'train_0001', column answer: the answer is choice b, which the row does not have ('b')" in message
    assert "id 'train_0000': the row has 1 choice but needs at least 2. Fill the others in" in message
    train, test = data.run(missing_choices="accept", on_bad_row="quarantine")
    assert "train_0000" not in set(train["id"]) and test["usable"].tolist() == [False, *[True] * 5]


def test_a_test_row_without_two_choices_can_be_asked_and_answered(data):
    """Its scores were refused as no finite numbers, after hours of training: each test row gets an answer."""
    data.test[0] |= dict.fromkeys("bcd", "")
    data.test[1] |= dict.fromkeys("abcd", "")
    data.test[2]["b"] = ""
    _, test = data.run(on_bad_row="quarantine")
    rows = rows_of(test)
    assert [row.letters for row in rows] == own_letters(test) == ["abcd", "abcd", "acd", *["abcd"] * 3]
    rendered = PromptRenderer(NoTemplate(), replace(prompt_config(), system="")).render(rows[0], ["bcda"])
    assert rendered.branches[0].splitlines()[:4] == ["a. ", "b. ", "c. ", "d. 빨강"]


def test_people_s_answers_with_a_choice_that_the_row_lacks(data):
    by_people(data)
    data.train[1]["c"] = ""
    message = data.fail(missing_choices="accept")
    assert "id 'train_0001', column answer5: the answer is choice c, which the row does not have" in message
    data.train[1]["answer5"] = ""
    train, _ = data.run(missing_choices="accept")
    assert train[SHARES].to_numpy()[1].tolist() == [0.5, 0.5, 0, 0] and pd.isna(train["c"][1])


def test_equal_input_gives_equal_bytes_with_people_and_more_tables(data):
    by_people(data)
    added, more = add_table(data)
    data.write("dev", added)
    data.run(more=more)
    before = {p.name: p.read_bytes() for p in (data.folder / "out").iterdir()}
    data.run(more=more)
    assert before == {p.name: p.read_bytes() for p in (data.folder / "out").iterdir()}
