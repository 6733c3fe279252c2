"""model.processor_files: what the first training would say of prompts is said while the workflow is parsed.

Each case is also loaded by the library, whose words must be the same: the folder's files are read in two ways.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoProcessor

import random_families
import random_others
import rows
from places import ROOT, SCRIPTS
from vqaflow.model.encoding.prompts import PromptRenderer
from vqaflow.model.families.known import BY_KIND
from vqaflow.model.processor_files import template_problems
from vqaflow.runtime.errors import UserError

ASSETS = ROOT / "assets"
TEMPLATE = (ASSETS / "tiny-qwen2_5-vl" / "chat_template.jinja").read_text(encoding="utf-8")
COPY = "Copy the processor files (chat_template.jinja and the like) of the published Instruct edition."
SYSTEM = f"Set prompt.system to '' if it takes no system turn. {COPY}"
ASKED = "{% if add_generation_prompt %}assistant:{% endif %}"
TEXT = "{{- part['text'] -}}"
PLACED = "its chat template does not place the picture (<|image_pad|>) before the user's text exactly once. " + COPY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo's base without its weights."""
    shutil.copytree(ASSETS / "tiny-qwen2_5-vl", tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    return tmp_path / "base"


def jinja(text: str) -> Callable[[Path], None]:
    """Write another chat template."""
    return lambda folder: (folder / "chat_template.jinja").write_text(text, encoding="utf-8")


def only_in(name: str, value: Any) -> Callable[[Path], None]:
    """The chat template in another file alone."""

    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        if file.suffix == ".jinja":
            file.write_text(value, encoding="utf-8")
            return
        settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        file.write_text(json.dumps(settings | {"chat_template": value}), encoding="utf-8")

    return change


PLACES = {
    "tokenizer_config.json": only_in("tokenizer_config.json", TEMPLATE),
    "a list": only_in(
        "tokenizer_config.json", [{"name": "rag", "template": "x"}, {"name": "default", "template": TEMPLATE}]
    ),
    "chat_template.json": only_in("chat_template.json", TEMPLATE),
    "processor_config.json": only_in("processor_config.json", TEMPLATE),
    "a folder": only_in("additional_chat_templates/default.jinja", TEMPLATE),
    "two places": lambda folder: (
        only_in("tokenizer_config.json", "{{ raise_exception('the older one') }}")(folder),
        jinja(TEMPLATE)(folder),
    ),
    "its own tags": jinja(
        "{% generation %}" + TEMPLATE + "{% endgeneration %}{% if tools %}{{ strftime_now('') }}{% endif %}"
    ),
}
FAULTS = {
    "none": (lambda folder: (folder / "chat_template.jinja").unlink(), f"it has no chat template. {COPY}"),
    "no default": (
        only_in("tokenizer_config.json", [{"name": "rag", "template": TEMPLATE}]),
        f"it has no chat template. {COPY}",
    ),
    "an empty one": (jinja(""), f"it has no chat template. {COPY}"),
    "syntax": (
        jinja(TEMPLATE.replace("{%- endfor -%}", "{%- endfor", 1)),
        f"its chat template fails (expected token 'end of statement block', got '{{'). {SYSTEM}",
    ),
    "an unknown filter": (
        jinja(TEMPLATE.replace("part['text']", "part['text'] | shorten")),
        f"its chat template fails (No filter named 'shorten' found). {SYSTEM}",
    ),
    "one that raises": (
        jinja("{{ raise_exception('Only user and model turns') }}"),
        f"its chat template fails (Only user and model turns). {SYSTEM}",
    ),
    "one that divides": (jinja("{{ 1 / 0 }}"), f"its chat template fails (division by zero). {SYSTEM}"),
    "one that leaves the sandbox": (
        jinja("{{ messages.__class__.__mro__ }}"),
        f"its chat template fails (access to attribute '__class__' of 'list' object is unsafe). {SYSTEM}",
    ),
    "one for texts": (jinja("{% for m in messages %}{{ m['content'] }}{% endfor %}" + ASKED), PLACED),
    "one without pictures": (
        jinja("{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endfor %}"),
        PLACED,
    ),
    "another family's": (jinja(TEMPLATE.replace("<|image_pad|>", "<image>")), PLACED),
    "the picture twice": (jinja(TEMPLATE.replace("<|image_pad|>", "<|image_pad|>" * 2)), PLACED),
    "no text": (
        jinja(TEMPLATE.replace(TEXT, "")),
        f"its chat template does not contain the user's text exactly once. {COPY}",
    ),
    "no system turn": (
        jinja(TEMPLATE.replace(TEXT, "{%- if message['role'] == 'user' -%}" + TEXT + "{%- endif -%}")),
        f"its chat template leaves prompt.system out. Set prompt.system to ''. {COPY}",
    ),
    "thoughts": (
        jinja(TEMPLATE.replace("assistant\\n'", "assistant\\n<think>\\n'")),
        "its chat template opens a thinking block that cannot be switched off. Use the Instruct edition.",
    ),
}


def said_by_files(folder: Path, **changes: Any) -> list[str]:
    """What is said while the workflow is parsed."""
    return template_problems(str(folder), asdict(replace(rows.prompt_config(), **changes)))


def renderer(folder: Path, **changes: Any) -> PromptRenderer:
    """What the first training makes of the same files."""
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    prompt = replace(rows.prompt_config(), **changes)
    return PromptRenderer(AutoProcessor.from_pretrained(folder), prompt, BY_KIND[kind].template)


@pytest.mark.parametrize("place", PLACES)
def test_a_template_passes_wherever_the_library_finds_it(folder, place):
    """Trainers save it in tokenizer_config.json, older hubs have it in chat_template.json."""
    wanted = renderer(folder)
    PLACES[place](folder)
    assert said_by_files(folder) == []
    found = renderer(folder)
    assert (found.head, found.tail) == (wanted.head, wanted.tail)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_template_that_cannot_be_used_is_named_before_anything_runs(folder, fault):
    """Else the first training says so, after tables, images and folds."""
    change, message = FAULTS[fault]
    assert said_by_files(folder) == []
    change(folder)
    assert said_by_files(folder) == [f"model.base: {folder}: {message}"]
    with pytest.raises(UserError) as error:
        renderer(folder)
    assert str(error.value) == f"config model.base: {message}"


def test_a_template_in_another_encoding_is_named(folder):
    (folder / "chat_template.jinja").write_bytes(TEMPLATE.encode("utf-16"))
    file = folder / "chat_template.jinja"
    assert said_by_files(folder) == [f"model.base: {file}: it is not text in UTF-8. Save it as UTF-8."]


def saved(name: str, folder: Path) -> Path:
    """The processor and configuration of a family, without weights."""
    module = random_families if name in random_families.NAMES else random_others
    module.processor(name).save_pretrained(folder)
    module.config(name).save_pretrained(folder)
    return folder


NAMES = [*random_families.NAMES, *(name for name in random_others.NAMES if name != "llava")]


@pytest.mark.parametrize("name", NAMES)
def test_both_ways_read_the_same_template_and_tokens(name, tmp_path):
    """A token that only the library knows would be found after hours; one that only we know would stop a good run."""
    folder = saved(name, tmp_path)
    assert said_by_files(folder) == []
    special = renderer(folder).special
    assert len(special) > 5
    for token in special:
        (problem,) = said_by_files(folder, system=f"Look: {token}")
        with pytest.raises(UserError) as error:
            renderer(folder, system=f"Look: {token}")
        assert problem == str(error.value).removeprefix("config ")
        assert problem.startswith("prompt.system: it contains ")


def test_a_token_in_any_text_of_the_prompt_is_named_with_its_key(folder):
    """The message named the question of a row, or the model saw a second turn."""
    cure = "a special token of the base. Delete it: the chat template adds all special tokens."
    for key, text in {
        "choice_format": "{letter}. <|im_end|>{text}",
        "transcript": "<|im_end|>{transcript}",
        "read": "<|im_end|>{question}",
        "letters": ("a", "b", "<|im_end|>", "d"),
    }.items():
        assert said_by_files(folder, **{key: text}) == [f"prompt.{key}: it contains <|im_end|>, {cure}"]
    templates = rows.prompt_config().templates | {"yesno": "{question}<|im_end|>\n{choices}"}
    assert said_by_files(folder, templates=templates) == [f"prompt.templates.yesno: it contains <|im_end|>, {cure}"]


def test_a_tokenizer_longer_than_the_embedding_is_named(folder):
    """The row that has such a token would end in an IndexError, on a GPU in a device assert, hours later."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    more = tokenizer["added_tokens"][-1] | {"id": 1863, "content": "<|more|>"}
    file.write_text(json.dumps(tokenizer | {"added_tokens": [*tokenizer["added_tokens"], more]}), encoding="utf-8")
    assert said_by_files(folder) == [
        f"model.base: {folder}: its tokenizer gives '<|more|>' the id 1863, but the embedding has 1863 rows. Copy the "
        "tokenizer files (tokenizer.json and the like) that belong to the weights."
    ]


def test_a_base_that_is_no_folder_or_of_no_family_passes(tmp_path):
    """Its files are elsewhere, or nobody knows what they should say."""
    assert template_problems("Qwen/Qwen2.5-VL-7B-Instruct", asdict(rows.prompt_config())) == []
    saved("llava", tmp_path)
    assert said_by_files(tmp_path) == []


def test_parsing_loads_no_model_library():
    """It runs each time that Snakemake reads the workflow."""
    code = (
        "import sys, yaml; from vqaflow.model.processor_files import template_problems; "
        f"prompt = yaml.safe_load(open({str(ROOT / 'config.yaml')!r}, encoding='utf-8'))['prompt']; "
        f"print(template_problems({str(ASSETS / 'tiny-qwen3-vl')!r}, prompt), "
        "{'torch', 'transformers', 'pandas'} & sys.modules.keys())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[] set()"


def test_the_workflow_asks_when_it_is_parsed():
    assert 'for p in template_problems(m.model["base"], m.prompt)}' in (ROOT / "rules" / "common.smk").read_text(
        encoding="utf-8"
    )
