"""The simulation of which epoch to keep must judge each rule as a plain loop over rows would."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import yaml

import rows
from vqaflow.commands.command_line import main
from vqaflow.demo.epochs import RULES, Curves, judge, judged_lines


def curves(fold: int, seed: int, epochs: int = 3, held_out: int = 30, tests: int = 40) -> Curves:
    rng = np.random.default_rng([fold, seed])
    logits = [rng.normal(size=(epochs, count, 4)) for count in (held_out, tests)]
    logp = [values - np.log(np.exp(values).sum(-1, keepdims=True)) for values in logits]
    right = [np.random.default_rng(7).integers(0, 4, count) for count in (held_out, tests)]
    return Curves("tiny", fold, seed, rng.random(epochs), logp[0], right[0], logp[1], right[1])


RUNS = [curves(fold, seed) for seed in (1, 2) for fold in range(3)]


def picked(rule: str, own: Curves, others: list[Curves]) -> int:
    """The epoch of a rule, by loops."""
    epochs = range(len(own.accuracy_E))
    nll = {
        id(one): [np.mean([-one.held_out_ENC[e, i, answer] for i, answer in enumerate(one.held_out_N)]) for e in epochs]
        for one in (own, *others)
    }
    values = {
        "last": [float(e) for e in epochs],
        "best accuracy": own.accuracy_E,
        "best cross-entropy": [-value for value in nll[id(own)]],
        "other folds' accuracy": [np.mean([one.accuracy_E[e] for one in others]) for e in epochs],
        "other folds' cross-entropy": [-np.mean([nll[id(one)][e] for one in others]) for e in epochs],
    }[rule]
    return max(epochs, key=lambda e: values[e])


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_judged_as_a_loop_does(rule):
    """Else a default could be chosen by a mistake of indices."""
    singles, less, pooled = [], [], []
    for seed in (1, 2):
        folds = [one for one in RUNS if one.seed == seed]
        p_TC = 0.0
        for own in folds:
            epoch = picked(rule, own, [one for one in folds if one is not own])
            right = [row.argmax() == answer for row, answer in zip(own.test_ETC[epoch], own.test_T, strict=True)]
            at_last = [row.argmax() == answer for row, answer in zip(own.test_ETC[-1], own.test_T, strict=True)]
            singles.append(np.mean(right))
            less.append(np.mean(right) - np.mean(at_last))
            p_TC = p_TC + np.exp(own.test_ETC[epoch]) / 3
        pooled.append(np.mean(p_TC.argmax(1) == folds[0].test_T))
    found = judge(RUNS)["tiny"][rule]
    assert found["single"]["accuracy"] == pytest.approx(np.mean(singles))
    assert found["less_last"]["accuracy"] == pytest.approx(np.mean(less))
    assert found["mean_of_folds"]["accuracy"] == pytest.approx(np.mean(pooled))
    assert any(line.startswith(rule) for line in judged_lines(judge(RUNS)))


def test_the_command_trains_and_judges(tmp_path, monkeypatch):
    """Real trainings of one epoch each; the rows that judge are the test table's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "tables").mkdir(parents=True)
    (tmp_path / "results" / "demo").mkdir()
    for split, count in (("train", 8), ("test", 6)):
        (tmp_path / split).mkdir()
        table = rows.make_table(tmp_path / split, count)
        table["id"] = [f"{split}_{i}" for i in range(count)]
        table.to_parquet(tmp_path / "results" / "tables" / f"{split}.parquet", index=False)
    with (tmp_path / "results" / "demo" / "test_answers.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "answer"], *([f"test_{i}", "abcd"[i % 4]] for i in range(6))])
    folds = pd.DataFrame({"id": [f"train_{i}" for i in range(8)], "fold": [0, 1] * 4, "group": range(8)})
    folds.to_parquet(tmp_path / "results" / "folds.parquet", index=False)
    settings = {"train": {"epochs": 2, "batch_size": 4}, "folds": {"n": 2}}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings))
    base = str(rows.ROOT / "assets" / "tiny-qwen2_5-vl")
    main(["simulate", "epochs", "--config", "my.yaml", "--bases", base, "--seeds", "1", "--json", "out.json"])
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(found["judged"]["tiny-qwen2_5-vl"]) == set(RULES)
    assert [len(one["accuracy"]) for one in found["held_out_accuracy"]] == [2, 2]
    assert found["judged"]["tiny-qwen2_5-vl"]["last"]["less_last"]["accuracy"] == 0
