"""Folds: what would break if a fold's model had seen its validation rows, or these were of another kind."""

import json
import logging
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from places import ROOT
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.commands.command_line import main
from vqaflow.data.folds import groups as fold_groups
from vqaflow.data.folds import make_folds
from vqaflow.data.folds.balance import TOLERANCE, balance_report, deal, first_deal, shares
from vqaflow.data.folds.groups import row_groups
from vqaflow.data.folds.seen_images import seen_images
from vqaflow.data.images import near_duplicates as near_images
from vqaflow.data.images.near_duplicates import BITS, hash_numbers, near_pairs, nearest_distance
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

LETTERS = ALL_LETTERS[:4]

HASHES = [0, 1, 3, 7, 0xFF00, 0xFF0F, 2**63, 2**64 - 1, 2**40, 2**40 + 2**20]
SETTINGS = {"n": 3, "seed": 0, "group_by": ["image", "question"], "near_distance": 0}


def table_of(images, hashes, questions, types=("general",)):
    """A training table whose rows have the given images, hashes and questions, and answers and types in turn."""
    count = len(images)
    table = pd.DataFrame({"id": [f"r{i}" for i in range(count)], "question": list(map(str, questions))})
    for letter in LETTERS:
        table[letter] = [f"{letter} of {question}" for question in questions]
    table["sha256"] = [f"{image:064x}" for image in images]
    table["pixels"] = table["sha256"]
    table["phash"] = [f"{number:016x}" for number in hashes]
    table["image_file"] = "none"
    table["qtype"] = [types[i % len(types)] for i in range(count)]
    table["answer"] = [LETTERS[i // len(types) % 4] for i in range(count)]
    return table


def plain_table(count, types=("general",)):
    """A table whose rows have nothing in common."""
    return table_of(range(count), [0] * count, range(count), types)


@pytest.fixture
def run(tmp_path, caplog, monkeypatch):
    """Run the stage; returns the folds, the report and the log."""
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO, log.name)

    def run(train, test=None, **changes):
        caplog.clear()
        train.to_parquet(tmp_path / "train.parquet")
        test = table_of(range(1000, 1004), [2**50] * 4, range(4)) if test is None else test
        test.to_parquet(tmp_path / "test.parquet")
        out = {"folds_out": tmp_path / "folds.parquet", "report_out": tmp_path / "report.json"}
        files = {"train": tmp_path / "train.parquet", "test": tmp_path / "test.parquet"}
        make_folds.make_folds(**files, **SETTINGS | changes, **out)
        return pd.read_parquet(out["folds_out"]), json.loads(out["report_out"].read_text()), caplog.text

    return run


ROW = st.tuples(st.integers(0, 12), st.sampled_from(HASHES), st.integers(0, 12))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ROW, min_size=1, max_size=40),
    st.sets(st.sampled_from(["image", "question"])),
    st.integers(0, 12),
    st.integers(2, 5),
    st.integers(0, 9),
)
def test_no_group_crosses_a_fold(rows, group_by, distance, n, seed):
    """Whatever links two rows, directly or through others, they are never on both sides of a validation."""
    images, hashes, questions = zip(*rows, strict=True)
    table = table_of(images, hashes, questions, ("ocr", "color", "general"))
    groups = row_groups(table, group_by, distance)
    linked = np.eye(len(rows), dtype=bool)
    for i in range(len(rows)):
        for j in range(len(rows)):
            same_image = images[i] == images[j]
            near = distance > 0 and (hashes[i] ^ hashes[j]).bit_count() <= distance
            linked[i, j] |= "image" in group_by and (same_image or near)
            linked[i, j] |= "question" in group_by and questions[i] == questions[j]
    for _ in rows:
        linked = linked @ linked
    assert ((groups[:, None] == groups[None]) == linked).all()
    assert list(dict.fromkeys(groups)) == list(range(groups.max() + 1)), "numbered by first appearance"
    if groups.max() + 1 >= n:
        folds = deal(table[["qtype", "answer"]], groups, n, seed)
        assert pd.Series(folds).groupby(groups).nunique().max() == 1
        assert sorted(set(folds)) == list(range(n)), "no fold is empty"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=30, unique=True), st.data(), st.integers(0, 32))
def test_near_pairs_are_all_pairs_within_the_distance(numbers, data, distance):
    """A band that is missed would let near copies of one photograph into two folds."""
    for number in numbers[:5]:  # random hashes are never near: flip some bits
        flipped = data.draw(st.sets(st.integers(0, 63), max_size=distance + 1))
        numbers = numbers + [number ^ sum(1 << bit for bit in flipped)]
    hashes = np.array(numbers, dtype=np.uint64)
    found = {pair for i, j in near_pairs(hashes, distance) for pair in zip(i.tolist(), j.tolist(), strict=True)}
    expected = {
        (i, j) for i in range(len(numbers)) for j in range(i + 1, len(numbers))
        if (numbers[i] ^ numbers[j]).bit_count() <= distance
    }  # fmt: skip
    assert found == expected


def test_near_pairs_in_small_blocks_are_the_same(monkeypatch):
    """A hundred thousand hashes are compared in blocks."""
    hashes = np.random.default_rng(0).integers(0, 2**12, 300).astype(np.uint64)
    whole = {tuple(pair) for i, j in near_pairs(hashes, 3) for pair in np.stack([i, j], 1).tolist()}
    monkeypatch.setattr(near_images, "BLOCK_PAIRS", 1000)
    blocks = {tuple(pair) for i, j in near_pairs(hashes, 3) for pair in np.stack([i, j], 1).tolist()}
    assert len(whole) > 300 and blocks == whole


def test_a_hundred_thousand_hashes_are_not_compared_in_pairs(monkeypatch):
    """All pairs would be five billions."""
    compared, count_bits = [], np.bitwise_count
    monkeypatch.setattr(np, "bitwise_count", lambda bits: compared.append(bits.size) or count_bits(bits))
    hashes = np.random.default_rng(0).integers(0, 2**63, 100_000).astype(np.uint64)
    hashes[99_999] = hashes[0] ^ np.uint64(0b1111)
    found = [pair for i, j in near_pairs(hashes, 4) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert (0, 99_999) in found
    assert sum(compared) < 0.01 * len(hashes) ** 2


def test_very_many_links_take_bounded_memory(monkeypatch):
    """Thousands of images that all look alike would give millions of links."""
    monkeypatch.setattr(fold_groups, "PENDING_LINKS", 50)
    hashes = np.random.default_rng(0).integers(0, 2**7, 400) << 20
    table = table_of(range(400), hashes, range(400))
    few = fold_groups.Linker(10)
    for i in range(9):
        few.link(np.full(60, i), np.full(60, i + 1))
        assert sum(len(side) for side, _ in few.pending) <= 120
    assert set(few.components()) == {0}
    assert set(row_groups(table, ["image"], 2)) == {0}


def test_distance_0_means_equal_bytes_only():
    """Simple drawings have equal hashes without being the same."""
    table = table_of([1, 2, 2], [5, 5, 9], range(3))
    assert list(row_groups(table, ["image"], 0)) == [0, 1, 1]
    assert list(row_groups(table, ["image"], 1)) == [0, 0, 0]


def test_the_same_question_in_another_form_is_the_same():
    """Order of the choices, case, spaces and full-width letters do not make a new question; another choice does."""
    rows = [
        ("몇 개인가요?", "1", "2", "3", "4"),
        ("몇  개인가요？", "4", "３", "2", " 1"),
        ("What is it?", "Cat", "dog", "cow", "hen"),
        ("what is it?", "hen", "CAT", "dog", "cow"),
        ("What is it?", "Cat", "dog", "cow", "pig"),
    ]
    table = plain_table(5)
    for i, row in enumerate(rows):
        table.loc[i, ["question", *LETTERS]] = row
    assert list(row_groups(table, ["question"], 0)) == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_folds_have_every_type_s_and_answer_s_share(n, seed):
    """400 rows in groups of up to a dozen, types as uneven as real ones: better than the splitter by itself."""
    rng = np.random.default_rng(seed)
    groups = pd.factorize(rng.integers(0, 90, 400))[0]
    types = rng.choice(["ocr", "color", "yesno", "general"], 400, p=[0.05, 0.1, 0.25, 0.6])
    strata = pd.DataFrame({"qtype": types, "answer": rng.choice(list(LETTERS), 400)})

    def largest_gap(folds):
        found = [shares(strata[column], folds) for column in strata]
        return max(abs(s - e["whole"]) for entries in found for e in entries.values() for s in e["folds"])

    folds = deal(strata, groups, n, seed)
    assert largest_gap(folds) < 0.8 * TOLERANCE
    assert largest_gap(folds) < largest_gap(first_deal(strata, groups, n, seed))
    assert np.ptp(np.bincount(folds)) <= 8


def test_folds_have_every_source_s_share(run):
    """Rows of a second table may be easier: a fold without them would be measured by other questions."""
    table = plain_table(120, ("general", "ocr"))
    table["source"] = ["dev"] * 30 + ["train"] * 90
    folds, report, _ = run(table)
    for fold in range(3):
        assert abs((table["source"][folds["fold"] == fold] == "dev").mean() - 0.25) <= TOLERANCE
    assert report["balance"]["source"]["dev"]["whole"] == 0.25
    alone, one_source = run(plain_table(120))[0], run(plain_table(120).assign(source="train"))
    assert one_source[0].equals(alone) and "source" not in one_source[1]["balance"]


def test_types_that_no_split_can_even_out_are_reported(run):
    """A type whose rows all show one image is in one fold; the user should know why."""
    table = table_of([*range(90), *[99] * 30], [0] * 120, range(120), ("general",))
    table.loc[90:, "qtype"] = "ocr"
    folds, report, text = run(table)
    assert folds["fold"][90:].nunique() == 1
    outside = {(e["column"], e["value"], e["largest_group"]) for e in report["balance"]["outside"]}
    assert ("qtype", "ocr", 30) in outside
    assert "qtype ocr (25.0 % of all rows) is " in text and "0.0 % of fold " in text
    assert "its 30 rows lie in groups of up to 30" in text and text.count("qtype") == 2, "one line per type"
    even = run(plain_table(120, ("general", "ocr")))
    assert even[1]["balance"]["outside"] == [] and "% of fold" not in even[2]


def test_one_group_that_is_larger_than_a_fold_is_reported(run):
    """Too large a near_distance chains unlike images together."""
    table = table_of(range(30), [2**i - 1 for i in range(30)], range(30))
    with pytest.raises(UserError, match="30 training rows .* form 1 groups, fewer than folds.n = 3.*near_distance"):
        run(table, near_distance=1)
    table.loc[15:, "phash"] = [f"{0x1111111111111111 * i:016x}" for i in range(15)]
    assert "one group has" in run(table, near_distance=2)[2]


def test_the_report_counts_groups_and_folds(run):
    """The figures that a user quotes."""
    table = table_of([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [0] * 12, [*range(11), 10])
    folds, report, text = run(table)
    assert report["groups"] == {"count": 9, "of_several_rows": 2, "rows_in_those": 5, "largest": 3}
    assert sum(fold["rows"] for fold in report["folds"]) == 12 and sum(f["groups"] for f in report["folds"]) == 9
    assert list(folds) == ["id", "fold", "group"] and list(folds["id"]) == list(table["id"])
    assert report["balance"]["answer"]["a"]["whole"] == 0.25 and "12 rows in 9 groups" in text


def test_equal_seeds_give_equal_bytes(run, tmp_path):
    """Folds that change by themselves would retrain everything; another seed gives others."""
    table = plain_table(60, ("ocr", "general"))
    first, _, _ = run(table)
    before = (tmp_path / "folds.parquet").read_bytes()
    run(table)
    assert (tmp_path / "folds.parquet").read_bytes() == before
    assert not run(table, seed=1)[0]["fold"].equals(first["fold"])


@pytest.mark.parametrize(
    ("table", "changes", "cure", "no_cure"),
    [
        (table_of([1] * 6, [0] * 6, range(6)), {"n": 3}, "Group by less", "ower folds.n"),  # two folds are the fewest
        (table_of([1, 1, 2, 3], [0, 0, 0, 2**60], range(4)), {"n": 4}, "Lower folds.n to 3, or group by less", "near"),
        (
            table_of([1, 2, 3], [0, 1, 2**60], range(3)),
            {"n": 3, "near_distance": 1},
            ". Lower folds.near_distance",
            "folds.n to",
        ),
        (plain_table(2), {"n": 3}, "Lower folds.n to 2, or add training rows", "group by"),
        (plain_table(1), {"n": 2}, "Add training rows", "ower folds.n"),
    ],
)
def test_too_few_groups_are_reported_with_a_cure_that_works(run, table, changes, cure, no_cure):
    with pytest.raises(UserError) as error:
        run(table, **changes)
    assert cure in str(error.value) and no_cure not in str(error.value), error.value


def test_tables_of_few_rows_are_split(run):
    """Each of the twelve strata has a single row: nothing to stratify by."""
    folds, _, _ = run(plain_table(12, ("ocr", "color", "general")), n=4)
    assert list(folds["fold"].value_counts()) == [3] * 4


def test_training_images_in_test_are_reported(run):
    """Equal images count as exact, others as near, also to an image with an equal one; a row without one as neither."""
    train = table_of([1, 1, 2, 3, 4], [0, 0, 0xF0, 2**60, 2**64 - 1], range(5))
    test = table_of([1, 7, 8, 9], [0, 0xF1, 0xFF00FF, 5], range(4)).assign(id=["t0", "t1", "t2", "t3"])
    test.loc[3, ["sha256", "pixels", "phash"]] = None
    _, report, text = run(train, test, near_distance=1)
    assert report["in_test"]["exact"] == {
        "train_rows": 2,
        "train_images": 1,
        "test_rows": 1,
        "examples": [{"train": "r0", "test": "t0"}, {"train": "r1", "test": "t0"}],
    }
    near = {"train_rows": 2, "train_images": 2, "test_rows": 2}  # t0 has an equal image, and is near r3 as well
    near["examples"] = [{"train": "r2", "test": "t1"}, {"train": "r3", "test": "t0"}]
    assert report["in_test"]["near"] == near | {"distance": 1}
    assert "1 training images (2 rows) reappear in test, with the same pixels (1 rows there)" in text
    assert "within 1 bits of test images" in text
    assert seen_images(train, test, 0)["near"]["train_rows"] == 0


def test_a_training_image_near_a_test_image_counts_though_that_has_an_exact_copy_too():
    """The photograph is in train twice, as it is and saved again: both let a model see the test."""
    train, test = table_of([1, 2, 3], [9, 9, 2**40], range(3)), table_of([1, 4], [9, 2**50], range(2))
    found = seen_images(train, test, 0)
    assert (found["exact"]["train_rows"], found["near"]["train_rows"], found["near"]["test_rows"]) == (1, 1, 1)
    assert found["near"]["examples"] == [{"train": "r1", "test": "r0"}]
    turned = seen_images(test, train, 0)
    assert (turned["exact"]["train_rows"], turned["near"]["train_rows"], turned["near"]["test_rows"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("one", "other", "linked"),
    [
        ("Is it there?", "Is it there ?", True),
        ("무엇인가요?", "무엇인가요", True),
        ("What is this.", "What is this…", True),
        ("What is this?", "what is this。", True),
        ("Is it there ?", "Is it there?", True),
        ("1.", "1", True),
        ("1.5 m", "15 m", False),
        ("-1", "1", False),
        ("?", "!", False),
        ("3/4", "34", False),
    ],
)
def test_punctuation_at_the_end_makes_no_other_question(one, other, linked):
    """The same question, typed twice, would be learned in one fold and asked in another."""
    table = table_of(range(4), [0] * 4, [0, 0, 1, 1])
    table.loc[0, "question"], table.loc[1, "question"] = one, other
    table.loc[2, "a"], table.loc[3, "a"] = one, other
    groups = row_groups(table, ["question"], 0)
    assert (groups[0] == groups[1], groups[2] == groups[3]) == (linked, linked)


def test_equal_hashes_of_other_bytes_are_near_at_distance_0():
    """A re-encoded copy often has the very same hash."""
    train, test = table_of([1, 2], [7, 9], range(2)), table_of([3, 4], [9, 9], range(2))
    found = seen_images(train, test, 0)["near"]
    assert (found["train_rows"], found["test_rows"]) == (1, 2) and found["examples"] == [{"train": "r1", "test": "r0"}]


def test_nearest_distance(monkeypatch):
    """The figure by which a user chooses folds.near_distance."""
    numbers = np.random.default_rng(0).integers(0, 2**63, 50).astype(np.uint64)
    bits = np.bitwise_count(numbers[:, None] ^ numbers[None])
    np.fill_diagonal(bits, 64)
    monkeypatch.setattr(near_images, "BLOCK_PAIRS", 200)
    assert (nearest_distance(numbers, numbers, ignore_self=True) == bits.min(1)).all()
    assert (nearest_distance(numbers, numbers) == 0).all()
    assert (nearest_distance(numbers[:1], numbers[:1], ignore_self=True) == BITS).all(), "one image has no other"
    assert list(hash_numbers(["00000000000000ff", "8000000000000000"])) == [255, 2**63]


def test_by_hand(run, tmp_path, monkeypatch):
    """`vqaflow make_folds` on a machine without Snakemake."""
    monkeypatch.setattr(log, "handlers", [])  # main sets up the log again
    (tmp_path / "tables").mkdir()
    for name in ("train", "test"):
        plain_table(40).to_parquet(tmp_path / f"tables/{name}.parquet")
    config = ROOT / "config.yaml"
    main(["make_folds", "--config", str(config), "--results", str(tmp_path)])
    assert len(pd.read_parquet(tmp_path / "folds.parquet")) == 40 and (tmp_path / "folds.report.json").exists()


def test_missing_tables_name_the_rule_that_makes_them(tmp_path):
    """By hand, stages are easily run in the wrong order."""
    with pytest.raises(UserError, match="tables/train.parquet.*validate_tables"):
        out = {"folds_out": tmp_path / "folds.parquet", "report_out": tmp_path / "report.json"}
        make_folds.make_folds(train=tmp_path / "tables/train.parquet", test=tmp_path, **SETTINGS, **out)


def test_one_long_question_does_not_fill_the_memory():
    """20,000 rows beside one question of 30,000 characters took 4.8 GB when each row got the room of the longest."""
    table = plain_table(2_000)
    table.loc[7, "question"] = "?" * 30_000
    tracemalloc.start()
    try:
        groups = row_groups(table, ["image", "question"], 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(set(groups)) == 2_000 and peak < 20_000_000


def test_the_report_says_how_much_one_row_is_of_a_fold():
    """By it a reader tells an unlucky share from one that no deal of single rows could have mended."""
    strata = pd.DataFrame({"answer": list("aaaabbbb")})
    fold_N = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    outside = balance_report(strata, fold_N, np.arange(8))["outside"]
    assert {(one["value"], one["fold"]): one["one_row"] for one in outside} == {
        ("a", 0): 1 / 3,
        ("a", 1): 1 / 5,
        ("b", 0): 1 / 3,
        ("b", 1): 1 / 5,
    }
