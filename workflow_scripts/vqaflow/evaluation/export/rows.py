"""The rows of a run as other programs read them: prompt text, image path, answer and fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS, PEOPLE, share_columns
from vqaflow.artifacts.reading import columns_in, letters_of_table, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.rows import FIELDS, Row, rows_of
from vqaflow.config.members import Member
from vqaflow.config.sections import AnswersConfig, ViewConfig
from vqaflow.evaluation.export.shown import images_of, prompt_of, trained_ids, view_of, write_tiles
from vqaflow.model.encoding.chat_template import USER_TEXT
from vqaflow.model.encoding.prompts import PromptRenderer
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
    """A row with its rendered prompt; `images` are absolute paths, `fold` and `answer` are None in the test table.

    `letters` are what the prompt shows for the row's choices, and `answer` is one of them. A row that does not train
    (`data.answers_use`) is measured all the same.
    """

    row: Row
    prompt: str
    images: tuple[str, ...]
    letters: tuple[str, ...]
    fold: int | None = None
    trains: bool = False

    @property
    def answer(self) -> str | None:
        """What the prompt shows for the right choice."""
        return self.row.answer and self.letters[self.row.letters.index(self.row.answer)]

    @property
    def choices(self) -> list[str]:
        """The texts of the choices that the row has."""
        return [text for text in self.row.choices if text]

    @property
    def people(self) -> dict[str, Any]:
        """How many people answered and the share of each choice, where several did."""
        shares = self.row.shares
        if self.row.people < 2 or shares is None:
            return {}
        return {"people": self.row.people, "shares": [shares[ALL_LETTERS.index(letter)] for letter in self.row.letters]}


@dataclass(frozen=True)
class ExportedRows:
    """The training rows and the usable test rows of a run; `system` is the text of the system turn, or empty.

    `view` is the one that training renders.
    """

    train: list[ExportedRow]
    test: list[ExportedRow]
    system: str
    view: ViewConfig

    def write_tiles(self, folder: Path) -> None:
        """Write the tiles that the rows show into an export's `folder`."""
        write_tiles((one.row for one in [*self.train, *self.test]), self.view, folder)

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


def read_rows(results: ResultsFolder, member: Member, answers: AnswersConfig, out: Path) -> ExportedRows:
    """The rows of a run for the export `out`: prompts and pictures as in the member's training, orders the original.

    `answers` says which rows train. Raises UserError if a table is missing or damaged, if folds and table differ, or if
    an image is not there.
    """
    prompt, view = prompt_of(member), view_of(member)
    renderer = PromptRenderer(NoTemplate(), replace(prompt, system=""))  # programs put the system turn themselves
    columns = [*FIELDS, *letters_of_table(results.table("train"), "validate_tables")]
    people = columns_in(results.table("train"), "validate_tables", [PEOPLE, *share_columns(ALL_LETTERS)])
    train = read_table(results.table("train"), "validate_tables", [*columns, "answer", *people])
    assigned = read_table(results.folds, "make_folds", ["id", "fold"])
    fold_of = dict(zip(assigned["id"], assigned["fold"].tolist(), strict=True))
    if alone := sorted(set(train["id"]) ^ fold_of.keys()):
        raise UserError(f"{results.folds}: rows {some(alone)} are not in both folds and table. Run make_folds again.")
    test = read_table(results.table("test"), "validate_tables", [*columns, "usable"])
    if unusable := test["id"][~test["usable"]].tolist():
        log.warning("%d test rows without a usable image are left out: %s", len(unusable), some(unusable))
    rows = _with_images(rows_of(train))
    trains = trained_ids(rows, answers)

    def exported(row: Row) -> ExportedRow:
        rendered = renderer.render(row, [row.letters])
        letters = tuple(renderer.letters[: len(row.letters)])
        text = rendered.prefix + rendered.branches[0]
        return ExportedRow(row, text, images_of(row, view, out), letters, fold_of.get(row.id), row.id in trains)

    tests = _with_images(rows_of(test[test["usable"]]))
    return ExportedRows(list(map(exported, rows)), list(map(exported, tests)), prompt.system, view)


def _with_images(rows: list[Row]) -> list[Row]:
    """The rows. Raises UserError unless the image of each is there."""
    if missing := [row for row in rows if not Path(row.image_file).is_file()]:
        raise UserError(
            f"{missing[0].image_file}: the image of row {missing[0].id!r} is not there ({len(missing)} are missing). "
            "Run the command in the folder where the workflow ran, or copy the images there."
        )
    return rows
