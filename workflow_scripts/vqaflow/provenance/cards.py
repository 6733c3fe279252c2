"""Writing the model cards of a finished run."""

from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.about import About
from vqaflow.evaluation.cards.facts import CARD, facts_of, given_for
from vqaflow.evaluation.cards.text import card_text
from vqaflow.evaluation.verify.card_checks import COMMAND, adapters_of
from vqaflow.evaluation.verify.results import Results
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text
from vqaflow.runtime.output_records import LOGS, record_outputs
from vqaflow.runtime.secrets import require_no_secret


def write_cards(at: ResultsFolder, about: About) -> list[Path]:
    """Write README.md beside each adapter, and record its bytes; no other file is changed."""
    texts = {}
    for member, part in adapters_of(Results(at)):
        facts = facts_of(at, member, part)
        path = at.adapter(member, part) / CARD
        texts[member, part] = card_text(facts, given_for(about, str(facts.run["model"]["base"])))
        require_no_secret(str(path), texts[member, part])
    if not texts:
        raise UserError(f"{at.folder}: has no adapter of a finished run, and cards are for adapters. Run snakemake.")
    for (member, part), text in texts.items():
        path = at.adapter(member, part) / CARD
        write_text(path, text)
        record_outputs(at.folder / LOGS / COMMAND / f"{member}.fold{part}.log", [path])
    return [at.adapter(member, part) / CARD for member, part in texts]
