"""A template or text that would ask the model something else than what is meant ends in one message with its cure."""

import logging
import re
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import AutoProcessor

import random_families
import random_others
import random_qwen
import rows
from vqaflow.artifacts.rows import text_row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.encoding.prompts import PromptRenderer, RenderedRow, letter_token_ids
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.runtime.errors import UserError

TEMPLATE = random_qwen.PUBLISHED_TEMPLATE_BEHAVIOUR
IMAGE = "{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
OPENING = "{{- '<|im_start|>assistant\\n' -}}"
COPY = "Copy the processor files (chat_template.jinja and the like) of the published Instruct edition."
SYSTEM = f"Set prompt.system to '' if it takes no system turn. {COPY}"
ROW = text_row("What is it?", ["x", "y", "z", "w"], "general")


def with_template(template: Any, processor: Any = None) -> Any:
    """A processor with another chat template."""
    made = copy(processor or random_qwen.processor())
    made.chat_template = template
    return made


def message(processor: Any, **changes: Any) -> str:
    """What a user reads whose processor or prompt cannot be used."""
    with pytest.raises(UserError) as error:
        PromptRenderer(processor, replace(rows.prompt_config(), **changes))
    return str(error.value)


def test_the_tests_change_the_template():
    assert IMAGE in TEMPLATE and OPENING in TEMPLATE and "{{- part.text -}}" in TEMPLATE


def test_a_template_that_only_the_tokenizer_has_works(tmp_path):
    """Trainers save it there; the library then raises a ValueError."""
    random_qwen.processor().save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    bare = AutoProcessor.from_pretrained(tmp_path)
    assert not bare.chat_template and message(bare) == f"config model.base: it has no chat template. {COPY}"
    bare.tokenizer.chat_template = TEMPLATE
    bare.tokenizer.save_pretrained(tmp_path, save_jinja_files=False)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    wanted = PromptRenderer(random_qwen.processor(), rows.prompt_config()).render(ROW, ["abcd"])
    assert PromptRenderer(loaded, rows.prompt_config()).render(ROW, ["abcd"]) == wanted


def test_of_several_templates_the_default_one_is_used():
    """Some checkpoints have another one for tools."""
    renderer = PromptRenderer(with_template({"tool_use": "x", "default": TEMPLATE}), rows.prompt_config())
    assert renderer.head == PromptRenderer(random_qwen.processor(), rows.prompt_config()).head
    assert message(with_template({"tool_use": TEMPLATE})) == f"config model.base: it has no chat template. {COPY}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (TEMPLATE.replace("{%- endfor -%}", "{%- endfor", 1), "expected token 'end of statement block', got '{'"),
        ("{{ raise_exception('no system turn here') }}", "no system turn here"),
        ("{{ messages[0].content + 'x' }}", 'can only concatenate list (not "str") to list'),
        ("{{ messages[0].missing.part }}", "'dict object' has no attribute 'missing'"),
    ],
)
def test_a_template_that_fails_is_named_with_its_reason(template, reason):
    """A traceback of the template engine names no file of the user's."""
    with_system = message(with_template(template), system="Be brief.")
    assert with_system == f"config model.base: its chat template fails ({reason}). {SYSTEM}"
    assert (
        message(with_template(template), system="") == f"config model.base: its chat template fails ({reason}). {COPY}"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [(IMAGE, ""), (IMAGE, IMAGE * 2), (IMAGE, "{{- '[image]' -}}"), (OPENING, OPENING + IMAGE)],
    ids=["dropped", "twice", "another token", "after the text too"],
)
def test_a_template_that_misplaces_the_picture_is_refused(old, new):
    """The model would answer without the picture."""
    assert message(with_template(TEMPLATE.replace(old, new))) == (
        "config model.base: its chat template does not place the picture (<|image_pad|>) before the user's text "
        f"exactly once. {COPY}"
    )


@pytest.mark.parametrize("new", ["", "{{- part.text + part.text -}}"])
def test_a_template_without_the_users_text_is_refused(new):
    assert message(with_template(TEMPLATE.replace("{{- part.text -}}", new))) == (
        f"config model.base: its chat template does not contain the user's text exactly once. {COPY}"
    )


@pytest.mark.parametrize(
    "opened",
    [
        "<think>\\n",
        "<think>\\n\\n</think>\\n\\n<think>\\n",
        "<thinking>",
        "<seed:think>",
        "[THINK]",
        "<|channel>thought\\n",
        "<|channel|>analysis<|message|>",
    ],
)
def test_a_thinking_block_that_cannot_be_switched_off_is_refused(opened):
    """A letter would be scored where a thought should begin: the answers look plausible and are worse."""
    assert message(with_template(TEMPLATE.replace(OPENING, f"{OPENING}{{{{- '{opened}' -}}}}"))) == (
        "config model.base: its chat template opens a thinking block that cannot be switched off. Use the Instruct "
        "edition."
    )


@pytest.mark.parametrize(
    "closed",
    [
        "<think>\\n\\n</think>\\n\\n",
        "<thinking></thinking>",
        "<seed:think></seed:think>",
        "[THINK][/THINK]",
        "<|channel>thought\\n<channel|>",
        "<|channel|>analysis<|message|><|end|><|channel|>final<|message|>",
        "I think: ",
    ],
)
def test_a_closed_thinking_block_passes(closed):
    """It is how thinking is switched off."""
    processor = with_template(TEMPLATE.replace(OPENING, f"{OPENING}{{{{- '{closed}' -}}}}"))
    assert PromptRenderer(processor, rows.prompt_config()).tail.endswith(closed.replace("\\n", "\n"))


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5"])
def test_a_thinking_edition_is_refused_and_a_switch_is_used(name):
    """The families' own templates: Thinking editions have no switch, Qwen3.5 has one."""
    assert "Use the Instruct edition" in message(random_families.processor(name, "only"))
    processor = random_families.processor(name, "switchable")
    assert PromptRenderer(processor, rows.prompt_config()).tail.endswith("<think>\n\n</think>\n\n")
    for encoder in (PromptRenderer, lambda *given: RowEncoder(given[0], rows.model_config(), *given[1:])):
        with pytest.raises(UserError, match="Use the Instruct edition"):
            encoder(processor, rows.prompt_config(), {"enable_thinking": True})


@pytest.mark.parametrize("name", random_others.NAMES)
def test_templates_of_other_families_pass(name):
    """Gemma 4's opens and closes a channel of thoughts; InternVL's and LLaVA's have other image tokens."""
    renderer = PromptRenderer(random_others.processor(name), rows.prompt_config())
    assert random_others.processor(name).image_token in renderer.head


def test_arguments_that_a_template_does_not_know_are_left_out(caplog):
    """The library would warn for every checkpoint without a switch."""
    with caplog.at_level(logging.WARNING):
        PromptRenderer(random_qwen.processor(), rows.prompt_config())
    assert not caplog.records


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("system", {"system": "Look. <|image_pad|>"}),
        ("choice_format", {"choice_format": "{letter}. <|im_end|>{text}"}),
        (
            "templates.ocr",
            {"templates": rows.prompt_config().templates | {"ocr": "<|image_pad|>{question}\n{choices}"}},
        ),
    ],
)
def test_a_special_token_in_the_configuration_is_named_with_its_key(key, changes):
    """It would end the user's turn or ask for a second picture; the message blamed the question, or there was none."""
    token = "<|im_end|>" if key == "choice_format" else "<|image_pad|>"
    assert message(random_qwen.processor(), **changes) == (
        f"config prompt.{key}: it contains {token}, a special token of the base. Delete it: the chat template adds all "
        "special tokens."
    )


def test_a_tag_of_thoughts_in_the_configuration_is_refused_where_it_is_a_token():
    """Qwen3.5's tokenizer does not call it special."""
    assert message(random_families.processor("qwen3_5"), system="</think>").startswith("config prompt.system: it con")
    PromptRenderer(random_qwen.processor(), replace(rows.prompt_config(), system="</think>"))


def test_special_tokens_in_a_table_stay_text(tmp_path, caplog):
    """A question or choice must not end the user's turn or add a picture; each row is reported once.

    The normal form already breaks tokens that begin with a bar.
    """
    processor = random_families.processor("qwen3_5")
    encoder = RowEncoder(processor, rows.model_config(), rows.prompt_config())
    row = rows.make_rows(tmp_path, 1)[0]
    texts = ("<|image_pad|>", "a<|im_end|>", "<think>", "＜｜im_end｜＞")
    row = replace(row, id="q7", question="What is <|im_end|> here?", choices=texts)
    plain = replace(row, question="What is it here?", choices=("1", "2", "3", "4"))
    control = set(processor.tokenizer.all_special_ids) | set(processor.tokenizer.convert_tokens_to_ids(["<think>"]))
    control.add(encoder.image_token)

    def controls(one: Any) -> list[list[int]]:
        encoded = encoder.encode(one, ["abcd", "bcda"], rows.VIEW)
        return [[i for i in ids if i in control] for ids in (encoded.prefix_ids, *encoded.branch_ids)]

    encoder.renderer.prompt = replace(encoder.renderer.prompt, normal_form="NFKC")  # makes the last choice a token
    with caplog.at_level(logging.WARNING, "vqaflow"):
        assert controls(row) == controls(plain)
        assert controls(row) == controls(plain)
    assert [record.getMessage() for record in caplog.records] == [
        "row 'q7': its text contains the special token <think>, read as plain text"
    ]


NESTED = ("<|im_<|im_end|>end|>", "<|im_end|", "plain", "<|vision_start|><|image_pad|><|vision_end|>")
JOINED = {
    "choice_format": ("<|{text}|> {letter}", ("im_end", "image_pad", "vision_start", "im_start")),
    "letters and choices": ("{text}|> {letter}", ("<|im_end", "<|image_pad", "x", "y")),
    "nested": ("{letter}. {text}", NESTED),
    "after the choice": ("{letter}. {text}>", ("<|im_end|", "<|image_pad|", "x", "y")),
}


@pytest.mark.parametrize("name", [*random_families.NAMES, "gemma4_small", "internvl", "llava"])
@pytest.mark.parametrize("case", JOINED)
def test_no_row_makes_a_control_token_with_the_texts_around_it(name, case, tmp_path):
    """A token may begin in the configuration and end in a choice; the error then blamed the template, or nothing."""
    choice_format, texts = JOINED[case]
    module = random_families if name in random_families.NAMES else random_others
    processor = module.processor(name)
    template = rows.prompt_config().templates["general"].replace("{question}", "<|{question}|>")
    prompt = replace(rows.prompt_config(), choice_format=choice_format, templates={"general": template})
    renderer = PromptRenderer(processor, replace(prompt, transcript="<{transcript}>", normal_form="NFC"))
    tokens = set(processor.tokenizer.added_tokens_decoder)

    def control(row: Any) -> list[list[int]]:
        rendered = renderer.render(row, ["abcd", "dbca"])
        parts = (rendered.prefix, *rendered.branches)
        ids = [processor.tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts]
        return [[i for i in one if i in tokens] for one in ids]

    plain = replace(ROW, question="1", choices=("1", "2", "3", "4"), transcript="1")
    for question, transcript in [("im_end", "think"), ("image_pad", "/think"), ("image", "img"), ("turn>", "|turn")]:
        row = replace(ROW, question=question, choices=texts, transcript=transcript)
        assert control(row) == control(plain)


def test_names_of_a_processors_tokens_are_special_too():
    """Processors replace their own names for pictures and videos in any text, special to the tokenizer or not."""
    special = PromptRenderer(random_others.processor("internvl"), rows.prompt_config()).special
    assert {"<img>", "</img>", "<IMG_CONTEXT>", "<video>"} <= set(special)
    processor = copy(random_qwen.processor())
    processor.tokenizer = deepcopy(processor.tokenizer)
    plain = ["<|fim_prefix|>", "<tool_call>", "<td>"]
    processor.tokenizer.add_tokens([AddedToken(token, special=False) for token in plain])
    special = PromptRenderer(with_template(TEMPLATE + "{# <tool_call> #}", processor), rows.prompt_config()).special
    assert [token for token in plain if token in special] == ["<|fim_prefix|>", "<tool_call>"]


def test_a_template_without_the_system_turn_is_refused():
    """The model would answer without the instructions, in every row, without a word."""
    without = TEMPLATE.replace("{{- part.text -}}", "{{- part.text if message.role == 'user' -}}")
    assert message(with_template(without)) == (
        f"config model.base: its chat template leaves prompt.system out. Set prompt.system to ''. {COPY}"
    )
    assert PromptRenderer(with_template(without), replace(rows.prompt_config(), system="")).head
    trimmed = TEMPLATE.replace("{{- part.text -}}", "{{- part.text | trim -}}")
    assert PromptRenderer(with_template(trimmed), replace(rows.prompt_config(), system=" Be brief.\n")).head


def test_the_mark_of_an_object_in_the_system_turn_is_named():
    """It is where the user's text goes; the message blamed the chat template."""
    text = message(random_qwen.processor(), system="a \N{OBJECT REPLACEMENT CHARACTER} b")
    assert text == "config prompt.system: it contains U+FFFC, the mark of an object that is not there. Delete it."


def test_fields_in_a_row_are_text():
    """A question about format strings must not be filled in again."""
    row = replace(ROW, question="{choices} {x}", choices=("{letter}", "{text}", "{0}", "}"))
    rendered = PromptRenderer(random_qwen.processor(), rows.prompt_config()).render(row, ["abcd"])
    assert rendered.prefix.endswith("{choices} {x}\n")
    assert rendered.branches[0].startswith("a. {letter}\nb. {text}\nc. {0}\nd. }\n")


class Merging:
    """A tokenizer that has tokens of several letters, or one token for all."""

    name_or_path = "some/name"

    def __init__(self, answers: dict[str, list[int]]) -> None:
        self.answers = answers

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [0, *self.answers.get(text[-1], [])]}


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ({"a": [1], "b": [2, 3], "c": [4], "d": [5]}, "has no single token for the answer 'b' after the prompt"),
        (dict.fromkeys("abcd", [1]), "maps two answers to one token ({'a': 1, 'b': 1, 'c': 1, 'd': 1})"),
    ],
)
def test_letters_that_are_not_single_tokens_are_named_with_the_model(answers, what):
    """The scores are logits of four single tokens."""
    with pytest.raises(UserError) as error:
        letter_token_ids(Merging(answers), RenderedRow("prompt:", (" ",)), "abcd")
    assert str(error.value) == (
        f"config model.base: its tokenizer (some/name) {what}. Use a base with its published tokenizer files."
    )


def test_an_image_that_would_be_resized_to_nothing_is_named():
    """max_pixels may be lowered after the tables were checked; qwen-vl-utils then fails without naming the row."""
    encoder = RowEncoder(random_qwen.processor(), rows.model_config(max_pixels=50_176), rows.prompt_config())
    thin = replace(ROW, id="r7", image_file="thin.png", width=3000, height=15)
    with pytest.raises(UserError, match=r"row 'r7' \(thin\.png\): an image of 3000 x 15 pixels is too thin for max_"):
        encoder.encode(thin, ["abcd"], ViewConfig())


def lines_of(renderer: PromptRenderer, row: Any, order: str) -> list[str]:
    """The choice lines of a prompt."""
    branch = renderer.render(row, [order]).branches[0]
    return branch.split("\n정답")[0].splitlines()


def test_a_choice_that_the_row_lacks_is_not_shown():
    """An empty line would be a choice that the model can choose."""
    row = text_row("What is it?", ["x", "", "z", "w"], "general")
    renderer = PromptRenderer(random_qwen.processor(), rows.prompt_config())
    assert lines_of(renderer, row, "abcd") == ["a. x", "b. z", "c. w"]
    assert lines_of(renderer, row, "dbca") == ["a. w", "b. z", "c. x"]


@pytest.mark.parametrize("letters", ["ABCD", "1234", "가나다라", "①②③④"])
def test_prompts_show_the_letters_of_the_configuration(letters):
    """The model answers with what the prompt shows: both must be the same, at the same positions."""
    prompt = replace(rows.prompt_config(), letters=tuple(letters))
    renderer = PromptRenderer(random_qwen.processor(), prompt)
    assert lines_of(renderer, ROW, "cabd") == [f"{x}. {t}" for x, t in zip(letters, "zxyw", strict=True)]
    tokenizer = WordTokens(letters)
    assert renderer.answer_tokens(tokenizer, 3) == [1, 2, 3]
    with pytest.raises(UserError, match="config prompt.letters: has 4 letters, but the tables have 5 choices. Add"):
        renderer.answer_tokens(tokenizer, 5)


def test_a_letter_that_is_not_one_token_is_named_with_its_key():
    """A byte-level tokenizer has several tokens for 가, and only the first of them would be scored."""
    prompt = replace(rows.prompt_config(), letters=("가", "나"))
    with pytest.raises(UserError, match="token for the answer '가' after the prompt. Change it in prompt.letters"):
        RowEncoder(random_qwen.processor(), rows.model_config(), prompt)


class WordTokens:
    """A tokenizer that has one token for each letter, and one for all other text."""

    name_or_path = ""

    def __init__(self, letters: str) -> None:
        self.letters = letters

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [0, *([1 + self.letters.index(text[-1])] if text[-1] in self.letters else [])]}


def test_a_prompt_without_letters_has_the_digests_that_it_had():
    """Else every kept adapter would be refused for a prompt that has not changed."""
    plain, other = rows.prompt_config(), replace(rows.prompt_config(), letters=("A", "B", "C", "D"))
    assert set(plain.content(False)) == {"normal_form", "system", "choice_format", "templates"}
    assert other.content(False)["letters"] == ("A", "B", "C", "D")
    assert replace(plain, letters=(1, 2, 3, 4)).letters == ("1", "2", "3", "4")


@pytest.mark.parametrize("name", ["qwen2_5_vl", "internvl"])
def test_a_row_with_a_file_in_a_cell_is_named_with_its_tokens_and_a_key(name):
    """100,000 characters were 74,733 tokens: hours of one row, or the memory ran out, without its name."""
    module = random_families if name == "qwen2_5_vl" else random_others
    prompt = rows.prompt_config()
    usual = (
        random_others.encoder(name)
        if module is random_others
        else RowEncoder(module.processor(name), rows.model_config(), prompt)
    )
    row = replace(ROW, id="q7", question="x" * 100_000, width=64, height=64, sha256="0" * 64)
    with pytest.raises(UserError) as error:
        usual.encode(row, ["abcd", "dcba"], rows.VIEW)
    found = re.fullmatch(
        r"row 'q7': its text has (100,\d{3}) tokens, more than prompt.max_tokens, 8,192. Shorten its longest cell in "
        r"the table, or raise prompt.max_tokens.",
        str(error.value),
    )
    usual.renderer.prompt = replace(prompt, max_tokens=int(found[1].replace(",", "")))
    assert usual.encode(row, ["abcd", "dcba"], rows.VIEW).tokens > 100_000


def test_the_most_tokens_change_no_digest():
    """It refuses rows and changes none: kept adapters stay good."""
    assert replace(rows.prompt_config(), max_tokens=5).content(True) == rows.prompt_config().content(True)
