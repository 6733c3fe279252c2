"""The photographs of a real competition, through every stage from the checked tables to the evaluation."""

import contextlib
import json
import math

import pandas as pd
import pytest
import yaml
from PIL import Image

from people import with_answers
from places import REAL_DATA, ROOT, needs_real_data
from vqaflow.commands.command_line import main

REAL = REAL_DATA / "recycling2026"
LETTERS = list("abcd")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a command on the 26 photographs: 9 rows with gold answers, 9 that five people answered, 8 test rows."""
    folder = tmp_path_factory.mktemp("photographs")
    tables = {name: pd.read_csv(REAL / f"{name}.csv", dtype=str) for name in ("train", "dev", "test")}
    tables = {name: table[[(REAL / path).is_file() for path in table["path"]]] for name, table in tables.items()}
    people = tables["dev"][[f"answer{i}" for i in range(1, 6)]].agg("".join, axis=1)
    dev = tables["dev"].assign(answer=tables["dev"]["answer1"]).reindex(columns=tables["train"].columns)
    pd.concat([tables["train"], dev]).to_csv(folder / "train.csv", index=False)
    tables["test"].to_csv(folder / "test.csv", index=False)
    tables["test"][["id"]].assign(answer="a").to_csv(folder / "sample.csv", index=False)
    settings = {
        "data": {f"{name}_csv": str(folder / f"{name}.csv") for name in ("train", "test")}
        | {"sample_submission": str(folder / "sample.csv"), "image_root": str(REAL)},
        "model": {"base": str(ROOT / "assets" / "tiny-qwen2_5-vl"), "allow_demo_base": True},
        "folds": {"n": 2},
        "train": {"epochs": 2, "batch_size": 4, "trackers": []},
        "views": {"hflip": {"enabled": False}},
        "hardware": {"store": str(folder / "store")},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    results = folder / "results"

    def command(name, *options, config=()):
        files = [ROOT / "config.yaml", folder / "my.yaml", *config]
        with contextlib.chdir(folder):  # all commands read and write results/ there
            main([name, "--config", *map(str, files), *options])
        return results

    path = command("validate_tables") / "tables" / "train.parquet"
    given = [*tables["train"]["answer"], *people]
    sources = ["train"] * len(tables["train"]) + ["dev"] * len(people)
    with_answers(pd.read_parquet(path), given, sources).to_parquet(path, index=False)
    return command


@needs_real_data
def test_real_photographs_go_through_training_scoring_pooling_and_evaluation(run):
    """Turned, large and differently shaped pictures, Korean questions, and five answers instead of a gold one."""
    results = run("make_folds")
    run("explore_data")
    for fold in ("0", "1"):
        run("train_adapter", "--fold", fold)
        for split in ("oof", "test"):
            run("score_choices", "--fold", fold, "--split", split)
    for stage in ("pool_member", "ensemble_probabilities", "evaluate_oof"):
        run(stage)

    train, folds = pd.read_parquet(results / "tables" / "train.parquet"), pd.read_parquet(results / "folds.parquet")
    assert len(train) == 18 and (train["people"] == 5).sum() == 9
    for fold in ("0", "1"):
        told = json.loads((results / f"adapters/main/fold{fold}/run.json").read_text(encoding="utf-8"))
        assert told["rows"] == (folds["fold"] != int(fold)).sum() and told["rows_left_out"] == 0
        log = pd.read_csv(results / f"adapters/main/fold{fold}/log.csv")
        assert log["step"].iloc[-1] == 2 * math.ceil(told["rows"] / 4) and log["loss"].map(math.isfinite).all()
    for split, count in (("oof", 18), ("test", 8)):
        pooled = pd.read_parquet(results / "ensemble" / f"{split}.parquet")
        assert len(pooled) == count
        assert pooled[[f"p_{x}" for x in LETTERS]].sum(axis=1).to_numpy() == pytest.approx(1)
        assert pooled[[f"p_{x}" for x in LETTERS]].std(axis=0).min() > 1e-4, "all rows have the same probabilities"
    metrics = json.loads((results / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["answerers"]["n"] == 9 and set(metrics["by_source"]) == {"train", "dev"}
    assert 0 < metrics["answerers"]["one_person"]["value"] < 1
    summary = json.loads((results / "eda" / "summary.json").read_text(encoding="utf-8"))
    assert summary["agreement"]["all"]["n"] == 9
    for figure in ("eda/agreement.png", "evaluation/answerers.png"):
        with Image.open(results / figure) as image:
            image.load()


@needs_real_data
def test_another_use_of_the_answers_trains_again_and_scores_what_it_trained(run):
    """`at least 4` trains on fewer rows; all rows keep their fold and are scored all the same."""
    results = run("make_folds")
    agreed = results.parent / "agreed.yaml"
    agreed.write_text(yaml.safe_dump({"data": {"answers_use": "at least 4"}}), encoding="utf-8")
    for command in (["train_adapter", "--fold", "0"], ["score_choices", "--fold", "0", "--split", "oof"]):
        run(*command, config=[agreed])
    train, folds = pd.read_parquet(results / "tables" / "train.parquet"), pd.read_parquet(results / "folds.parquet")
    counts = train[[f"share_{x}" for x in LETTERS]].max(axis=1) * train["people"]
    trains = ((train["people"] == 1) | (counts.round() >= 4)) & (folds.set_index("id")["fold"][train["id"]] != 0).values
    told = json.loads((results / "adapters/main/fold0/run.json").read_text(encoding="utf-8"))
    assert told["answers_use"] == "at least 4" and told["rows_left_out"] > 0
    assert told["rows"] == trains.sum()
    scored = pd.read_parquet(results / "scores/main/oof/fold0/original.parquet")
    assert set(scored["id"]) == set(folds["id"][folds["fold"] == 0])
