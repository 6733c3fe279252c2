"""A plan is for the user's own rows, images and base, and says so; what it cannot plan, it names with the cure."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pandas as pd
import pytest
import yaml
from PIL import Image

import random_families
import rows
from vqaflow.commands.command_line import main
from vqaflow.config.sections import ColumnsConfig, section
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.model.checkpoint import base_problems
from vqaflow.plan import offline as plan
from vqaflow.plan import rows as plan_rows
from vqaflow.plan.shape import Shape, published

TINY = rows.ROOT / "assets" / "tiny-qwen2_5-vl"
KAGGLE = """
model: {base: Qwen/Qwen2.5-VL-7B-Instruct, min_pixels: 200704, max_pixels: 602112}
train: {batch_size: 4, choice_orders: 4, cache_vision: disk, lora: {r: 24, alpha: 48}}
data: {train_csv: no.csv}
"""
OF_2_IMAGES = {"a.png": (280, 280), "b.png": (140, 140)}
CHOICES = "what?,1,2,3,4"


@pytest.fixture
def world(tmp_path, monkeypatch) -> Path:
    """A folder to plan in, with a training CSV of four rows, their images, and a file of settings that names them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "images").mkdir()
    for name, size in OF_2_IMAGES.items():
        Image.new("RGB", size, "red").save(tmp_path / "images" / name)
    lines = [f"r{i},{name},{CHOICES},a\n" for i, name in enumerate([*OF_2_IMAGES, *OF_2_IMAGES])]
    (tmp_path / "train.csv").write_text("id,path,question,a,b,c,d,answer\n" + "".join(lines), encoding="utf-8")
    (tmp_path / "test.csv").write_text(f"id,path,question,a,b,c,d\nt,a.png,{CHOICES}\n", encoding="utf-8")
    (tmp_path / "sample.csv").write_text("id,answer\nt,a\n", encoding="utf-8")
    write_settings({})
    return tmp_path


def write_settings(changes: dict) -> None:
    """The file my.yaml: the world's tables, and sections that `changes` add or replace."""
    data = {"train_csv": "train.csv", "image_root": str(Path("images").absolute())} | changes.pop("data", {})
    model = {"base": str(TINY), "allow_demo_base": True, "max_pixels": 78400} | changes.pop("model", {})
    Path("my.yaml").write_text(yaml.safe_dump({"data": data, "model": model, "folds": {"n": 2}} | changes))


def validate(**changes) -> None:
    """Make the checked tables as the rule does."""
    given = {
        "image_root": Path("images").absolute(),
        "on_bad_row": "quarantine",
        "train_csv": Path("train.csv"),
    } | changes
    columns = yaml.safe_load((rows.ROOT / "config.yaml").read_text(encoding="utf-8"))["data"]["columns"]
    on_bad_row = given.pop("on_bad_row")
    tables = Path("results/tables")
    validate_tables(
        RawFiles(test_csv=Path("test.csv"), sample_submission=Path("sample.csv"), **given),
        TableSettings(
            section(ColumnsConfig, columns), on_bad_row, normal_form="NFC", max_image_pixels=10**6, max_quarantined=1.0
        ),
        TableFiles(tables / "train.parquet", tables / "test.parquet", tables / "problems.csv", tables / "labels.json"),
    )


def told(capsys, *options: str) -> str:
    """What a plan prints that succeeds."""
    main(["plan", "--config", "my.yaml", *options])
    return capsys.readouterr().out


def refused(capsys, *options: str) -> str:
    """The message of a plan that ends with exit status 1, which must be all that it says."""
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--config", "my.yaml", *options])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err and printed.err.count("error: ") == 1 and not printed.out
    return printed.err


def test_the_csv_of_the_configuration_is_planned_before_its_tables_are_made(world, capsys) -> None:
    """Four rows of two images: 100 and 25 visual tokens."""
    lines = told(capsys).splitlines()
    reason = "there is no readable results/tables/train.parquet yet"
    assert lines[0] == f"rows: 2 train each fold, of 4 in train.csv ({reason})"
    assert lines[1] == f"images: 4 sizes from 4 files under {world / 'images'}"
    assert lines[2] == f"base: {TINY}, sizes from {TINY / 'config.json'}"
    assert "62 are visual" in lines[3] and lines[6].startswith("2 rows")


def test_a_table_of_other_rows_is_not_planned_for(world, capsys) -> None:
    """The demo's table lay there, and a user's hours and memory were the demo's."""
    validate()
    lines = ["id,path,question,a,b,c,d,answer"] + [f"n{i},b.png,{CHOICES},a" for i in range(8)]
    (world / "other.csv").write_text("\n".join(lines), encoding="utf-8")
    write_settings({"data": {"train_csv": "other.csv"}})
    printed = told(capsys)
    assert "rows: 4 train each fold, of 8 in other.csv (results/tables/train.parquet contains other rows)" in printed
    assert "25 are visual" in printed


def test_a_table_of_other_images_under_the_same_names_is_not_planned_for(world, capsys) -> None:
    """Ids and paths such as 1 and 1.jpg are those of many data sets."""
    validate()
    shutil.copytree(world / "images", world / "others")
    write_settings({"data": {"image_root": str(world / "others")}})
    assert "train.csv (results/tables/train.parquet contains other rows)" in told(capsys)


@pytest.mark.parametrize("mode", ["stop", "quarantine"])
def test_the_checked_table_of_the_configured_csv_is_used(world, capsys, mode) -> None:
    """All its images are known, without opening one; rows in quarantine train nothing."""
    if mode == "quarantine":
        with (world / "train.csv").open("a", encoding="utf-8") as file:
            file.write(f"bad,missing.png,{CHOICES},a\n")
    validate()
    write_settings({"data": {"on_bad_row": mode}})
    shutil.rmtree(world / "images")
    lines = told(capsys).splitlines()
    assert lines[0] == "rows: 2 train each fold, of 4 in results/tables/train.parquet, the checked rows of train.csv"
    assert lines[1] == "images: 4 sizes from the same table"


def test_a_header_is_read_as_the_checks_read_it(world, capsys) -> None:
    """init writes the names without the spaces around them, and the plan then refused the table."""
    table = (world / "train.csv").read_text(encoding="utf-8")
    header, rows = table.split("\n", 1)
    (world / "train.csv").write_text(f"{header.replace(',', ' , ')}\n{rows}", encoding="utf-8")
    assert "of 4 in train.csv" in told(capsys)


def test_a_large_table_is_sampled(world, capsys, monkeypatch) -> None:
    """A plan is asked for again and again, and a hundred thousand files on a network disk take minutes."""
    monkeypatch.setattr(plan_rows, "SAMPLED", 3)
    printed = told(capsys)
    assert "of 4 in train.csv" in printed and "images: 3 sizes from 3 files" in printed


def test_images_that_cannot_be_read_are_counted_and_their_size_assumed(world, capsys) -> None:
    """A size that nobody looked at must not pass for a measured one; nor may a strip that no resizer takes stop it."""
    (world / "images" / "a.png").write_bytes(b"no image")
    assert "images: 2 sizes from 4 files" in told(capsys)
    Image.new("RGB", (1000, 2)).save(world / "images" / "b.png")
    printed = told(capsys)
    assert "images: assumed to have model.max_pixels, 100 visual tokens (0 sizes from 4 files" in printed
    assert "100 are visual" in printed


def test_the_demo_is_planned_before_it_is_made_and_says_so(world, capsys) -> None:
    write_settings({"data": {"train_csv": "results/demo/train.csv"}})
    printed = told(capsys)
    assert "rows: 600 train each fold, of 1200 in data.demo.train_rows" in printed
    assert "images: assumed to have model.max_pixels, 100 visual tokens" in printed


def test_a_csv_that_is_not_there_is_named(world, capsys) -> None:
    write_settings({"data": {"train_csv": "no.csv"}})
    message = refused(capsys)
    assert "data.train_csv: there is no file no.csv. " in message and "--rows" in message
    printed = told(capsys, "--rows", "7")
    assert "rows: 7 train each fold (--rows)\nimages: assumed to have " in printed
    assert "there is no file no.csv" in printed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"key,path\n1,a.png\n", "train.csv line 1: no column 'id'"),
        (b"id,path\n", "train.csv: the table has no rows. "),
        (b"", "train.csv"),
        (b'id,path\n1,"a.png\n', "train.csv line 2: a quotation mark is not closed"),
        ("id,path\n1,é\n".encode("utf-16"), "train.csv line 1: the file is in UTF-16. "),
    ],
)
def test_a_csv_that_cannot_be_read_is_named(world, capsys, content, message) -> None:
    (world / "train.csv").write_bytes(content)
    assert message in refused(capsys)


def test_a_named_table_is_used_as_it_is(world, capsys) -> None:
    validate()
    (world / "train.csv").unlink()
    printed = told(capsys, "--table", "results/tables/train.parquet")
    assert "rows: 2 train each fold, of 4 in results/tables/train.parquet, the table named by --table" in printed


def test_a_named_table_of_another_kind_is_refused(world, capsys) -> None:
    """And not to be deleted for it."""
    pd.DataFrame({"id": ["a"], "fold": [0]}).to_parquet("folds.parquet")
    sizes = pd.DataFrame({"id": ["a"], "image_file": ["a"], "width": ["wide"], "height": [1]})
    sizes.to_parquet("words.parquet")
    sizes[:0].to_parquet("empty.parquet")
    for name in ("folds.parquet", "words.parquet", "empty.parquet", "train.csv", "no.parquet"):
        message = refused(capsys, "--table", name)
        assert "--table: " in message and name in message and "Delete" not in message


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--tflops", "0"], "0 is not above 0"),
        (["--rows", "-5"], "-5 is not above 0"),
        (["--rows", "2.5"], "invalid whole number value: '2.5'"),
        (["--vram", "nan"], "nan is not above 0"),
        (["--vram", "T4"], "invalid number value: 'T4'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(world, capsys, options, word) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--config", "my.yaml", *options])
    assert ended.value.code == 2 and word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("train: {batch_sise: 4}", "train.batch_sise: unknown key; did you mean 'batch_size'?"),
        ("folds: {n: 0}", "folds.n"),
        ('train: {batch_size: "4"}', "train.batch_size"),
        ("train: {epochs: 1e1}", "train.epochs (passes over the training rows): '1e1' is not a number. Write 1.0e1"),
        ("model: {min_pixels: 60000}", "model.min_pixels: 60000 is above model.max_pixels"),
        ("model: {base", "my.yaml line"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(world, capsys, text, word) -> None:
    """It would be planned without, or end in a traceback."""
    Path("my.yaml").write_text(text, encoding="utf-8")
    assert word in refused(capsys)


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """A user's own configuration for a 7B base, whose data is elsewhere."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    file = tmp_path / "my.yaml"
    file.write_text(KAGGLE, encoding="utf-8")
    return ["--config", str(file), "--rows", "2591"]


def test_a_plan_needs_neither_weights_nor_gpu(kaggle, capsys) -> None:
    """Someone on Kaggle learns from a name and numbers alone that it fits a T4."""
    main(["plan", *kaggle])
    printed = capsys.readouterr().out
    assert "tokens per row: 1124" in printed and "768 are visual" in printed
    assert "sizes from the published 7b (going by its name)" in printed
    assert "of 14.7 GiB: fits" in printed and "hours" in printed


def test_a_plan_that_does_not_fit_ends_with_a_cure(kaggle, capsys) -> None:
    """Exit status 1, and what to set instead."""
    with pytest.raises(SystemExit) as ended:
        main(["plan", *kaggle, "--vram", "8"])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "does NOT fit" in printed.out
    assert "Set it to 2" in printed.err or "Set it to 1" in printed.err


def test_a_base_that_fits_in_4_bits_only_is_planned_so(kaggle, capsys, tmp_path) -> None:
    """A smaller base is not the first thing to try."""
    (tmp_path / "my.yaml").write_text(KAGGLE.replace("model: {", "model: {quantization: none, "), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["plan", *kaggle])
    assert "Set model.quantization to nf4" in capsys.readouterr().err


def shape(base: str, named: str | None = None) -> Shape:
    return plan.shape_of(rows.model_config(base=base), named)[0]


@pytest.mark.parametrize(
    ("base", "cure", "asks_for_shape"),
    [
        ("Qwen/Qwen2.5-VL-72B-Instruct", "hf download Qwen/Qwen2.5-VL-72B-Instruct config.json", False),
        ("Qwen/Qwen2.5-VL-32B-Instruct", "hf download Qwen/Qwen2.5-VL-32B-Instruct config.json", False),
        ("o/my_7b_tuned", "hf download o/my_7b_tuned config.json", False),
        ("somewhere/else", "hf download somewhere/else config.json", True),
        ("/models/qwen", "Give a folder that contains it", True),
    ],
)
def test_a_base_of_no_known_shape_gets_a_cure_that_helps(world, capsys, base, cure, asks_for_shape) -> None:
    """A 72B planned as a 7B fits a T4, on paper."""
    write_settings({"model": {"base": base}})
    message = refused(capsys)
    assert f"model.base: {base!r}: " in message and cure in message
    assert ("--shape" in message) is asks_for_shape


def test_a_published_model_is_known_by_its_name(world) -> None:
    """No file is needed for it."""
    assert shape("Qwen/Qwen3.5-9B") == published("qwen3.5-9b")
    assert shape("o/my-Qwen2.5-VL-3B-tuned") == published("3b")


@pytest.mark.parametrize(
    "base",
    [
        "Qwen/Qwen2.5-VL-7B-Instruct-AWQ",
        "o/Qwen3-VL-8B-GPTQ-Int4",
        "unsloth/Qwen3-VL-8B-Instruct-GGUF",
        "o/q-7b-bnb-4bit",
        "o/Qwen3.5-9B-FP8",
        "o/Qwen3-VL-8B-Instruct-MLX",
    ],
)
def test_a_quantised_base_is_refused_by_its_name(world, capsys, base) -> None:
    """It would be planned as its original, and then not be loaded: what loading refuses, the plan refuses."""
    write_settings({"model": {"base": base}})
    (problem,) = base_problems(base)
    assert problem in refused(capsys) and "is already quantised. Give the checkpoint that it was made from." in problem


def test_a_checkpoint_says_its_own_shape(world) -> None:
    """The numbers come from the base's config.json when it is there, downloaded or in a folder."""
    assert shape(str(TINY)) == published("tiny")
    commit = "c" * 40
    folder = world / "hub" / "models--Qwen--Qwen2.5-VL-72B-Instruct"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    shutil.copy(TINY / "config.json", folder / "snapshots" / commit)
    assert shape("Qwen/Qwen2.5-VL-72B-Instruct").hidden == 128
    assert shape(str(TINY), "3b") == published("3b")


OF_A_TEXT = {"model_type": "qwen3", "hidden_size": 64}
PARTS = {"text_config": {"hidden_size": 64}, "vision_config": {}}
QUANTIZED = {"quantization_config": {"quant_method": "gptq"}}
NO_IMAGES = "it is of a qwen3 model, which takes no images, or which the installed transformers does not know. Set"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (json.dumps(OF_A_TEXT), NO_IMAGES),
        (json.dumps({"model_type": "qwen3_5_text"}), "it is of a qwen3_5_text model, which takes no images"),
        (json.dumps({"model_type": "qwen9_vl"}), "which the installed transformers does not know"),
        (json.dumps({"model_type": "qwen2_5_vl", "text_config": {}}), "(lacks 'vision_config')"),
        (json.dumps({"model_type": "qwen3_vl"} | PARTS | QUANTIZED), "config.json (gptq) is already quantised. Give"),
        (json.dumps({"model_type": "qwen3_vl"} | PARTS | {"quantization": {"bits": 4}}), "is already quantised"),
        (json.dumps({"model_type": "qwen3_vl"} | PARTS | {"text_config": QUANTIZED}), "is already quantised"),
        (
            json.dumps({"model_type": "qwen3_vl"} | PARTS | {"text_config": {"hidden_size": "many"}}),
            "is not the config",
        ),
        ("{", "it is not the config.json"),
        ("[]", "it is not the config.json"),
        ("{}", "(lacks 'model_type')"),
    ],
)
def test_another_models_config_is_refused(world, capsys, text, word) -> None:
    (world / "base").mkdir()
    (world / "base" / "config.json").write_text(text, encoding="utf-8")
    write_settings({"model": {"base": "base"}})
    assert word in refused(capsys)


def test_a_base_in_a_folder_is_planned_with_its_own_pixels(world, capsys) -> None:
    """One visual token of a Qwen3-VL covers 32 x 32 pixels; what float16 cannot do is said, or refused."""
    random_families.config("qwen3_5").save_pretrained(world / "base")
    write_settings({"model": {"base": "base", "max_pixels": 78400, "min_pixels": 1024}})
    main(["plan", "--config", "my.yaml"])
    printed = capsys.readouterr()
    assert "sizes from base/config.json" in printed.out and "40 are visual" in printed.out
    assert "bfloat16 is refused on GPUs of compute capability below 8.0" in printed.err
    write_settings({"model": {"base": "base", "compute_dtype": "float16"}})
    assert "model.compute_dtype: Qwen3.5 does not work in float16: " in refused(capsys)


def test_auto_quantises_where_16_bits_do_not_fit(world) -> None:
    """As the base is loaded: otherwise the plan would be of another training."""
    model = rows.model_config(quantization="auto")
    assert [plan.is_quantized(model, published("7b"), gib) for gib in (14.7, 22.0, 39.4)] == [True, True, False]
    assert plan.is_quantized(rows.model_config(quantization="nf4"), published("7b"), 139.8)


def test_the_matrix_needs_no_base(world, capsys) -> None:
    """It is of published models, whatever model.base is."""
    write_settings({"model": {"base": "no/such"}})
    printed = told(capsys, "--matrix")
    assert printed.startswith("| model | T4 16 GB | ") and "| qwen3-vl-8b | " in printed


def test_the_example_of_the_help_works(world) -> None:
    """As it is printed, from the folder of my.yaml."""
    run = [sys.executable, "-m", "vqaflow", "plan"]
    paths = {"PYTHONPATH": str(rows.ROOT / "workflow_scripts")}
    printed = subprocess.run([*run, "--help"], env=os.environ | paths, capture_output=True, text=True).stdout
    example = re.search(r"vqaflow plan (--config my\S* --card \S+)", " ".join(printed.split()))
    assert example, printed
    done = subprocess.run([*run, *example[1].split()], env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0 and "rows: 2 train each fold, of 4 in train.csv" in done.stdout, done.stderr
