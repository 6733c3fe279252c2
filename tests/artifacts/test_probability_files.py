"""Anyone's probability files: read where they are certain, and refused by name, with a cure, where they are not."""

import gzip
import pickle
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.probability_files import read_pair, read_probabilities
from vqaflow.runtime.errors import UserError

LETTERS = ALL_LETTERS[:4]

TRAIN, TEST = [f"train_{i:04d}" for i in range(300)], [f"test_{i:04d}" for i in range(200)]
NAMES = [f"p_{letter}" for letter in LETTERS]


def made(rows: int, seed: int = 0, strength: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model that is as sure as it is right, and the answers."""
    rng = np.random.default_rng(seed)
    answers_N = rng.integers(0, len(LETTERS), rows)
    logits_NC = rng.normal(size=(rows, len(LETTERS)))
    logits_NC[np.arange(rows), answers_N] += strength
    p_NC = np.exp(strength * logits_NC)
    return p_NC / p_NC.sum(1, keepdims=True), answers_N


OOF, ANSWERS = made(len(TRAIN))
TEST_P = made(len(TEST), seed=1)[0]


def frame(ids: list[str], p_NC: np.ndarray, names: list[str] = NAMES) -> pd.DataFrame:
    return pd.DataFrame({"id": ids} | {name: p_NC[:, i] for i, name in enumerate(names)})


def csv(folder: Path, table: pd.DataFrame, name: str = "oof.csv", **options: object) -> Path:
    table.to_csv(folder / name, index=False, **options)
    return folder / name


def oof() -> pd.DataFrame:
    return frame(TRAIN, OOF)


def refused(path: Path, ids: list[str] = TRAIN, answers: np.ndarray | None = ANSWERS) -> str:
    """The message with which a file is refused: it names the file, and ends with what to do."""
    with pytest.raises(UserError) as error:
        read_probabilities(path, ids, LETTERS, answers)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message and message.endswith((".", "?"))
    return message.removeprefix(str(path))


# --- what is read ---


def test_rows_come_in_the_order_of_the_table(tmp_path):
    """Else each row would get another row's probabilities, and no error."""
    shuffled = oof().sample(frac=1, random_state=0)
    p_NC, notes = read_probabilities(csv(tmp_path, shuffled), TRAIN, LETTERS, ANSWERS)
    assert np.array_equal(p_NC, OOF) and p_NC.dtype == np.float64 and notes == []


@pytest.mark.parametrize(
    "names",
    [
        ["a", "b", "c", "d"],
        ["A", "B", "C", "D"],
        ["prob_a", "prob_b", "prob_c", "prob_d"],
        ["prob_A", "prob_B", "prob_C", "prob_D"],
        ["0", "1", "2", "3"],
        ["1", "2", "3", "4"],
        ["p0", "p1", "p2", "p3"],
        ["p_1", "p_2", "p_3", "p_4"],
        ["pa", "pb", "pc", "pd"],
        [" P_A", "P_B ", "P_C", "P_D"],
    ],
    ids=" ".join,
)
def test_columns_are_found_by_every_usual_name_in_any_order(tmp_path, names):
    """Each team names them in its own way."""
    table = frame(TRAIN, OOF, names)[["id", *reversed(names)]]
    assert np.array_equal(read_probabilities(csv(tmp_path, table), TRAIN, LETTERS, ANSWERS)[0], OOF)


@pytest.mark.parametrize("name", ["id", "ID", "row_id", "question_id", "문항"])
def test_the_id_is_a_column_named_so_or_the_first(tmp_path, name):
    table = oof().rename(columns={"id": name})
    assert np.array_equal(read_probabilities(csv(tmp_path, table), TRAIN, LETTERS, ANSWERS)[0], OOF)


def test_an_id_that_is_not_the_first_column_is_found(tmp_path):
    """pandas writes its row numbers in front."""
    oof().to_csv(tmp_path / "oof.csv")
    assert np.array_equal(read_probabilities(tmp_path / "oof.csv", TRAIN, LETTERS, ANSWERS)[0], OOF)


def test_other_columns_do_not_matter(tmp_path):
    """Many keep the table's columns, choices included, and add their own."""
    table = oof().assign(question="?", a="가", b="나", c="다", d="라", answer="a", fold=0, proba=0.5, choices="x", n=4)
    assert np.array_equal(read_probabilities(csv(tmp_path, table), TRAIN, LETTERS, ANSWERS)[0], OOF)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_a_csv_may_be_in_any_encoding_of_the_tables(tmp_path, encoding):
    table = oof().assign(질문="그림에서 무엇이 보이나요")
    assert np.array_equal(read_probabilities(csv(tmp_path, table, encoding=encoding), TRAIN, LETTERS, ANSWERS)[0], OOF)


def test_the_content_decides_the_format(tmp_path):
    """Files are renamed on their way."""
    oof().to_parquet(tmp_path / "oof.csv", index=False)
    assert np.array_equal(read_probabilities(tmp_path / "oof.csv", TRAIN, LETTERS, ANSWERS)[0], OOF)


def test_parquet_with_the_id_as_index_is_read(tmp_path):
    for name in ("id", None):
        oof().set_index("id").rename_axis(name).to_parquet(tmp_path / "oof.parquet")
        assert np.array_equal(read_probabilities(tmp_path / "oof.parquet", TRAIN, LETTERS, ANSWERS)[0], OOF)


@pytest.mark.parametrize("names", ["ids avg", "id probs", "ids p", "ID probabilities", "ids x"])
@pytest.mark.parametrize("kind", [str, "S"])
def test_npz_is_read(tmp_path, names, kind):
    ids, p = names.split()
    np.savez(tmp_path / "oof_probs.npz", **{ids: np.array(TRAIN).astype(kind), p: OOF})
    assert np.array_equal(read_probabilities(tmp_path / "oof_probs.npz", TRAIN, LETTERS, ANSWERS)[0], OOF)


def test_npz_with_each_model_beside_the_mean_is_read(tmp_path):
    np.savez(tmp_path / "oof.npz", ids=TRAIN, avg=OOF, models=np.stack([OOF, OOF]), score=np.float64(0.9))
    assert np.array_equal(read_probabilities(tmp_path / "oof.npz", TRAIN, LETTERS, ANSWERS)[0], OOF)


def test_npz_with_one_array_per_column_is_read(tmp_path):
    np.savez(tmp_path / "oof.npz", ids=TRAIN, **{name: OOF[:, i] for i, name in enumerate(NAMES)})
    assert np.array_equal(read_probabilities(tmp_path / "oof.npz", TRAIN, LETTERS, ANSWERS)[0], OOF)


def test_whole_numbers_are_ids(tmp_path):
    """A parquet or npz keeps them as numbers, the table as text."""
    ids = [str(i) for i in range(300)]
    frame(ids, OOF).assign(id=range(300)).to_parquet(tmp_path / "oof.parquet", index=False)
    np.savez(tmp_path / "oof.npz", ids=np.arange(300), p=OOF)
    for name in ("oof.parquet", "oof.npz"):
        assert np.array_equal(read_probabilities(tmp_path / name, ids, LETTERS, ANSWERS)[0], OOF)


@pytest.mark.parametrize("letters", ["ab", "abcde", "abcdefghij"])
def test_any_number_of_choices_is_read(tmp_path, letters):
    rng = np.random.default_rng(0)
    p_NC = rng.dirichlet(np.ones(len(letters)), 50)
    for names in ([f"p_{x}" for x in letters], list(map(str, range(1, len(letters) + 1)))):
        path = csv(tmp_path, frame(TRAIN[:50], p_NC, names))
        assert np.array_equal(read_probabilities(path, TRAIN[:50], letters)[0], p_NC)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_short_floats_are_read_and_sum_to_one(tmp_path, kind):
    np.savez(tmp_path / "oof.npz", ids=TRAIN, avg=OOF.astype(kind))
    p_NC, notes = read_probabilities(tmp_path / "oof.npz", TRAIN, LETTERS, ANSWERS)
    assert p_NC.dtype == np.float64 and np.abs(p_NC.sum(1) - 1).max() < 1e-9 and np.abs(p_NC - OOF).max() < 1e-3
    assert bool(notes) == (kind == np.float16)


def test_three_decimals_are_scaled_with_a_note(tmp_path):
    p_NC, notes = read_probabilities(csv(tmp_path, frame(TRAIN, OOF.round(3))), TRAIN, LETTERS, ANSWERS)
    assert np.abs(p_NC.sum(1) - 1).max() < 1e-12 and np.abs(p_NC - OOF).max() < 0.003
    assert len(notes) == 1 and "rounded" in notes[0]


def test_hard_labels_are_read_with_a_note(tmp_path):
    hard = np.eye(4)[OOF.argmax(1)]
    p_NC, notes = read_probabilities(csv(tmp_path, frame(TRAIN, hard)), TRAIN, LETTERS, ANSWERS)
    assert np.array_equal(p_NC, hard) and len(notes) == 1 and "without confidence" in notes[0]


def test_some_rows_without_an_opinion_are_noted(tmp_path):
    p_NC = OOF.copy()
    p_NC[:7] = 0.25
    _, notes = read_probabilities(csv(tmp_path, frame(TRAIN, p_NC)), TRAIN, LETTERS, ANSWERS)
    assert len(notes) == 1 and "7 rows give all choices the same probability" in notes[0]


# --- files that are refused ---


def test_a_missing_file_is_named(tmp_path):
    assert "there is no such file" in refused(tmp_path / "oof.csv")


def test_a_folder_is_not_taken_for_a_file(tmp_path):
    with pytest.raises(OSError):  # runtime/stage.py words it
        read_probabilities(tmp_path, TRAIN, LETTERS)


def xlsx(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "x")
        archive.writestr("xl/workbook.xml", "x")


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("oof.csv", oof().to_csv(index=False))


OTHER_FORMATS = {
    "xlsx": (xlsx, "Excel file"),
    "zip": (zipped, "zip archive"),
    "xls": (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(99)), "as Excel saves (.xls)"),
    "jsonl": (lambda path: oof().to_json(path, orient="records", lines=True), "JSON"),
    "json": (lambda path: oof().to_json(path, orient="records"), "JSON"),
    "gz": (lambda path: path.write_bytes(gzip.compress(oof().to_csv(index=False).encode())), "gunzip"),
    "html": (lambda path: path.write_text("\n<!DOCTYPE html><html>Log in</html>"), "web page"),
    "pkl": (lambda path: path.write_bytes(pickle.dumps(oof())), "pickle"),
    "npy": (lambda path: np.save(path, OOF), "np.savez"),
    "feather": (lambda path: oof().to_feather(path), "feather"),
    "bin": (lambda path: path.write_bytes(bytes(range(1, 256)) + bytes(2)), "is not text"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "blank": (lambda path: path.write_text("\n\n"), "is empty"),
    "header": (lambda path: oof()[:0].to_csv(path, index=False), "has no rows"),
    "semicolons": (lambda path: oof().to_csv(path, sep=";", decimal=",", index=False), "semicolons"),
    "tabs": (lambda path: oof().to_csv(path, sep="\t", index=False), "tabs"),
    "no header": (lambda path: oof().to_csv(path, header=False, index=False), "numbers instead of a header"),
    "utf16": (lambda path: oof().to_csv(path, index=False, encoding="utf-16"), "UTF-16"),
}


@pytest.mark.parametrize("ending", OTHER_FORMATS)
def test_another_format_is_named_with_the_way_out(tmp_path, ending):
    write, expected = OTHER_FORMATS[ending]
    write(tmp_path / "oof.npy")  # NumPy adds this ending
    path = (tmp_path / "oof.npy").rename(tmp_path / "oof.csv")
    assert expected in refused(path)


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_half_a_file_is_refused(tmp_path, ending):
    """A copy that broke off, wherever it did."""
    csv(tmp_path, oof())
    oof().to_parquet(tmp_path / "oof.parquet", index=False)
    np.savez(tmp_path / "oof.npz", ids=TRAIN, avg=OOF)
    whole = (tmp_path / f"oof.{ending}").read_bytes()
    line = whole.index(b"\n", len(whole) // 2) + 1
    for length in (len(whole) // 2, line, len(whole) - 40):
        (tmp_path / "half").write_bytes(whole[:length])
        message = refused(tmp_path / "half")
        assert "cut off" in message or "whole" in message or "fields" in message or "sum to" in message


def test_a_damaged_array_is_refused(tmp_path):
    np.savez(tmp_path / "oof.npz", ids=TRAIN, avg=OOF)
    data = bytearray((tmp_path / "oof.npz").read_bytes())
    data[-5000] ^= 255
    (tmp_path / "oof.npz").write_bytes(data)
    assert "damaged" in refused(tmp_path / "oof.npz")


@pytest.mark.parametrize("content", [b"garbage", b"\x93NUMPY\x01\x00\x10\x00garbage\n........"])
def test_an_entry_that_is_no_array_is_refused(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "oof.npz", "w") as archive:
        archive.writestr("avg.npy", content)
    assert "its array avg is damaged" in refused(tmp_path / "oof.npz")


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    """A pickle may run any code. It is what `frame["id"].values` becomes."""
    np.savez(tmp_path / "oof.npz", ids=np.array(TRAIN, dtype=object), avg=OOF)
    message = refused(tmp_path / "oof.npz")
    assert "ids is an array of Python objects" in message and "dtype=str" in message


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"avg": OOF}, "has no array of ids"),
        ({"ids": TRAIN}, "has no array (rows, 4)"),
        ({"ids": TRAIN, "avg": OOF.T}, "Transpose it: avg.T"),
        ({"ids": TRAIN, "avg": OOF[:, :3]}, "(300, 3)"),
        ({"ids": TRAIN, "avg": np.stack([OOF, OOF])}, "Average it"),
        ({"ids": TRAIN[1:], "avg": OOF}, "different lengths"),
        ({"ids": TRAIN, "probs": OOF, "avg": OOF}, "avg, probs"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, expected):
    np.savez(tmp_path / "oof.npz", **arrays)
    assert expected in refused(tmp_path / "oof.npz")


# --- columns that are refused ---


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.drop(columns="id"), "has no column of ids"),
        (lambda t: t.drop(columns="p_c"), "no column for the choice c"),
        (lambda t: t.assign(p_e=0.0), "has a column 'p_e', but the choices of the tables are a, b, c, d"),
        (lambda t: t.assign(p_x=0.0), "has a column 'p_x'"),
        (lambda t: t.rename(columns={"p_d": "p_x"}), "no column for the choice d"),
        (lambda t: t.assign(P_A=t["p_a"]), "'p_a' and 'P_A' are of one choice"),
        (
            lambda t: t.set_axis(["id", "p1", "p2", "p3", "p4"], axis=1).assign(p01=0.25),
            "'p1' and 'p01' are of one choice",
        ),
        (lambda t: t.assign(a=0.1, b=0.2, c=0.3, d=0.4), "each choice twice, as p_a, p_b, p_c, p_d and as a, b, c, d"),
        (lambda t: t.rename(columns=dict(zip(NAMES, "0123", strict=True))).assign(**{"4": 0}), "'4'"),
        (lambda t: t.rename(columns=dict(zip(NAMES, "wxyz", strict=True))), "no column is named after a choice"),
        (lambda t: t.rename(columns=lambda name: name.replace("p_", "logit_")), "Apply softmax"),
        (lambda t: t.assign(ID=t["id"]), "2 columns are named id"),
    ],
)
def test_columns_that_are_not_certain_are_named(tmp_path, change, expected):
    """A guess would give one choice another one's probability."""
    assert expected in refused(csv(tmp_path, change(oof())))


# --- ids that are refused ---


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t[5:], "no row for 5 of the 300 rows of the table: 'train_0000'"),
        (lambda t: pd.concat([t, t[:2]]), "more than once: 'train_0000', 'train_0001'"),
        (lambda t: pd.concat([t, frame(["strange"], OOF[:1])]), "not in the table: 'strange'"),
        (lambda t: t.assign(id=["", *TRAIN[1:]]), "1 rows have no id"),
        (lambda t: t.assign(id=range(300)), "not in the table: '0', '1'"),
    ],
)
def test_ids_that_do_not_match_are_named(tmp_path, change, expected):
    assert expected in refused(csv(tmp_path, change(oof())))


@pytest.mark.parametrize(
    ("true", "form", "expected"),
    [
        ("{:04d}", "{}", "'0' for '0000' (leading zeros"),
        ("{}", "{}.0", "'0.0' for '0' (a whole number with .0"),
        ("{:03d}", "{}.0", "'0.0' for '000' (one number in two forms"),
        ("q{}", "q{} ", "'q0 ' for 'q0' (spaces around it)"),
        ("q{}", "Q{}", "'Q0' for 'q0' (upper and lower case)"),
        ("q{}", "'q{}'", "(quotation marks)"),
        ("문항{}", unicodedata.normalize("NFD", "문항{}"), "(the same text in another Unicode form)"),
    ],
)
def test_ids_in_another_form_are_explained(tmp_path, true, form, expected):
    """pandas and Excel change ids of digits, editors the rest; "unknown id" alone would be a riddle."""
    path = csv(tmp_path, frame([form.format(i) for i in range(300)], OOF))
    message = refused(path, [true.format(i) for i in range(300)])
    assert expected in message and "300 rows" in message and "Write the ids as text" in message


def test_ids_that_pandas_made_decimal_are_explained_in_every_format(tmp_path):
    ids = [str(i) for i in range(300)]
    table = frame(ids, OOF).assign(id=np.arange(300.0))
    table.to_parquet(tmp_path / "oof.parquet", index=False)
    np.savez(tmp_path / "oof.npz", ids=np.arange(300.0), p=OOF)
    for name in ("oof.parquet", "oof.npz"):
        assert "with .0" in refused(tmp_path / name, ids)


# --- numbers that are refused ---


def with_cell(value: object) -> pd.DataFrame:
    table = oof().astype({"p_b": object})
    table.loc[3, "p_b"] = value
    return table


LOGITS = np.log(OOF) + 3


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (with_cell("nan"), "rows 'train_0003' have NaN"),
        (with_cell(""), "rows 'train_0003' have NaN, infinity or an empty cell"),
        (with_cell("inf"), "rows 'train_0003' have NaN, infinity"),
        (with_cell("high"), "row 'train_0003', column p_b: 'high' is not a number"),
        (with_cell("0,25"), "Write a decimal point"),
        (with_cell("25%"), "Write 0.125, not 12.5%"),
        (with_cell(-0.1), "negative numbers, the least -0.1, in 1 rows: 'train_0003'"),
        (with_cell(0.99), "1 of 300 rows, 'train_0003', sum to"),
        (frame(TRAIN, LOGITS), "has logits: negative numbers in"),
        (frame(TRAIN, LOGITS - LOGITS.min() + 0.1), "logits or scores, not probabilities. Apply softmax"),
        (frame(TRAIN, np.log(OOF)), "has log-probabilities. Apply exp"),
        (frame(TRAIN, 100 * OOF), "has percentages"),
        (frame(TRAIN, (100 * OOF).round()), "has percentages"),
        (frame(TRAIN, OOF / 2), "the rows sum to 0.5 to 0.5 instead of 1"),
        (frame(TRAIN, np.sqrt(OOF)), "divide each row by its sum"),
        (frame(TRAIN, OOF.round(1)), "rounded to fewer than three decimals"),
        (frame(TRAIN, np.full_like(OOF, 0.25)), "all choices of all rows the same probability"),
        (frame(TRAIN, np.tile([0.7, 0.1, 0.1, 0.1], (300, 1))), "the same numbers in all rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_numbers_that_are_not_probabilities_are_named(tmp_path, table, expected, ending):
    """Pooled as they are, they would outweigh or ruin all other members."""
    if ending == "csv":
        csv(tmp_path, table)
    else:
        table.astype({"p_b": str}).to_parquet(tmp_path / "oof.parquet", index=False)
    assert expected in refused(tmp_path / f"oof.{ending}")


def test_missing_numbers_in_a_parquet_are_named(tmp_path):
    table = oof()
    table.loc[3, "p_b"] = None
    for kind in ("float64", "Float64"):
        table.astype({"p_b": kind}).to_parquet(tmp_path / "oof.parquet", index=False)
        assert "rows 'train_0003' have NaN" in refused(tmp_path / "oof.parquet")


# --- letters in another order ---


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [1, 2, 3, 0], [3, 2, 1, 0]])
def test_letters_in_another_order_are_found_and_named(tmp_path, order):
    """The choices were shuffled when that team scored them: its file would lower every pool."""
    path = csv(tmp_path, frame(TRAIN, OOF[:, order]))
    message = refused(path)
    assert "another order of letters" in message
    for place, letter in enumerate(order):
        assert (f"{LETTERS[place]} is {LETTERS[letter]}" in message) == (place != letter)
    assert np.array_equal(read_probabilities(path, TRAIN, LETTERS)[0], OOF[:, order]), (
        "without answers, nothing can be told"
    )


def test_a_weak_model_is_not_taken_for_another_order(tmp_path):
    """One that mostly says one letter agrees better with another order when that letter is rarely right."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        answers_N = rng.choice(4, 300, p=[0.15, 0.2, 0.25, 0.4])
        logits_NC = rng.normal(size=(300, 4)) + [1.5, 0, 0, -0.5]
        logits_NC[np.arange(300), answers_N] += 0.2 * (seed % 4)
        p_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
        read_probabilities(csv(tmp_path, frame(TRAIN, p_NC)), TRAIN, LETTERS, answers_N)


def test_rows_beside_their_ids_are_noted(tmp_path):
    """Ids were sorted, the numbers were not."""
    _, notes = read_probabilities(csv(tmp_path, frame(TRAIN, OOF[::-1])), TRAIN, LETTERS, ANSWERS)
    assert len(notes) == 1 and "no more than by chance" in notes[0]


# --- two files of one member ---


@pytest.fixture
def pair(tmp_path):
    """Paths of an OOF and a test file that are right."""
    return csv(tmp_path, oof()), csv(tmp_path, frame(TEST, TEST_P), "test.csv")


def test_a_pair_is_read(pair):
    member = read_pair(*pair, TRAIN, ANSWERS, TEST, (), LETTERS)
    assert np.array_equal(member.oof_NC, OOF) and np.array_equal(member.test_NC, TEST_P) and member.notes == ()


def test_swapped_files_are_noticed(pair):
    with pytest.raises(UserError, match=r"test.csv: has the rows of the test table, not of the .* Swap the two"):
        read_pair(*reversed(pair), TRAIN, ANSWERS, TEST, (), LETTERS)
    with pytest.raises(UserError, match=r"oof.csv: has the rows of the training table, not of the test table"):
        read_pair(pair[0], pair[0], TRAIN, ANSWERS, TEST, (), LETTERS)


def test_one_file_of_both_tables_is_refused(tmp_path, pair):
    both = csv(tmp_path, pd.concat([oof(), frame(TEST, TEST_P)]), "both.csv")
    with pytest.raises(UserError, match=r"both.csv: has rows of the test table as well"):
        read_pair(both, pair[1], TRAIN, ANSWERS, TEST, (), LETTERS)


def test_rows_that_the_tables_left_out_are_dropped_with_a_note(tmp_path, pair):
    """Their author had the whole table; numbers of rows that are not read are not judged either."""
    more = frame(["bad_1", "bad_2", "bad_2", TRAIN[0]], OOF[:4])[:3]
    more.loc[0, "p_a"] = np.nan
    path = csv(tmp_path, pd.concat([oof(), more]))
    with pytest.raises(UserError, match=r"not in the training table: 'bad_1', 'bad_2'"):
        read_pair(path, pair[1], TRAIN, ANSWERS, TEST, (), LETTERS)
    member = read_pair(path, pair[1], TRAIN, ANSWERS, TEST, ["bad_1", "bad_2", "bad_3", TRAIN[0]], LETTERS)
    assert np.array_equal(member.oof_NC, OOF)
    assert (
        len(member.notes) == 1 and "2 rows that the tables left out are not read: 'bad_1', 'bad_2'" in member.notes[0]
    )


def test_rows_without_an_id_are_never_dropped(tmp_path, pair):
    """A problem of a whole table is listed with an empty id."""
    path = csv(tmp_path, pd.concat([oof(), frame([""], OOF[:1])]))
    with pytest.raises(UserError, match=r"1 rows have no id"):
        read_pair(path, pair[1], TRAIN, ANSWERS, TEST, ["", None], LETTERS)


def test_a_row_that_is_left_out_once_and_kept_once_is_not_dropped(pair):
    """The second of two rows with one id is left out; the first one stays in the table."""
    member = read_pair(*pair, TRAIN, ANSWERS, TEST, TRAIN[:1], LETTERS)
    assert np.array_equal(member.oof_NC, OOF)


def in_fold(strength: float) -> np.ndarray:
    """What a model says of rows that it was trained on."""
    p_NC = OOF**0.5
    p_NC[np.arange(300), ANSWERS] += strength
    return p_NC / p_NC.sum(1, keepdims=True)


def test_probabilities_of_rows_that_were_trained_on_are_doubted(tmp_path, pair):
    """Such a member would get nearly all the weight, and lower the test accuracy."""
    p_NC = in_fold(4.0)
    right = (p_NC.argmax(1) == ANSWERS).mean()
    assert 0.95 < right
    path = csv(tmp_path, frame(TRAIN, p_NC), "in_fold.csv")
    timid = csv(tmp_path, frame(TEST, (TEST_P + 0.15) / 1.6), "timid.csv")
    for test in (pair[1], timid):
        notes = read_pair(path, test, TRAIN, ANSWERS, TEST, (), LETTERS).notes
        assert len(notes) == 1 and "in-fold" in notes[0] and notes[0].startswith(str(path))


def test_in_fold_rows_are_doubted_although_some_are_wrong(tmp_path, pair):
    p_NC = in_fold(6.0)
    p_NC[:6] = np.roll(p_NC[:6], 1, axis=1)
    path = csv(tmp_path, frame(TRAIN, p_NC), "in_fold.csv")
    timid = csv(tmp_path, frame(TEST, (TEST_P + 0.15) / 1.6), "timid.csv")
    notes = read_pair(path, timid, TRAIN, ANSWERS, TEST, (), LETTERS).notes
    assert len(notes) == 1 and "accuracy on training rows is 0.98" in notes[0] and "in-fold" in notes[0]


def test_honest_probabilities_are_not_doubted(tmp_path):
    """Test rows are answered by the mean of the folds, which is a little less sure."""
    for seed in range(30):
        oof_NC, answers_N = made(300, seed, strength=1.5)
        test_NC = np.mean([made(200, 99, strength=1.5)[0], made(200, 99, strength=1.3)[0]], axis=0)
        paths = csv(tmp_path, frame(TRAIN, oof_NC)), csv(tmp_path, frame(TEST, test_NC), "test.csv")
        assert read_pair(*paths, TRAIN, answers_N, TEST, (), LETTERS).notes == ()
