"""The section `data`: a key that is silently misread teaches wrong answers or writes a wrong submission."""

from pathlib import Path

import pytest
import yaml

from places import ROOT
from vqaflow.config.check import check_config, check_files
from vqaflow.config.loading import load_config
from vqaflow.runtime.errors import UserError

SCHEMA = ROOT / "schemas" / "config.schema.yaml"


def config(**data):
    """The shipped configuration with changes of its section `data`."""
    found = load_config(ROOT / "config.yaml")
    columns = found["data"]["columns"] | data.pop("columns", {})
    return found | {"data": found["data"] | {"columns": columns} | data}


def refused(**data):
    with pytest.raises(UserError) as error:
        check_config(config(**data), SCHEMA)
    return str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        {"columns": {"choices": ["o", "x"]}},
        {"columns": {"choices": [f"보기{i}" for i in range(10)]}},
        {"answers": {1: "a", 2: "b"}},
        {"answers": {"예": "a", "아니오": "d"}},
        {"answers": "from 0"},
        {"answers": {"w": "one"}, "columns": {"choices": ["one", "two"]}},
        {"submission_labels": {"a": "A", "b": "B", "c": "C", "d": "D"}},
        {"submission_labels": "columns"},
        {"answers_by": ["answer1", "answer2"]},
        {"more_train": [{"csv": "dev.csv"}]},
        {"more_train": [{"csv": "a/train.csv", "name": "other"}, {"csv": "b/train.csv", "name": "third"}]},
        {
            "more_train": [
                {"csv": "x.csv", "answers_by": None, "answers": {"1": "A"}, "columns": {"choices": list("ABCD")}}
            ]
        },
    ],
)
def test_what_is_right_passes(data):
    check_config(config(**data), SCHEMA)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"columns": {"choices": ["a"]}}, "data.columns.choices (the columns of the choices a, b, c and so on)"),
        ({"columns": {"choices": [str(i) for i in range(11)]}}, "data.columns.choices"),
        ({"answers": {"x": "e"}}, "data.answers.x: 'e' is neither a letter from a to d, nor a column of"),
        ({"answers": {}}, "data.answers: it has no labels. Write null, or a choice for each label."),
        ({"answers": "form 1"}, "data.answers: 'form 1' is unknown; did you mean 'from 1'?"),
        ({"answers": ["a"]}, "data.answers (how answers are written"),
        ({"submission_labels": {"a": "A"}}, "data.submission_labels: each of the 4 choices needs a label of its own"),
        ({"submission_labels": dict.fromkeys("abcd", "x")}, "needs a label of its own"),
        (
            {"submission_labels": {"a": True, "b": False}, "columns": {"choices": ["o", "x"]}},
            "data.submission_labels.a: true is not text. Put the label in quotes, as YAML reads yes, no, on and",
        ),
        ({"submission_labels": {"e": "A"}}, "data.submission_labels.e: 'e' is neither a letter from a to d"),
        ({"submission_labels": "letter"}, "did you mean 'letters'?"),
        ({"answers_by": []}, "data.answers_by"),
        ({"answers_by": ["x", "x"]}, "data.answers_by"),
        ({"missing_choices": "accepted"}, "did you mean 'accept'?"),
        ({"more_train": [{"cvs": "x.csv"}]}, "data.more_train.0.cvs: unknown key; did you mean 'csv'?"),
        ({"more_train": [{}]}, "data.more_train.0.csv: the key is missing. Add it."),
        (
            {"more_train": [{"csv": "x/train.csv"}]},
            "its rows would have the source 'train', like those of data.train_csv. Give it a name.",
        ),
        (
            {"more_train": [{"csv": "x.csv"}, {"csv": "y.csv", "name": "x"}]},
            "data.more_train.1: its rows would have the source 'x', like those of data.more_train.0",
        ),
        (
            {"more_train": [{"csv": "x.csv", "columns": {"choices": ["a", "b"]}}]},
            "data.more_train.0.columns.choices: it names 2 columns, but data.columns.choices names 4",
        ),
        (
            {"more_train": [{"csv": "x.csv", "columns": {"answer": "id"}}]},
            "data.more_train.0.columns: 'id' is given twice",
        ),
        ({"more_train": [{"csv": "x.csv", "answers": {"1": "e"}}]}, "data.more_train.0.answers.1: 'e' is neither"),
        ({"columns": {"choices": ["a", "b", "c", "id"]}}, "data.columns: 'id' is given twice. Name each column once."),
        (  # what an entry leaves out is data's own, which may not fit its columns
            {
                "columns": {"choices": ["yes", "no"]},
                "answers": {"O": "yes", "X": "no"},
                "more_train": [{"csv": "x.csv", "columns": {"choices": ["ja", "nein"]}}],
            },
            "data.more_train.0.answers.O: 'yes' is neither a letter from a to b, nor a column of",
        ),
        ({"answers_by": ["p1", "b"]}, "data.answers_by: 'b' is one of data.columns. Name only columns of answers."),
        (
            {"answers_by": ["p1"], "more_train": [{"csv": "x.csv", "columns": {"question": "p1"}}]},
            "data.more_train.0.answers_by: 'p1' is one of data.more_train.0.columns. Name only columns of answers.",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(data, words):
    assert words in refused(**data)


def test_missing_files_of_further_tables_are_named():
    """They would otherwise stop the run as an error of Snakemake."""
    entries = [{"csv": "none.csv", "image_root": "nowhere"}, {"csv": "results/demo/train.csv"}]
    with pytest.raises(UserError) as error:
        check_files(config(more_train=entries), Path("results"))
    assert "data.more_train.0.csv: there is no file none.csv. Correct the path" in str(error.value)
    assert "data.more_train.0.image_root: there is no folder nowhere" in str(error.value)
    assert "more_train.1" not in str(error.value)


def test_every_key_of_data_is_explained_in_the_shipped_configuration():
    """A key without a comment is one that nobody finds."""
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").split("\nmodel:")[0].splitlines()
    keys = set(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["data"])
    commented = {
        line.split(":")[0].strip()
        for i, line in enumerate(lines)
        if "#" in line or lines[i - 1].strip().startswith("#")
    }
    assert keys <= commented
