"""The figures of explore_data: one function per PNG, drawn from the tables and the numbers of summary.json."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from vqaflow.artifacts.columns import QTYPES, letters_in
from vqaflow.data.exploration.agreement import draw_agreement
from vqaflow.data.folds.balance import TOLERANCE
from vqaflow.data.images.decoding import open_image
from vqaflow.reporting.figures import MUTED, PALETTE, drawable, heatmap, label_axes, new_figure, save
from vqaflow.runtime.errors import UserError

SPLIT_COLORS = {"train": PALETTE[0], "test": PALETTE[1]}
MAX_BITS = 24  # the largest distance between images that is shown; unlike images differ in about 32 bits
Tables = Mapping[str, pd.DataFrame]
Summary = Mapping[str, Any]


def draw_all(tables: Tables, summary: Summary, folder: Path) -> None:
    """Write all figures into `folder`."""
    draw_types(summary, folder / "types.png")
    draw_answers(summary, folder / "answers.png")
    draw_lengths(tables, folder / "lengths.png")
    draw_image_sizes(tables, summary, folder / "image_sizes.png")
    draw_visual_tokens(tables, summary, folder / "visual_tokens.png")
    draw_duplicates(summary, folder / "duplicates.png")
    draw_folds(summary, folder / "folds.png")
    draw_choices(tables["train"], summary, folder / "choices.png")
    draw_examples(tables["train"], folder / "examples.png")
    if "agreement" in summary:
        draw_agreement(summary, folder / "agreement.png")


def draw_types(summary: Summary, path: Path) -> None:
    """Share of each question type, training beside test rows."""
    figure, axes = new_figure("Question types", size=(7.5, 4.2))
    for place, (name, color) in enumerate(SPLIT_COLORS.items()):
        found = summary["types"][name]
        total = summary["rows"][name]
        at = np.arange(len(QTYPES)) + 0.4 * (place - 0.5)
        values = [found[qtype] / total for qtype in QTYPES]
        unsafe = 100 * summary["flip_unsafe"][name] / total
        axes.barh(at, values, height=0.38, color=color, label=f"{name}: {total:,} rows, {unsafe:.0f} % flip-unsafe")
        for y, value, qtype in zip(at, values, QTYPES, strict=True):
            axes.text(value, y, f" {found[qtype]:,}", va="center", size=8)
    axes.set_yticks(range(len(QTYPES)), QTYPES)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.1)
    axes.legend()
    label_axes(axes, "share of the table's rows (number: rows)", "")
    save(figure, path)


def draw_answers(summary: Summary, path: Path) -> None:
    """Answer letters by question type: an uneven row lets a model guess without looking at the image."""
    rows = {name: np.array(list(found.values())) for name, found in summary["answers"].items() if sum(found.values())}
    numbers = np.stack(list(rows.values()))
    parts = numbers / numbers.sum(1, keepdims=True)
    texts = [
        [f"{n:,} ({100 * p:.0f} %)" for n, p in zip(*pair, strict=True)] for pair in zip(numbers, parts, strict=True)
    ]
    figure, axes = new_figure(
        "Answers by question type (training rows)", size=(2.5 + numbers.shape[1], 1.4 + 0.42 * len(rows))
    )
    heatmap(axes, parts, list(rows), list(summary["answers"]["all"]), texts, top=max(0.5, parts.max()))
    axes.set_aspect("auto")
    label_axes(axes, "right letter", "")
    save(figure, path)


def draw_lengths(tables: Tables, path: Path) -> None:
    """Lengths of questions and choices in characters."""
    figure, (left, right) = new_figure("Lengths of the texts", 1, 2, (9, 3.8))
    questions = {name: table["question_length"] for name, table in tables.items()}
    choices = {
        name: pd.concat([table[x].str.len() for x in letters_in(table)]).dropna() for name, table in tables.items()
    }
    for axes, values, title in ((left, questions, "question"), (right, choices, "each choice")):
        draw_histogram(axes, values, bins_of(values))
        label_axes(axes, "characters", "share of texts", title)
    left.legend()
    save(figure, path)


def bins_of(values: Mapping[str, pd.Series], count: int = 40) -> np.ndarray:
    """Whole-numbered edges of up to `count` bins over all values."""
    low, high = int(min(v.min() for v in values.values())), int(max(v.max() for v in values.values()))
    step = max(1, -(-(high + 1 - low) // count))
    return np.arange(low, high + step + 1, step) - 0.5


def draw_histogram(axes: Any, values: Mapping[str, pd.Series], bins: np.ndarray) -> None:
    """Histograms of shares, training filled, test as a line, with the medians."""
    for name, numbers in values.items():
        weights = np.full(len(numbers), 1 / max(len(numbers), 1))
        style = {"histtype": "stepfilled", "alpha": 0.35} if name == "train" else {"histtype": "step", "linewidth": 1.5}
        label = f"{name}: median {numbers.median():.0f}"
        axes.hist(numbers, bins, weights=weights, color=SPLIT_COLORS[name], label=label, **style)


def draw_image_sizes(tables: Tables, summary: Summary, path: Path) -> None:
    """Widths and heights, with the areas between which an image keeps its size."""
    figure, axes = new_figure("Image sizes", size=(6.5, 5.4))
    sizes = {name: table.loc[table["width"] > 0, ["width", "height"]] for name, table in tables.items()}
    for name, table in sizes.items():
        found = table.value_counts().reset_index(name="rows")
        areas = 8 + 120 * np.sqrt(found["rows"] / found["rows"].max()) * (len(found) < 50)
        label = f"{name}: median {table['width'].median():.0f} x {table['height'].median():.0f}"
        color = SPLIT_COLORS[name]
        axes.scatter(found["width"], found["height"], s=areas, color=color, alpha=0.4, linewidth=0, label=label)
    limits = {name: summary["visual_tokens"][name] for name in ("min_pixels", "max_pixels")}
    every = pd.concat(sizes.values()).to_numpy(dtype=float)
    sides = [*every.ravel(), *np.sqrt(list(limits.values()))]  # the limits' squares should be visible too
    ends = min(sides) / 1.3, max(sides) * 1.3
    widths = np.geomspace(*ends, 100)
    for (name, pixels), style in zip(limits.items(), (":", "--"), strict=True):
        axes.plot(widths, pixels / widths, style, color="black", linewidth=1, label=f"{name} {pixels:,}")
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:.0f}")
        axis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=8)
    label_axes(axes, "width in pixels", "height in pixels")
    save(figure, path)


def draw_visual_tokens(tables: Tables, summary: Summary, path: Path) -> None:
    """What an image costs under the configured pixels."""
    found = summary["visual_tokens"]
    figure, axes = new_figure("Visual tokens per image", size=(7.5, 4.6))
    values = {name: table.loc[table["tokens"] > 0, "tokens"] for name, table in tables.items()}
    side = found["token_pixels"]
    ends = pd.Series([found[name] // side**2 for name in ("min_pixels", "max_pixels")])
    draw_histogram(axes, values, bins_of(values | {"limits": ends}))
    for name, style, tokens in zip(("min_pixels", "max_pixels"), (":", "--"), ends, strict=True):
        axes.axvline(tokens, linestyle=style, color="black", linewidth=1, label=f"{name} {found[name]:,}: {tokens:,}")
    lines = [
        f"{name}: mean {found[name]['mean']:,.0f} per row, {found[name]['total']:,} in total; "
        f"{found[name]['rows_enlarged']:,} rows enlarged, {found[name]['rows_shrunk']:,} shrunk"
        for name in tables
    ]
    lines += [
        f"view {drawable(view)}: mean " + ", ".join(f"{name} {part['mean']:,.0f}" for name, part in tables_of.items())
        for view, tables_of in found.get("views", {}).items()
    ]
    axes.legend(fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_axes(axes, f"visual tokens ({side} x {side} pixels each)", "share of rows", "\n".join(lines))
    save(figure, path)


def draw_duplicates(summary: Summary, path: Path) -> None:
    """How many rows repeat an image or a question, and how near images are to training images."""
    found = summary["duplicates"]
    figure, (left, right) = new_figure("Repeated rows and images that look alike", 1, 2, (9, 3.8))
    bars = {
        "train: image repeated": found["train"]["rows_of_repeated_images"],
        "train: question and\nchoices repeated": found["train"]["rows_of_repeated_questions"],
        "test: image repeated": found["test"]["rows_of_repeated_images"],
        "test: question and\nchoices repeated": found["test"]["rows_of_repeated_questions"],
        "test: image is a\ntraining image": found["test_rows_of_training_images"],
    }
    colors = [SPLIT_COLORS[name.split(":")[0]] for name in bars]
    left.barh(list(bars), list(bars.values()), color=colors)
    for place, value in enumerate(bars.values()):
        left.text(value, place, f" {value:,}", va="center", size=8)
    left.invert_yaxis()
    left.margins(x=0.15)
    left.tick_params(labelsize=8)
    label_axes(left, "rows", "")
    for name, color in SPLIT_COLORS.items():
        bits = np.array(found[name]["nearest_image_bits"], dtype=float)
        total = np.cumsum(bits)[: MAX_BITS + 1]
        right.step(range(len(total)), total / max(bits.sum(), 1), where="post", color=color, label=f"{name} images")
    right.set(ylim=(0, 1.02))
    right.legend(fontsize=8)
    label_axes(right, "bits to the nearest other training image", "share of images within")
    save(figure, path)


def draw_folds(summary: Summary, path: Path) -> None:
    """Shares of types and answers in each fold, against those of all rows and the tolerance (a band)."""
    folds = summary["folds"]
    entries = {f"{value}": entry for column in ("qtype", "answer") for value, entry in folds[column].items()}
    figure, axes = new_figure("Fold balance", size=(7.5, 1.6 + 0.33 * len(entries)))
    for place, entry in enumerate(entries.values()):
        axes.plot(2 * [100 * entry["whole"]], [place - 0.35, place + 0.35], color="black", linewidth=1.2)
        band = 100 * (entry["whole"] - TOLERANCE), 200 * TOLERANCE
        axes.broken_barh([band], (place - 0.35, 0.7), color="#E3E6EA")
    for fold, rows in enumerate(folds["rows"]):
        at = np.arange(len(entries)) + 0.5 * ((fold + 0.5) / len(folds["rows"]) - 0.5)
        label = f"fold {fold}: {rows:,} rows, {folds['groups'][fold]:,} groups"
        values = [100 * entry["folds"][fold] for entry in entries.values()]
        axes.plot(values, at, "o", markersize=5, color=PALETTE[fold % len(PALETTE)], label=label)
    axes.set_yticks(range(len(entries)), list(entries))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    label_axes(axes, f"% of the fold's rows (line: of all rows, band: ±{100 * TOLERANCE:.0f} points)", "")
    save(figure, path)


def chance(train: pd.DataFrame) -> float:
    """How often a choice is right by chance, over all choices that the rows have."""
    return len(train) / int(train[list(letters_in(train))].notna().to_numpy().sum())


def draw_choices(train: pd.DataFrame, summary: Summary, path: Path) -> None:
    """The most frequent choice texts and how often they are right, with intervals."""
    entries = summary["choices"]
    figure, axes = new_figure("Frequent choices: how often right?", size=(7.5, 1.4 + 0.28 * len(entries)))
    for place, entry in enumerate(entries):
        low, high = entry["wilson"]
        axes.plot([low, high], [place, place], color=PALETTE[0], linewidth=2)
        axes.plot(entry["share"], place, "o", color=PALETTE[0], markersize=5)
        axes.text(1.02, place, f"n={entry['n']:,}", va="center", size=8, transform=axes.get_yaxis_transform())
    axes.axvline(chance(train), color=MUTED, linewidth=1)
    axes.set_yticks(range(len(entries)), [shorten(entry["text"], 24) for entry in entries], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(axis="y", visible=False)
    label_axes(axes, "share of its rows in which the choice is right (95 % interval; grey: chance)", "")
    save(figure, path)


def shorten(text: str, width: int) -> str:
    """One line of at most `width` characters that can be drawn."""
    line = drawable(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def draw_examples(train: pd.DataFrame, path: Path) -> None:
    """The first row of each question type: picture, question, choices, the right one marked."""
    rows = train.drop_duplicates("qtype").sort_values("qtype", key=lambda types: types.map(QTYPES.index))
    lines = -(-len(rows) // 4)
    ratios = [3, 2] * lines
    figure, panels = new_figure("One training row of each type", 2 * lines, 4, (11, 4.5 * lines), height_ratios=ratios)
    for axes in panels.flat:
        axes.axis("off")
    letters = letters_in(train)
    pictures, texts = panels[::2].flat, panels[1::2].flat
    for picture, text, row in zip(pictures, texts, rows.to_dict("records"), strict=False):
        show_image(picture, row["image_file"])
        picture.set_title(row["qtype"] + (", flip-unsafe" if row["flip_unsafe"] else ""))
        read = [*wrap(shorten(row["question"], 90), 24), ""]
        shown = [letter for letter in letters if isinstance(row[letter], str)]
        read += [f"{letter}. {shorten(row[letter], 22)}" + " ✓" * (row["answer"] == letter) for letter in shown]
        text.text(0.02, 1, "\n".join(read), va="top", size=8.5, parse_math=False)
    save(figure, path)


def show_image(axes: Any, file: str) -> None:
    """Draw an image file, or write that it can no longer be read."""
    try:
        image = open_image(file)
    except UserError:
        axes.text(0.5, 0.5, "image not readable", ha="center", color=MUTED)
        return
    image.thumbnail((400, 400))
    axes.imshow(image)
