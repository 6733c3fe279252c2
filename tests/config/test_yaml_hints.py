"""Settings files with a slip: what would break if the message did not name it, or if a sound file were refused."""

import pytest

from vqaflow.config.loading import checked_config
from vqaflow.runtime.errors import UserError


def message(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        checked_config(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("train:\n\tepochs: 2\n", 2, "has a tab, and YAML takes only spaces. Replace the tabs"),
        ("train:\n  epochs:\t2\n", 2, "has a tab"),
        ("train:\n  keep: “last”\n", 2, "has curly quotation marks"),
        ("data:\n  train_csv: ‘a.csv’\n", 2, "has curly quotation marks"),
        ("“train”:\n  epochs: 2\n", 1, "has curly quotation marks"),
        ("train：\n  epochs：2\n", 1, "has a wide colon"),
        ("train:\n\u3000epochs: 2\n", 2, "begins with a space that YAML takes for a letter"),
        ("train:\n\u00a0\u00a0epochs: 2\n", 2, "begins with a space that YAML takes for a letter"),
        ('data:\n  train_csv: "C:\\data\\train.csv"\n', 2, "Write / in place of it"),
        ("[train]\nepochs = 2\n", 2, "the file has [sections] as TOML and INI files have"),
        ("train: {epochs: 2}\n---\ntrain: {epochs: 3}\n", 2, "begins a second document (---)"),
        ('prompt:\n  system: "Answer\n  x: 2\n', 4, "the quotation mark of line 2 is not closed"),
        ("data:\n  train_csv: @a.csv\n", 2, "Put the value in quotation marks"),
        ("prompt:\n  choice_format: {letter}. {text}\n", 2, "Put the value in quotation marks"),
        ("prompt:\n  system: Answer: one letter\n", 2, "has a second colon, in the value"),
        ("train:\n epochs: 2\n   seed: 3\n", 3, "is indented further than the line above"),
        ('{"train": {"epochs": 2,}\n', 1, "is neither YAML nor JSON"),
    ],
)
def test_a_slip_is_named_with_its_line(tmp_path, content, line, told):
    text = message(tmp_path / "my.yaml", content)
    assert f"my.yaml line {line}: " in text and told in text, text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "cp949"])
def test_a_file_that_is_not_utf_8_is_to_be_saved_so(tmp_path, encoding):
    text = message(tmp_path / "my.yaml", "train:\n  epochs: 2 # 에폭\n".encode(encoding))
    assert text.endswith("Save it in UTF-8.") and "codec" not in text, text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('train: {compile: "on"}', "Write true, without quotation marks."),
        ('train: {compile: "False"}', "Write false, without quotation marks."),
        ("train: {learning_rate: '0,001'}", "Write 0.001, with a point."),
        ("train: {batch_size: '1,000'}", "Write 1000, without commas."),
        ("train: {epochs: ２}", "Write 2 in plain digits and signs."),
        ("folds: {near_distance: −1}", "Write -1 in plain digits and signs."),
        ("folds: {near_distance: 5%}", "Write 5 without the sign."),
        ("data: {max_quarantined: 5%}", "Write 5 without the sign, or 0.05 if it is a share."),
        ("data: {answers: No}", "Put it in quotation marks, as YAML reads yes, no, on and off"),
        ('data: {columns: {choices: "a,b, c,d"}}', "Write [a, b, c, d]."),
        ("train:\n  epochs:2", "Put a space after the colon."),
        ("train:\n  epochs = 2", "Write a colon and a space in place of =."),
        ("train.epochs: 2", "write `epochs` below `train`, with two spaces before it."),
    ],
)
def test_a_value_of_another_type_is_told_as_it_was_meant(tmp_path, content, told):
    assert told in message(tmp_path / "my.yaml", content)


def test_json_with_tabs_is_read_and_a_key_twice_is_refused(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text('{\n\t"train": {\n\t\t"epochs": 2\n\t}\n}', encoding="utf-8")
    assert checked_config(path)["train"]["epochs"] == 2
    assert "has the key epochs twice" in message(path, '{\n\t"train": {"epochs": 2, "epochs": 3}}')


@pytest.mark.parametrize(
    "content",
    [
        "\ufefftrain: {epochs: 2}\n",
        "prompt:\n  system: |\n    질문：보기\n    “예”: x\n",
        "prompt:\n  system: “Answer” with one letter\n",
    ],
)
def test_a_sound_file_with_such_signs_is_read(tmp_path, content):
    path = tmp_path / "my.yaml"
    path.write_text(content, encoding="utf-8")
    checked_config(path)
