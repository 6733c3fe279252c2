"""What a task of lmms-eval calls; the export copies this file to the task's folder as utils.py, so it stands alone.

A `doc` is a line of rows.jsonl: id, prompt, images (absolute paths: the image, then its tiles if training shows tiles),
choices (texts), letters (what the prompt shows for them), answer (one of the letters) and qtype.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageOps


def doc_to_visual(doc: Mapping[str, Any]) -> list[Image.Image]:
    """The pictures, upright and in RGB, transparent parts on white."""
    return [opened(path) for path in doc["images"]]


def opened(path: str) -> Image.Image:
    """One picture as `doc_to_visual` gives it."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    on_white = Image.new("RGB", image.size, (255, 255, 255))
    on_white.paste(image, mask=image.getchannel("A"))
    return on_white


def doc_to_text(doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, str] | None = None) -> str:
    """The prompt that the run's own models read; texts that the command line puts around it stay possible."""
    around = lmms_eval_specific_kwargs or {}
    return around.get("pre_prompt", "") + doc["prompt"] + around.get("post_prompt", "")


def doc_to_target(doc: Mapping[str, Any]) -> str:
    """The letter of the right choice."""
    return doc["answer"]


def letter_in(response: str, choices: Sequence[str], letters: Sequence[str]) -> str | None:
    """The letter that a response names: at its start, after a word such as "answer", or by a choice's whole text.

    None if it names none, or two of them.
    """
    text = plain_text(response)
    by_text = {plain_text(letter): letter for letter in letters}
    one = "|".join(re.escape(letter) + (r"(?![a-z0-9])" if letter.isascii() else r"(?!\w)") for letter in by_text)
    # Not the article ("a cat"), and not one of several ("b or c").
    alone = rf"({one})(?!(?<=\ba)\s+[a-z])(?!\s*(?:or|and|,|/)\s*(?:{one})\b)"
    for before in (r"^[\W_]*", r"\b(?:answer|choice|option)(?:\s+is)?[\W_]*\b", r"(?:정답|답|기호)\w*[\W_]*"):
        if match := re.search(before + alone, text):
            return by_text[match[1]]
    plain = [plain_text(choice) for choice in choices]
    named = [letter for letter, choice in zip(letters, plain, strict=True) if choice == text.strip(" .\"'")]
    return named[0] if len(named) == 1 else None


def plain_text(text: str) -> str:
    """A text for comparing: one form of equal characters, no capital letters."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the response is right (a response without a letter is not), and whether it names no letter."""
    found = letter_in(results[0], doc["choices"], doc["letters"])
    return {"accuracy": float(found == doc["answer"]), "unanswered": float(found is None)}
