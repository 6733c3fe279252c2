"""Folders as people have them: each gives what a run is configured with, or one message that says what to do."""

import shutil
from pathlib import Path

import pytest

from given_folders import given, picture, pictures_of, renamed, rows, sample, write
from places import REAL_DATA, needs_real_data
from vqaflow.data.competition.columns import Guess, guess_columns
from vqaflow.data.competition.survey import Survey, survey
from vqaflow.data.competition.tables import Named
from vqaflow.runtime.errors import UserError

TRAIN, TEST = rows("train", answers="abcd"), rows("test")
NUMBERS = {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}


def look(folder: Path, image_root: Path | None = None, **named: Path) -> Survey:
    return survey(folder, Named(**named), image_root)


def refused(folder: Path, **named: Path) -> str:
    with pytest.raises(UserError) as caught:
        look(folder, **named)
    message = str(caught.value)
    assert "Traceback" not in message and message.rstrip().endswith((".", "?")), message
    return message


def all_lines(seen: Survey) -> str:
    return "\n".join([*seen.found, *seen.assumed, *seen.unknown])


# --- what is found ---


def test_a_plain_folder_leaves_nothing_open(tmp_path):
    seen = look(given(tmp_path / "in"))
    roles = seen.roles
    assert [t.path.name for t in (roles.train, roles.test, roles.sample)] == [
        "train.csv",
        "test.csv",
        "sample_submission.csv",
    ]
    assert (seen.image_root, seen.columns, seen.unknown, seen.assumed) == (tmp_path / "in", {}, [], [])
    assert seen.rows == 8 and seen.sizes == [(32, 24)] * 16
    assert "answers are written a to d" in seen.found and "the submission is written a to d" in seen.found


@pytest.mark.parametrize("path", ["images/{split}/{i}.png", "{split}/{i}.png"])
def test_kaggles_layout(tmp_path, path):
    """images/train and images/test, named in the tables with or without `images`."""
    root = "" if path.startswith("images") else "images"
    seen = look(given(tmp_path / "in", rows("train", answers="abcd", path=path), rows("test", path=path), root=root))
    assert seen.image_root == tmp_path / "in" / root and not seen.unknown


def test_images_of_train_and_test_that_start_from_two_folders(tmp_path):
    """Bare names, which are the same in both: the test rows must not be shown training images."""
    train, test = rows("train", answers="abcd", path="{i}.png"), rows("test", path="{i}.png")
    folder = given(tmp_path / "in", train, test, root="unused")
    shutil.rmtree(folder / "unused")
    pictures_of(train, folder / "images" / "train")
    pictures_of(test, folder / "images" / "test")
    seen = look(folder)
    assert (seen.image_root, seen.test_root) == (folder / "images" / "train", folder / "images" / "test")
    assert "data.test_image_root" in all_lines(seen) and not seen.unknown
    for i in range(8):
        (folder / "images" / "test" / f"{i}.png").rename(folder / "images" / "test" / f"other{i}.png")
    write(folder / "test.csv", [row | {"path": f"other{i}.png"} for i, row in enumerate(test)])
    assert look(folder).test_root == folder / "images" / "test", "other names in another folder"


def test_a_folder_unpacked_into_another(tmp_path):
    folder = given(tmp_path / "in" / "competition-2026" / "data")
    seen = look(tmp_path / "in")
    assert seen.roles.train.path == folder / "train.csv" and seen.image_root == folder


def test_labels_and_five_choices_and_korean_names(tmp_path):
    names = {"id": "번호", "path": "파일명", "question": "질문", "answer": "정답"}
    names |= {letter: f"보기{number}" for letter, number in NUMBERS.items()}
    train, test = rows("train", choices="abcde", answers="12345"), rows("test", choices="abcde")
    folder = given(tmp_path / "in", train, test, with_sample=False)
    for name, table in (("train", train), ("test", test)):
        write(folder / f"{name}.csv", renamed(table, names), encoding="cp949")
    write(folder / "sample_submission.csv", sample(renamed(test, names), "1", "번호"))
    seen = look(folder)
    assert seen.columns == {
        "id": "번호",
        "image": "파일명",
        "question": "질문",
        "answer": "정답",
        "choices": ["보기1", "보기2", "보기3", "보기4", "보기5"],
    }
    assert not seen.unknown and "answers are written 1 to 5" in seen.found and "CP949" in all_lines(seen)


def test_several_answerers_and_a_second_training_table(tmp_path):
    folder = given(tmp_path / "in")
    dev = [row | {f"answer{n}": "abcd"[(i + n) % 4] for n in range(1, 6)} for i, row in enumerate(rows("dev"))]
    write(folder / "dev.csv", dev)
    pictures_of(dev, folder)
    seen = look(folder)
    assert seen.roles.train.path.name == "train.csv", "the table with one right answer per row is the main one"
    assert [table.path.name for table in seen.roles.more] == ["dev.csv"] and seen.people == {folder / "dev.csv": 5}
    assert seen.rows == 16 and not seen.unknown


def test_a_training_table_that_only_people_have_answered(tmp_path):
    train = [row | {f"annotator_{n}": "abcd"[n % 4] for n in range(1, 4)} for row in rows("train")]
    seen = look(given(tmp_path / "in", train))
    assert seen.people == {tmp_path / "in" / "train.csv": 3} and seen.roles.train.guess.answer == ""


def test_a_second_table_with_other_columns_and_pictures_elsewhere(tmp_path):
    folder = given(tmp_path / "in")
    extra = renamed(rows("extra", answers="abcd", path="{i}.png"), {"question": "text", "path": "img"})
    write(folder / "extra" / "train.csv", extra)
    pictures_of(extra, folder / "extra" / "photos", "img")
    seen = look(folder)
    assert seen.roots == {folder / "extra" / "train.csv": folder / "extra" / "photos"}
    assert seen.roles.more[0].guess.question == "text" and seen.roles.more[0].guess.image == "img"


def test_a_copy_of_the_training_table_is_left_out_and_told(tmp_path):
    folder = given(tmp_path / "in")
    shutil.copyfile(folder / "train.csv", folder / "train_backup.csv")
    write(folder / "notes.csv", [{"who": "me", "what": "nothing", "when": "now"}])
    seen = look(folder)
    assert not seen.roles.more and seen.rows == 8
    assert "8 of its 8 ids" in all_lines(seen) and "notes.csv: not needed" in all_lines(seen)


def test_answers_of_the_test_table_are_not_taken_for_the_sample(tmp_path):
    """As in the demo: test_answers.csv has the same columns and ids as the sample submission."""
    folder = given(tmp_path / "in")
    write(folder / "test_answers.csv", sample(TEST, "b"))
    assert look(folder).roles.sample.path.name == "sample_submission.csv"


def test_a_test_table_with_answers_is_known_by_its_name(tmp_path):
    seen = look(given(tmp_path / "in", test=rows("test", answers="abcd")))
    assert seen.roles.test.path.name == "test.csv" and "its answers are not used" in all_lines(seen)
    assert seen.roles.train.path.name == "train.csv" and not seen.roles.more


def test_an_empty_column_of_answers_makes_a_test_table(tmp_path):
    seen = look(given(tmp_path / "in", test=[row | {"answer": ""} for row in TEST]))
    assert seen.roles.test.path.name == "test.csv" and not seen.roles.more


def test_choices_are_the_columns_that_the_test_table_has_too(tmp_path):
    """Columns answer1 to answer4 of texts are choices, not people."""
    names = {letter: f"answer{number}" for letter, number in NUMBERS.items()}
    train = renamed(rows("train", answers="1234"), names)
    seen = look(given(tmp_path / "in", train, renamed(TEST, names)))
    assert seen.columns == {"choices": ["answer1", "answer2", "answer3", "answer4"]} and not seen.people


def test_numbered_columns_of_the_training_table_alone_are_not_choices(tmp_path):
    """hint1 to hint5 would be more, but no test row has them."""
    names = {letter: f"alt{number}" for letter, number in NUMBERS.items()}
    train = renamed(rows("train", answers="1234"), names)
    train = [row | {f"hint{n}": f"{n} words" for n in range(1, 6)} for row in train]
    seen = look(given(tmp_path / "in", train, renamed(TEST, names)))
    assert seen.columns == {"choices": ["alt1", "alt2", "alt3", "alt4"]}


def test_choices_without_a_common_name_are_told_by_the_answers(tmp_path):
    names = {"a": "first", "b": "second"}
    train = renamed(rows("train", choices="ab"), names)
    train = [row | {"answer": row["first" if i % 2 else "second"]} for i, row in enumerate(train)]
    seen = look(given(tmp_path / "in", train, renamed(rows("test", choices="ab"), names)))
    assert seen.columns == {"choices": ["first", "second"]}
    assert "answers are written as the texts of the choices" in seen.found


def test_rows_that_cannot_train_are_left_out_and_counted(tmp_path):
    train = rows("train", 60, answers="abcd")
    train[3]["answer"] = ""
    seen = look(given(tmp_path / "in", train))
    assert seen.quarantine and "1 training row lacks an answer" in all_lines(seen)


def test_rows_with_fewer_choices(tmp_path):
    train, test = rows("train", answers="abc"), rows("test")
    test[2]["d"] = ""
    seen = look(given(tmp_path / "in", train, test))
    assert seen.missing_choices and not seen.quarantine and "data.missing_choices: accept" in all_lines(seen)


def test_numbers_without_the_last_one_are_asked_for(tmp_path):
    """1, 2 and 3 of four choices may count from 0: nothing is guessed."""
    seen = look(given(tmp_path / "in", rows("train", answers="123")))
    assert seen.labels is None and "`data: {answers: from 1}`" in all_lines(seen)


def test_no_sample_submission(tmp_path):
    assert look(given(tmp_path / "in", with_sample=False)).roles.sample is None


def test_absolute_image_paths_that_lead_elsewhere(tmp_path):
    root = tmp_path / "photos"
    train, test = (
        rows(split, answers=answers, path=f"{root}/{{split}}/{{i}}.png")
        for split, answers in (("train", "abcd"), ("test", None))
    )
    seen = look(given(tmp_path / "in", train, test))
    assert seen.image_root == root and not seen.unknown


def test_images_that_links_lead_to(tmp_path):
    picture(tmp_path / "hub" / "blob.png")
    folder = given(tmp_path / "in")
    for path in sorted((folder / "train").iterdir()):
        path.unlink()
        path.symlink_to(tmp_path / "hub" / "blob.png")
    seen = look(folder)
    assert seen.follow_links and "data.follow_links: true" in all_lines(seen)


def test_some_missing_images_are_told_with_their_key(tmp_path):
    folder = given(tmp_path / "in")
    (folder / "train" / "train_03.png").unlink()
    seen = look(folder)
    assert "train.csv: 1 of 8 sampled rows have no image" in all_lines(seen) and "data.image_root" in all_lines(seen)


@needs_real_data
def test_a_real_competitions_folder():
    seen = look(REAL_DATA / "recycling2026")
    roles = seen.roles
    assert [t.path.name for t in (roles.train, *roles.more, roles.test, roles.sample)] == [
        "train.csv",
        "dev.csv",
        "test.csv",
        "example_submission.csv",
    ]
    assert seen.rows == 5073 + 4413 and seen.people[roles.more[0].path] == 5 and seen.columns == {}
    assert seen.quarantine and len(seen.unknown) == 3, "the pictures that were not published"


# --- what is refused ---


def test_an_empty_folder(tmp_path):
    assert "it is empty. Download the competition's data" in refused(tmp_path)


def test_no_such_folder(tmp_path):
    assert "there is no such folder" in refused(tmp_path / "nowhere")


def test_a_file_in_place_of_a_folder(tmp_path):
    folder = given(tmp_path / "in")
    assert refused(folder / "train.csv").endswith(f"Give the folder that it lies in: {folder}.")


def test_an_archive_in_place_of_a_folder(tmp_path):
    folder = given(tmp_path / "in")
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", folder)
    assert "it is a zip archive, not a folder. Unpack it" in refused(Path(archive))
    (tmp_path / "packed").mkdir()
    shutil.move(archive, tmp_path / "packed" / "data.zip")
    message = refused(tmp_path / "packed")
    assert "it has no CSV file, but 'data.zip'. Unpack it" in message


def test_only_pictures(tmp_path):
    picture(tmp_path / "0.png")
    assert "it has 1 pictures, but no CSV file" in refused(tmp_path)


def test_one_table_only(tmp_path):
    folder = given(tmp_path / "in", test=[])
    message = refused(folder)
    assert "train.csv has answers, but no table has questions without them" in message and "--test FILE" in message


def test_test_rows_only(tmp_path):
    folder = given(tmp_path / "in", train=[])
    assert "test.csv has questions, but no table has answers" in refused(folder)


def test_semicolons(tmp_path):
    folder = given(tmp_path / "in")
    write(folder / "train.csv", TRAIN, separator=";")
    message = refused(folder)
    assert "train.csv line 1: the header was read as one cell" in message and "Separate the cells by commas" in message


def test_another_encoding_than_korean(tmp_path):
    folder = given(tmp_path / "in")
    train = [row | {"question": "这是什么东西 猫狗鸟马"} for row in TRAIN]
    text = "\n".join([",".join(train[0]), *(",".join(row.values()) for row in train)])
    (folder / "train.csv").write_bytes(text.replace("빨강", "红").encode("gbk", errors="ignore"))
    assert "GBK (simplified Chinese)" in refused(folder)


def test_no_image_at_all(tmp_path):
    folder = given(tmp_path / "in")
    shutil.rmtree(folder / "train")
    message = refused(folder)
    assert f"Put the images where {folder / 'train/train_00.png'} exists" in message and "--image-root" in message


@pytest.mark.parametrize(
    ("change", "cure"),
    [
        (lambda path: path.removesuffix(".png"), "which has an extension"),
        (lambda path: path.replace(".png", ".jpg"), "whose extension is not .jpg"),
        (lambda path: path.replace("/", "\\"), "Write / instead of"),
        (lambda path: f"https://example.org/{path}", "Write train/train_00.png"),
    ],
)
def test_image_paths_that_nearly_name_a_file(tmp_path, change, cure):
    """The reader's own words for such a path, before anything else was done."""
    folder = given(tmp_path / "in")
    write(folder / "train.csv", [row | {"path": change(row["path"])} for row in TRAIN])
    assert cure in refused(folder)


def test_ids_that_repeat_are_still_the_column_of_ids(tmp_path):
    """validate_tables names the rows; a message that there is no such column would mislead."""
    train = rows("train", answers="abcd")
    train[1]["id"] = train[0]["id"]
    assert look(given(tmp_path / "in", train)).roles.train.guess.id == "id"


@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda row: row | {"Usage": "Public"}, "3 columns"), (lambda row: row | {"id": row["id"] + "x"}, "other ids")],
)
def test_a_sample_submission_that_does_not_fit_is_told(tmp_path, change, told):
    folder = given(tmp_path / "in")
    write(folder / "sample_submission.csv", [change(row) for row in sample(TEST)])
    seen = look(folder)
    assert seen.roles.sample is None and told in all_lines(seen) and "data.sample_submission" in all_lines(seen)


def test_earlier_submissions_are_not_taken_for_the_sample(tmp_path):
    folder = given(tmp_path / "in")
    for name in ("best_submission", "a_submission_v2"):
        write(folder / f"{name}.csv", sample(TEST, "b"))
    assert look(folder).roles.sample.path.name == "sample_submission.csv"


def test_absolute_paths_of_another_machine(tmp_path):
    folder = given(tmp_path / "in")
    train = [row | {"path": f"/content/data/{row['path']}"} for row in TRAIN]
    write(folder / "train.csv", train)
    message = refused(folder)
    assert "the image paths are absolute" in message and "Cut them down to train/train_00.png" in message


def test_tables_that_call_their_columns_differently(tmp_path):
    folder = given(tmp_path / "in")
    write(folder / "test.csv", renamed(TEST, {"question": "query"}))
    message = refused(folder)
    assert "it has no column 'question'" in message and "but 'query'" in message


def test_tables_of_something_else(tmp_path):
    write(tmp_path / "train.csv", [{"age": "3", "height": "4", "weight": "5"}])
    message = refused(tmp_path)
    assert "train.csv lacks" in message and "id, path, question, a, b, c, d, answer" in message


def test_a_named_file_that_is_not_there(tmp_path):
    folder = given(tmp_path / "in")
    assert "there is no such file" in refused(folder, test=tmp_path / "test2.csv")


# --- columns ---


def guessed(header: str, *cells: str) -> Guess:
    return guess_columns(header.split(","), [line.split(",") for line in cells])


@pytest.mark.parametrize(
    ("header", "choices"),
    [
        ("id,image,question,A,B,C,D,answer", "A B C D"),
        ("id,image,question,option_a,option_b,option_c,answer", "option_a option_b option_c"),
        ("id,image,question,choice0,choice1,choice2,choice3,label", "choice0 choice1 choice2 choice3"),
        ("id,image,question,Option 1,Option 2,label", "Option 1,Option 2".replace(",", "|")),
        ("id,image,question,①,②,③,④,정답", "① ② ③ ④"),
        ("id,image,question,d,c,b,a,answer", "a b c d"),
        ("id,image,question,a,b,c,d,answer1,answer2,answer3,answer4,answer5", "a b c d"),
    ],
)
def test_names_of_choices(header, choices):
    row = ",".join("1.png" if name == "image" else "a" for name in header.split(","))
    wanted = choices.split("|") if "|" in choices else choices.split()
    assert guessed(header, row).choices == tuple(wanted)
