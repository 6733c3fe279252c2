"""Prompts for the tiny base model's pre-training, assembled as tensors from pieces that were tokenized once.

The prompts are those of model/encoding/prompts.py, in the model's chat template. A prompt is a prefix (system turn,
image, question), four choice lines and a tail. The pieces end at line ends, and no token of Qwen2.5's pre-tokenizer
crosses a line end: the tokens of the single pieces are the tokens of the whole prompt.

Shapes: B prompts, T tokens, V styles of a prompt, P pieces of a prompt, 4 choices, 3 axes of M-RoPE positions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vqaflow.artifacts.rows import text_row
from vqaflow.config.sections import PromptConfig
from vqaflow.demo.tiny_base.world import LETTERS, QTYPES, GeneratedWorld, Questions
from vqaflow.model.encoding.prompts import PromptRenderer, letter_token_ids


def prompt_styles(configured: PromptConfig) -> list[PromptConfig]:
    """The configured prompt and others, so that the model does not depend on one wording of the instructions."""
    endings = [
        ("You are a helpful assistant.", "({letter}) {text}", "Answer with the letter of the right choice."),
        ("그림을 보고 질문에 답하세요.", "{letter}. {text}", "알맞은 보기의 기호만 답하세요."),
        ("", "{letter}) {text}", "Choose one: a, b, c or d."),
    ]
    styles = [configured]
    for system, choice_format, instruction in endings:
        templates = dict.fromkeys(configured.templates, f"{{question}}\n{{choices}}\n{instruction}")
        styles.append(replace(configured, system=system, choice_format=choice_format, templates=templates))
    return styles


def rendered_pieces(
    processor: Any, world: GeneratedWorld, styles: Sequence[PromptConfig]
) -> list[tuple[list, list, str]]:
    """For each style the prefixes of all questions, the lines of all words at a, b, c and d, and the tail."""
    pieces = []
    for style in styles:
        renderer = PromptRenderer(processor, style)
        order = "".join(LETTERS)
        prefixes = [renderer.render(text_row(text, [], qtype), [order]).prefix for text, qtype in world.questions]
        lines, tails = [], set()
        for word in world.words:
            same = text_row("", [word] * len(LETTERS), QTYPES["naming"])
            *choice_lines, tail = renderer.render(same, [order]).branches[0].split("\n", len(LETTERS))
            lines.append([line + "\n" for line in choice_lines])
            tails.add(tail)
        pieces.append((prefixes, lines, tails.pop()))
        assert not tails, "a tail depends on the choices"
    return pieces


def all_texts(pieces: Iterable[tuple[list, list, str]]) -> list[str]:
    """Every piece of text once, for learning the tokenizer."""
    found: list[str] = []
    for prefixes, lines, tail in pieces:
        found += prefixes + [line for four in lines for line in four] + [tail]
    return found


@dataclass(frozen=True)
class Prompts:
    """B prompts with their answers: ids (B, T), M-RoPE positions (3, B, T), the index of each prompt's last token.

    The token after a prompt's last is its answer's letter.
    """

    ids_BT: torch.Tensor
    positions_3BT: torch.Tensor
    ends_B: torch.Tensor


class PromptAssembler:
    """Puts the tokens of questions and choices together on the device."""

    def __init__(
        self,
        processor: Any,
        model: Any,
        world: GeneratedWorld,
        styles: Sequence[PromptConfig],
        grid: tuple[int, int, int],
    ) -> None:
        self.processor, self.device = processor, world.dice.device
        tokenizer = processor.tokenizer
        self.pad = tokenizer.pad_token_id
        self.image = tokenizer.convert_tokens_to_ids(processor.image_token)
        self.image_tokens = grid[0] * grid[1] * grid[2] // processor.image_processor.merge_size**2
        pieces = rendered_pieces(processor, world, styles)
        self.prefix, self.prefix_length = self._table([[self._ids(p) for p in prefixes] for prefixes, _, _ in pieces])
        flat = [[self._ids(line) for four in lines for line in four] for _, lines, _ in pieces]
        line, length = self._table(flat)
        self.line, self.line_length = (t.unflatten(1, (-1, len(LETTERS))) for t in (line, length))
        self.tail, self.tail_length = self._table([[self._ids(tail)] for _, _, tail in pieces])
        row = text_row("?", ["1"] * len(LETTERS), QTYPES["naming"])
        rendered = [PromptRenderer(processor, style).render(row, ["".join(LETTERS)]) for style in styles]
        letters = {tuple(letter_token_ids(tokenizer, r, LETTERS)) for r in rendered}
        assert len(letters) == 1, "the letters' tokens depend on the prompt"
        self.letters = torch.tensor(letters.pop(), device=self.device)
        longest = self.prefix.shape[-1] + len(LETTERS) * self.line.shape[-1] + self.tail.shape[-1] + 1
        self.length = -(-longest // 8) * 8
        self.positions_3VT = self._positions(model, grid)

    def _ids(self, text: str) -> list[int]:
        ids = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self.image in ids:
            at = ids.index(self.image)
            ids[at : at + 1] = [self.image] * self.image_tokens
        return ids

    def _table(self, lists: list[list[list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(len(ids) for style in lists for ids in style)
        table = [[ids + [self.pad] * (longest - len(ids)) for ids in style] for style in lists]
        lengths = [[len(ids) for ids in style] for style in lists]
        return torch.tensor(table, device=self.device), torch.tensor(lengths, device=self.device)

    def _positions(self, model: Any, grid: tuple[int, int, int]) -> torch.Tensor:
        """The library's M-RoPE positions (3, V, T): they depend only on the style's system turn."""
        ids_VT = torch.full((len(self.prefix), self.length), self.pad, device=self.device)
        for v, (ids, length) in enumerate(zip(self.prefix[:, 0], self.prefix_length[:, 0], strict=True)):
            ids_VT[v, :length] = ids[:length]
        grids = torch.tensor([grid] * len(ids_VT), device=self.device)
        positions, _ = model.model.get_rope_index(ids_VT, (ids_VT == self.image).int(), image_grid_thw=grids)
        return positions

    def assemble(self, questions: Questions, style: torch.Tensor) -> Prompts:
        """The prompts of `questions`, each in its style, with the right letter appended."""
        words, v = questions.words_B4, style[:, None]
        letter = torch.arange(len(LETTERS), device=self.device).expand_as(words)
        parts = [self.prefix[style, questions.question]]
        lengths = [self.prefix_length[style, questions.question][:, None], self.line_length[v, words, letter]]
        parts += list(self.line[v, words, letter].unbind(1))
        parts.append(self.tail[style, 0])
        lengths.append(self.tail_length[style])
        parts.append(self.letters[questions.answer][:, None])
        lengths.append(torch.ones_like(v))
        lengths_BP = torch.cat(lengths, 1)
        starts_BP = lengths_BP.cumsum(1) - lengths_BP
        ids = torch.full((len(style), self.length + 1), self.pad, device=self.device)
        for p, part in enumerate(parts):
            offset = torch.arange(part.shape[1], device=self.device)
            place = torch.where(offset < lengths_BP[:, p, None], starts_BP[:, p, None] + offset, self.length)
            ids.scatter_(1, place, part)
        return Prompts(ids[:, : self.length], self.positions_3VT[:, style], starts_BP[:, -1] - 1)
