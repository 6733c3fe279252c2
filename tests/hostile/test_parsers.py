"""Parsers of what users give, tried with random input: a result, or one message; never another error, never a wait."""

import contextlib
import copy
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import naughty
from places import ROOT
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.artifacts.probability_files import read_probabilities
from vqaflow.config.check import check_config
from vqaflow.config.loading import checked_config, load_config
from vqaflow.ensemble.submission.validate_submission import validate_submission
from vqaflow.ensemble.submission.write_submission import write_submission
from vqaflow.runtime.errors import UserError

QUICK = settings(max_examples=60, deadline=None, database=None)
SCHEMA = ROOT / "schemas" / "config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
IDS = [f"{i:03d}" for i in range(12)]
SUBMISSION = ("id,answer\n" + "".join(f"{row_id},{'abcd'[i % 4]}\n" for i, row_id in enumerate(IDS))).encode()
PIECES = st.sampled_from(
    ["id", "answer", ",", "\n", "\r\n", "\r", '"', '""', "a", "001", ";", "\t", "\ufeff", "가", " ", "'", "=", "\u2028"]
)
CSV_TEXT = st.lists(PIECES, max_size=40).map("".join).map(str.encode)
HEADS = st.sampled_from(
    [
        b"",
        b"PK\x03\x04",
        b"PAR1",
        b"\x93NUMPY",
        b"\x80\x04",
        b"\x89PNG",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x1f\x8b",
        b"{",
    ]
)
ANY_BYTES = st.one_of(CSV_TEXT, st.builds(bytes.__add__, HEADS, st.binary(max_size=200)))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(naughty.ALL[:120]),
    st.dates(),
    st.binary(max_size=4),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=8,
)


@contextlib.contextmanager
def one_message(*names: str):
    """Whatever is done within ends well, or with a message that names one of the files."""
    try:
        yield
    except UserError as error:
        message = str(error)
        assert any(name in message for name in names), message
        assert message.rstrip().endswith((".", "?", ")", "'")), message


def file_of(folder: str, data: bytes, name: str = "given.csv") -> Path:
    path = Path(folder) / name
    path.write_bytes(data)
    return path


@QUICK
@given(ANY_BYTES)
def test_any_bytes_are_a_table_or_one_message(data):
    with tempfile.TemporaryDirectory() as folder, one_message("given.csv"):
        header, records = read_csv(file_of(folder, data))
        assert all(len(cells) == len(header) for cells in records)


@QUICK
@given(ANY_BYTES, st.sampled_from(["submission.csv", "sample.csv", "test.csv"]))
def test_any_bytes_are_a_submission_or_one_message(data, which):
    with tempfile.TemporaryDirectory() as folder:
        for name in ("submission.csv", "sample.csv", "test.csv"):
            file_of(folder, SUBMISSION, name)
        path = file_of(folder, data, which)
        with one_message("submission.csv", "sample.csv", "test.csv"):
            validate_submission(
                submission=Path(folder) / "submission.csv",
                sample_submission=Path(folder) / "sample.csv",
                test_table=Path(folder) / "test.csv",
                metrics=None,
                out=None,
            )
            assert path.read_bytes() == data


@QUICK
@given(st.integers(0, len(SUBMISSION) - 1), st.integers(0, 255), st.booleans())
def test_a_submission_with_one_other_byte_is_refused_or_answers_as_much(place, value, inserts):
    data = SUBMISSION[:place] + bytes([value]) + SUBMISSION[place + (not inserts) :]
    with tempfile.TemporaryDirectory() as folder, one_message("submission.csv"):
        report = validate_submission(
            submission=file_of(folder, data, "submission.csv"),
            sample_submission=file_of(folder, SUBMISSION, "sample.csv"),
            test_table=file_of(folder, SUBMISSION, "test.csv"),
            metrics=None,
            out=None,
        )
        assert report["rows"] == len(IDS) and sum(report["letters"].values()) == len(IDS)


@QUICK
@given(ANY_BYTES)
def test_any_bytes_are_probabilities_or_one_message(data):
    with tempfile.TemporaryDirectory() as folder, one_message("given.csv"):
        p_NC, _ = read_probabilities(file_of(folder, data), IDS, "abcd")
        assert p_NC.shape == (len(IDS), 4)


def probability_file(ending: str) -> bytes:
    p_NC = np.random.default_rng(0).dirichlet([1.0] * 4, len(IDS))
    if ending == "npz":
        file = io.BytesIO()
        np.savez(file, ids=np.array(IDS), probs=p_NC)
        return file.getvalue()
    frame = pd.DataFrame({"id": IDS} | {f"p_{letter}": p_NC[:, i] for i, letter in enumerate("abcd")})
    return frame.to_parquet(index=False) if ending == "parquet" else frame.to_csv(index=False).encode()


FILES = {ending: probability_file(ending) for ending in ("csv", "parquet", "npz")}


@pytest.mark.parametrize("ending", FILES)
@QUICK
@given(st.data())
def test_a_damaged_probability_file_is_read_or_one_message(ending, data):
    """Bits flip, ends get lost, parts come twice."""
    whole = FILES[ending]
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    damage = data.draw(st.sampled_from(["flip", "cut", "lose", "repeat", "zero"]))
    made = {
        "flip": lambda: (
            whole[:start] + bytes([whole[start] ^ 1 << stop % 8]) + whole[start + 1 :] if whole[start:] else whole
        ),
        "cut": lambda: whole[:start],
        "lose": lambda: whole[:start] + whole[stop:],
        "repeat": lambda: whole[:stop] + whole[start:],
        "zero": lambda: whole[:start] + bytes(stop - start) + whole[stop:],
    }[damage]()
    with tempfile.TemporaryDirectory() as folder, one_message("given.csv"):
        p_NC, _ = read_probabilities(file_of(folder, made), IDS, "abcd")
        assert np.allclose(p_NC.sum(1), 1) and (p_NC >= 0).all()


@pytest.mark.parametrize("place", range(4))
def test_an_npz_whose_beginning_is_damaged_is_one_message(tmp_path, place):
    """A zip file is found by its end, so NumPy takes this one for a pickle."""
    made = bytearray(FILES["npz"])
    made[place] ^= 1
    path = tmp_path / "given.npz"
    path.write_bytes(made)
    with pytest.raises(UserError, match=r"given\.npz( line 1)?: "):
        read_probabilities(path, IDS, "abcd")


@pytest.mark.parametrize("text", naughty.CASES)
def test_a_naughty_id_goes_through_probabilities_and_submission(tmp_path, text):
    """Competitions call rows as they like; a row that is lost or renamed is a wrong answer."""
    if any(sign in text for sign in "\r\n") or not text.strip() or text != text.strip():
        pytest.skip("ids are on one line, without spaces around them")
    ids = [text, *(f"row {row_id}" for row_id in IDS)]
    p_NC = np.full((len(ids), 4), 0.1)
    p_NC[np.arange(len(ids)), np.arange(len(ids)) % 4] = 0.7
    frame = pd.DataFrame({"id": ids} | {f"p_{letter}": p_NC[:, i] for i, letter in enumerate("abcd")})
    frame.to_csv(tmp_path / "p.csv", index=False)
    assert np.allclose(read_probabilities(tmp_path / "p.csv", ids, "abcd")[0], p_NC)
    frame.to_parquet(tmp_path / "p.parquet", index=False)
    pd.DataFrame({"id": ids, "answer": "a"}).to_csv(tmp_path / "sample.csv", index=False)
    places = {"sample_submission": tmp_path / "sample.csv"}
    write_submission(test=tmp_path / "p.parquet", out=tmp_path / "s.csv", **places)
    report = validate_submission(
        submission=tmp_path / "s.csv", test_table=tmp_path / "sample.csv", metrics=None, out=None, **places
    )
    assert report["rows"] == len(ids)
    assert read_csv(tmp_path / "s.csv")[1] == [[row_id, "abcd"[i % 4]] for i, row_id in enumerate(ids)]


# --- the configuration ---


def places(section: Any, path: tuple = ()) -> list[tuple]:
    """Every key of the configuration, sections included."""
    found = [path] if path else []
    for key, value in section.items() if isinstance(section, dict) else ():
        found += places(value, (*path, key))
    return found


PLACES = places(CONFIG)


@QUICK
@given(st.sampled_from(PLACES), VALUES, st.booleans())
def test_any_value_of_any_key_is_accepted_or_one_message(place, value, adds):
    """A check that fails itself hides the mistake from the user."""
    config = copy.deepcopy(CONFIG)
    *parents, last = place
    section = config
    for key in parents:
        section = section[key]
    section[f"{last}_x" if adds else last] = value
    with one_message("config"):
        check_config(config, SCHEMA)


@QUICK
@given(st.one_of(st.text(max_size=60).map(str.encode), st.binary(max_size=60)))
def test_any_text_is_a_configuration_or_one_message(data):
    with tempfile.TemporaryDirectory() as folder, one_message("given.csv"):
        assert isinstance(load_config(file_of(folder, data)), dict)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
CONFIGS = {
    "lists within lists": ("x: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    "sections within sections": ("".join(" " * i + "a:\n" for i in range(3000)), "nested too deeply"),
    "a billion laughs": (LAUGHS, "with what its aliases (*name) stand for"),
    "a list within itself": ("x: &x [*x]\n", "stands within itself"),
    "a section within itself": ("x: &x {y: *x}\n", "stands within itself"),
    "a Python object": ("x: !!python/object/apply:os.system [id]\n", "a sign of YAML's own"),
    "a Python name": ("x: !!python/name:os.system\n", "a sign of YAML's own"),
    "an unknown tag": ("x: !mine 1\n", "a sign of YAML's own"),
    "an alias of nothing": ("x: *y\n", "a sign of YAML's own"),
    "a key that is a list": ("? [a, b]\n: 1\n", "is not YAML"),
    "a key twice": ("train:\n  epochs: 3\ntrain:\n  batch_size: 4\n", "train twice"),
    "an inner key twice": ("train:\n  epochs: 3\n  epochs: 4\n", "epochs twice"),
    "two documents": ("a: 1\n---\nb: 2\n", "begins a second document"),
    "a tab": ("train:\n\tepochs: 3\n", "has a tab"),
    "a control character": ("x: \x07\n", "is not YAML"),
    "an impossible date": ("x: 2026-13-45\n", "is not YAML"),
    "a number": ("7\n", "does not contain `key: value` lines"),
    "a text": ("train epochs 3\n", "does not contain `key: value` lines"),
    "a huge number": ("train: {epochs: " + "9" * 5000 + "}\n", "given.csv"),
    "a tag that lies": ("x: !!bool maybe\n", "is not YAML"),
    "another tag that lies": ("x: !!timestamp 5\n", "is not YAML"),
    "yes for a name": ("members: {yes: {}}\n", "members"),
    "the name of an object": ("__proto__: {x: 1}\n", "__proto__: unknown key"),
    "UTF-16": ("train: {}\n".encode("utf-16"), "UTF-8"),
}


@pytest.mark.parametrize(("text", "words"), CONFIGS.values(), ids=CONFIGS)
def test_a_hostile_configuration_is_one_message(tmp_path, text, words):
    """Some of these took all memory, or ended in a traceback of the parser."""
    path = tmp_path / "given.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        checked_config(path)
    assert words in str(error.value) and str(error.value).endswith((".", "?")), str(error.value)[:500]
