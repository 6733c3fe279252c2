"""Which labels a table's answers are written in: found where the whole column leaves no doubt, else asked for."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.csv_files import Record
from vqaflow.artifacts.labels import (
    COLUMNS,
    FAMILIES,
    FROM_0,
    FROM_1,
    LETTERS,
    SIGNS,
    TEXTS,
    Labels,
    family_labels,
    plain_text,
)
from vqaflow.data.normal_form import normalize
from vqaflow.data.table_layout import TableLayout

MOST_VALUES = 1000  # different answers that are counted one by one: more are texts
SHOWN = 5
Given = str | Mapping[str, str] | None  # data.answers: a family's name, or label to letter or choice column
Fault = tuple[str, str, str]  # problem, cure, kind


@dataclass
class SeenAnswers:
    """The answers of a table: how many are `filled`, how often each occurs, and its first row.

    `texts` counts those that are the text of exactly one choice of their row; `apart` those of them that are also a
    label of a family, but of another choice.
    """

    filled: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    texts: int = 0
    apart: Counter[str] = field(default_factory=Counter)

    def note(self, answer: str, choices: Sequence[str], row_id: str, families: Mapping[str, Labels]) -> None:
        """Add an answer of a row with these `choices`."""
        self.filled += 1
        if answer in self.counts or len(self.counts) < MOST_VALUES:
            self.counts[answer] += 1
            self.first.setdefault(answer, row_id)
        plain = plain_text(answer)
        equal = [place for place, text in enumerate(choices) if text == answer or plain_text(text) == plain]
        if len(equal) == 1:
            self.texts += 1
            for family, labels in families.items():
                assert labels.letters is not None
                if labels.letters.get(answer, ALL_LETTERS[equal[0]]) != ALL_LETTERS[equal[0]]:
                    self.apart[family] += 1


def see_answers(
    records: Iterable[Record], layout: TableLayout, answers: Sequence[str], letters: Sequence[str]
) -> SeenAnswers:
    """Look through the columns `answers` of all records that fit the header."""
    places = layout.columns | layout.extras
    at_answers, at_choices = [places[name][1] for name in answers], [places[letter][1] for letter in letters]
    columns = [layout.user_name(letter) for letter in letters]
    families = {family: Labels.of_family(family, columns) for family in FAMILIES if family != TEXTS}
    at_id, seen = places["id"][1], SeenAnswers()
    for _, cells in records:
        if len(cells) == layout.width:
            choices = [cells[place] for place in at_choices]
            for place in at_answers:
                if cells[place].strip():
                    seen.note(cells[place], choices, cells[at_id], families)
    return seen


def given_labels(given: str | Mapping[str, str], columns: Sequence[str]) -> Labels:
    """The labels that data.answers declares for the choices in the user's `columns`."""
    if isinstance(given, str):
        return Labels.of_family(given, columns)
    return Labels({str(label): letter_named(str(choice), columns) for label, choice in given.items()})


def letter_named(choice: str, columns: Sequence[str]) -> str:
    """The letter of a choice that the configuration names by its column or its letter."""
    return ALL_LETTERS[columns.index(choice)] if choice in columns else choice


def find_labels(seen: SeenAnswers, columns: Sequence[str], key: str) -> Labels | Fault:
    """The labels of the answers to the choices in the user's `columns`, or what the user has to say about them.

    A few answers that are no labels do not hinder: each is reported with its row. `key` is the line of the
    configuration that decides, with {} for its value.
    """
    families = candidates(columns)
    counts = {family: fit(seen, family, columns) for family in families}
    most = max(counts.values())
    signs = [family for family, count in counts.items() if count == most and 2 * count > seen.filled]
    if not seen.filled:
        return Labels.of_family(LETTERS, columns)
    if 2 * seen.texts > seen.filled:
        likely = signs
        if seen.texts == seen.filled:  # then numbers beyond the choices are no labels at all
            likely = [family for family in signs if set(seen.counts) <= set(family_labels(family, columns))]
        alike = [family for family in likely if not seen.apart[family]]
        if not likely:
            return Labels.of_family(TEXTS, columns)
        if not alike:
            words = f"may be labels ({Labels.of_family(likely[0], columns)}) or the texts of choices"
            return ask(seen, words, [likely[0], TEXTS], key)
        signs = alike
    if not signs:
        return unknown(seen, columns, key)
    if {FROM_0, FROM_1} <= set(families) and {FROM_0, FROM_1} & set(signs):
        return find_start(seen, columns, key)
    return Labels.of_family(signs[0], columns)


def candidates(columns: Sequence[str]) -> list[str]:
    """The families that labels may be of; the user's `columns` go before letters or numbers that they look like."""
    alike = [family for family, signs in SIGNS.items() if set(columns) & set(signs)]
    same = [family for family in alike if tuple(columns) == family_labels(family, columns)]
    others = [family for family in SIGNS if family not in alike]
    return [*same[:1], *others] if same else [COLUMNS, *others]


def fit(seen: SeenAnswers, family: str, columns: Sequence[str]) -> int:
    """How many answers are of a family. Labels of choices that the table does not have count: they are told by row."""
    return sum(seen.counts[label] for label in (columns if family == COLUMNS else SIGNS[family]))


def find_start(seen: SeenAnswers, columns: Sequence[str], key: str) -> Labels | Fault:
    """Whether numbers count from 0 or from 1: certain only if the other cannot be."""
    last = len(columns)
    has_first, has_last = "0" in seen.counts, str(last) in seen.counts
    if has_first != has_last:
        return Labels.of_family(FROM_0 if has_first else FROM_1, columns)
    what = f"may count from 0 to {last - 1} or from 1 to {last}"
    if has_first:
        what = f"go from 0 to {last}, which are more than the {last} choices"
    return ask(seen, what, [FROM_1, FROM_0], key)


def ask(seen: SeenAnswers, what: str, families: Sequence[str], key: str) -> Fault:
    """The problem of answers that could be of several families."""
    lines = " or ".join(f"`{key.format(family)}`" for family in families)
    return f"the answers, {shown(seen)}, {what}", f"Write {lines} into your configuration", "answer_labels"


def unknown(seen: SeenAnswers, columns: Sequence[str], key: str) -> Fault:
    """The problem of answers in no known family, or in several."""
    found = sorted(seen.counts)
    what = f"the answers are written in an unknown way, or in several ways: {shown(seen)}"
    if len(found) > 2 * len(columns):
        cure = f"Name their column in data.columns.answer, or say what each means: `{key.format('{LABEL: a, …}')}`"
        return what, cure, "answer_labels"
    pairs = ", ".join(f"{quoted(label)}: {ALL_LETTERS[n % len(columns)]}" for n, label in enumerate(found))
    cure = f"Say what each means, for example `{key.format('{' + pairs + '}')}`"
    return what, cure, "answer_labels"


def quoted(label: str) -> str:
    """A text as YAML takes it."""
    return "'" + label.replace("'", "''") + "'"


def shown(seen: SeenAnswers) -> str:
    """The answers, the most frequent first, each with its number of rows and the first of them."""
    listed = [f"{answer!r} ({n}, first in {seen.first[answer]})" for answer, n in seen.counts.most_common(SHOWN)]
    return ", ".join(listed) + (f" and {len(seen.counts) - SHOWN} more" if len(seen.counts) > SHOWN else "")


def judge_label(value: str, labels: Labels, layout: TableLayout, letters: Sequence[str]) -> Fault:
    """What is wrong with an answer that is not one of the `labels`: problem, cure, kind."""
    if labels.letters is None:
        cure = "Write the text of the right choice"
        return "the answer is not the text of exactly one of the row's choices", cure, "answer_value"
    own = list(labels.letters)
    by_plain = {normalize(label, "NFKC").lower(): label for label in reversed(own)}
    plain = normalize(value, "NFKC").lower()
    if plain in by_plain:
        what = "the letter is written differently (upper case, spaces, full width)"
        return what if labels.is_plain else what.replace("letter", "label"), f"Write {by_plain[plain]}", "answer_form"
    others = {user_name for user_name, _ in layout.extras.values()}
    if plain in others and plain in ALL_LETTERS:
        columns = [layout.user_name(letter) for letter in letters]
        cure = f"Set data.columns.choices: [{', '.join([*columns, plain])}], or leave out such rows"
        return f"the answer is a choice beyond the {len(letters)} of data.columns.choices", cure, "answer_value"
    if value in {sign for signs in SIGNS.values() for sign in signs[: len(letters)]}:
        what, cure = f"the answer is not written like most others, which are {labels}", "Write it like these"
        return what, f"{cure}, or say what each label means with data.answers", "answer_mixed"
    right = "letter" if labels.is_plain else "label"
    return f"the answer is not one of {', '.join(own)}", f"Write the {right} of the right choice", "answer_value"
