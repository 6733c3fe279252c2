"""Figures and summary of the data: what would break if they showed the wrong rows, costs or letters."""

import csv
import json
import socket
import warnings
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import random_qwen
import rows
from people import with_answers
from places import REAL_DATA, ROOT, needs_real_data
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.commands.command_line import main
from vqaflow.config.sections import ColumnsConfig
from vqaflow.data.exploration import explore_data as stage_module
from vqaflow.data.exploration.explore_data import explore_data, frequent_choices, shortcuts
from vqaflow.data.exploration.figures import chance
from vqaflow.data.folds.make_folds import make_folds
from vqaflow.data.images.visual_tokens import token_pixels, visual_tokens
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.question_types import side_by_side

LETTERS = ALL_LETTERS[:4]

REAL = REAL_DATA / "questions_dev.csv"
FIGURES = ["answers", "choices", "duplicates", "examples", "folds", "image_sizes", "lengths", "types", "visual_tokens"]
PATCHES = {"patch_size": 12, "merge_size": 4}
LIMITS = {"min_pixels": 56 * 56, "max_pixels": 140 * 140}


@pytest.fixture
def explored(tmp_path):
    """Explores tables in which a figure may go wrong; returns the summary and the folder."""

    def run(train, test, folds=None):
        train.to_parquet(tmp_path / "train.parquet")
        test.to_parquet(tmp_path / "test.parquet")
        count = np.arange(len(train))
        folds = pd.DataFrame({"id": train["id"], "fold": count % 2, "group": count}) if folds is None else folds
        folds.to_parquet(tmp_path / "folds.parquet")
        files = {name: tmp_path / f"{name}.parquet" for name in ("train", "test", "folds")}
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # about a letter without a glyph, or a division by zero
            explore_data(**files, **LIMITS, token_pixels=28, out_dir=tmp_path / "eda")
        return json.loads((tmp_path / "eda/summary.json").read_text(encoding="utf-8")), tmp_path / "eda"

    return run


def table_of(folder, split, count, **columns):
    """A checked table of small pictures, each of its own size, with `columns` replaced."""
    table = pd.DataFrame({"id": [f"{split}_{i}" for i in range(count)]})
    table["image_file"] = [str(folder / f"{split}_{i}.png") for i in range(count)]
    table["width"], table["height"] = 60 + np.arange(count), 90
    for file, width in zip(table["image_file"], table["width"], strict=True):
        Image.new("RGB", (width, 90), (width, 0, 0)).save(file)
    table["question"] = [f"질문 {i}번: 무엇이 보이나요?" for i in range(count)]
    for letter in LETTERS:
        table[letter] = [f"선택 {letter}{i}" for i in range(count)]
    table["sha256"] = [f"{split}{i:058x}" for i in range(count)]
    table["pixels"] = table["sha256"]
    table["phash"] = [f"{i:016x}" for i in range(count)]
    table["qtype"], table["flip_unsafe"] = "general", False
    if split == "train":
        table["answer"] = [LETTERS[i % 4] for i in range(count)]
    return table.assign(**columns)


def test_the_summary_counts_what_is_there(explored, tmp_path):
    """The figures that a user quotes, by hand."""
    train = table_of(
        tmp_path, "train", 4, qtype=["ocr", "ocr", "color", "general"], flip_unsafe=[True, True, False, False]
    )
    train["pixels"] = [train["pixels"][0], train["pixels"][0], *train["pixels"][2:]]
    train["phash"] = ["0" * 16, "0" * 16, "f".zfill(16), "f0".zfill(16)]
    test = table_of(tmp_path, "test", 3, phash=["1".zfill(16)] * 3, width=[28, 280, 0])
    test["pixels"] = [train["pixels"][2], "e" * 64, None]
    summary, folder = explored(train, test)
    assert summary["rows"] == {"train": 4, "test": 3} and summary["types"]["train"]["ocr"] == 2
    assert summary["flip_unsafe"] == {"train": 2, "test": 0}
    assert summary["answers"]["ocr"] == {"a": 1, "b": 1, "c": 0, "d": 0}
    assert summary["question_length"]["train"]["q50"] == len("질문 0번: 무엇이 보이나요?")
    assert summary["choice_length"]["train"]["mean"] == 5 and summary["images"]["test"]["width"]["mean"] == 154
    # 28 x 90 is enlarged to 56 x 112, 280 x 90 is shrunk to 224 x 84 or so; the third has no image
    tokens = summary["visual_tokens"]["test"]
    assert (tokens["rows_enlarged"], tokens["rows_shrunk"]) == (1, 1)
    assert (
        tokens["total"] == sum(visual_tokens([28, 280], [90, 90], 28, **LIMITS))
        and tokens["mean"] == tokens["total"] / 2
    )
    found = summary["duplicates"]
    assert found["train"]["images"] == 3 and found["train"]["rows_of_repeated_images"] == 2
    assert found["test_rows_of_training_images"] == 1 and found["train"]["rows_of_repeated_questions"] == 0
    bits = np.array(found["train"]["nearest_image_bits"])
    assert list(np.flatnonzero(bits)) == [4] and bits[4] == 3, "0 to f, f to 0, f0 to 0"
    near = {"distance": 4, "pairs": 2, "in_different_folds": 1}
    assert {name: found["near_images"][name] for name in near} == near, "0 and f in one fold, 0 and f0 in two"
    assert summary["folds"]["rows"] == [2, 2] and summary["folds"]["qtype"]["ocr"]["folds"] == [0.5, 0.5]
    assert sorted(p.stem for p in folder.glob("*.png")) == FIGURES


def test_rows_that_repeat_training_rows_are_counted_and_listed(explored, tmp_path):
    """Their answers are known: a score on them says nothing, and a user may want to look them up."""
    train, test = table_of(tmp_path, "train", 4), table_of(tmp_path, "test", 3)
    test.loc[0, "pixels"] = train["pixels"][0]  # all tables of the helper ask the same
    train.loc[3, ["pixels", "question", *LETTERS]] = train.loc[2, ["pixels", "question", *LETTERS]]
    train.loc[3, "answer"] = "b" if train["answer"][2] == "a" else "a"
    test.loc[2, "question"] = "새 질문"
    summary, folder = explored(train, test)
    assert summary["repeats"] == {
        "test_rows_of_known_answer": 1,
        "test_rows_of_known_question_and_choices": 2,
        "test_rows_of_known_question": 2,
        "contradicting_train_rows": 2,
    }
    listed = pd.read_csv(folder / "repeats.csv")
    assert list(zip(listed["kind"], listed["id"], listed["train_id"], strict=True)) == [
        ("answer known", "test_0", "train_0"),
        ("contradiction", "train_2", "train_3"),
        ("contradiction", "train_3", "train_2"),
        ("question and choices", "test_1", "train_1"),
    ]
    assert listed["train_answer"][0] == train[train["answer"][0]][0]


def test_visual_tokens_are_those_that_are_encoded():
    """The cost is shown before training; another rule of resizing would show a wrong one."""
    encoder = RowEncoder(random_qwen.processor(), rows.model_config(), rows.prompt_config())
    sizes = [(64, 64), (200, 30), (30, 200), (140, 140), (141, 139), (3000, 2000), (1, 1), (57, 55)]
    tokens = visual_tokens(*zip(*sizes, strict=True), 28, **LIMITS)
    assert tokens == [np.prod(encoder.grid_of(*size, rows.VIEW)) // encoder.merge**2 for size in sizes]
    assert visual_tokens([0], [0], 28, **LIMITS) == [0]


GEMMA_4 = {"vision_config": {"patch_size": 16, "pooling_kernel_size": 3}}
INTERN_VL = {"vision_config": {"patch_size": [14, 14], "image_size": [448, 448]}, "downsample_ratio": 0.5}


@pytest.mark.parametrize(
    ("name", "content", "pixels"),
    [
        ("config.json", {"vision_config": {"patch_size": 14, "spatial_merge_size": 2}}, 28),
        ("config.json", GEMMA_4, 48),
        ("config.json", INTERN_VL, 28),
        ("preprocessor_config.json", {"patch_size": 14, "merge_size": 2}, 28),
        ("processor_config.json", {"image_processor": {"patch_size": 16, "pooling_kernel_size": 3}}, 48),
    ],
)
def test_a_downloaded_base_says_its_own_pixels(tmp_path, monkeypatch, name, content, pixels):
    """A tuned model's name says nothing of its family; without its files, no network is asked."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("the network was used"))
    base, commit = "someone/my-korean-vlm-7b", "c" * 40
    assert token_pixels(base) == 32
    folder = tmp_path / "models--someone--my-korean-vlm-7b"
    for path in (folder / "refs", folder / "snapshots" / commit):
        path.mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit / name).write_text(json.dumps(content))
    assert token_pixels(base) == token_pixels(base, commit) == pixels
    assert token_pixels(base, "d" * 40) == 32, "of another revision"


def test_visual_tokens_are_those_of_the_base(tmp_path):
    """A Qwen3-VL's tokens cover 32 x 32 pixels: a quarter fewer than a Qwen2.5-VL's."""
    for name, facts in (("flat", PATCHES), ("nested", {"image_processor": PATCHES}), ("unknown", {"size": 1})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "preprocessor_config.json").write_text(json.dumps(facts))
    found = [token_pixels(str(tmp_path / name)) for name in ("flat", "nested", "unknown")]
    assert found == [48, 48, 32]
    assert token_pixels(str(ROOT / "assets/tiny-qwen2_5-vl")) == 28
    assert visual_tokens([896], [672], 32, 3136, 10**6) == [588] and visual_tokens([896], [672], 28, 3136, 10**6) == [
        768
    ]


def test_shortcuts_and_frequent_choices(tmp_path):
    """A choice that is always right, or always the longest, gives the answer away."""
    train = table_of(
        tmp_path, "train", 8, a="아주 긴 선택", b=["x", *[str(i) for i in range(7)]], answer=["a"] * 6 + ["b"] * 2
    )
    found = shortcuts(train)
    assert found["longest_choice"]["right"] == 6 and found["commonest_letter"]["share"] == 0.75
    top = frequent_choices(train)[0]
    assert (top["text"], top["n"], top["right"]) == ("아주 긴 선택", 8, 6) and top["wilson"][0] < 0.75 < top["wilson"][
        1
    ]


def test_chance_is_that_of_the_choices_that_rows_have(tmp_path):
    """The figure of frequent choices showed a quarter, whatever the number of choices."""
    table = table_of(tmp_path, "train", 4)
    assert chance(table) == 0.25 and chance(table.drop(columns=["c", "d"])) == 0.5
    assert chance(table.assign(d=["x", None, None, None])) == 4 / 13


def test_odd_tables_are_drawn(explored, tmp_path):
    """No test image, text that matplotlib would take for mathematics, letters that no font has, a lost file."""
    train = table_of(tmp_path, "train", 2, question=["$x_1$ 와 $ 🚗\n简", "긴 " * 200], a="$\\frac$", b="国")
    Path(train["image_file"][1]).unlink()
    test = table_of(tmp_path, "test", 1, width=0, height=0, sha256=None, pixels=None, phash=None)
    summary, _ = explored(train, test)
    assert summary["images"]["test"] == {"width": None, "height": None}
    assert (
        summary["visual_tokens"]["test"]["total"] == 0 and sum(summary["duplicates"]["test"]["nearest_image_bits"]) == 0
    )


def test_equal_tables_give_equal_figures(explored, tmp_path):
    """Otherwise a rerun would look like a change, and old figures must not stay."""
    train, test = table_of(tmp_path, "train", 12), table_of(tmp_path, "test", 5)
    _, folder = explored(train, test)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (folder / "old.png").write_bytes(b"")
    explored(train, test)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_by_hand(tmp_path, monkeypatch):
    """`vqaflow explore_data` on a machine without Snakemake."""
    (tmp_path / "tables").mkdir()
    for split in ("test", "train"):
        table = table_of(tmp_path, split, 6)
        table.to_parquet(tmp_path / f"tables/{split}.parquet")
        table[["id"]].assign(fold=[0, 1] * 3, group=range(6)).to_parquet(tmp_path / "folds.parquet")
    monkeypatch.setattr(stage_module.log, "handlers", [])
    config = str(ROOT / "config.yaml")
    main(["explore_data", "--config", config, "--results", str(tmp_path)])
    assert json.loads((tmp_path / "eda/summary.json").read_text())["visual_tokens"]["max_pixels"] == 50176


@needs_real_data
def test_real_questions_from_the_csv_to_the_figures(tmp_path, explored, monkeypatch):
    """400 real Korean questions with pictures, some shown twice, some re-encoded, some in test as well."""
    real = list(csv.DictReader(REAL.open(encoding="utf-8")))
    judged = {
        row["question"]: SimpleNamespace(qtype=row["qtype"], flip_unsafe=row["flip_unsafe"] == "1") for row in real
    }
    monkeypatch.setattr(side_by_side, "classify_many", lambda asked: [judged[row["question"]] for row in asked])
    rng = np.random.default_rng(0)
    for i in range(len(real)):
        noise = Image.fromarray(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8))
        noise.resize((60 + i % 50, 60), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.jpg", quality=92)
        if i % 10 == 5:
            Image.open(tmp_path / f"{i - 1}.jpg").save(tmp_path / f"{i}.jpg", quality=70)
    texts = ["id", "path", "question", *LETTERS]
    table = pd.DataFrame(real).assign(
        path=[f"{i - (i % 10 == 1)}.jpg" for i in range(len(real))], answer=list("abcd") * 100
    )
    table[[*texts, "answer"]].to_csv(tmp_path / "train.csv", index=False)
    test = table[table.index % 8 == 0].assign(id=lambda kept: "test_" + kept["id"])
    test[texts].to_csv(tmp_path / "test.csv", index=False)
    test[["id"]].assign(answer="").to_csv(tmp_path / "sample.csv", index=False)
    files = TableFiles(*(tmp_path / name for name in ("train.parquet", "test.parquet", "problems.csv", "labels.json")))
    validate_tables(
        RawFiles(tmp_path / "train.csv", tmp_path / "test.csv", tmp_path / "sample.csv", tmp_path),
        TableSettings(ColumnsConfig(), on_bad_row="stop", normal_form="NFKC", max_image_pixels=10**6),
        files,
    )
    tables = {"train": files.train, "test": files.test}
    made = {"folds_out": tmp_path / "folds.parquet", "report_out": tmp_path / "report.json"}
    make_folds(**tables, n=3, seed=42, group_by=["image", "question"], near_distance=4, **made)
    folds = pd.read_parquet(made["folds_out"])
    report = json.loads(made["report_out"].read_text(encoding="utf-8"))
    assert folds.groupby("group")["fold"].nunique().max() == 1 and list(folds["id"]) == [row["id"] for row in real]
    fold = folds["fold"].to_numpy()
    assert (fold[0::10] == fold[1::10]).all(), "the same picture"
    assert (fold[4::10] == fold[5::10]).all(), "a re-encoded picture"
    assert report["balance"]["outside"] == [] and report["in_test"]["exact"]["test_rows"] == 50
    summary, folder = explored(*map(pd.read_parquet, tables.values()), folds)
    assert (
        summary["rows"] == {"train": 400, "test": 50}
        and summary["duplicates"]["train"]["rows_of_repeated_images"] >= 80
    )
    assert sorted(p.stem for p in folder.glob("*.png")) == FIGURES


def test_agreement_of_several_people_is_told_by_type(explored, tmp_path):
    """Before any training, users see how much of the task people themselves agree on."""
    train = table_of(tmp_path, "train", 6, qtype=["ocr", "ocr", "ocr", "color", "color", "color"])
    train = with_answers(train, ["aaaaa", "aaaab", "aabbc", "a", "ab", "cccdc"])
    found, folder = explored(train, table_of(tmp_path, "test", 4))
    assert found["agreement"]["all"]["n"] == 5, "a gold answer is no agreement"
    assert found["agreement"]["all"]["levels"] == {"5/5": 1, "4/5": 2, "2/5": 1, "1/2": 1}
    assert found["agreement"]["color"]["levels"] == {"4/5": 1, "1/2": 1}
    assert found["agreement"]["ocr"]["one_person"] == pytest.approx((1 + 0.6 + 0.2) / 3)
    assert found["agreement"]["all"]["ties"] == 2
    assert sorted(p.stem for p in folder.glob("*.png")) == sorted([*FIGURES, "agreement"])
