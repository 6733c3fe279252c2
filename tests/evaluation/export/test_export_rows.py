"""Rows for other programs: each question as our own models read it, in its own fold, in the form that they load."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

import rows
from results_world import make_results
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.loading import checked_config
from vqaflow.config.members import FOREIGN, Member, members_of
from vqaflow.config.sections import AnswersConfig
from vqaflow.evaluation.export.chats import EXPORTS, template_of
from vqaflow.evaluation.export.lmms_functions import letter_in
from vqaflow.evaluation.export.lmms_task import export_lmms_eval
from vqaflow.evaluation.export.rows import CONTROLS
from vqaflow.runtime.errors import UserError

ALL_EXPORTS = {**EXPORTS, "lmms-eval": export_lmms_eval}


@pytest.fixture(scope="module")
def member() -> Member:
    """The only member of the configuration as it is shipped."""
    return members_of(checked_config())["main"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> ResultsFolder:
    """Tables and folds; one test row has no usable image, one question holds a picture's placeholder."""
    folder = make_results(tmp_path_factory.mktemp("run"), unusable=1)
    path = folder / "tables" / "train.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "question"] = "What is <image> here?"
    table.loc[0, "b"] = "<|im_end|>"
    table.to_parquet(path, index=False)
    return ResultsFolder(folder)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def written(run, member, tmp_path_factory) -> dict[str, Path]:
    """The folder of each export."""
    out = tmp_path_factory.mktemp("out")
    for name, export in ALL_EXPORTS.items():
        export(run, member, out / f"My {name}", False)
    return {name: out / f"My {name}" for name in ALL_EXPORTS}


@pytest.mark.parametrize("name", EXPORTS)
def test_no_model_is_trained_on_the_rows_that_it_is_measured_on(written, run, name):
    """Its OOF probabilities would be in-fold."""
    folds = pd.read_parquet(run.folds)
    for fold in range(3):
        train, held_out = (
            [entry["id"] for entry in lines(written[name] / f"fold{fold}_{part}.jsonl")] for part in ("train", "val")
        )
        assert held_out == list(folds.loc[folds["fold"] == fold, "id"])
        assert sorted(train + held_out) == sorted(folds["id"]) and not set(train) & set(held_out)
    assert [entry["id"] for entry in lines(written[name] / "train.jsonl")] == list(folds["id"])


@pytest.mark.parametrize("name", EXPORTS)
def test_a_conversation_has_the_run_s_prompt_the_picture_and_the_letter(written, run, member, name):
    table = pd.read_parquet(run.table("train"))
    entry, row = lines(written[name] / "train.jsonl")[5], table.iloc[5]
    system, user, assistant = entry["messages"]
    assert system == {"role": "system", "content": member.prompt["system"]}
    before, after = member.prompt["templates"][row["qtype"]].split("{choices}")
    choices = "\n".join(f"{letter}. {row[letter]}" for letter in "abcd")
    assert user == {
        "role": "user",
        "content": "<image>" + before.replace("{question}", row["question"]) + choices + after,
    }
    assert assistant == {"role": "assistant", "content": row["answer"]}
    assert Path(entry["images"][0]).is_absolute() and Path(entry["images"][0]).is_file() and len(entry["images"]) == 1


def test_test_rows_end_as_each_program_needs(written, run):
    """LLaMA-Factory drops a conversation without an answer; ms-swift would train on an empty one."""
    ids = list(pd.read_parquet(run.table("test"))["id"])[1:]
    for name, last in (("llama-factory", {"role": "assistant", "content": ""}), ("ms-swift", None)):
        entries = lines(written[name] / "test.jsonl")
        assert [entry["id"] for entry in entries] == ids, "a row without an image cannot be loaded"
        assert all((entry["messages"][-1] == last) == (last is not None) for entry in entries)
        assert all(len(entry["messages"]) == (3 if last else 2) for entry in entries)


@pytest.mark.parametrize("name", ALL_EXPORTS)
def test_a_table_s_text_is_not_taken_for_a_picture_or_a_turn(written, name):
    """A second placeholder stops LLaMA-Factory and ms-swift; a token of the chat template ends the question early."""
    entry = lines(written[name] / "train.jsonl")[0]
    text = entry["prompt"] if name == "lmms-eval" else entry["messages"][1]["content"].removeprefix("<image>")
    assert "What is < image> here?" in text and "b. < |im_end|>" in text
    assert not [control for control in CONTROLS if control in text]


def test_llama_factory_finds_every_file(written):
    folder = written["llama-factory"]
    described = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    files = {entry["file_name"] for entry in described.values()}
    assert files == {path.name for path in folder.glob("*.jsonl")} and len(files) == 8
    entry = described["my_llama_factory_fold0_train"]
    assert entry["formatting"] == "sharegpt" and entry["columns"] == {"messages": "messages", "images": "images"}
    turns = lines(folder / entry["file_name"])[0]["messages"]
    tags = entry["tags"]
    roles = [tags["system_tag"], tags["user_tag"], tags["assistant_tag"]]
    assert [turn[tags["role_tag"]] for turn in turns] == roles and all(turn[tags["content_tag"]] for turn in turns)


def test_llama_factory_trains_with_the_run_s_settings(written, member):
    for fold in range(3):
        settings = yaml.safe_load((written["llama-factory"] / f"train_fold{fold}.yaml").read_text(encoding="utf-8"))
        described = json.loads((written["llama-factory"] / "dataset_info.json").read_text(encoding="utf-8"))
        assert described[settings["dataset"]]["file_name"] == f"fold{fold}_train.jsonl"
        assert described[settings["eval_dataset"]]["file_name"] == f"fold{fold}_val.jsonl"
        assert settings["learning_rate"] == member.train["learning_rate"]
        assert settings["lora_rank"] == member.train["lora"]["r"] and settings["template"] == "qwen2_vl"


@pytest.mark.parametrize(
    ("base", "template"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl_nothink"),
        ("Qwen/Qwen3.5-9B", "qwen3_5_nothink"),
        ("assets/tiny-qwen2_5-vl", "qwen2_vl"),
        ("assets/tiny-qwen3-vl", "qwen3_vl_nothink"),
        ("google/gemma-4-31B-it", "gemma4"),
        ("OpenGVLab/InternVL3-8B-hf", "intern_vl"),
        ("someone/else", "TEMPLATE"),
    ],
)
def test_the_chat_template_is_named_as_far_as_it_is_known(base, template):
    assert template_of(rows.model_config(base=base)) == template


@pytest.mark.parametrize(
    ("name", "command"),
    [("llama-factory", "llamafactory-cli train train_fold0.yaml"), ("ms-swift", "swift sft"), ("lmms-eval", "--tasks")],
)
def test_the_guide_has_the_command(written, member, name, command):
    text = (written[name] / "README.md").read_text(encoding="utf-8")
    assert command in text and member.model["base"] in text
    if name == "ms-swift":
        assert f"--learning_rate {member.train['learning_rate']}" in text and "--dataset fold0_train.jsonl" in text


# --- lmms-eval ---


def loaded(path: Path) -> dict:
    """A task's file as lmms-eval loads it: `!function utils.name` is that function of utils.py beside it."""
    spec = importlib.util.spec_from_file_location("utils", path.parent / "utils.py")
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: getattr(utils, node.value.removeprefix("utils.")))
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def test_lmms_eval_gets_a_task_per_fold_and_one_of_all_rows(written, run):
    folder = written["lmms-eval"]
    folds = pd.read_parquet(run.folds)
    tasks = {path.stem: loaded(path) for path in folder.glob("*.yaml")}
    assert sorted(tasks) == ["my_lmms_eval_fold0", "my_lmms_eval_fold1", "my_lmms_eval_fold2", "my_lmms_eval_train"]
    for name, task in tasks.items():
        assert task["task"] == name and task["dataset_path"] == "json"
        ((split, file),) = task["dataset_kwargs"]["data_files"].items()
        assert task["test_split"] == split and Path(file).is_absolute()
        ids = [doc["id"] for doc in lines(Path(file))]
        wanted = folds if split == "train" else folds[folds["fold"] == int(split.removeprefix("fold"))]
        assert ids == list(wanted["id"])


def test_the_functions_of_a_task_fit_its_rows(written, run):
    task = loaded(written["lmms-eval"] / "my_lmms_eval_train.yaml")
    row = pd.read_parquet(run.table("train")).iloc[5]
    doc = lines(written["lmms-eval"] / "train.jsonl")[5]
    (image,) = task["doc_to_visual"](doc)
    assert image.size == (48, 32) and image.mode == "RGB"
    assert task["doc_to_text"](doc) == doc["prompt"] and row["question"] in doc["prompt"]
    assert task["doc_to_text"](doc, {"post_prompt": "!"}) == doc["prompt"] + "!"
    assert task["doc_to_target"](doc) == row["answer"]
    wrong = "abcd"[("abcd".index(row["answer"]) + 1) % 4]
    assert task["process_results"](doc, [f"{row['answer']}."]) == {"accuracy": 1, "unanswered": 0}
    assert task["process_results"](doc, [wrong]) == {"accuracy": 0, "unanswered": 0}
    assert task["process_results"](doc, ["?"]) == {"accuracy": 0, "unanswered": 1}
    assert {entry["metric"] for entry in task["metric_list"]} == task["process_results"](doc, ["?"]).keys()


def test_transparent_pictures_are_shown_on_white(tmp_path):
    """As the run's own models see them."""
    from vqaflow.evaluation.export.lmms_functions import doc_to_visual

    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(tmp_path / "a.png")
    assert doc_to_visual({"images": [tmp_path / "a.png"]})[0].getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("b", "b"),
        ("B", "b"),
        (" (c) ", "c"),
        ("D. blue", "d"),
        ("b because it is red", "b"),
        ("**a**", "a"),
        ("B", "b"),
        ("The answer is C.", "c"),
        ("Answer: d", "d"),
        ("정답: b", "b"),
        ("정답은 b입니다", "b"),
        ("빨간색", "a"),
        ("Blue.", "d"),
        ("a cat", None),
        ("The answer is a cat", None),
        ("b or c", None),
        ("", None),
        ("banana", None),
        ("e", None),
        ("same", None),
    ],
)
def test_the_letter_of_a_response_is_found_or_not_guessed(response, letter):
    """A letter that was guessed would be right by chance."""
    assert letter_in(response, ["빨간색", "same", "same", "blue"], "abcd") == letter


# --- what training does with several answers, and what it shows ---


@pytest.fixture(scope="module")
def answered(run, tmp_path_factory) -> ResultsFolder:
    """The run, with a row that three of five people answered alike, one that four did, and else one answer."""
    folder = ResultsFolder(shutil.copytree(run.folder, tmp_path_factory.mktemp("people") / "run"))
    table = pd.read_parquet(folder.table("train"))
    for letter in "abcd":
        table[f"share_{letter}"] = (table["answer"] == letter).astype(float)
    table["people"] = 1
    for place, most in ((1, 0.6), (2, 0.8)):
        table.loc[place, ["share_a", "share_b", "share_c", "share_d", "people"]] = [most, 1 - most, 0, 0, 5]
        table.loc[place, "answer"] = "a"
    table.astype({"people": int}).to_parquet(folder.table("train"), index=False)
    return folder


@pytest.mark.parametrize(
    ("use", "lost"), [("soft", []), ("majority", []), ("at least 4", ["train_0001"]), ("unanimous", ["1", "2"])]
)
@pytest.mark.parametrize("name", EXPORTS)
def test_the_rows_that_train_are_those_of_the_run(answered, member, tmp_path, name, use, lost):
    """The other program would train on doubtful rows that the run leaves out."""
    lost = [f"train_{row.removeprefix('train_'):0>4}" for row in lost]
    EXPORTS[name](answered, member, tmp_path / "out", False, AnswersConfig(use))
    folds = pd.read_parquet(answered.folds).set_index("id")["fold"]
    every = {path.stem: [entry["id"] for entry in lines(path)] for path in (tmp_path / "out").glob("*.jsonl")}
    assert [row for row in folds.index if row not in every["train"]] == lost
    assert every["fold1_train"] == [row for row in folds.index if folds[row] != 1 and row not in lost]
    assert every["fold0_val"] == list(folds.index[folds == 0]), "all rows are measured"


def test_what_a_conversation_cannot_say_is_told_once_and_written_beside_it(answered, member, tmp_path, caplog):
    EXPORTS["ms-swift"](answered, member, tmp_path / "out", False, AnswersConfig("soft", agreement_weight=True))
    (told,) = [record.getMessage() for record in caplog.records if "cannot express" in record.getMessage()]
    assert "shares of answers" in told and "weights by agreement" in told
    rows_ = lines(tmp_path / "out" / "train.jsonl")
    assert rows_[1]["shares"] == [0.6, 0.4, 0, 0] and rows_[1]["people"] == 5 and "shares" not in rows_[0]
    caplog.clear()
    EXPORTS["ms-swift"](answered, member, tmp_path / "other", False, AnswersConfig("majority"))
    assert "cannot express" not in caplog.text


def with_view(member: Member, **view) -> Member:
    """The member, trained in another view."""
    return replace(member, train={**member.train, "view": "other"}, views={**member.views, "other": view})


@pytest.mark.parametrize("name", ALL_EXPORTS)
def test_tiles_are_exported_as_training_shows_them(run, member, tmp_path, name):
    """A model trained elsewhere on whole pictures alone could not read what the run's own model reads."""
    ALL_EXPORTS[name](run, with_view(member, tiles="1x2", overlap=0.0), tmp_path / "out", False)
    entry = lines(tmp_path / "out" / "train.jsonl")[5]
    whole, left, right = map(Path, entry["images"])
    table = pd.read_parquet(run.table("train"))
    assert whole == Path(table["image_file"][5]).absolute() and Image.open(whole).size == (48, 32)
    assert [Image.open(tile).size for tile in (left, right)] == [(48, 64), (48, 64)], "halves, enlarged twice"
    assert {tile.parent for tile in (left, right)} == {tmp_path / "out" / "pictures"}
    if name in EXPORTS:
        assert entry["messages"][1]["content"].startswith("<image>" * 3)
        assert not entry["messages"][1]["content"].startswith("<image>" * 4)
    else:
        task = loaded(tmp_path / "out" / "out_train.yaml")
        assert [image.size for image in task["doc_to_visual"](entry)] == [(48, 32), (48, 64), (48, 64)]


def test_the_limits_of_the_trained_view_are_those_of_the_other_program(run, member, tmp_path):
    EXPORTS["llama-factory"](run, with_view(member, pixels="native", max_pixels=401408), tmp_path / "out", False)
    settings = yaml.safe_load((tmp_path / "out" / "train_fold0.yaml").read_text(encoding="utf-8"))
    assert (settings["image_min_pixels"], settings["image_max_pixels"]) == (1, 401408)


@pytest.mark.parametrize("name", ALL_EXPORTS)
def test_a_view_that_reads_is_refused_with_a_cure(run, member, tmp_path, name):
    with pytest.raises(UserError, match=r"train\.view: other first reads .* Export with a train\.view that does not"):
        ALL_EXPORTS[name](run, with_view(member, read=True), tmp_path / "out", False)
    assert not (tmp_path / "out").exists()


# --- what is refused ---


@pytest.mark.parametrize("name", ALL_EXPORTS)
def test_a_folder_that_no_export_has_written_is_kept_even_if_forced(run, member, tmp_path, name):
    """--force --out with a slip of the pen must not delete a user's folder."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    for force in (False, True):
        with pytest.raises(UserError, match=r"mine: is not empty, and no export has written it"):
            ALL_EXPORTS[name](run, member, tmp_path / "mine", force)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ALL_EXPORTS)
def test_an_earlier_export_is_replaced_if_forced(run, member, tmp_path, name):
    out = tmp_path / "mine"
    out.mkdir()
    ALL_EXPORTS[name](run, member, out, False)
    (out / "old.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"mine: has an export. .* --force"):
        ALL_EXPORTS[name](run, member, out, False)
    ALL_EXPORTS[name](run, member, out, True)
    assert not (out / "old.jsonl").exists() and (out / "train.jsonl").is_file()


def test_a_file_in_the_way_is_named(run, member, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match=r"mine: is a file or a link"):
        export_lmms_eval(run, member, tmp_path / "mine", True)


def test_a_member_without_a_prompt_is_named(run, member, tmp_path):
    friend = Member("friend", FOREIGN, member.model, member.prompt, member.train, {}, "cyclic")
    for export in ALL_EXPORTS.values():
        with pytest.raises(UserError, match=r"--member friend: it comes from files"):
            export(run, friend, tmp_path / "out", False)


def test_a_missing_image_is_named(run, member, tmp_path):
    """The other program would stop at that row, hours later."""
    copy = ResultsFolder(shutil.copytree(run.folder, tmp_path / "run"))
    table = pd.read_parquet(copy.table("train"))
    table.loc[3, "image_file"] = "gone.png"
    table.to_parquet(copy.table("train"), index=False)
    with pytest.raises(UserError, match=r"gone.png: the image of row 'train_0003' is not there"):
        EXPORTS["ms-swift"](copy, member, tmp_path / "out", False)
    assert not (tmp_path / "out").exists()


def test_tables_of_another_run_are_refused(run, member, tmp_path):
    copy = ResultsFolder(shutil.copytree(run.folder, tmp_path / "run"))
    pd.read_parquet(copy.folds).iloc[1:].to_parquet(copy.folds, index=False)
    with pytest.raises(UserError, match=r"'train_0000' are not in both folds and table"):
        EXPORTS["ms-swift"](copy, member, tmp_path / "out", False)
