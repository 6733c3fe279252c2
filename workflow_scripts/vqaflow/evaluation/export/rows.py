"""The rows of a run as other programs read them: prompt text, image path, answer and fold."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vqaflow.artifacts.reading import letters_of_table, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.rows import FIELDS, Row, rows_of
from vqaflow.config.sections import PromptConfig
from vqaflow.model.encoding.prompts import USER_TEXT, PromptRenderer
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some
from vqaflow.runtime.stage import log

# What the other programs, or the chat templates of their models, take for an image or for the end of a turn. The
# renderer breaks them in a table's texts, as it does with the special tokens of the base that it knows.
CONTROLS = ("<image>", "<video>", "<audio>", "<bbox>", "<ref-object>", "<cot-process>", "<start-image>")
CONTROLS += ("<img>", "</img>", "<IMG_CONTEXT>", "<image_soft_token>", "<start_of_turn>", "<end_of_turn>")
CONTROLS += ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|image_pad|>", "<|video_pad|>")
CONTROLS += ("<|vision_start|>", "<|vision_end|>", "<think>", "</think>")


@dataclass(frozen=True)
class ExportedRow:
    """A row with its rendered prompt; `image` is an absolute path, `fold` and `answer` are None in the test table.

    `letters` are what the prompt shows for the row's choices, and `answer` is one of them.
    """

    row: Row
    prompt: str
    image: str
    letters: tuple[str, ...]
    fold: int | None = None

    @property
    def answer(self) -> str | None:
        """What the prompt shows for the right choice."""
        return self.row.answer and self.letters[self.row.letters.index(self.row.answer)]

    @property
    def choices(self) -> list[str]:
        """The texts of the choices that the row has."""
        return [text for text in self.row.choices if text]


@dataclass(frozen=True)
class ExportedRows:
    """The training rows and the usable test rows of a run; `system` is the text of the system turn, or empty."""

    train: list[ExportedRow]
    test: list[ExportedRow]
    system: str

    @property
    def folds(self) -> list[int]:
        """The numbers of the folds."""
        return sorted({row.fold for row in self.train if row.fold is not None})


class NoTemplate:
    """Takes a processor's place: a chat "template" of the user's text alone, for programs that have their own."""

    chat_template = "the user's text"
    tokenizer = SimpleNamespace(
        added_tokens_decoder={i: SimpleNamespace(content=text, special=True) for i, text in enumerate(CONTROLS)}
    )

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]], **_: object) -> str:
        """The user's text, whatever the chat says."""
        return USER_TEXT


def read_rows(results: ResultsFolder, prompt: PromptConfig) -> ExportedRows:
    """The rows of a run, their prompts rendered as for its own models, choices in their original order.

    Raises UserError if a table is missing or damaged, if folds and table differ, or if an image is not there.
    """
    renderer = PromptRenderer(NoTemplate(), prompt)
    columns = [*FIELDS, *letters_of_table(results.table("train"), "validate_tables")]
    train = read_table(results.table("train"), "validate_tables", [*columns, "answer"])
    assigned = read_table(results.folds, "make_folds", ["id", "fold"])
    fold_of = dict(zip(assigned["id"], assigned["fold"].tolist(), strict=True))
    if alone := sorted(set(train["id"]) ^ fold_of.keys()):
        raise UserError(f"{results.folds}: rows {some(alone)} are not in both folds and table. Run make_folds again.")
    test = read_table(results.table("test"), "validate_tables", [*columns, "usable"])
    if unusable := test["id"][~test["usable"]].tolist():
        log.warning("%d test rows without a usable image are left out: %s", len(unusable), some(unusable))
    return ExportedRows(
        [_exported(row, renderer, fold_of[row.id]) for row in _with_images(rows_of(train))],
        [_exported(row, renderer) for row in _with_images(rows_of(test[test["usable"]]))],
        prompt.system,
    )


def _with_images(rows: list[Row]) -> list[Row]:
    """The rows. Raises UserError unless the image of each is there."""
    if missing := [row for row in rows if not Path(row.image_file).is_file()]:
        raise UserError(
            f"{missing[0].image_file}: the image of row {missing[0].id!r} is not there ({len(missing)} are missing). "
            "Run the command in the folder where the workflow ran, or copy the images there."
        )
    return rows


def _exported(row: Row, renderer: PromptRenderer, fold: int | None = None) -> ExportedRow:
    rendered = renderer.render(row, [row.letters])
    letters = tuple(renderer.letters[: len(row.letters)])
    return ExportedRow(row, rendered.prefix + rendered.branches[0], os.path.abspath(row.image_file), letters, fold)
