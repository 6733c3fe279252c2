"""The one place where a prompt is built; training, validation and scoring all read it.

A prompt is the model's own chat template around the image and a text whose choices come last: all orders of a row's
choices share everything before them (the prefix, with the image's hundreds of tokens) and differ only in a short
branch. Special tokens come from the template, never from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vqaflow.artifacts.columns import LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import PromptConfig
from vqaflow.data.normal_form import normalize, normalize_choices
from vqaflow.model.encoding.orders import shown
from vqaflow.runtime.errors import UserError

USER_TEXT = "\N{OBJECT REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class RenderedRow:
    """A row's prompt: `prefix` + `branches[k]` is the text of its k-th choice order."""

    prefix: str
    branches: tuple[str, ...]


class PromptRenderer:
    """Renders rows of the tables with one processor's chat template."""

    def __init__(self, processor: Any, prompt: PromptConfig) -> None:
        self.prompt = prompt
        self.head, self.tail = _template_around_user_text(processor, prompt.system)

    def render(self, row: Row, orders: Sequence[str]) -> RenderedRow:
        """Render `row` (question, a, b, c, d, qtype) once per order of its choices, up to the answer's position."""
        form = self.prompt.normal_form
        question = normalize(row.question, form)
        choices = normalize_choices(row.choices, form)
        template = self.prompt.templates[row.qtype]
        before, after = template.split("{choices}")
        before = before.replace("{question}", question)
        branches = [self._choice_lines(shown(choices, order)) + after + self.tail for order in orders]
        return RenderedRow(self.head + before, tuple(branches))

    def _choice_lines(self, texts: Sequence[str]) -> str:
        lines = [self.prompt.choice_format.format(letter=x, text=t) for x, t in zip(LETTERS, texts, strict=True)]
        return "\n".join(lines)


def _template_around_user_text(processor: Any, system: str) -> tuple[str, str]:
    """What the chat template puts before (image included) and after the user's text, up to the answer."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": USER_TEXT}]}
    ]
    if system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if text.count(USER_TEXT) != 1:
        raise UserError(
            "model.base: its chat template does not contain the user's text exactly once. Use a Qwen2.5-VL base."
        )
    head, tail = text.split(USER_TEXT)
    return head, tail


def letter_token_ids(tokenizer: Any, rendered: RenderedRow) -> list[int]:
    """The token that each letter becomes right after `rendered`'s prompt (float logits of these four are the scores).

    Raises UserError unless each letter adds exactly one token there, the prompt's tokens stay, and all four differ.
    """
    prompt = rendered.prefix + rendered.branches[0]
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = []
    for letter in LETTERS:
        with_letter = tokenizer(prompt + letter, add_special_tokens=False)["input_ids"]
        if with_letter[:-1] != prompt_ids:
            raise UserError(
                f"model.base: its tokenizer has no single token for the answer {letter!r} after the prompt. Use a "
                "Qwen2.5-VL base."
            )
        ids.append(with_letter[-1])
    if len(set(ids)) != len(LETTERS):
        raise UserError(
            f"model.base: its tokenizer maps two answers to one token ({dict(zip(LETTERS, ids, strict=True))}). Use a "
            "Qwen2.5-VL base."
        )
    return ids
