"""The one place where a prompt is built; training, validation and scoring all read it.

A prompt is the model's own chat template around the image and a text whose choices come last: all orders of a row's
choices share everything before them (the prefix, with the image's hundreds of tokens) and differ only in a short
branch. Special tokens come from the template, never from here, and never from a table or the configuration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row, text_row
from vqaflow.config.choices_check import letters_problem
from vqaflow.config.prompt_fields import filled, split_at
from vqaflow.config.sections import PromptConfig
from vqaflow.data.normal_form import normalize, normalize_choices
from vqaflow.model.encoding.chat_template import (
    NO_THINKING,
    WHERE,
    around_user_text,
    broken_up,
    require_plain,
    special_tokens,
)
from vqaflow.model.encoding.orders import own_order, shown
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

TOKENIZER_FILES = "Use a base with its published tokenizer files."


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
        self.special = special_tokens(processor)
        require_plain(prompt, self.special)
        self.processor, self.arguments = processor, {**NO_THINKING, **arguments}
        self.head, self.tail = around_user_text(processor, prompt.system, self.arguments, 1)
        self._around = {1: (self.head, self.tail)}
        self._reported: set[str] = set()

    def around(self, pictures: int) -> tuple[str, str]:
        """What the chat template puts before and after the user's text, with so many pictures before it."""
        if pictures not in self._around:
            system = self.prompt.system
            self._around[pictures] = around_user_text(self.processor, system, self.arguments, pictures)
        return self._around[pictures]

    def render_reading(self, row: Row, pictures: int) -> RenderedRow:
        """The request to transcribe what text in the pictures of `row` bears on its question: all of it is prefix."""
        head, tail = self.around(pictures)
        question = normalize(row.question, self.prompt.normal_form)
        request = self._harmless(filled(self.prompt.read, {"question": question}), row.id)
        return RenderedRow(head + request + tail, ("",))

    def render(self, row: Row, orders: Sequence[str], pictures: int = 1) -> RenderedRow:
        """Render `row` (question, choices, qtype) once per order of its choices, up to the answer's position.

        An order may have letters of choices that the row lacks: these are not shown. What was read in its image stands
        before all else.
        """
        head, tail = self.around(pictures)
        form = self.prompt.normal_form
        texts = normalize_choices(shown(row.choices, row.letters), form)
        choices = dict(zip(row.letters, texts, strict=True))
        before, after = split_at(self.prompt.templates[row.qtype], "choices")
        before = filled(before, {"question": normalize(row.question, form)})
        if row.transcript:
            read = filled(self.prompt.transcript, {"transcript": normalize(row.transcript, form)})
            before = read + "\n" + before
        ends = [self._choice_lines([choices[x] for x in own_order(order, row.letters)]) for order in orders]
        branches = [self._harmless(lines + filled(after, {}), row.id) + tail for lines in ends]
        return RenderedRow(head + self._harmless(before, row.id), tuple(branches))

    def _harmless(self, text: str, row_id: str) -> str:
        """`text`, in which a row is filled in, with a space in each special token: tables control nothing.

        The configuration's own texts have none (require_plain), but one may begin there and end in the row.
        """
        plain, found = broken_up(text, self.special)
        if found and row_id not in self._reported:
            self._reported.add(row_id)
            log.warning("row %r: its text contains the special token %s, read as plain text", row_id, found)
        return plain

    def require_short(self, row_id: str, tokens: int) -> None:
        """Raise UserError if the text of a row has more tokens than prompt.max_tokens allows."""
        most = self.prompt.max_tokens
        if tokens > most:
            raise UserError(
                f"row {row_id!r}: its text has {tokens:,} tokens, more than prompt.max_tokens, {most:,}. Shorten its "
                "longest cell in the table, or raise prompt.max_tokens."
            )

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
