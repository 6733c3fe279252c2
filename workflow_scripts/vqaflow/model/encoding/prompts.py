"""The one place where a prompt is built; training, validation and scoring all read it.

A prompt is the model's own chat template around the image and a text whose choices come last: all orders of a row's
choices share everything before them (the prefix, with the image's hundreds of tokens) and differ only in a short
branch. Special tokens come from the template, never from here, and never from a table or the configuration.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row, text_row
from vqaflow.config.choices_check import letters_problem
from vqaflow.config.sections import PromptConfig
from vqaflow.data.normal_form import normalize, normalize_choices
from vqaflow.model.encoding.orders import own_order, shown
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import reason_of
from vqaflow.runtime.stage import log

USER_TEXT = "\N{OBJECT REPLACEMENT CHARACTER}"
NO_THINKING: Mapping[str, Any] = {"enable_thinking": False}  # for every chat template that knows it
WHERE = "config model.base:"
OWN_FILES = "Copy the processor files (chat_template.jinja and the like) of the published Instruct edition."
TOKENIZER_FILES = "Use a base with its published tokenizer files."
# Tags around thoughts: angle or square brackets, with or without bars, or a channel of that name.
THOUGHT = r"(?:\w+:)?(?:think|thinking|thought|thoughts|reason|reasoning)"
OPENED = re.compile(rf"[<\[]\|?{THOUGHT}\|?[>\]]|<\|?channel\|?>\s*(?:{THOUGHT}|analysis)", re.I)
CLOSED = re.compile(rf"[<\[]\|?/\|?{THOUGHT}\|?[>\]]|<\|?/?channel\|>(?!\s*(?:{THOUGHT}|analysis))", re.I)


@dataclass(frozen=True)
class RenderedRow:
    """A row's prompt: `prefix` + `branches[k]` is the text of its k-th choice order."""

    prefix: str
    branches: tuple[str, ...]


class PromptRenderer:
    """Renders rows of the tables with one processor's chat template, which gets NO_THINKING and then `arguments`.

    `letters` are those that the prompt shows: prompt.letters, else a, b, c, … Raises UserError if the template cannot
    be used, or if the configured texts contain special tokens.
    """

    def __init__(self, processor: Any, prompt: PromptConfig, arguments: Mapping[str, Any] = NO_THINKING) -> None:
        self.prompt = prompt
        self.letters: Sequence[str] = prompt.letters or ALL_LETTERS
        self.special = _special_tokens(processor)
        _require_plain(prompt, self.special)
        self.processor, self.arguments = processor, {**NO_THINKING, **arguments}
        self.head, self.tail = _template_around_user_text(processor, prompt.system, self.arguments, 1)
        self._around = {1: (self.head, self.tail)}
        self._reported: set[str] = set()

    def around(self, pictures: int) -> tuple[str, str]:
        """What the chat template puts before and after the user's text, with so many pictures before it."""
        if pictures not in self._around:
            system = self.prompt.system
            self._around[pictures] = _template_around_user_text(self.processor, system, self.arguments, pictures)
        return self._around[pictures]

    def render_reading(self, row: Row, pictures: int) -> RenderedRow:
        """The request to transcribe what text in the pictures of `row` bears on its question: all of it is prefix."""
        head, tail = self.around(pictures)
        question = self._harmless(normalize(row.question, self.prompt.normal_form), row.id)
        return RenderedRow(head + self.prompt.read.replace("{question}", question) + tail, ("",))

    def render(self, row: Row, orders: Sequence[str], pictures: int = 1) -> RenderedRow:
        """Render `row` (question, choices, qtype) once per order of its choices, up to the answer's position.

        An order may have letters of choices that the row lacks: these are not shown. What was read in its image stands
        before all else.
        """
        head, tail = self.around(pictures)
        form = self.prompt.normal_form
        question = self._harmless(normalize(row.question, form), row.id)
        texts = normalize_choices(shown(row.choices, row.letters), form)
        choices = dict(zip(row.letters, (self._harmless(text, row.id) for text in texts), strict=True))
        template = self.prompt.templates[row.qtype]
        before, after = template.split("{choices}")
        before = before.replace("{question}", question)
        if row.transcript:
            read = self._harmless(normalize(row.transcript, form), row.id)
            before = self.prompt.transcript.replace("{transcript}", read) + "\n" + before
        orders = [own_order(order, row.letters) for order in orders]
        branches = [self._choice_lines([choices[x] for x in order]) + after + tail for order in orders]
        return RenderedRow(head + before, tuple(branches))

    def _harmless(self, text: str, row_id: str) -> str:
        """`text` with a space in each special token that its normal form has not broken: tables control nothing."""
        for token in _found(self.special, text):
            text = text.replace(token, f"{token[0]} {token[1:]}")
            if row_id not in self._reported:
                self._reported.add(row_id)
                log.warning("row %r: its text contains the special token %s, read as plain text", row_id, token)
        return text

    def _choice_lines(self, texts: Sequence[str]) -> str:
        pairs = zip(self.letters, texts, strict=False)  # require_letters: there are enough letters
        return "\n".join(self.prompt.choice_format.format(letter=letter, text=text) for letter, text in pairs)

    def answer_tokens(self, tokenizer: Any, choices: int | None) -> list[int]:
        """The token ids of the answers in a table with so many choices; None: of all letters that prompts can show.

        Raises UserError if prompt.letters has too few, or if a letter is not a token of its own.
        """
        count = len(self.letters) if choices is None else choices
        if problem := letters_problem(self.letters, count):
            raise UserError(f"config {problem}")
        probe = text_row("?", ["1"] * count, "general")
        cure = "Change it in prompt.letters." if self.prompt.letters else TOKENIZER_FILES
        return letter_token_ids(tokenizer, self.render(probe, [probe.letters]), self.letters[:count], cure)


def _special_tokens(processor: Any) -> list[str]:
    """Tokens that control the model, the longest first: special ones, the image's, and tags around thoughts."""
    added = getattr(processor.tokenizer, "added_tokens_decoder", {}).values()
    found = {token.content for token in added if token.special or OPENED.search(token.content)}
    found |= {token.content for token in added if CLOSED.search(token.content)}
    found.add(getattr(processor, "image_token", None) or "")
    return sorted((token for token in found if len(token.strip()) > 1), key=lambda token: (-len(token), token))


def _found(special: Sequence[str], text: str) -> Iterator[str]:
    """The special tokens in `text`."""
    return (token for token in special if token in text)


def _require_plain(prompt: PromptConfig, special: Sequence[str]) -> None:
    """Raise UserError if a configured text contains a special token."""
    texts = {key: getattr(prompt, key) for key in ("system", "choice_format", "read", "transcript")}
    texts |= {f"templates.{kind}": text for kind, text in prompt.templates.items()}
    texts["letters"] = "\n".join(prompt.letters or ())
    for key, text in texts.items():
        for token in _found(special, text):
            raise UserError(
                f"config prompt.{key}: it contains {token}, a special token of the base. Delete it: the chat template "
                "adds all special tokens."
            )


def _template_around_user_text(
    processor: Any, system: str, arguments: Mapping[str, Any], pictures: int
) -> tuple[str, str]:
    """What the chat template puts before (pictures included) and after the user's text, up to the answer."""
    content = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": USER_TEXT}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    text = _rendered(processor, messages, arguments)
    if text.count(USER_TEXT) != 1:
        raise UserError(f"{WHERE} its chat template does not contain the user's text exactly once. {OWN_FILES}")
    head, tail = text.split(USER_TEXT)
    _require_pictures(processor, head, tail, pictures)
    if _is_open(tail):
        raise UserError(
            f"{WHERE} its chat template opens a thinking block that cannot be switched off. Use the Instruct edition."
        )
    return head, tail


def _rendered(processor: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> str:
    """The chat with the answer's opening, by the processor's template, or by the one that its tokenizer has."""
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        template = template.get("default")
    if not template:
        raise UserError(f"{WHERE} it has no chat template. {OWN_FILES}")
    known = {name: value for name, value in arguments.items() if name in template}  # the library warns of others
    try:
        return processor.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True, **known
        )
    except Exception as error:  # a syntax error, or whatever the template raises
        reason = reason_of(error)
        has_system = any(message["role"] == "system" for message in messages)
        cure = f"Set prompt.system to '' if it takes no system turn. {OWN_FILES}" if has_system else OWN_FILES
        raise UserError(f"{WHERE} its chat template fails ({reason}). {cure}") from error


def _require_pictures(processor: Any, head: str, tail: str, pictures: int) -> None:
    """Raise UserError unless each picture's token stands before the user's text, exactly once.

    Some processors expand another token, which begins an image, into the picture's tokens.
    """
    marks = [getattr(processor, name, None) for name in ("image_token", "boi_token")]
    counts = [((head + tail).count(mark), head.count(mark)) for mark in marks if mark]
    if counts and next((count for count in counts if count[0]), (0, 0)) != (pictures, pictures):
        if pictures > 1:
            what = f"its chat template does not place {pictures} images before the user's text"
            raise UserError(f"{WHERE} {what}. Use views without tiles, or a base whose template takes several images.")
        raise UserError(
            f"{WHERE} its chat template does not place the picture ({marks[0]}) before the user's text exactly once. "
            f"{OWN_FILES}"
        )


def _is_open(tail: str) -> bool:
    """Whether a block of thoughts is open at the end of `tail`."""
    opened, closed = ([match.start() for match in tag.finditer(tail)] for tag in (OPENED, CLOSED))
    return max(opened, default=-1) > max(closed, default=-1)


def letter_token_ids(
    tokenizer: Any, rendered: RenderedRow, letters: Sequence[str], cure: str = TOKENIZER_FILES
) -> list[int]:
    """The token that each of `letters` becomes right after `rendered`'s prompt (their float logits are the scores).

    Raises UserError unless each letter adds exactly one token there, the prompt's tokens stay, and all tokens differ.
    """
    prompt = rendered.prefix + rendered.branches[0]
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = []
    for letter in letters:
        with_letter = tokenizer(prompt + letter, add_special_tokens=False)["input_ids"]
        if with_letter[:-1] != prompt_ids:
            raise UserError(
                f"{WHERE} its tokenizer{_name_of(tokenizer)} has no single token for the answer {letter!r} after the "
                f"prompt. {cure}"
            )
        ids.append(with_letter[-1])
    if len(set(ids)) != len(ids):
        raise UserError(
            f"{WHERE} its tokenizer{_name_of(tokenizer)} maps two answers to one token "
            f"({dict(zip(letters, ids, strict=True))}). {cure}"
        )
    return ids


def _name_of(tokenizer: Any) -> str:
    """Where a tokenizer was read from, in brackets."""
    name = getattr(tokenizer, "name_or_path", "")
    return f" ({name})" if name else ""
