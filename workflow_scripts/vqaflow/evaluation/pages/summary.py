"""The summary of a run, made of metrics.json: the headline with what it is compared with, measures, and parts.

The front page of Snakemake's report shows the part between the two `FRONT` marks (docs/captions/workflow.rst).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqaflow.evaluation.pages.html_page import Cell, Span, heading, intervals, large_number, page, paragraphs, table
from vqaflow.reporting.agreement import in_order
from vqaflow.reporting.statistics import widest
from vqaflow.runtime.files import write_text

PAGE = "summary.html"
FRONT = "<!-- front -->"
Metrics = Mapping[str, Any]
MEASURES = {
    "accuracy": ("accuracy", "share of rows that are right"),
    "balanced_accuracy": ("balanced accuracy", "mean over the letters of the share of their rows that are right"),
    "macro_f1": ("macro-F1", "mean over the letters of F1"),
    "nll": ("NLL", "mean of -log of the right choice's probability, in nats; lower is better"),
    "brier": ("Brier score", "mean squared distance of the probabilities to the right choice, 0 to 2; lower is better"),
    "aurc": ("AURC", "mean error rate among the rows that are at least as confident; lower is better"),
}
MASS = "label mass: base / adapter"
MASS_TEXT = (
    "Label mass is the share of the vocabulary's probability that the choice letters have, a mean of 16 rows. A base "
    "far below 1 expects something else than a letter after the prompt: check prompt and chat template "
    "(vqaflow label_mass)."
)
SHARES = ("accuracy", "balanced_accuracy", "macro_f1")
PARTS = {
    "by_type": "By question type",
    "by_choices": "By number of choices",
    "by_source": "By table",
    "by_votes": "By how many members (of one member: views) give the answer",
    "by_fold": "By fold",
}


def write_summary(metrics: Metrics, out: Path) -> None:
    """Write the page of metrics.json."""
    write_text(out, page("Summary of the run", lead(metrics), parts(metrics)))


def front(metrics: Metrics) -> str:
    """The headline, and what it is compared with."""
    overall = metrics["overall"]
    rest = f"accuracy out of fold, 95 % interval {bounds_text(widest(overall))}, n = {overall['n']:,}"
    return large_number(percent(overall["accuracy"]), rest) + baseline_table(metrics)


def lead(metrics: Metrics) -> list[str]:
    """Of what the headline is, and what to expect."""
    lines = [f"The accuracy is of {metrics['overall']['of']}."]
    if "answerers" in metrics:
        found = metrics["answerers"]
        lines.append(
            f"Of {found['n']:,} rows that several people answered, {percent(found['expected_accuracy']['value'])} of "
            f"single answers agree with it; one person agrees with another in {percent(found['one_person']['value'])}."
        )
    return [*lines, sentence(metrics["leaderboard"]["text"])]


def parts(metrics: Metrics) -> list[str]:
    """The page's sections."""
    return [
        FRONT + front(metrics) + FRONT,
        baseline_chart(metrics),
        paragraphs(
            [
                "Gains are paired: both systems answer the same rows. Their intervals draw whole groups of rows that "
                "share an image or a question. The most frequent letter is that of these rows themselves.",
                *missing_baselines(metrics),
            ],
            "soft",
        ),
        heading("Measures"),
        measure_table(metrics),
        *part_tables(metrics),
        *learning_parts(metrics),
        heading("More in results/"),
        paragraphs(
            [
                "evaluation/mistakes.html: the wrong OOF answers with their pictures.",
                "answers/test_answers.html: the test answers with their pictures, the least certain first.",
                "evaluation/*.png and metrics.json: all figures and numbers.",
            ]
        ),
    ]


def sentence(text: str) -> str:
    """A text with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %"


def bounds_text(bounds: tuple[float, float] | None, scale: float = 100, digits: int = 1, sign: str = "") -> str:
    """The bounds of an interval; a dash if there is none."""
    return "–" if bounds is None else " to ".join(f"{scale * bound:{sign}z.{digits}f}" for bound in bounds)


def accuracy_text(summary: Mapping[str, Any]) -> str:
    """An accuracy with its interval."""
    return f"{percent(summary['accuracy'])} [{bounds_text(widest(summary))}]"


# --- the ensemble and what it is compared with ---


def systems(metrics: Metrics) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The ensemble and the baselines, by what they are called."""
    yield "this run", metrics["overall"]
    for one in metrics["baselines"]["each"]:
        yield f"{one['kind']} ({one['name']})", one


def baseline_table(metrics: Metrics) -> str:
    """Accuracies, and the ensemble's gains."""
    rows = []
    for name, one in systems(metrics):
        cells = [percent(one["accuracy"]), bounds_text(widest(one)), f"{one['n']:,}"]
        gain, gained = one.get("ensemble_against_it"), ""
        if gain:
            gained = f"{100 * gain['gain']:+z.1f} [{bounds_text(gain['bootstrap'], sign='+')}]"
        rows.append([Cell(name), *map(Cell, [*cells, gained])])
    chance = [percent(metrics["baselines"]["chance"]), "", f"{metrics['overall']['n']:,}", ""]
    rows.append([Cell("guessing among a row's choices"), *map(Cell, chance)])
    header = ["out of fold", "accuracy", "95 % interval", "n", "gain of this run, points"]
    return table(header, rows, "accuracy and baselines")


def missing_baselines(metrics: Metrics) -> Iterator[str]:
    """How to get the baselines that this run does not have."""
    kinds = {one["kind"] for one in metrics["baselines"]["each"]}
    if "text alone" not in kinds:
        yield "To see what the text alone gives, enable a blind view (views.blind.enabled: true)."
    if "untuned base" not in kinds:
        yield "To see what the untuned base gives, add a member with train: none."


def baseline_chart(metrics: Metrics) -> str:
    """The same as a figure."""
    spans = [
        Span(name, one["accuracy"], widest(one), accuracy_text(one), place == 0)
        for place, (name, one) in enumerate(systems(metrics))
    ]
    return intervals(spans, "Accuracy out of fold with its 95 % interval; green, dashed: this run.")


def measure_table(metrics: Metrics) -> str:
    """All measures, and what each is; the interval of accuracy is that of the headline."""
    rows = []
    for key, (name, meaning) in MEASURES.items():
        one = metrics["measures"][key]
        interval = widest(metrics["overall"]) if key == "accuracy" else one["bootstrap"]
        value = percent(one["value"]) if key in SHARES else f"{one['value']:.4f}"
        bounds = bounds_text(interval, *((100, 1) if key in SHARES else (1, 4)))
        rows.append([Cell(name), Cell(value), Cell(bounds), Cell(meaning, "text")])
    return table(["measure", "value", "95 % interval", "what it is"], rows, "measures")


# --- parts of the rows ---


def part_tables(metrics: Metrics) -> Iterator[str]:
    """Accuracy with n in each part; what has only one part is left out."""
    for key, title in PARTS.items():
        if len(metrics.get(key, {})) > 1:
            yield heading(title)
            yield part_table(metrics[key], title)
    by_level = metrics.get("answerers", {}).get("by_level", {})
    if len(by_level) > 1:
        title = "By how many people gave the most frequent answer"
        yield heading(title)
        yield part_table({level: by_level[level]["majority"] for level in in_order(set(by_level))}, title)


def part_table(found: Mapping[str, Any], label: str) -> str:
    """One line for each part."""
    rows = [
        [Cell(name), Cell(f"{one['n']:,}"), Cell(percent(one["accuracy"])), Cell(bounds_text(widest(one)))]
        for name, one in found.items()
    ]
    return table(["", "n", "accuracy", "95 % interval"], rows, label)


def learning_parts(metrics: Metrics) -> list[str]:
    """Which epoch of each training was kept."""
    if not metrics["learning"]:
        return []
    rows = [[Cell(name), *map(Cell, learning_cells(one))] for name, one in metrics["learning"].items()]
    header = ["adapter", "epochs", "kept epoch", "held-out accuracy there", "best held-out accuracy", MASS]
    return [
        heading("Trainings"),
        table(header, rows, "trainings"),
        paragraphs([sentence(metrics["checkpoint_choice"]["text"]), MASS_TEXT], "soft"),
    ]


def learning_cells(one: Mapping[str, Any]) -> list[str]:
    """How a training ended; a dash for what is not known."""
    kept, accuracies = one["kept_epoch"], (one["kept_val_accuracy"], one["best_val_accuracy"])
    mass = one.get("label_mass")
    return [
        f"{one['epochs']:.1f}",
        "–" if kept is None else f"{kept:.1f}",
        *("–" if accuracy is None else percent(accuracy) for accuracy in accuracies),
        f"{mass['base']['mean']:.3f} / {mass['adapter']['mean']:.3f}" if mass else "–",
    ]
