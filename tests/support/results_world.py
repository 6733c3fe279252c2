"""A small results folder with scores of known quality, for everything that comes after scoring."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import save_file

from vqaflow.artifacts import score_files
from vqaflow.artifacts.adapter_files import adapter_digest, write_run
from vqaflow.artifacts.choices import own_letters
from vqaflow.artifacts.columns import ALL_LETTERS, letters_in, probability_columns
from vqaflow.artifacts.parts import fold_of, seed_of
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.rows import all_asked, contents, rows_of
from vqaflow.config.members import FOREIGN, TUNED, UNTUNED, Member
from vqaflow.data.folds.seen_images import seen_images
from vqaflow.model.encoding.orders import cyclic_shifts, inverse, own_order, places_of
from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.output_records import record_outputs

ENSEMBLE = {
    "recipe": "auto",
    "pooling": "mean",
    "calibration": "temperature",
    "seed": 42,
}
QTYPES = ("counting", "color", "ocr", "general")
CYCLIC = cyclic_shifts("abcd")
STRENGTH = {"original": 2.0, "hflip": 1.5}  # by view, how well a member knows the answer


def make_table(
    split: str, rows: int, folder: Path, seed: int = 0, choices: int = 4, lacking: bool = False
) -> pd.DataFrame:
    """A table in the shape of results/tables, with one small picture a four rows.

    If `lacking`, every third row lacks the choice after its answer (in the test table, after the row's number).
    """
    letters = ALL_LETTERS[:choices]
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
    for letter in letters:
        table[letter] = [f"선택지 {letter}{i}" for i in range(rows)]
    if split == "train":
        table["answer"] = [letters[i] for i in rng.integers(0, choices, rows)]
        table["source"] = split
    for i in range(0, rows if lacking else 0, 3):
        answer = letters.index(table["answer"][i]) if split == "train" else i
        table.loc[i, letters[(answer + 1) % choices]] = None
    table["sha256"] = [file_digest(file) for file in table["image_file"]]
    table["pixels"] = table["sha256"]
    table["phash"] = "0" * 16
    table["width"], table["height"] = 48, 32
    table["qtype"] = [QTYPES[i % len(QTYPES)] for i in range(rows)]
    table["flip_unsafe"] = [i % 5 == 0 for i in range(rows)]
    table["usable"] = True
    return table


def make_logits(
    answers: np.ndarray,
    strength: float,
    rng: np.random.Generator,
    prior: Sequence[float] = (0, 0, 0, 0),
    orders=CYCLIC,
    table: pd.DataFrame | None = None,
) -> np.ndarray:
    """Logits (N, K, C) in original letters: noise, `strength` for the right choice, and a prior of the position.

    `table` says which choices the rows have; the logits of the others are -inf.
    """
    letters = ALL_LETTERS[: len(orders[0])]
    content_NC = rng.normal(size=(len(answers), len(letters)))
    content_NC[np.arange(len(answers)), answers] += strength
    noise_NKC = 0.1 * rng.normal(size=(len(answers), len(orders), len(letters)))
    if table is None or table[list(letters)].notna().all(axis=None):
        return content_NC[:, None] + np.asarray(prior, float)[np.array([inverse(o) for o in orders])] + noise_NKC
    there = own_letters(table)
    places_NKC = np.array([[places_of(own_order(order, own), letters) for order in orders] for own in there])
    logits_NKC = content_NC[:, None] + np.asarray(prior, float)[places_NKC] + noise_NKC
    return np.where(places_NKC < 0, -np.inf, logits_NKC)


def write_scores(
    path: Path,
    ids: Sequence[str],
    logits_NKC: np.ndarray,
    orders: Sequence[str] = tuple(CYCLIC),
    about: Mapping[str, str | None] | None = None,
) -> Path:
    """One score file; `about` is what its metadata say of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    score_files.write_scores(score_files.scores_frame(list(ids), list(orders), logits_NKC), about or {}, path)
    return path


def make_results(
    folder: Path,
    *,
    train_rows: int = 120,
    test_rows: int = 40,
    folds: int = 3,
    strength: Mapping[str, float] | None = None,
    members: Mapping[str, Member] | None = None,
    seed: int = 0,
    unusable: int = 0,
    prior: Sequence[float] = (0.5, 0.0, 0.0, -0.5),
    orders: Sequence[str] = tuple(CYCLIC),
    lacking: bool = False,
) -> Path:
    """Tables, folds, scores and adapters' logs of `members` (see `member`; by default one that is tuned, main).

    `strength` is that of the default member. The tables have the choices of `orders`.
    The view hflip leaves out the rows that are flip_unsafe.
    """
    rng = np.random.default_rng(seed)
    choices = len(orders[0])
    train = make_table("train", train_rows, folder, seed, choices, lacking)
    test = make_table("test", test_rows, folder, seed, choices, lacking)
    test.loc[test.index[:unusable], "usable"] = False
    truth = pd.Series(rng.integers(0, choices, test_rows), index=test["id"])
    (folder / "tables").mkdir(exist_ok=True)
    train.to_parquet(folder / "tables" / "train.parquet", index=False)
    test.to_parquet(folder / "tables" / "test.parquet", index=False)
    labels = {letter: letter for letter in letters_in(train)}
    (folder / "tables" / "labels.json").write_text(json.dumps({"answers": labels, "submission": labels}))
    groups = np.arange(train_rows) // 4
    assigned = pd.DataFrame({"id": train["id"], "fold": groups % folds, "group": groups})
    assigned.to_parquet(folder / "folds.parquet", index=False)
    right = {"oof": train["answer"].map(ALL_LETTERS.index), "test": truth}
    tables = {"oof": train, "test": test}
    members = members or {"main": member("main", strength=strength)}
    for one in members.values():
        if one.kind == FOREIGN:
            write_files(folder, one, tables, right, rng)
        for part in one.trained_parts(folds):
            write_adapter(folder / "adapters" / one.name / f"fold{part}", fold_of(part), assigned, train)
        for split, table in tables.items() if one.kind != FOREIGN else ():
            for part in one.parts(split, folds):
                mine = (assigned["fold"] == fold_of(part)).to_numpy() if split == "oof" else np.ones(len(table), bool)
                mine = mine | (fold_of(part) is None)
                for view in one.shown_views:
                    safe = table["usable"] & ~((view == "hflip") & table["flip_unsafe"])
                    keep = mine & ((view == one.main_view) | safe).to_numpy()  # unusable: by question and choices alone
                    power = one.views[view]["strength"]
                    logits = make_logits(right[split].to_numpy()[keep], power, rng, prior, orders, table[keep])
                    path = ResultsFolder(folder).scores(one.name, split, part, view)
                    write_scores(path, list(table["id"][keep]), logits, orders, about_scores(folder, path, table[keep]))
    notes = {name: asdict(one) for name, one in members.items()}
    (folder / "members_in_test.json").write_text(json.dumps(notes), encoding="utf-8")
    sample = "id,answer\n" + "".join(f"{i},\n" for i in test["id"])
    (folder / "sample_submission.csv").write_text(sample, encoding="utf-8")
    return folder


def about_scores(folder: Path, path: Path, table: pd.DataFrame) -> dict[str, str | None]:
    """What score_choices writes into the metadata of the scores of `table`."""
    file = score_files.score_file(path)
    adapter = ResultsFolder(folder).adapter(file.member, file.part)
    digest = adapter_digest(adapter) if adapter.exists() else None
    return {"adapter": digest, "rows": value_digest(all_asked(rows_of(table)))}


def member(name: str, kind: str = TUNED, strength: Mapping[str, float] | None = None, **more: object) -> Member:
    """A member; `strength` says for each view how well it knows the answer, `more` are fields such as seeds."""
    views = {view: {"strength": power} for view, power in (strength or STRENGTH).items()}
    return Member(name, kind, {}, {}, {}, views, "cyclic", **more)


def foreign_member(name: str, folder: Path, strength: float = 1.8) -> Member:
    """A member whose probabilities someone else has made, in files under `folder`."""
    files = {split: str(folder / f"{name}_{split}.csv") for split in ("oof", "test")}
    return member(name, FOREIGN, {"file": strength}, probabilities=files)


def several_members(folder: Path) -> dict[str, Member]:
    """One member of each kind: tuned with two seeds and a refit, tuned, untuned, and someone's files."""
    made = [
        member("main", seeds=(1, 2), refit=True),
        member("other", strength={"original": 1.8}),
        member("untuned", UNTUNED, {"original": 1.0}),
        foreign_member("friend", folder),
    ]
    return {one.name: one for one in made}


def write_files(folder: Path, one: Member, tables: Mapping, right: Mapping, rng: np.random.Generator) -> None:
    """The probability files of a foreign member."""
    for split, table in tables.items():
        letters = letters_in(table)
        orders, prior = cyclic_shifts("".join(letters)), [0] * len(letters)
        answers, strength = right[split].to_numpy(), one.views["file"]["strength"]
        logits_NC = make_logits(answers, strength, rng, prior, orders, table)[:, 0]
        p_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
        frame = pd.DataFrame({"id": table["id"]} | dict(zip(probability_columns(letters), p_NC.T, strict=True)))
        frame.to_csv(one.probabilities[split], index=False)


def pool_members(folder: Path, order_pooling: str = "geometric") -> list[Path]:
    """Run pool_member for each member of a results folder; returns their folders."""
    from vqaflow.ensemble.pool_member import Tables, pool_member

    at = ResultsFolder(folder)
    if not at.problems.is_file():
        at.problems.write_text("file,row,id,column,value,problem,cure,kind,severity\n", encoding="utf-8")
    for name, fields in json.loads((folder / "members_in_test.json").read_text(encoding="utf-8")).items():
        one = Member(**fields)
        files = one.probabilities
        pool_member(
            about=one.describe(),
            scores=[] if files else [path for path in at.all_scores(name) if path.stem in one.pooled_views],
            files=[Path(files[split]) for split in ("oof", "test")] if files else [],
            records=[],
            tables=Tables(at.table("train"), at.table("test"), at.folds, at.problems),
            order_pooling=order_pooling,
            out=at.member(name),
        )
    return [at.member(name).folder for name in sorted(json.loads((folder / "members_in_test.json").read_text("utf-8")))]


def write_adapter(folder: Path, fold: int | None, assigned: pd.DataFrame, train: pd.DataFrame) -> None:
    """An adapter's folder as train_adapter leaves it, its weights those of one small linear."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["step,epoch,loss,accuracy,learning_rate,val_accuracy"]
    for step in (5, 10):
        lines.append(
            f"{step},{step / 5},{1.4 / step:.4f},{0.4 + 0.05 * step:.3f},0.001,{0.4 + 0.04 * step + 0.01 * (fold or 0)}"
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
        "train": {"learning_rate": 0.002, "lora": {"r": 2}, "seed": seed_of(folder.name) or 42},
        "model": {"base": "tiny"},
        "rows": len(assigned) - len(held_out),
        "validation_rows": len(held_out),
        "held_out": value_digest(held_out),
        "data": value_digest(contents(rows_of(train[~train["id"].isin(held_out)]))),
    }
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    pair = {f"{name}.lora_A.weight": np.ones((2, 8), np.float32), f"{name}.lora_B.weight": np.ones((8, 2), np.float32)}
    save_file(pair, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    Image.new("RGB", (90, 60)).save(folder / "curve.png")
    write_run(folder, run)


def ensemble(folder: Path, **settings: object) -> dict:
    """Pool the members of a results folder and run ensemble_probabilities on them; returns its recipe.json."""
    from vqaflow.ensemble.ensemble_probabilities import ensemble_probabilities

    ensemble_probabilities(
        members=pool_members(folder, settings.pop("order_pooling", "geometric")),
        train=folder / "tables" / "train.parquet",
        test=folder / "tables" / "test.parquet",
        folds=folder / "folds.parquet",
        ensemble=ENSEMBLE | settings,
        oof_out=folder / "ensemble" / "oof.parquet",
        test_out=folder / "ensemble" / "test.parquet",
        recipe_out=folder / "ensemble" / "recipe.json",
    )
    return json.loads((folder / "ensemble" / "recipe.json").read_text(encoding="utf-8"))


def evaluate(folder: Path, searches: Sequence[Path] = ()) -> dict:
    """Run evaluate_oof on a results folder with an ensemble; returns its metrics.json."""
    from vqaflow.evaluation.evaluate_oof import evaluate_oof

    evaluate_oof(
        oof=folder / "ensemble" / "oof.parquet",
        test=folder / "ensemble" / "test.parquet",
        members=[ResultsFolder(folder).member(name).folder for name in ResultsFolder(folder).members()],
        scores=ResultsFolder(folder).all_scores(),
        train_table=folder / "tables" / "train.parquet",
        test_table=folder / "tables" / "test.parquet",
        folds=folder / "folds.parquet",
        recipe=folder / "ensemble" / "recipe.json",
        adapters=sorted(folder.glob("adapters/*/fold*")),
        out_dir=folder / "evaluation",
        searches=searches,
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
    train, test = (pd.read_parquet(folder / "tables" / f"{name}.parquet") for name in ("train", "test"))
    report = {"n": 3, "group_by": ["image", "question"], "near_distance": 0, "copies": {"joined": []}}
    report["in_test"] = seen_images(train, test, 0)
    (folder / "folds.report.json").write_text(json.dumps(report), encoding="utf-8")
    (folder / "eda").mkdir()
    (folder / "eda" / "summary.json").write_text("{}", encoding="utf-8")
    Image.new("RGB", (90, 60)).save(folder / "eda" / "types.png")
    ensemble(folder)
    evaluate(folder)
    submit(folder)
    show(folder)
    record_outputs(folder / "logs" / "everything.log", [folder])
    return folder


def show(folder: Path) -> Path:
    """Make the gallery of the test answers of a results folder with a submission; returns its path."""
    from vqaflow.evaluation.show_answers import show_answers

    at = ResultsFolder(folder)
    show_answers(
        test=at.probabilities("test"),
        test_table=at.table("test"),
        submission=at.submission,
        members=[at.member(name).folder for name in at.members()],
        scores=at.all_scores(),
        out=at.test_answers,
    )
    return at.test_answers
