"""Writes the tables of docs/benchmarks/README.md and of both READMEs' "Measured" from the files of `vqaflow bench`.

    python docs/examples/benchmarks.py

A test compares the pages with the files: a table cannot say what no file says.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "docs" / "benchmarks"
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "triton")
Row = Mapping[str, Any]

# What the READMEs' rows are called, in English and Korean, by the heading above their table.
MEASURED = {
    "README.md": (
        "## Measured",
        ["s per row and choice order", "usual way", "fastest other", "vqaflow", "times as fast", "runs"],
        [
            "training, Qwen2.5-VL-7B, NF4, one order",
            "the same, four orders in one pass",
            "training, Qwen3-VL-8B, bfloat16, one order",
            "the same, four orders in one pass",
            "scoring, Qwen2.5-VL-7B, three adapters × four orders",
        ],
    ),
    "README.ko.md": (
        "## 성능 측정",
        ["행·보기 순서당 초", "흔한 방법", "가장 빠른 다른 방법", "vqaflow", "몇 배 빠른가", "실행 횟수"],
        [
            "학습, Qwen2.5-VL-7B, NF4, 순서 하나",
            "같은 학습, 한 번에 순서 네 개",
            "학습, Qwen3-VL-8B, bfloat16, 순서 하나",
            "같은 학습, 한 번에 순서 네 개",
            "채점, Qwen2.5-VL-7B, 어댑터 세 개 × 순서 네 개",
        ],
    ),
}


def main() -> None:
    """Write the page, and the table into both READMEs."""
    (FOLDER / "README.md").write_text(page(), encoding="utf-8")
    for name in MEASURED:
        file = REPOSITORY / name
        file.write_text(with_table(file.read_text(encoding="utf-8"), name), encoding="utf-8")


def page() -> str:
    """The page of all tables."""
    return "\n\n".join([HEAD, *(section(file) for file in measured_files()), pool_section(), growth_section()]) + "\n"


HEAD = """# Measured, in full

Made from the JSON files beside this page by `python docs/examples/benchmarks.py`; a test keeps both equal. Each file is
what one command wrote on the machine that it names, and that command measures it again on yours:

    vqaflow bench train --shape 7b --runs 3 --json docs/benchmarks/train.json
    vqaflow bench score --shape 7b --runs 3 --json docs/benchmarks/score.json
    vqaflow bench pool --runs 3 --json docs/benchmarks/pool.json
    vqaflow bench growth --json docs/benchmarks/growth.json

With `--runs N`, *s/row* is the median of N runs, and *least to most* says how far they lie apart. Files from before
that option are one run. Compare rows within one file only: host processors differ. What the rows mean:
[training](train.md), [scoring](score.md), [Qwen3-VL and Qwen3.5](families.md)."""


def measured_files() -> list[Path]:
    """The files of `bench train` and `bench score`: each recipe on one shape and card."""
    return [file for kind in ("train", "score") for file in sorted(FOLDER.glob(f"{kind}*.json"))]


def read(name: str) -> dict[str, Any]:
    """A benchmark's file."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def section(file: Path) -> str:
    """The tables of one file, and what they depend on."""
    found = read(file.name)
    machine = found["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in PACKAGES if machine.get(name))
    title = "Training" if file.name.startswith("train") else "Scoring"
    shape = found.get("shape", "7b")
    how = f"{machine['device']}, {machine['date']}, {versions}. {capital(found['row'])}."
    how += f" File: [{file.name}]({file.name})."
    lines = [f"## {title}, {shape}, {machine['device']}", "", wrapped(how), ""]
    if "rows" in found:
        columns = ["recipe", "vision", "orders", "batch"]
        lines += table(found["rows"], columns)
    else:
        lines += [*table(found["whole"], ["what", "batch", "calls per row"]), ""]
        lines += table(found["parts"], ["part", "batch"])
    return "\n".join(lines)


def table(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """A table of times and memory; a recipe that could not run says so."""
    lines = [markdown([*columns, "s/row", "least to most", "rows/s", "peak GiB"])]
    lines.append("|" + " --- |" * (len(columns) + 4))
    for row in rows:
        cells = [str(row[column]) for column in columns]
        if "s/row" in row:
            rate = row.get("rows/s", 1 / row["s/row"])
            cells += [figure(row["s/row"]), told_spread(row, "s/row"), figure(rate), figure(row["peak GiB"])]
        else:
            cells += ["did not run", "", "", ""]
        lines.append(markdown(cells))
    return lines


def pool_section() -> str:
    """The benchmark of pooling, in a sentence."""
    found = read("pool.json")
    runs = told_spread(found, "seconds")
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    text = (
        f"Choosing how to pool {found['members']} members with {found['views']} views and {found['folds']} folds, and "
        f"pooling them, for {found['training_rows']:,} training and {found['test_rows']:,} test rows: "
        f"{found['seconds']} s ({runs}), {found['peak_gib']} GiB, one thread. {found['machine']} with {found['cpus']} "
        f"cores, {found['date']}, {versions}. File: [pool.json](pool.json)."
    )
    return "## Pooling\n\n" + wrapped(text)


def growth_section() -> str:
    """Seconds and memory of each stage beside the model at each size of the tables."""
    found = read("growth.json")
    machine, sizes = found["machine"], sorted({row["rows"] for row in found["rows"]})
    stages = dict.fromkeys(row["stage"] for row in found["rows"])
    text = (
        "Each stage beside the model, in a made-up competition with a fifth as many test rows as training rows, and "
        "half as many images as rows. Growth is the exponent p of rows^p over the last tenfold, of processor time and "
        f"of memory: 1 is linear. Memory is that of the largest process. {machine['cpus']} cores, {machine['date']}, "
        f"Python {machine['python']}, one run. File: [growth.json](growth.json). It was made before the change that "
        "lets validate_tables type the questions of 100,000 rows in half the time (see the changelog)."
    )
    lines = ["## Growth", "", wrapped(text), ""]
    lines.append(
        markdown(
            ["stage", *(f"s at {size:,} training rows" for size in sizes), "growth", "peak GiB", "growth of memory"]
        )
    )
    lines.append("|" + " --- |" * (len(sizes) + 4))
    for stage in stages:
        by_size = {row["rows"]: row for row in found["rows"] if row["stage"] == stage}
        last = by_size[sizes[-1]]
        seconds = [figure(by_size[size]["seconds"]) for size in sizes]
        numbers = [f"{last[name]:.2f}" for name in ("growth", "peak GiB", "memory's growth")]
        lines.append(markdown([stage, *seconds, *numbers]))
    return "\n".join(lines)


def readme_table(name: str) -> str:
    """The short table of a README."""
    _, columns, labels = MEASURED[name]
    lines = [markdown(columns), "|" + " --- |" * len(columns)]
    lines += [markdown([label, *cells]) for label, cells in zip(labels, readme_cells(), strict=True)]
    return "\n".join(lines)


def readme_cells() -> list[list[str]]:
    """The figures of the READMEs' rows: seconds by the usual way, the fastest other one and ours, and the ratio.

    Of ours, a step counts that takes no more memory than Unsloth's, as in `vqaflow bench train`'s summary.
    """
    cells = []
    for file, usual in (("train.json", "usual recipe"), ("train-qwen3-vl-8b-h100.json", "Transformers + PEFT")):
        rows = [row for row in read(file)["rows"] if "s/row" in row]
        others = [row for row in rows if not row["recipe"].startswith("ours")]
        first = next(row for row in others if row["recipe"].startswith(usual))
        fastest = min(others, key=lambda row: row["s/row"])
        for orders in (1, 4):
            ours = [row for row in rows if row["recipe"].startswith("ours") and row["orders"] == orders]
            alike = [row for row in ours if row["batch"] == first["batch"] and row["peak GiB"] <= fastest["peak GiB"]]
            best = min(alike, key=lambda row: row["s/row"])
            cells.append(compared(first, fastest, best, best["s/row"] / orders))
    whole, calls = read("score.json")["whole"], read("score.json")["adapters"] * read("score.json")["orders"]
    others = [row for row in whole if not row["what"].startswith("ours")]
    best = min((row for row in whole if row not in others), key=lambda row: row["s/row"])
    scaled = [{**row, "s/row": row["s/row"] / calls} for row in (others[0], min(others, key=lambda r: r["s/row"]))]
    return [*cells, compared(*scaled, best, best["s/row"] / calls)]


def compared(usual: Row, fastest: Row, best: Row, seconds: float) -> list[str]:
    """The cells of one row; the fastest other one with its name."""
    name = re.split("[,:]", fastest.get("recipe", fastest.get("what", "")))[0]
    version = f" {fastest['version']}" if "version" in fastest else ""
    named = f"{figure(fastest['s/row'])} ({name}{version})"
    runs = best.get("spread", {"runs": 1})["runs"]
    return [figure(usual["s/row"]), named, figure(seconds), f"{fastest['s/row'] / seconds:.1f}", str(runs)]


def with_table(text: str, name: str) -> str:
    """A README's text with the table under its heading replaced."""
    heading = MEASURED[name][0]
    before, found, after = text.partition(heading + "\n")
    assert found, f"{name} has no section {heading!r}"
    return before + found + re.sub(r"(?m)(^\|.*\n)+", lambda _: readme_table(name) + "\n", after, count=1)


def told_spread(row: Row, name: str) -> str:
    """How far the runs of a row lie apart."""
    if "spread" not in row:
        return "one run"
    spread = row["spread"]
    return f"{figure(spread[name]['min'])} to {figure(spread[name]['max'])}, {spread['runs']} runs"


def figure(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def markdown(cells: Sequence[str]) -> str:
    """A table's row."""
    return "| " + " | ".join(cells) + " |"


def capital(text: str) -> str:
    """A sentence's beginning."""
    return text[:1].upper() + text[1:]


def wrapped(text: str) -> str:
    """Lines of at most 120 signs, at spaces."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > 120:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


if __name__ == "__main__":
    main()
