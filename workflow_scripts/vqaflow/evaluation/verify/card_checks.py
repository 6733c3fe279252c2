"""The check of model cards: each says what the run's files say."""

from collections.abc import Iterator

import yaml

from vqaflow.artifacts.reading import damaged
from vqaflow.evaluation.cards.facts import CARD, facts_of, given_in
from vqaflow.evaluation.cards.text import card_text
from vqaflow.evaluation.verify.results import Results
from vqaflow.runtime.errors import UserError

COMMAND = "cards"  # and the name of the cards' records


def adapters_of(results: Results) -> Iterator[tuple[str, str]]:
    """Member and part of each adapter of the run."""
    for note in results.notes:
        yield from ((note.name, part) for part in note.adapters)


def check_cards(results: Results) -> str:
    """Each model card is written again from what the run's files say, and its bytes are compared."""
    count = 0
    for member, part in adapters_of(results):
        path = results.at.adapter(member, part) / CARD
        if not path.is_file():
            continue
        try:
            text = path.read_bytes().decode("utf-8")
            given = given_in(text)
        except (ValueError, yaml.YAMLError) as error:
            raise damaged(path, COMMAND, error) from None
        if card_text(facts_of(results.at, member, part), given) != text:
            raise UserError(
                f"{path}: does not say what the run's files say: it was edited, or is of an earlier run. Write it "
                "again: vqaflow cards."
            )
        count += 1
    return f"{count} model cards say what the run's files say" if count else "no adapter has a card (vqaflow cards)"
