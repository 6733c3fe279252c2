"""The demo's tables and images in the competition's schema, from two published data sets that come as packages.

easy-VQA (PyPI package easy-vqa, MIT) has coloured shapes with its own train/test split; scikit-learn's load_digits
(UCI's optical recognition of handwritten digits, CC BY 4.0) has handwriting, split by image. Equal seeds give equal
bytes.
"""

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.config.sections import DemoConfig, section
from vqaflow.demo.questions import DIGIT_QUESTIONS, KINDS, KOREAN, LANGUAGES, answer_family, kind_and_korean
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_folder
from vqaflow.runtime.stage import CLOSING, log

LETTERS = ALL_LETTERS[:4]  # its questions have four choices
IMAGE_SIDE = 64  # easy-VQA's; digits are enlarged to it
DIGIT_TEST_SHARE = 3  # one digit image in this many is a test image


@dataclass(frozen=True)
class Source:
    """One question that a data set can ask: the image, the wording in a language, and the English answer."""

    image: str
    question: str
    answer: str


Pools = dict[tuple[str, str], list[Source]]  # by (kind, language)


def prepare_demo(*, demo: dict[str, Any], out: Path) -> None:
    """Write train.csv, test.csv, sample_submission.csv, test_answers.csv and the images they name into folder `out`.

    Rows are spread evenly over kinds of question and languages; correct answers evenly over the four letters. Raises
    UserError if more rows are asked for than the data sets hold.
    """
    settings = section(DemoConfig, demo)
    with atomic_folder(out) as folder:
        tables = {}
        for split, count in (("train", settings.train_rows), ("test", settings.test_rows)):
            rng = random.Random(f"{settings.seed}/{split}")
            chosen = choose(pools(split), count, rng, f"data.demo.{split}_rows")
            tables[split] = table(split, chosen, rng)
            write_images(split, {source.image for _, _, source in chosen}, folder)
        assert_no_shared_image(folder)
        if settings.shuffle_answers:
            random.Random(settings.seed).shuffle(answers := list(tables["train"]["answer"]))
            tables["train"]["answer"] = answers
        write_tables(tables["train"], tables["test"], folder)
    log.info("demo: %d training and %d test rows in %s", settings.train_rows, settings.test_rows, out, extra=CLOSING)


def pools(split: str) -> Pools:
    """All questions that the two data sets hold for `split`, by kind and language."""
    found: Pools = {(kind, language): [] for kind in KINDS for language in LANGUAGES}
    for question, answer, image in easy_vqa_questions(split):
        kind, korean = kind_and_korean(question)
        name = f"shape_{image:04d}.png"
        found[kind, "en"].append(Source(name, question, answer))
        found[kind, "ko"].append(Source(name, korean, answer))
    for index, digit in digit_images(split):
        for language in LANGUAGES:
            for question in DIGIT_QUESTIONS[language]:
                found["digit", language].append(Source(f"digit_{index:04d}.png", question, str(digit)))
    return found


def easy_vqa_questions(split: str) -> Iterator[tuple[str, str, int]]:
    """(question, answer, image number) of easy-VQA's own `split`."""
    import easy_vqa

    read = {"train": easy_vqa.get_train_questions, "test": easy_vqa.get_test_questions}[split]
    return zip(*read(), strict=True)


def digit_images(split: str) -> list[tuple[int, int]]:
    """(image number, digit) of the handwritten digits in `split`."""
    from sklearn.datasets import load_digits

    numbered = enumerate(load_digits().target.tolist())
    return [(i, digit) for i, digit in numbered if (i % DIGIT_TEST_SHARE == 0) == (split == "test")]


def choose(pools: Pools, count: int, rng: random.Random, key: str) -> list[tuple[str, str, Source]]:
    """`count` questions as (kind, language, source), evenly from all pools, using each image as seldom as possible."""
    if count < 1:
        raise UserError(f"config: {key}: {count} rows are too few. Give a positive number.")
    uses: dict[str, int] = {}
    chosen = []
    for position, ((kind, language), pool) in enumerate(pools.items()):
        wanted = count // len(pools) + (position < count % len(pools))
        if wanted > len(pool):
            raise UserError(
                f"config: {key}: {count} rows need {wanted} {kind} questions in {language!r}, but the data sets have "
                f"{len(pool)}. Give at most {len(pool) * len(pools)}."
            )
        for source in spread_over_images(pool, wanted, uses, rng):
            uses[source.image] = uses.get(source.image, 0) + 1
            chosen.append((kind, language, source))
    rng.shuffle(chosen)
    return chosen


def spread_over_images(pool: Sequence[Source], wanted: int, uses: dict[str, int], rng: random.Random) -> list[Source]:
    """`wanted` random questions of `pool`, those about the least used images first."""
    shuffled = rng.sample(pool, len(pool))
    asked = dict(uses)
    ranked = []
    for source in shuffled:
        ranked.append((asked.get(source.image, 0), source))
        asked[source.image] = asked.get(source.image, 0) + 1
    ranked.sort(key=lambda pair: pair[0])
    return [source for _, source in ranked[:wanted]]


def table(split: str, chosen: Sequence[tuple[str, str, Source]], rng: random.Random) -> pd.DataFrame:
    """The competition's columns for `chosen`, with the answers balanced over the letters in each kind and language."""
    by_cell = sorted(range(len(chosen)), key=lambda i: chosen[i][:2])
    letters = dict(zip(by_cell, cycle(LETTERS), strict=False))
    rows = []
    for number, (kind, language, source) in enumerate(chosen, start=1):
        letter = letters[number - 1]
        wrong = wrong_choices(kind, source.answer, rng)
        choices = {x: source.answer if x == letter else wrong.pop() for x in LETTERS}
        if language == "ko":
            choices = {x: KOREAN[word] for x, word in choices.items()}
        row = {"id": f"{split}_{number:04d}", "path": f"{split}/{source.image}", "question": source.question}
        rows.append(row | choices | {"answer": letter})
    return pd.DataFrame(rows)


def wrong_choices(kind: str, answer: str, rng: random.Random) -> list[str]:
    """Three distinct wrong answers: of the same family, and, if these are too few, words that are never right."""
    family, fillers = answer_family(kind)
    others = [word for word in family if word != answer]
    wrong = rng.sample(others, min(3, len(others)))
    wrong += rng.sample(fillers, 3 - len(wrong))
    return rng.sample(wrong, 3)


def write_images(split: str, names: set[str], folder: Path) -> None:
    """Write the named images of `split` under `folder`: easy-VQA's files as they are, digits enlarged."""
    import easy_vqa
    from sklearn.datasets import load_digits

    (folder / split).mkdir()
    paths = {"train": easy_vqa.get_train_image_paths, "test": easy_vqa.get_test_image_paths}[split]()
    digits = load_digits().images
    for name in sorted(names):
        kind, number = name.removesuffix(".png").split("_")
        target = folder / split / name
        if kind == "shape":
            shutil.copyfile(paths[int(number)], target)
        else:
            digit_picture(digits[int(number)]).save(target)


def digit_picture(digit: Any) -> Image.Image:
    """An 8 x 8 array of ink from 0 to 16 as a smooth picture, dark on white."""
    paper = (255 - digit * (255 / 16)).round().astype("uint8")
    return Image.fromarray(paper).resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC).convert("RGB")


def assert_no_shared_image(folder: Path) -> None:
    """Stop if any image of train has the same bytes as one of test."""
    digests = {split: {file_digest(path) for path in (folder / split).iterdir()} for split in ("train", "test")}
    assert not digests["train"] & digests["test"], "an image is in both train and test"


def write_tables(train: pd.DataFrame, test: pd.DataFrame, folder: Path) -> None:
    """Write the four CSV files."""
    tables = {
        "train": train,
        "test": test.drop(columns="answer"),
        "sample_submission": test[["id"]].assign(answer=""),
        "test_answers": test[["id", "answer"]],
    }
    for name, values in tables.items():
        values.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", encoding="utf-8")
