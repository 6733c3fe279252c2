"""The text of a model card: front matter as the Hugging Face Hub reads it, then what a person wants to know."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from vqaflow.artifacts.parts import seed_of
from vqaflow.evaluation.cards.facts import OWN, Facts, Given, as_yaml
from vqaflow.reporting.statistics import widest

UNKNOWN = "not given"
# What the hub calls licences is SPDX in small letters; it refuses other names.
HUB_LICENSES = (
    "apache-2.0 mit openrail bigscience-openrail-m bsd-2-clause bsd-3-clause cc cc0-1.0 cc-by-4.0 cc-by-sa-3.0 "
    "cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 cc-by-nc-nd-4.0 cc-by-nd-4.0 gpl-2.0 gpl-3.0 agpl-3.0 lgpl-3.0 mpl-2.0 "
    "llama3.1 llama3.2 llama3.3 gemma unlicense other"
).split()
INTENDED = (
    "Choosing among the given choices of a question about a picture, for questions and pictures like those of the "
    "training table. It returns one letter, not free text."
)
LIMITS = (
    "Nothing is known of its accuracy on other pictures, questions, languages or numbers of choices. The errors of the "
    "base model and of the training answers may be in it. Do not use it where a wrong answer harms somebody."
)


def card_text(facts: Facts, given: Given) -> str:
    """The whole card; the same facts give the same bytes."""
    front = yaml.safe_dump(front_matter_of(facts, given), allow_unicode=True, sort_keys=True, width=10**6)
    parts = [heading(facts, given), made_of(facts, given), accuracy_part(facts), use_part(given), loading(facts, given)]
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def front_matter_of(facts: Facts, given: Given) -> dict[str, Any]:
    """What the hub shows and searches, and under `vqaflow` what it does not know."""
    front: dict[str, Any] = {
        "library_name": "peft",
        "pipeline_tag": "visual-question-answering",
        "tags": ["lora", "vqaflow"],
        OWN: {
            "adapter": facts.digest,
            "data": facts.run.get("data"),
            "held_out": facts.run.get("held_out"),
            "given": as_yaml(given),
        },
    }
    if given.base_on_hub:
        front["base_model"] = facts.run["model"]["base"]
    if given.license:
        known = given.license.lower() in HUB_LICENSES
        front |= {"license": given.license.lower()} if known else {"license": "other", "license_name": given.license}
    if facts.accuracy:
        front["model-index"] = [{"name": title(facts, given), "results": [result_of(facts, given)]}]
    return front


def result_of(facts: Facts, given: Given) -> dict[str, Any]:
    """The accuracy as the hub's model-index has it."""
    low, high = widest(facts.accuracy)
    said = f"accuracy on {facts.accuracy['n']} held-out rows (95 % interval {low:.4f} to {high:.4f})"
    return {
        "task": {"type": "visual-question-answering"},
        "dataset": {"name": given.name or "own data", "type": "own", "split": f"fold {facts.part}"},
        "metrics": [{"type": "accuracy", "name": said, "value": round(facts.accuracy["accuracy"], 4)}],
    }


def title(facts: Facts, given: Given) -> str:
    """The adapter's name."""
    return f"{given.name or 'vqaflow'}: {facts.member}, fold {facts.part}"


def base_name(facts: Facts, given: Given) -> str:
    """The base as others may know it: of a folder, its last part alone."""
    base = str(facts.run["model"]["base"])
    return base if given.base_on_hub else PurePath(base).name


def heading(facts: Facts, given: Given) -> str:
    """Title and first paragraph."""
    authors = ", ".join(author_text(author) for author in given.authors) or UNKNOWN
    intro = (
        "A LoRA adapter that makes a vision-language model choose among the choices of a question about a picture, "
        "trained with vqaflow."
    )
    return f"# {title(facts, given)}\n\n{intro}\n\nAuthors: {authors}"


def author_text(author: Mapping[str, str]) -> str:
    """An author in one phrase."""
    more = [author[key] for key in ("affiliation", "orcid") if author.get(key)]
    return f"{author['name']} ({', '.join(more)})" if more else author["name"]


def made_of(facts: Facts, given: Given) -> str:
    """The table of what it was made of."""
    run, config = facts.run, facts.config
    model, train = run["model"], run["train"]
    seed = seed_of(facts.part)
    rows = {
        "base": base_name(facts, given) + (f", revision {model['revision']}" if model.get("revision") else ""),
        "digest of the base": code(run["parity"]["base"]),
        "licence of the base": given.base_license or UNKNOWN,
        "licence of the adapter": given.license or UNKNOWN,
        "licence of the data": given.data_license or UNKNOWN,
        "LoRA": f"rank {config['r']}, alpha {config['lora_alpha']:g}",
        "precision": f"{run.get('dtype', UNKNOWN)}, quantization {run.get('quantization', UNKNOWN)}",
        "training rows": f"{run['rows']}",
        "digest of the training rows": code(run.get("data")),
        "folds": folds_text(facts),
        "rows held out": f"{run['validation_rows']}",
        "digest of their ids": code(run.get("held_out")),
        "seed": f"{seed if seed is not None else train['seed']}",
        "digest of the adapter": code(facts.digest),
        "key in the store": code(run.get("key")),
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(run["versions"].items())),
    }
    return "## What it was made of\n\n" + table(rows)


def folds_text(facts: Facts) -> str:
    """How rows were held out."""
    apart = f"; rows with the same {' or the same '.join(facts.group_by)} share a fold" if facts.group_by else ""
    which = f"fold {facts.part} of {facts.folds} held out" if facts.accuracy else "trained on the rows of all folds"
    return which + apart


def code(digest: str | None) -> str:
    """A digest as code."""
    return f"`{digest}`" if digest else UNKNOWN


def table(rows: Mapping[str, str]) -> str:
    """A table of two columns; a bar within a cell would end it."""
    lines = [f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def accuracy_part(facts: Facts) -> str:
    """The accuracy of the rows that it did not see, with what makes it too high."""
    pool_low, pool_high = widest(facts.pool)
    pool = (
        f"The run's members together answer {percent(facts.pool['accuracy'])} [{percent(pool_low)}, "
        f"{percent(pool_high)}] of n = {facts.pool['n']} training rows right, each by adapters that had not seen it."
    )
    if facts.accuracy is None:
        return f"## Accuracy\n\nIt was trained on all rows: no row is left to measure it on. {pool}"
    low, high = widest(facts.accuracy)
    own = (
        f"**{percent(facts.accuracy['accuracy'])}** [{percent(low)}, {percent(high)}], n = {facts.accuracy['n']} rows "
        f"that it was not trained on (view {facts.view}, pooled over choice orders). In brackets: the 95 % interval, "
        "the wider of Wilson's and a bootstrap of whole groups."
    )
    high_because = []
    if facts.run["train"].get("keep") == "best":
        high_because.append("The epoch was chosen by these rows (`train.keep: best`), so it is a little too high.")
    if facts.part.partition("-")[0] in map(str, facts.searched):
        high_because.append("Training parameters were searched on these rows, so it is a little too high.")
    return "## Accuracy\n\n" + "\n\n".join([" ".join([own, *high_because]), pool])


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:.2f} %"


def use_part(given: Given) -> str:
    """Intended use, and limits."""
    limits = f"{LIMITS} {given.limits}" if given.limits else LIMITS
    return f"## Intended use\n\n{given.intended_use or INTENDED}\n\n## Limits\n\n{limits}"


def loading(facts: Facts, given: Given) -> str:
    """How it is loaded, and what its accuracy depends on."""
    return (
        "## How to use it\n\n"
        "The accuracy holds for the prompt, the image sizes and the precision in `run.json`. With PEFT:\n\n"
        "```python\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForImageTextToText\n\n"
        f'base = AutoModelForImageTextToText.from_pretrained("{base_name(facts, given)}")\n'
        'model = PeftModel.from_pretrained(base, ".")\n'
        "```"
    )
