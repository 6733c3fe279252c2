"""The labels that the submission is written in: the sample's; where it shows none, those of the training answers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.labels import FROM_0, FROM_1, SIGNS, Labels, family_labels
from vqaflow.data.answer_labels import Fault, candidates, letter_named, quoted

KEY = "data: {{submission_labels: {}}}"
MOST_VALUES = 1000  # different answers of a sample that are kept: more are texts
LONGEST_LABEL = 2  # characters: a longer answer in all rows of a sample, "answer" or "unknown", only holds the place


@dataclass
class SampleAnswers:
    """The answers of a sample submission that are not empty: how often each occurs, how many there are."""

    counts: Counter[str] = field(default_factory=Counter)
    filled: int = 0

    def note(self, answer: str) -> None:
        """Add an answer."""
        if answer := answer.strip():
            self.filled += 1
            if answer in self.counts or len(self.counts) < MOST_VALUES:
                self.counts[answer] += 1

    def __str__(self) -> str:
        shown = ", ".join(repr(answer) for answer, _ in self.counts.most_common(5))
        if len(self.counts) == 1:
            return f"{shown} in {'all rows' if self.filled > 1 else 'its row'}"
        return shown + (f" and {len(self.counts) - 5} more" if len(self.counts) > 5 else "")


def find_submission_labels(
    sample: SampleAnswers, train: Labels, columns: Sequence[str], are_texts: Callable[[], bool]
) -> tuple[Labels, str] | Fault:
    """The labels to write, and what to tell about them ("": nothing); or why it cannot be known.

    `train` are the labels of the training answers, `columns` the user's columns of choices. `are_texts` says whether
    each answer of the sample is the text of a choice of its row.
    """
    if not sample.filled:
        return like_training(train, "the sample submission shows no answers", columns)
    fitting = fitting_labels(sample, train, columns)
    if (train.letters is None or not fitting) and are_texts():
        return Labels(None), "" if train.letters is None else told(Labels(None), train)
    if not fitting:
        return without_family(sample, train, columns)
    own = [labels for labels in fitting.values() if labels == train]
    if own:
        return own[0], ""
    if len(fitting) > 1 or (list(sample.counts) == ["0"] and train == Labels.of_family(FROM_1, columns)):
        families = [FROM_0, FROM_1]
        what = f"the answers are {sample}, which may count from 0 or from 1; the training answers are {train}"
        return what, cure_of(families), "sample_labels"
    labels = next(iter(fitting.values()))
    return labels, told(labels, train)


def fitting_labels(sample: SampleAnswers, train: Labels, columns: Sequence[str]) -> dict[str, Labels]:
    """The families that all answers of a sample are labels of; first of all the user's own labels."""
    given = set(sample.counts)
    if train.letters is not None and train.is_one_to_one and given <= set(train.letters):
        return {"own": train}
    families = [family for family in candidates(columns) if given <= set(family_labels(family, columns))]
    return {family: Labels.of_family(family, columns) for family in families}


def without_family(sample: SampleAnswers, train: Labels, columns: Sequence[str]) -> tuple[Labels, str] | Fault:
    """What follows from a sample whose answers are of no family: one word in all rows only holds the place."""
    signs = {sign for family in SIGNS for sign in SIGNS[family]}
    (answer, *others) = sample.counts
    if not others and len(answer) > LONGEST_LABEL and answer not in signs:
        return like_training(train, f"the sample submission's answers, {sample}, are not labels", columns)
    what = f"the answers, {sample}, are not known labels of {len(columns)} choices"
    return what, cure_of([example(sorted(sample.counts), columns)]), "sample_labels"


def like_training(train: Labels, why: str, columns: Sequence[str]) -> tuple[Labels, str] | Fault:
    """The labels of the training answers, if there is one of each choice."""
    if train.is_one_to_one and (train.letters is None or len(train.letters) == len(columns)):
        note = "" if train.is_plain else f"{why}; the submission is written {train}, like the training answers"
        return train, note
    return (
        f"{why}, and data.answers does not have one label for each choice",
        cure_of([example([], columns)]),
        "sample_labels",
    )


def told(labels: Labels, train: Labels) -> str:
    """What to tell where sample and training table differ."""
    return f"the submission is written {labels}, like the sample submission; the training answers are {train}"


def example(found: Sequence[str], columns: Sequence[str]) -> str:
    """A mapping for data.submission_labels, with the labels that were found."""
    labels = [quoted(label) for label in found] if len(found) == len(columns) else ["LABEL"] * len(columns)
    return "{" + ", ".join(f"{x}: {label}" for x, label in zip(ALL_LETTERS, labels, strict=False)) + "}"


def cure_of(values: Sequence[str]) -> str:
    """The lines of the configuration that decide."""
    return f"Write {' or '.join(f'`{KEY.format(value)}`' for value in values)} into your configuration"


def given_submission_labels(given: str | Mapping[str, str], columns: Sequence[str]) -> Labels:
    """The labels that data.submission_labels declares: a family, or letter (or choice column) to label."""
    if isinstance(given, str):
        return Labels.of_family(given, columns)
    by_letter = {letter_named(str(choice), columns): str(label) for choice, label in given.items()}
    return Labels({by_letter[letter]: letter for letter in sorted(by_letter)})
