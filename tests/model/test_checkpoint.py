"""A base that would be loaded wrongly, or not at all, ends in one message: the file, key or weight, and a cure.

What the files of a folder show is reported before anything runs; the rest when the base is loaded, before any training.
"""

import json
import logging
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import random_families
import random_others
import random_qwen
import rows
from places import ROOT, SCRIPTS
from vqaflow.model import base as base_model
from vqaflow.model.base import Base, load_base, require_own_processor, require_same_weights
from vqaflow.model.checkpoint import base_problems, family_in, read_config, unloadable
from vqaflow.model.families.known import BY_KIND, names
from vqaflow.runtime.errors import UserError

CPU = torch.device("cpu")
EXAMPLE = BY_KIND["qwen2_5_vl"].example
COPY = f"Copy the processor files (preprocessor_config.json and the like) from {EXAMPLE}."
RESTORE = "Restore the config.json that belongs to the weights, or download the checkpoint again."
SETTINGS = f"Use a checkpoint with the settings of {EXAMPLE}."
TOKENIZER = "Copy the tokenizer files (tokenizer.json and the like) that belong to the weights."
MERGE = "Merge the adapter into the base first (merge_and_unload of PEFT)."
SOURCE = "Give the checkpoint that it was made from."
Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A small Qwen2.5-VL checkpoint with all its files."""
    return random_families.save("qwen2_5_vl", tmp_path_factory.mktemp("base") / "whole")


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(whole, tmp_path / "base")


def edit(name: str, **changes: Any) -> Change:
    """Set keys of a JSON file; `a__b` is the key b of the section a, and None removes the key."""

    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        for key, value in changes.items():
            *sections, last = key.split("__")
            section = content
            for part in sections:
                section = section[part]
            section[last] = value
            if value is None:
                del section[last]
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return apply


config, processor = partial(edit, "config.json"), partial(edit, "processor_config.json")


def write(name: str, content: str | bytes) -> Change:
    """Write a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def remove(name: str) -> Change:
    """Remove a file."""
    return lambda folder: (folder / name).unlink()


def shorten(name: str) -> Change:
    """Cut the end off a file, as an interrupted download does."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9])


def with_weight(name: str) -> Change:
    """Add a weight."""

    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        save_file(weights | {name: torch.zeros(2, 2)}, folder / "model.safetensors", {"format": "pt"})

    return apply


def with_value(value: float) -> Change:
    """Put one value into a weight."""

    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        next(weight for name, weight in sorted(weights.items()) if "layers.0.mlp.up_proj" in name)[3, 5] = value
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return apply


def as_gguf(folder: Path) -> None:
    """Keep the weights in llama.cpp's format alone."""
    (folder / "model.safetensors").rename(folder / "model-Q4_K_M.gguf")


def without_shard(folder: Path) -> None:
    """An index that names a file that is not there."""
    names = {"lm_head.weight": "model-00002-of-00002.safetensors", "visual": "model.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names["visual"] = "model-00001-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def renamed_token(folder: Path) -> None:
    """A tokenizer that calls the image's token otherwise."""
    for file in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        file.write_text(file.read_text(encoding="utf-8").replace("<|image_pad|>", "<|picture|>"), encoding="utf-8")


FILES = {
    "an adapter beside the weights": (
        write("adapter_config.json", "{}"),
        "{base} holds an adapter (adapter_config.json), which would be attached to the weights. Give a folder with a "
        "base alone, or merge the adapter into its base first.",
    ),
    "no config": (
        remove("config.json"),
        f"{{base}} has no config.json with a model_type. Give the folder of a checkpoint of {names()}.",
    ),
    "a broken config": (
        write("config.json", "{"),
        f"{{base}} has no config.json with a model_type. Give the folder of a checkpoint of {names()}.",
    ),
    "gptq": (config(quantization_config={"quant_method": "gptq"}), f"{{base}} (gptq) is already quantised. {SOURCE}"),
    "awq in a section": (
        config(text_config__quantization_config={"quant_method": "awq"}),
        f"{{base}} (awq) is already quantised. {SOURCE}",
    ),
    "bitsandbytes": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        f"{{base}} (bitsandbytes) is already quantised. {SOURCE}",
    ),
    "mlx": (
        config(quantization={"bits": 4, "group_size": 64}),
        f"{{base}} (method unknown) is already quantised. {SOURCE}",
    ),
    "an early gptq": (
        write("quantize_config.json", '{"bits": 4}'),
        f"{{base}} (quantize_config.json) is already quantised. {SOURCE}",
    ),
    "a text-only model": (
        config(model_type="llama"),
        f"{{base}} is a llama model, which does not answer questions about images. Give a checkpoint of {names()}.",
    ),
    "two kinds at once": (
        config(model_type="qwen2_vl"),
        "{base} is a Qwen2-VL model by its model_type (qwen2_vl), but a Qwen2.5-VL model by its architectures "
        "(Qwen2_5_VLForConditionalGeneration). Restore the config.json that belongs to the weights.",
    ),
    "positions that change with length": (
        config(text_config__rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
        "{base} has rotary positions of the type dynamic, which vqaflow does not compute. " + SETTINGS,
    ),
    "positions of an older config": (
        config(text_config__rope_parameters=None, text_config__rope_scaling={"type": "longrope"}),
        "{base} has rotary positions of the type longrope, which vqaflow does not compute. " + SETTINGS,
    ),
    "a sliding window": (
        config(text_config__layer_types=["full_attention"] * 3 + ["sliding_attention"]),
        "{base} attends within a sliding window, which vqaflow does not compute for Qwen2.5-VL. " + SETTINGS,
    ),
    "a sliding window of an older config": (
        config(
            text_config__layer_types=None,
            text_config__use_sliding_window=True,
            text_config__sliding_window=8,
            text_config__max_window_layers=2,
        ),
        "{base} attends within a sliding window, which vqaflow does not compute for Qwen2.5-VL. " + SETTINGS,
    ),
    "another activation": (
        config(text_config__hidden_act="gelu"),
        "{base} has the activation gelu, but Qwen2.5-VL has silu. " + SETTINGS,
    ),
    "another activation in the tower": (
        config(vision_config__hidden_act="gelu"),
        "{base} has the activation gelu, but Qwen2.5-VL has silu. " + SETTINGS,
    ),
    "no weights": (
        remove("model.safetensors"),
        "{base} has no weights (model.safetensors). Download the checkpoint's safetensors files.",
    ),
    "gguf": (as_gguf, "{base} has its weights in GGUF. Download the checkpoint's safetensors files."),
    "a missing shard": (
        without_shard,
        "{base} lacks model-00002-of-00002.safetensors (1 of 2 files of weights are missing). Download "
        "what is missing.",
    ),
    "a broken index": (
        lambda folder: (remove("model.safetensors")(folder), write("model.safetensors.index.json", "{}")(folder)),
        "{base}: model.safetensors.index.json cannot be read. Download it again.",
    ),
    "short weights": (
        shorten("model.safetensors"),
        "cannot load {base}: model.safetensors is not a whole file of weights. Download it again.",
    ),
    "a pointer of git-lfs": (
        write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "cannot load {base}: model.safetensors is not a whole file of weights. Download it again.",
    ),
    "no tokenizer": (remove("tokenizer.json"), f"{{base}} lacks tokenizer.json. Copy it from {EXAMPLE}."),
    "no image processor": (
        remove("processor_config.json"),
        f"{{base}} lacks preprocessor_config.json, or it cannot be read. Copy it from {EXAMPLE}.",
    ),
    "clip's image processor": (
        processor(image_processor__image_processor_type="CLIPImageProcessor"),
        "{base}: its processor is another model's: image processor CLIPImageProcessor, but Qwen2.5-VL needs "
        f"Qwen2VLImageProcessor. {COPY}",
    ),
    "the first name of the image processor": (
        processor(image_processor__image_processor_type="Qwen2_5_VLImageProcessor"),
        "{base}: its processor is another model's: image processor Qwen2_5_VLImageProcessor, but Qwen2.5-VL needs "
        f"Qwen2VLImageProcessor. {COPY}",
    ),
}
FILES |= {
    f"another {key}": (
        processor(**{f"image_processor__{key}": value}),
        f"{{base}}: its processor is another model's: {key} {value}, but Qwen2.5-VL needs {wanted}. {COPY}",
    )
    for key, value, wanted in [("patch_size", 16, 14), ("merge_size", 4, 2), ("temporal_patch_size", 1, 2)]
}
FILES |= {
    f"{key} off": (
        processor(**{f"image_processor__{key}": False}),
        f"{{base}}: its processor is another model's: {key} false, but Qwen2.5-VL needs true. {COPY}",
    )
    for key in ("do_normalize", "do_rescale")
}
FILES |= {
    "an adapter in the weights": (
        with_weight("model.layers.0.mlp.up_proj.lora_A.default.weight"),
        "{base} has model.layers.0.mlp.up_proj.lora_A.default.weight, a part of an adapter that is not merged. "
        f"{MERGE}",
    ),
    "weights of a wrapped base": (
        with_weight("base_model.model.model.layers.0.mlp.up_proj.weight"),
        "{base} has base_model.model.model.layers.0.mlp.up_proj.weight, a part of an adapter that is not merged. "
        f"{MERGE}",
    ),
    "fewer rows of the vocabulary": (
        config(text_config__vocab_size=200),
        f"{{base}} has lm_head.weight with the shape (263, 64), but its config.json says (200, 64). {RESTORE}",
    ),
    "a broken value": (
        config(text_config__hidden_size="many"),
        f"{{base}} has lm_head.weight with the shape (263, 64), but its config.json says (263, 'many'). {RESTORE}",
    ),
    "fewer layers": (
        config(text_config__num_hidden_layers=3, text_config__layer_types=["full_attention"] * 3),
        f"{{base}} has 4 decoder layers, but its config.json says 3. {RESTORE}",
    ),
    "more layers": (
        config(text_config__num_hidden_layers=5, text_config__layer_types=["full_attention"] * 5),
        f"{{base}} has 4 decoder layers, but its config.json says 5. {RESTORE}",
    ),
    "another depth of the tower": (
        config(vision_config__depth=4),
        f"{{base}} has 3 blocks of the tower, but its config.json says 4. {RESTORE}",
    ),
    "frequencies that are not all divided": (
        config(text_config__rope_parameters__mrope_section=[2, 2, 2]),
        f"{{base}} has mrope_section [2, 2, 2], but Qwen2.5-VL needs three numbers with the sum 8. {RESTORE}",
    ),
    "frequencies that are not divided": (
        config(text_config__rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
        f"{{base}} has mrope_section None, but Qwen2.5-VL needs three numbers with the sum 8. {RESTORE}",
    ),
    "a broken tokenizer": (
        write("tokenizer.json", "{"),
        f"{{base}}: tokenizer.json is not a whole JSON file. Copy it from {EXAMPLE}.",
    ),
    "a pointer for a tokenizer": (
        write("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        f"{{base}}: tokenizer.json is not a whole JSON file. Copy it from {EXAMPLE}.",
    ),
    "half a tokenizer": (
        lambda folder: (folder / "tokenizer.json").rename(folder / "vocab.json"),
        f"{{base}} lacks tokenizer.json. Copy it from {EXAMPLE}.",
    ),
    "a tokenizer of another kind": (
        lambda folder: (folder / "tokenizer.json").rename(folder / "tokenizer.model"),
        f"{{base}} lacks tokenizer.json. Copy it from {EXAMPLE}.",
    ),
    "a broken file of settings": (
        write("tokenizer_config.json", '{"a": '),
        f"{{base}}: tokenizer_config.json is not a JSON file with a section of keys. Copy it from {EXAMPLE}.",
    ),
    "a list for settings": (
        write("chat_template.json", "[1]"),
        f"{{base}}: chat_template.json is not a JSON file with a section of keys. Copy it from {EXAMPLE}.",
    ),
    "another processor class": (
        processor(processor_class="LlavaProcessor"),
        "{base}: its processor is another model's: processor class LlavaProcessor, but Qwen2.5-VL needs "
        f"Qwen2VLProcessor or Qwen2_5_VLProcessor or Qwen3VLProcessor. {COPY}",
    ),
}
FILES |= {
    f"{key} {value}": (
        processor(**{f"image_processor__{key}": value}),
        f"{{base}}: its processor is another model's: {key} {value}, but Qwen2.5-VL needs {wanted}. {COPY}",
    )
    for key, value, wanted in [
        ("do_normalize", 0, "true"),
        ("rescale_factor", 1.0, "0.00392156862745098 (1/255)"),
        ("rescale_factor", 2 / 255, "0.00392156862745098 (1/255)"),
        ("image_mean", 0.5, "three numbers"),
        ("image_std", [0.5, 0.5], "three numbers above 0"),
        ("image_std", [0.5, 0.5, 0], "three numbers above 0"),
        ("image_std", "usual", "three numbers above 0"),
    ]
}
LOADING = {
    "a weight without a place": (
        with_weight("model.layers.0.mlp.down_proj.bias"),
        "{base} has model.language_model.layers.0.mlp.down_proj.bias, for which its config.json has no place (1 such "
        f"weights). {RESTORE}",
    ),
    "no text section": (
        config(text_config=None),
        f"{{base}} has lm_head.weight with the shape (263, 64), but its config.json says (152064, 8192). {RESTORE}",
    ),
    "not a number": (
        with_value(math.nan),
        "{base} has values that are NaN or infinite in float32: model.language_model.layers.0.mlp.up_proj.weight (1 "
        "such weights). Download the checkpoint again.",
    ),
    "infinite": (
        with_value(-math.inf),
        "{base} has values that are NaN or infinite in float32: model.language_model.layers.0.mlp.up_proj.weight (1 "
        "such weights). Download the checkpoint again.",
    ),
    "another family's model_type": (
        config(model_type="qwen2_vl", architectures=None),
        "{base} does not fit its config.json: model.visual.blocks.0.mlp.fc1.bias is missing (19 such weights), and "
        f"model.visual.blocks.0.mlp.down_proj.bias has no place (18 such weights). {RESTORE}",
    ),
    "another image token": (
        config(image_token_id=5),
        f"{{base}}: its tokenizer gives <|image_pad|> the id 261, but config.json says 5. {TOKENIZER}",
    ),
    "no image token": (renamed_token, f"{{base}}: its tokenizer has no image token <|image_pad|>. {TOKENIZER}"),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_the_files_show_is_reported_before_anything_runs(folder, kind):
    """Else the first training would fail, after tables, images and folds, or give other numbers without a word."""
    change, message = FILES[kind]
    assert base_problems(str(folder)) == []
    change(folder)
    expected = message.replace("{base}", str(folder))
    assert base_problems(str(folder)) == [f"model.base: {expected}"]
    with pytest.raises(UserError) as error:  # by hand, without Snakemake
        load_base(rows.model_config(base=str(folder)), CPU)
    assert str(error.value) == f"config model.base: {expected}"


@pytest.mark.parametrize("kind", LOADING)
def test_what_loading_shows_is_reported_before_any_training(folder, kind):
    """The library raises errors of many types, or drops or makes up weights with a warning."""
    change, message = LOADING[kind]
    change(folder)
    assert base_problems(str(folder)) == []
    with pytest.raises(UserError) as error:
        load_base(rows.model_config(base=str(folder)), CPU)
    assert str(error.value) == f"config model.base: {message.replace('{base}', str(folder))}"


def test_a_tokenizer_longer_than_the_embedding_is_refused(folder):
    """The row that has such a token would end in an IndexError, on a GPU in a device assert, hours later."""
    tokenizer = random_qwen.processor().tokenizer.__class__.from_pretrained(folder)
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError) as error:
        load_base(rows.model_config(base=str(folder)), CPU)
    assert str(error.value) == (
        f"config model.base: {folder}: its tokenizer gives '<extra>' the id 263, but the embedding has 263 rows. "
        f"{TOKENIZER}"
    )


def test_a_type_of_model_that_the_library_does_not_know_is_refused(folder):
    """The library's own message is a page long and asks to install it from its sources."""
    config(model_type="kanana_v")(folder)
    (problem,) = base_problems(str(folder))
    assert problem.startswith(f"model.base: {folder} is a kanana_v model, which transformers ")
    assert problem.endswith(
        f" does not know (code that comes with a checkpoint is not run). Give a checkpoint of {names()}."
    )


def test_a_kind_is_not_looked_up_where_no_job_runs(folder, monkeypatch):
    """Snakemake may run in its own environment, which has no transformers."""
    config(model_type="kanana_v")(folder)
    monkeypatch.setattr("vqaflow.model.checkpoint.find_spec", lambda name: None)
    assert base_problems(str(folder)) == []


@pytest.mark.parametrize("name", [*random_families.NAMES, *random_others.NAMES])
def test_a_whole_checkpoint_of_each_family_passes(tmp_path, name, caplog):
    """A check that is too strict would take a family away from its users."""
    (random_families if name in random_families.NAMES else random_others).save(name, tmp_path / "base")
    assert base_problems(str(tmp_path / "base")) == []
    with caplog.at_level(logging.WARNING, "vqaflow"):
        load_base(rows.model_config(base=str(tmp_path / "base")), CPU)
    assert not [record for record in caplog.records if record.name == "vqaflow"]


def test_weights_in_several_files_pass_until_one_is_short(tmp_path):
    folder = random_families.save("qwen2_5_vl", tmp_path / "base", shard="100KB")
    assert base_problems(str(folder)) == []
    last = max(folder.glob("*.safetensors")).name
    shorten(last)(folder)
    assert base_problems(str(folder)) == [
        f"model.base: cannot load {folder}: {last} is not a whole file of weights. Download it again."
    ]


def test_another_normalisation_of_pictures_is_reported_and_loads(folder, caplog):
    """Other features, silently; but a base may have been trained with it."""
    processor(image_processor__image_mean=[0.5] * 3)(folder)
    with caplog.at_level(logging.WARNING, "vqaflow"):
        load_base(rows.model_config(base=str(folder)), CPU)
    (message,) = (record.getMessage() for record in caplog.records if record.name == "vqaflow")
    assert "has image_mean (0.5, 0.5, 0.5)" in message and "but Qwen2.5-VL has [0.48145466, 0.4578275" in message


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", "AWQ"),
        ("someone/Qwen3-VL-8B-GPTQ-Int4", "GPTQ"),
        ("unsloth/Qwen3.5-9B-unsloth-bnb-4bit", "bnb"),
        ("Qwen/Qwen3-VL-8B-Instruct-FP8", "FP8"),
        ("someone/Qwen3-VL-8B-GGUF", "GGUF"),
        ("mlx-community/Qwen2.5-VL-7B-Instruct-6bit", "6bit"),
        ("someone/Qwen2.5-VL-7B-NVFP4", "NVFP4"),
        ("someone/Qwen2.5-VL-7B-hqq", "hqq"),
        ("someone/Qwen2.5-VL-7B-IQ4_XS", "IQ4"),
        ("someone/Qwen2.5-VL-7B-onnx", "onnx"),
        ("someone/Qwen2.5-VL-7B-quantized.w4a16", "quantized"),
        ("someone/Qwen2.5-VL-7B.w8a8", "w8a8"),
    ],
)
def test_the_hub_name_of_a_quantised_checkpoint_is_refused(tmp_path, monkeypatch, name, how):
    """Its config.json is read only when a job has started."""
    monkeypatch.chdir(tmp_path)
    assert base_problems(name) == [f"model.base: {name} ({how}) is already quantised. {SOURCE}"]


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "gpt2",
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
        "google/gemma-4-E4B-it",
        "me/q3-vl-8b",
        "me/bf16-fp16",
    ],
)
def test_a_hub_name_passes(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert base_problems(name) == []


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("./no", "there is no folder ./no. Correct it, or give a hub name."),
        ("/no/where", "there is no folder /no/where. Correct it, or give a hub name."),
        ("no/such/base", "there is no folder no/such/base. Correct it, or give a hub name."),
        ("~/models/qwen", "there is no folder ~/models/qwen. Write the path without ~."),
        ("model.gguf", "model.gguf is a file. Give the folder of a checkpoint, or a hub name."),
    ],
)
def test_a_base_that_is_not_a_folder_is_named(tmp_path, monkeypatch, base, message):
    """The hub would be asked for it, for minutes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert base_problems(base) == [f"model.base: {message}"]


def test_the_check_is_quick_and_imports_neither_torch_nor_transformers():
    """It runs each time that Snakemake reads the workflow; either takes seconds."""
    base = ROOT / "assets" / "tiny-qwen2_5-vl"
    code = (
        "import sys; from vqaflow.model.checkpoint import base_problems; "
        f"print(base_problems({str(base)!r}), {{'torch', 'transformers'}} & sys.modules.keys())"
    )
    environment = {"PYTHONPATH": str(SCRIPTS)}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[] set()"
    took = []
    for _ in range(5):
        began = time.perf_counter()
        base_problems(str(base))
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05


def test_a_config_that_cannot_be_read_is_named_by_every_reader(folder):
    """Precision and memory are settled before the base is loaded."""
    write("config.json", "{")(folder)
    model = rows.model_config(base=str(folder))
    with pytest.raises(UserError, match="has no config.json with a model_type"):
        family_in(model)
    with pytest.raises(UserError, match="^config model.base: cannot load "):
        read_config(model)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("first line\nsecond"), "first line"),
        (ValueError("word " * 200), ("word " * 200)[:200].strip()),
        (KeyError(101), "KeyError 101"),
        (EOFError(), "EOFError"),
    ],
)
def test_of_the_librarys_message_one_short_line_is_shown(error, reason):
    expected = (
        f"config model.base: cannot load some/name ({reason}). Give a folder with a checkpoint of {names()}, or a hub "
        "name on a machine that reaches the hub."
    )
    assert str(unloadable(rows.model_config(base="some/name"), error)) == expected


def test_the_first_name_of_an_image_processor_gets_its_own_cure():
    """From the hub, only the library sees it; its message is 1,000 characters with another cure."""
    error = ValueError(
        "Unrecognized image processor in some/name. Should have a `image_processor_type` key" + "x" * 900
    )
    assert str(unloadable(rows.model_config(base="some/name"), error)) == (
        "config model.base: cannot load some/name (its preprocessor_config.json names an image processor that this "
        "transformers does not know). Give its newest revision, or copy preprocessor_config.json from there."
    )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),  # no context
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_not_called_a_broken_checkpoint(folder, monkeypatch, error):
    """Its cure is another one: a smaller base, or NF4."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(base_model.transformers.Qwen2_5_VLForConditionalGeneration, "from_pretrained", fail)
    with pytest.raises(type(error)) as raised:
        load_base(rows.model_config(base=str(folder)), CPU)
    assert raised.value is error


@pytest.mark.parametrize("part", ["tokenizer", "image_processor"])
def test_a_processor_without_a_part_is_refused(part):
    """For a text-only checkpoint the library gives its tokenizer for a processor."""

    class Incomplete:
        tokenizer = None if part == "tokenizer" else random_qwen.processor().tokenizer
        image_processor = None

    base = Base(random_qwen.model(), Incomplete(), CPU, torch.float32, "none")
    with pytest.raises(UserError) as error:
        require_own_processor(base, "some/name")
    assert str(error.value) == (
        f"config model.base: some/name has no {part.replace('_', ' ')} (only Incomplete). Use a checkpoint that "
        "answers questions about images, with all its processor files."
    )


def test_a_stored_base_may_hold_more_than_its_config_names():
    """The statistics of quantised weights have no place there, but what is missing is missing."""
    loading = {"missing_keys": set(), "unexpected_keys": {"a.absmax"}, "mismatched_keys": set()}
    require_same_weights(loading, "base", is_stored=True)
    with pytest.raises(
        UserError, match=r"^config model\.base: base lacks b \(1 missing .*\)\. Delete the folder: it is made"
    ):
        require_same_weights(loading | {"missing_keys": {"b"}}, "base", is_stored=True)
