"""`vqaflow bench growth`: seconds and memory of each stage beside the model, as tables grow.

Every size gets a made-up competition: half as many images as training rows, a fifth as many test rows, and one member
whose probabilities someone else has made, so that no stage needs a model. Each stage is a process of its own, as under
Snakemake. What a stage takes is compared with the size before it: "growth" is the exponent p of rows^p, 1 is linear.
Memory is that of the stage's own process or of the largest that it starts.

Shapes: N rows, C choices.
"""

import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.bench.tools import machine, table, write_results
from vqaflow.config.loading import shipped
from vqaflow.runtime.files import write_json
from vqaflow.runtime.output_records import record_outputs
from vqaflow.runtime.process_start import package_environment

LETTERS = ALL_LETTERS[:4]
ROWS_PER_IMAGE, ROWS_PER_TEST_ROW, SIDE = 2, 5, 48
THINGS = ("고양이", "자동차", "병", "나무", "책", "컵", "의자", "꽃")
QUESTIONS = (
    "{n}번 사진에 보이는 {thing}의 색은 무엇인가요?",
    "사진 {n}에서 {thing}은 몇 개인가요?",
    "{thing} 위에 적힌 글자는 무엇입니까? ({n})",
    "What is to the left of the {thing} in picture {n}?",
    "{n}번 그림에 {thing}이 있나요?",
)
LINEAR = 1.1  # an exponent up to this counts as linear: caches get smaller beside the data
COLUMNS = ["stage", "rows", "seconds", "CPU seconds", "growth", "peak GiB", "memory's growth"]


def write_competition(folder: Path, rows: int) -> None:
    """A folder with tables of `rows` training rows, images, foreign probabilities and a configuration."""
    rng = np.random.default_rng(rows)
    images = folder / "images"
    images.mkdir(parents=True)
    counts = {"train": rows, "test": max(1, rows // ROWS_PER_TEST_ROW)}
    for split, count in counts.items():
        for number in range(-(-count // ROWS_PER_IMAGE)):
            pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((SIDE, SIDE)).save(images / f"{split}_{number}.jpg")
        answers_N = rng.integers(0, len(LETTERS), count)
        logits_NC = rng.standard_normal((count, len(LETTERS)))
        logits_NC[np.arange(count), answers_N] += 2
        p_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
        ids = [f"{split}_{number:07d}" for number in range(count)]
        letters = [LETTERS[answer] for answer in answers_N]
        write_csv(folder / f"{split}.csv", [made_row(split, i, ids[i], letters[i]) for i in range(count)])
        columns = [f"p_{letter}" for letter in LETTERS]
        made = [{"id": i} | dict(zip(columns, p.tolist(), strict=True)) for i, p in zip(ids, p_NC, strict=True)]
        write_csv(folder / f"given_{split}.csv", made)
    write_csv(folder / "sample.csv", [{"id": f"test_{number:07d}", "answer": "a"} for number in range(counts["test"])])
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration()), encoding="utf-8")


def made_row(split: str, number: int, row_id: str, answer: str) -> dict[str, str]:
    """A row of a raw table."""
    thing = THINGS[number % len(THINGS)]
    question = QUESTIONS[number % len(QUESTIONS)].format(n=number, thing=thing)
    row = {"id": row_id, "path": f"images/{split}_{number // ROWS_PER_IMAGE}.jpg", "question": question}
    row |= {letter: f"{THINGS[(number + place) % len(THINGS)]} {place}" for place, letter in enumerate(LETTERS)}
    return row | ({"answer": answer} if split == "train" else {})


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def configuration() -> dict[str, Any]:
    """What differs from the demo's configuration."""
    files = {"train_csv": "train.csv", "test_csv": "test.csv", "sample_submission": "sample.csv", "image_root": "."}
    given = {"probabilities": {"oof": "given_train.csv", "test": "given_test.csv"}}
    base = {"base": str(base_folder()), "allow_demo_base": True}
    return {"data": files, "model": base, "members": {"main": None, "given": given}}


def base_folder() -> Path:
    """The demo's base, whose processor encodes."""
    return Path(shipped("assets/tiny-qwen2_5-vl")).resolve()


def stages() -> Iterator[tuple[str, list[str], list[str]]]:
    """Each stage: its name, its command, and what of the results folder it writes."""
    tables = [f"tables/{name}" for name in ("train.parquet", "test.parquet", "problems.csv", "labels.json")]
    yield "validate_tables", ["validate_tables"], tables
    yield "make_folds", ["make_folds"], ["folds.parquet", "folds.report.json"]
    yield "explore_data", ["explore_data"], ["eda"]
    yield "encoding", ["encode", "results/tables/train.parquet", str(base_folder())], []
    yield "pool_member", ["pool_member", "--member", "given"], ["members/given"]
    yield "ensemble_probabilities", ["ensemble_probabilities"], ["ensemble"]
    yield "evaluate_oof", ["evaluate_oof"], ["evaluation"]
    yield "write_submission", ["write_submission"], ["submission.csv"]
    yield "show_answers", ["show_answers"], ["answers"]
    check = ["validate_submission", "results/submission.csv", "--sample", "sample.csv"]
    check += ["--test", "results/tables/test.parquet", "--metrics", "results/evaluation/metrics.json"]
    yield "validate_submission", [*check, "--out", "results/submission.validated.json"], ["submission.validated.json"]
    yield "verify", ["verify", "results", "--sample", "sample.csv"], []


def measure_stages(folder: Path, rows: int, upto: str | None = None) -> Iterator[dict[str, Any]]:
    """Run the stages, all or up to `upto`, in a competition of `rows`; yields what each took."""
    environment = package_environment() | {"OMP_NUM_THREADS": "1"}
    out, results = folder / "took.json", folder / "results"
    for name, command, outputs in stages():
        step = [sys.executable, "-m", "vqaflow.bench.growth_step", str(out), *command]
        out.unlink(missing_ok=True)
        done = subprocess.run(step, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} at {rows} rows ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        record_outputs(results / "logs" / f"{name}.log", [results / path for path in outputs])
        yield {"stage": name, "rows": rows} | json.loads(out.read_text(encoding="utf-8"))
        if name == upto:
            return


def add_growth(rows: list[dict[str, Any]]) -> None:
    """Add to each row the exponents between the next smaller number of rows and its own."""
    for row in rows:
        smaller = [other for other in rows if other["stage"] == row["stage"] and other["rows"] < row["rows"]]
        if smaller:
            other = max(smaller, key=lambda one: one["rows"])
            for what, title in (("CPU seconds", "growth"), ("peak GiB", "memory's growth")):
                row[title] = math.log(row[what] / other[what]) / math.log(row["rows"] / other["rows"])


def bench_growth(sizes: Sequence[int], out: Path | None, upto: str | None = None) -> None:
    """Measure each size, print the table, and write all figures to `out` after each size."""
    rows: list[dict[str, Any]] = []
    for size in sorted(sizes):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "competition"
            write_competition(folder, size)
            for row in measure_stages(folder, size, upto):
                rows.append(row)
                print(table([row], COLUMNS).splitlines()[-1], flush=True)
        add_growth(rows)
        about = {"machine": machine(torch.device("cpu")) | {"cpus": os.cpu_count()}, "rows": rows}
        if out is not None:
            write_json(out, about)
    steep = [row for row in rows if row.get("growth", 0) > LINEAR]
    print("\n" + table(rows, COLUMNS) + "\n")
    print("above linear: " + (", ".join(f"{row['stage']} at {row['rows']} rows" for row in steep) or "nothing"))
    write_results(out, about)
