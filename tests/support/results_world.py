"""A small results folder with scores of known quality, for everything that comes after scoring."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import save_file

from vqaflow.artifacts.columns import LETTERS
from vqaflow.model.encoding.orders import cyclic_shifts, inverse
from vqaflow.runtime.digests import value_digest

ENSEMBLE = {
    "recipe": "auto",
    "order_pooling": "geometric",
    "pooling": "mean",
    "calibration": "temperature",
    "seed": 42,
}
QTYPES = ("counting", "color", "ocr", "general")
CYCLIC = cyclic_shifts("abcd")
LOGITS = [f"logit_{letter}" for letter in LETTERS]


def make_table(split: str, rows: int, folder: Path, seed: int = 0) -> pd.DataFrame:
    """A table in the shape of results/tables, with one small picture a four rows."""
    rng = np.random.default_rng([seed, split == "train"])
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images = []
    for number in range((rows + 3) // 4):
        path = folder / "images" / f"{split}_{number}.png"
        Image.new("RGB", (48, 32), tuple(int(x) for x in rng.integers(0, 255, 3))).save(path)
        images.append(str(path))
    table = pd.DataFrame({"id": [f"{split}_{i:04d}" for i in range(rows)]})
    table["path"] = [f"images/{Path(images[i // 4]).name}" for i in range(rows)]
    table["image_file"] = [images[i // 4] for i in range(rows)]
    table["question"] = [f"그림 {i}에서 무엇이 보이나요?" for i in range(rows)]
    for letter in LETTERS:
        table[letter] = [f"선택지 {letter}{i}" for i in range(rows)]
    if split == "train":
        table["answer"] = [LETTERS[i] for i in rng.integers(0, 4, rows)]
    table["sha256"] = [f"{'a' if split == 'train' else 'b'}{i // 4:063x}" for i in range(rows)]
    table["phash"] = "0" * 16
    table["width"], table["height"] = 48, 32
    table["qtype"] = [QTYPES[i % len(QTYPES)] for i in range(rows)]
    table["flip_unsafe"] = [i % 5 == 0 for i in range(rows)]
    table["usable"] = True
    return table


def make_logits(
    answers: np.ndarray, strength: float, rng: np.random.Generator, prior: Sequence[float] = (0, 0, 0, 0), orders=CYCLIC
) -> np.ndarray:
    """Logits (N, K, 4) in original letters: noise, `strength` for the right choice, and a prior of the position."""
    content_NC = rng.normal(size=(len(answers), 4))
    content_NC[np.arange(len(answers)), answers] += strength
    places_KC = np.array([inverse(order) for order in orders])
    noise_NKC = 0.1 * rng.normal(size=(len(answers), len(orders), 4))
    return content_NC[:, None] + np.asarray(prior, float)[places_KC] + noise_NKC


def write_scores(path: Path, ids: Sequence[str], logits_NKC: np.ndarray, orders: Sequence[str] = tuple(CYCLIC)) -> Path:
    """One score file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"id": np.repeat(np.array(ids, dtype=object), len(orders)), "order": list(orders) * len(ids)})
    frame[LOGITS] = logits_NKC.reshape(-1, 4).astype(np.float32)
    frame.to_parquet(path, index=False)
    return path


def make_results(
    folder: Path,
    *,
    train_rows: int = 120,
    test_rows: int = 40,
    folds: int = 3,
    strength: Mapping[str, float] | None = None,
    seed: int = 0,
    unusable: int = 0,
    prior: Sequence[float] = (0.5, 0.0, 0.0, -0.5),
    orders: Sequence[str] = tuple(CYCLIC),
) -> Path:
    """Tables, folds, scores and adapters' logs; `strength` gives for each view how well it knows the answer.

    The view hflip leaves out the rows that are flip_unsafe.
    """
    strength = strength or {"original": 2.0, "hflip": 1.5}
    rng = np.random.default_rng(seed)
    train, test = make_table("train", train_rows, folder, seed), make_table("test", test_rows, folder, seed)
    test.loc[test.index[:unusable], "usable"] = False
    truth = pd.Series(rng.integers(0, 4, test_rows), index=test["id"])
    (folder / "tables").mkdir(exist_ok=True)
    train.to_parquet(folder / "tables" / "train.parquet", index=False)
    test.to_parquet(folder / "tables" / "test.parquet", index=False)
    groups = np.arange(train_rows) // 4
    assigned = pd.DataFrame({"id": train["id"], "fold": groups % folds, "group": groups})
    assigned.to_parquet(folder / "folds.parquet", index=False)
    answers = train["answer"].map(LETTERS.index).to_numpy()
    for fold in range(folds):
        write_adapter(folder / "adapters" / f"fold{fold}", fold, assigned)
        mine = (assigned["fold"] == fold).to_numpy()
        for view, power in strength.items():
            for split, table, right in (("oof", train[mine], answers[mine]), ("test", test, truth.to_numpy())):
                keep = (table["usable"] & ~((view == "hflip") & table["flip_unsafe"])).to_numpy()
                logits = make_logits(right[keep], power, rng, prior, orders)
                path = folder / "scores" / split / f"fold{fold}" / f"{view}.parquet"
                write_scores(path, list(table["id"][keep]), logits, orders)
    sample = "id,answer\n" + "".join(f"{i},\n" for i in test["id"])
    (folder / "sample_submission.csv").write_text(sample, encoding="utf-8")
    return folder


def write_adapter(folder: Path, fold: int, assigned: pd.DataFrame) -> None:
    """An adapter's folder as train_adapter leaves it, its weights those of one small linear."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["step,epoch,loss,accuracy,learning_rate,val_accuracy"]
    for step in (5, 10):
        lines.append(
            f"{step},{step / 5},{1.4 / step:.4f},{0.4 + 0.05 * step:.3f},0.001,{0.4 + 0.04 * step + 0.01 * fold}"
        )
    (folder / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    held_out = sorted(assigned.loc[assigned["fold"] == fold, "id"])
    run = {
        "parity": {
            "base": "tiny",
            "min_pixels": 12544,
            "max_pixels": 50176,
            "prompt": "x",
            "letter_tokens": [1, 2, 3, 4],
        },
        "versions": {"torch": "2.11.0"},
        "train": {"learning_rate": 0.002, "lora": {"r": 2}},
        "model": {"base": "tiny"},
        "rows": len(assigned) - len(held_out),
        "validation_rows": len(held_out),
        "held_out": value_digest(held_out),
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    pair = {f"{name}.lora_A.weight": np.ones((2, 8), np.float32), f"{name}.lora_B.weight": np.ones((8, 2), np.float32)}
    save_file(pair, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    Image.new("RGB", (90, 60)).save(folder / "curve.png")


def ensemble(folder: Path, **settings: object) -> dict:
    """Run ensemble_probabilities on a results folder; returns its recipe.json."""
    from vqaflow.ensemble.ensemble_probabilities import ensemble_probabilities

    ensemble_probabilities(
        scores=sorted(folder.glob("scores/*/fold*/*.parquet")),
        train=folder / "tables" / "train.parquet",
        test=folder / "tables" / "test.parquet",
        folds=folder / "folds.parquet",
        ensemble=ENSEMBLE | settings,
        oof_out=folder / "ensemble" / "oof.parquet",
        test_out=folder / "ensemble" / "test.parquet",
        recipe_out=folder / "ensemble" / "recipe.json",
    )
    return json.loads((folder / "ensemble" / "recipe.json").read_text(encoding="utf-8"))


def evaluate(folder: Path) -> dict:
    """Run evaluate_oof on a results folder with an ensemble; returns its metrics.json."""
    from vqaflow.evaluation.evaluate_oof import evaluate_oof

    evaluate_oof(
        oof=folder / "ensemble" / "oof.parquet",
        test=folder / "ensemble" / "test.parquet",
        scores=sorted(folder.glob("scores/*/fold*/*.parquet")),
        train_table=folder / "tables" / "train.parquet",
        test_table=folder / "tables" / "test.parquet",
        folds=folder / "folds.parquet",
        recipe=folder / "ensemble" / "recipe.json",
        adapters=sorted(folder.glob("adapters/fold*")),
        out_dir=folder / "evaluation",
    )
    return json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))


def submit(folder: Path) -> dict:
    """Write and validate the submission of an evaluated results folder."""
    from vqaflow.ensemble.submission.validate_submission import validate_submission
    from vqaflow.ensemble.submission.write_submission import write_submission

    sample, submission = folder / "sample_submission.csv", folder / "submission.csv"
    write_submission(test=folder / "ensemble" / "test.parquet", sample_submission=sample, out=submission)
    return validate_submission(
        submission=submission,
        sample_submission=sample,
        test_table=folder / "tables" / "test.parquet",
        metrics=folder / "evaluation" / "metrics.json",
        out=folder / "submission.validated.json",
    )


def make_whole_run(folder: Path, **options: object) -> Path:
    """A results folder with every artifact that a finished run leaves."""
    make_results(folder, **options)
    (folder / "tables" / "problems.csv").write_text("file,row\n", encoding="utf-8")
    report = {"n": 3, "group_by": ["image", "question"]}
    (folder / "folds.report.json").write_text(json.dumps(report), encoding="utf-8")
    (folder / "eda").mkdir()
    (folder / "eda" / "summary.json").write_text("{}", encoding="utf-8")
    Image.new("RGB", (90, 60)).save(folder / "eda" / "types.png")
    ensemble(folder)
    evaluate(folder)
    submit(folder)
    return folder
