"""Question types decide prompts and which views are mirrored: a wrong one costs accuracy without a sign."""

import csv
import itertools
import json
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import easy_vqa
import numpy as np
import pytest

from places import REAL_DATA, SCRIPTS, needs_real_data
from question_cases import CASES
from vqaflow.artifacts.columns import QTYPES
from vqaflow.demo.questions import COLORS, DIGIT_QUESTIONS, KOREAN, NEITHER, SHAPES, YES_NO, kind_and_korean
from vqaflow.question_types import evaluation as question_evaluation
from vqaflow.question_types import labelled as labelled_questions
from vqaflow.question_types import training as question_model
from vqaflow.question_types import weights as question_weights
from vqaflow.question_types.classify import classify_many
from vqaflow.question_types.features import features
from vqaflow.question_types.tables import type_table
from vqaflow.runtime.errors import UserError

DEV = REAL_DATA / "questions_dev.csv"


def row(question, choices):
    return {"question": question, **dict(zip("abcd", choices, strict=True))}


@pytest.fixture(scope="module")
def said():
    """The types of all CASES, by their question."""
    found = classify_many([row(question, choices) for _, _, question, choices in CASES])
    return {question: one for (_, _, question, _), one in zip(CASES, found, strict=True)}


@pytest.mark.parametrize(("qtype", "unsafe", "question"), [case[:3] for case in CASES])
def test_types_of_plain_cases(said, qtype, unsafe, question):
    """A case that the guide decides would get another type's prompt, or be mirrored although it must be read."""
    assert (said[question].qtype, said[question].flip_unsafe) == (qtype, unsafe)


KIND_TYPES = {
    "color": ("color", False),
    "shape": ("attribute", False),
    "yesno": ("yesno", False),
    "digit": ("ocr", True),
}


def demo_rows():
    """Every wording of the demo in both languages, with its choices."""
    answers = {
        "color": list(COLORS)[:4],
        "shape": [*SHAPES, "star"],
        "yesno": [*YES_NO, *NEITHER],
        "digit": ["7", "1", "4", "9"],
    }
    for question in sorted(set(easy_vqa.get_train_questions()[0])):
        kind, korean = kind_and_korean(question)
        yield kind, question, answers[kind]
        yield kind, korean, [KOREAN[answer] for answer in answers[kind]]
    for question in (*DIGIT_QUESTIONS["en"], *DIGIT_QUESTIONS["ko"]):
        yield "digit", question, answers["digit"]


def test_the_demos_kinds():
    """The demo would ask about colours with the prompt for reading, or mirror digits."""
    rows = list(demo_rows())
    found = classify_many([row(question, choices) for _, question, choices in rows])
    wrong = [
        (question, one)
        for (kind, question, _), one in zip(rows, found, strict=True)
        if (one.qtype, one.flip_unsafe) != KIND_TYPES[kind]
    ]
    assert not wrong
    assert len(rows) > 200


def test_types_are_those_of_the_prompts():
    """A type without a template in the configuration would stop the run at its first row."""
    assert set(labelled_questions.TYPES) == set(QTYPES)


def test_order_of_choices_changes_nothing():
    """A row whose choices are shuffled would be another type than the row itself."""
    for _, _, question, choices in CASES[::9]:
        assert len(set(classify_many([row(question, order) for order in itertools.permutations(choices)]))) == 1


def test_split_hangul_and_full_width_forms_change_nothing(said):
    """Tables saved on a Mac (decomposed Hangul) or typed with full-width letters would be typed wrongly."""
    for _, _, question, choices in CASES[::5]:
        wide = [choice.translate({c: c + 0xFEE0 for c in range(0x30, 0x7B)}) for choice in choices]
        for other in (row(unicodedata.normalize("NFD", question), choices), row(question, wide)):
            assert classify_many([other]) == [said[question]]


def test_strange_rows_have_a_type():
    """A table with an empty question, an emoji or a very long cell would stop with a traceback."""
    rows = [row("", ["a", "b", "c", "d"]), row("😀?", ["", " ", "\n", "/"]), row("무엇 " * 2000, ["1" * 5000] * 4)]
    rows += [row(only, ["가", "나", "다", "라"]) for only in ("이 사진은 ", "사진 속 ", "이 사진에서 보이는 ", "가")]
    assert {found.qtype for found in classify_many(rows)} <= set(QTYPES)
    assert classify_many([]) == []


def write_csv(path, rows, columns=("id", "path", "question", "a", "b", "c", "d", "answer")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def run_command(*arguments):
    command = [sys.executable, "-m", "vqaflow", "question_types", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=SCRIPTS, timeout=120)


def test_command_writes_exactly_what_is_promised(tmp_path):
    """Tools that read id, qtype, flip_unsafe in the table's order would break; a choice "nan" would become a number."""
    table = [
        ("z", "1.jpg", "이 사진에 사람이 몇 명 있나요?", "1명", "2명", "3명", "4명", "a"),
        ("007", "2.jpg", "간판에 적힌 글자는 무엇인가요?", "nan", "None", "TRUE", "01", "b"),
    ]
    source, out = write_csv(tmp_path / "in.csv", table), tmp_path / "out.csv"
    done = run_command(source, "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == "id,qtype,flip_unsafe\nz,counting,0\n007,ocr,1\n"
    assert "2/2" in done.stderr


def test_command_names_what_is_missing_and_keeps_the_old_file(tmp_path):
    """The user would read a traceback, or lose the last good output to a failed run."""
    out = tmp_path / "out.csv"
    out.write_text("old", encoding="utf-8")
    source = write_csv(tmp_path / "in.csv", [("1", "무엇?", "a", "b", "c")], ("id", "question", "a", "b", "c"))
    done = run_command(source, "--out", out)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no column d" in done.stderr
    assert out.read_text(encoding="utf-8") == "old"
    with pytest.raises(UserError, match=r"absent\.csv"):
        type_table(tmp_path / "absent.csv", out)


def test_the_table_itself_is_never_written_over(tmp_path):
    """The user would lose questions, choices and answers for three columns."""
    table = write_csv(tmp_path / "train.csv", [("7", "1.jpg", "무엇?", "1", "2", "3", "4", "a")])
    before = table.read_bytes()
    done = run_command(table, "--out", tmp_path / "x" / ".." / "train.csv")
    assert done.returncode == 1 and "Name another file" in done.stderr and table.read_bytes() == before


def test_import_is_cheap():
    """`--help` and every module that imports this one would wait seconds for the analyser and scikit-learn."""
    heavy = {"kiwipiepy", "sklearn", "pandas", "torch"}
    code = f"import vqaflow.question_types.classify, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPTS, check=True)
    assert done.stdout.strip() == "[]"
    assert "--out" in run_command("--help").stdout


def test_a_hundred_thousand_questions_take_two_minutes():
    """validate_tables would keep large tables waiting (100,000 rows in 120 s of one core are 1.2 ms per row)."""
    rows = [row(f"{question} {i}", choices) for i in range(20) for _, _, question, choices in CASES]
    classify_many(rows[:1])
    seconds = []
    for _ in range(2):
        start = time.process_time()
        classify_many(rows)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.2e-3 * len(rows)


def test_a_damaged_weights_file_is_refused(tmp_path, monkeypatch):
    """Half of a file, or one of another version, would type questions wrongly without a message."""
    damaged = tmp_path / "weights.json"
    damaged.write_bytes(question_weights.FILE.read_bytes()[:-100])
    monkeypatch.setattr(question_weights, "FILE", damaged)
    question_weights.shipped_weights.cache_clear()
    with pytest.raises(UserError, match="not the file of this version"):
        question_weights.shipped_weights()
    question_weights.shipped_weights.cache_clear()


def test_weights_hold_no_words_of_the_questions():
    """The data's questions may not be passed on: features name classes of words only."""
    text = question_weights.FILE.read_text(encoding="utf-8")
    assert text.isascii()
    assert len(text) < 200_000


@pytest.fixture(scope="module")
def labelled():
    return labelled_questions.read_labelled(DEV)


@needs_real_data
def test_the_shipped_weights_can_be_rebuilt(labelled):
    """Otherwise nobody could check or improve the weights. Rounding may differ in the last digit between machines."""
    built = json.loads(question_model.weights_text(question_model.fit(labelled), labelled))
    shipped = json.loads(question_weights.FILE.read_text(encoding="utf-8"))
    assert built["types"] == shipped["types"]
    assert list(built["features"]) == list(shipped["features"])
    for key in ("bias", "flip_threshold"):
        assert built[key] == pytest.approx(shipped[key], abs=2e-3)
    np.testing.assert_allclose(list(built["features"].values()), list(shipped["features"].values()), atol=2e-3)


@needs_real_data
def test_unseen_wordings_are_typed_well_enough(labelled, monkeypatch):
    """Accuracy, macro-F1 and what mirroring spares would fall below what the project promises."""
    monkeypatch.setattr(question_evaluation, "FOLDS", 5)
    judged = question_evaluation.cross_validate(labelled, repeats=1)
    assert question_evaluation.accuracy(judged) >= 0.92
    assert question_evaluation.macro_f1(judged) >= 0.85
    assert question_evaluation.flip_recall(judged) >= 0.97
    assert question_evaluation.flip_precision(judged) >= 0.85


@needs_real_data
@pytest.mark.parametrize(("name", "least"), [("blind", (0.94, 0.95, 0.98, 0.88)), ("seen", (0.92, 0.93, 0.93, 0.93))])
def test_made_up_questions_are_typed_as_the_documentation_says(name, least):
    """A changed rule could lose what the others decide; the blind labels are older than the rules."""
    labelled = labelled_questions.read_labelled(Path(__file__).with_name(f"questions_{name}.csv"))
    judged = question_evaluation.judge(labelled, question_weights.shipped_weights())
    found = [measure(judged) for measure in question_evaluation.MEASURES.values()]
    assert all(value >= bound for value, bound in zip(found, least, strict=True)), found


def test_folds_keep_equal_wordings_together(monkeypatch):
    """A cross-validated figure would be flattered by questions that the training part contains word for word."""
    once = labelled_questions.read_labelled(Path(__file__).with_name("questions_seen.csv"))
    labelled = once.take([*range(500), *range(0, 500, 3)])  # a third of the questions is asked twice
    trained = []
    fit = question_model.fit
    monkeypatch.setattr(question_evaluation, "fit", lambda part: trained.append(part) or fit(part, flip_threshold=0.0))
    question_evaluation.cross_validate(labelled, repeats=1)
    assert len(trained) == question_evaluation.FOLDS
    for part in trained:
        tested = set(labelled.questions) - set(part.questions)
        assert len(part.rows) == sum(question not in tested for question in labelled.questions)


def test_measures_are_those_of_the_textbook():
    """The printed figures would be wrong: checked against a table that is counted by hand."""
    judged = question_evaluation.Judged(
        types_N=np.array([0, 0, 1, 1]),
        unsafe_N=np.array([True, True, False, False]),
        said_types_RN=np.array([[0, 1, 1, 1]]),
        said_unsafe_RN=np.array([[True, False, True, False]]),
    )
    assert question_evaluation.accuracy(judged) == 0.75
    assert question_evaluation.macro_f1(judged) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert question_evaluation.flip_recall(judged) == 0.5
    assert question_evaluation.flip_precision(judged) == 0.5
    low, high = question_evaluation.interval(question_evaluation.accuracy, judged)
    assert low < 0.75 < high


def test_unknown_labels_are_named(tmp_path):
    """A typo among the labels would become another type."""
    columns = ("id", "question", "a", "b", "c", "d", "qtype", "flip_unsafe")
    source = write_csv(tmp_path / "x.csv", [("7", "무엇?", "1", "2", "3", "4", "colour", "0")], columns)
    with pytest.raises(UserError, match="row 7: qtype 'colour'"):
        labelled_questions.read_labelled(source)


def test_features_speak_of_classes_only(labelled_free_row=("이 가게의 이름은 무엇인가요?", ["가", "나", "다", "라"])):
    """Words as features would learn the few labelled questions by heart."""
    from vqaflow.question_types.reading import read_questions

    (read,) = read_questions([row(*labelled_free_row)])
    found = features(read)
    assert {"head=NAME", "of=BUSINESS", "word=WHAT", "role=PREDICATE"} <= found
    assert all(name.isascii() for name in found)
