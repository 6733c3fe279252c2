"""The told interval for new rows is that of a run, and holds as often as it says."""

import json

import numpy as np
import pytest
import yaml
from scipy.stats import binom

import rows
from vqaflow.commands.command_line import main
from vqaflow.demo.intervals import WORLDS, World, judge_drawn, made_scores, told

DRAWS = 80
MOST_MISSED = binom.ppf(0.999, DRAWS, 0.05)


@pytest.mark.parametrize("world", ["like the demo", "groups of 8"])
def test_the_prediction_interval_holds_a_test_and_the_interval_of_oof_does_not(world):
    """The demo's own held-out accuracy was outside of what its closing line told."""
    found = [told(made_scores(WORLDS[world], seed), seed) for seed in range(DRAWS)]
    missed = {
        name: sum(not one["intervals"][name][0] <= one["test"] <= one["intervals"][name][1] for one in found)
        for name in ("oof", "score")
    }
    assert missed["score"] <= MOST_MISSED < missed["oof"]


def test_made_adapters_know_the_answers_of_their_own_fold_s_rows_no_better():
    """Else the made OOF accuracy would be another than that of one adapter on test rows."""
    scores = made_scores(World(rows=30_000, tests=30_000), 1)
    of_oof = (scores.oof_NC.argmax(1) == scores.answers_N).mean()
    of_tests = (scores.test_KTC.argmax(2) == scores.answers_T).mean()
    assert of_oof == pytest.approx(of_tests, abs=0.006)
    np.testing.assert_allclose(np.exp(scores.test_KTC).sum(-1), 1)


def test_the_summary_counts_what_holds():
    """A mistake here would claim a coverage that is not there."""
    drawn = {"assets/tiny": {seed: made_scores(World(rows=120, tests=60), seed) for seed in (1, 2, 3)}}
    found = judge_drawn(drawn)["tiny"]
    each = list(found["seeds"].values())
    held = [one["intervals"]["score"][0] <= one["test"] <= one["intervals"]["score"][1] for one in each]
    assert found["held"]["score"] == np.mean(held)
    assert found["gain"] == pytest.approx(np.mean([one["test"] - one["single"] for one in each]))
    assert found["gain_told"] == pytest.approx(np.mean([one["expected"] - one["oof"] for one in each]))


def test_the_command_draws_trains_and_judges(tmp_path, monkeypatch, capsys):
    """Real trainings; a second call trains nothing and says the same."""
    monkeypatch.chdir(tmp_path)
    settings = {
        "data": {"demo": {"train_rows": 24, "test_rows": 16}},
        "train": {"epochs": 1, "batch_size": 8},
        "folds": {"n": 2},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings))
    base = str(rows.ROOT / "assets" / "tiny-qwen2_5-vl")
    command = ["simulate", "intervals", "--config", "my.yaml", "--bases", base, "--seeds", "3", "--made", "0"]
    main([*command, "--draw-only"])
    assert not list(tmp_path.glob("results/work/intervals/scores/*"))
    main([*command, "--json", "out.json"])
    first = json.loads((tmp_path / "out.json").read_text())["drawn"]["tiny-qwen2_5-vl"]
    assert first["draws"] == 1 and 0 <= first["test"] <= 1
    monkeypatch.setattr("vqaflow.training.loop.Trainer.run", pytest.fail)
    main([*command, "--json", "again.json"])
    assert json.loads((tmp_path / "again.json").read_text())["drawn"]["tiny-qwen2_5-vl"] == first
    assert "tiny-qwen2_5-vl" in capsys.readouterr().out
