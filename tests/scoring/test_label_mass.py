"""Label mass: the letters' share of the softmax over the whole vocabulary."""

import logging
from dataclasses import replace

import pytest
import torch

import random_qwen
import rows
from vqaflow.config.loading import load_config
from vqaflow.config.sections import TrainConfig, section
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features.cache import FeatureCache
from vqaflow.scoring import label_mass
from vqaflow.scoring.label_mass import LabelMass, mass_of_rows, sample_of
from vqaflow.training.answer_model import AnswerModel


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A random base, its encoder, five rows of which every second lacks a choice, and what gives their states."""
    folder = tmp_path_factory.mktemp("rows")
    base = Base(random_qwen.model(), random_qwen.processor(), torch.device("cpu"), torch.float32, "none")
    with torch.no_grad():
        base.head.weight.mul_(20)  # so that tokens are not all alike
    encoder = RowEncoder(base.processor, rows.model_config(), rows.prompt_config())
    features = FeatureCache(base, encoder, rows.VIEW, "off", folder)
    train = section(TrainConfig, load_config(rows.ROOT / "config.yaml")["train"])
    model = AnswerModel(base, encoder, features, train)
    return base, encoder, rows.make_rows(folder, lacking=1), lambda row: model.states([row], [[row.letters]])


@pytest.mark.parametrize("part", [7, 8192])
def test_the_mass_is_that_of_the_naive_softmax_over_the_vocabulary(loaded, monkeypatch, part) -> None:
    """A prompt would be called good or bad by a number that is not the letters' probability."""
    monkeypatch.setattr(label_mass, "VOCABULARY_PART", part)
    base, encoder, table, states_of = loaded
    found = mass_of_rows(table, states_of, base, encoder)
    expected, rather = {}, []
    for row in table:
        ids = encoder.letter_ids[: len(row.letters)]
        p_V = rows.library_logits(base.network, encoder, row, row.letters)[-1].float().softmax(-1)
        expected[row.id] = float(p_V[ids].sum())
        rather += [int(p_V.argmax())] if int(p_V.argmax()) not in ids else []
        mass, token = label_mass.label_mass(states_of(row), base.head.weight, ids)
        assert float(mass) == pytest.approx(expected[row.id], rel=1e-4) and int(token) == int(p_V.argmax())
    assert {len(row.letters) for row in table} == {3, 4}
    assert found.mean == pytest.approx(sum(expected.values()) / len(table), rel=1e-4)
    assert found.least == pytest.approx(min(expected.values()), rel=1e-4)
    assert found.least_row == min(expected, key=expected.get) and found.rows == len(table)
    assert found.instead in {encoder.tokenizer.decode([token]) for token in rather}


def test_a_soft_cap_is_part_of_the_logits() -> None:
    """Gemma caps its logits: without that, its mass would look like certainty."""
    generator = torch.Generator().manual_seed(0)
    states, head = torch.randn(2, 3, 8, generator=generator) * 9, torch.randn(50, 8, generator=generator)
    logits = 3.0 * torch.tanh(states @ head.T / 3.0)
    mass, _ = label_mass.label_mass(states, head, [4, 7], softcap=3.0)
    torch.testing.assert_close(mass, logits.softmax(-1)[..., [4, 7]].sum(-1))
    assert not torch.allclose(mass, label_mass.label_mass(states, head, [4, 7])[0], atol=1e-3)


def test_a_half_precision_head_is_read_in_float32() -> None:
    """In float16, a sum over 150,000 tokens would round the mass away."""
    generator = torch.Generator().manual_seed(1)
    states, head = torch.randn(1, 1, 64, generator=generator), torch.randn(9000, 64, generator=generator).half()
    expected = (states @ head.float().T).softmax(-1)[..., :4].sum(-1)
    torch.testing.assert_close(label_mass.label_mass(states, head, [0, 1, 2, 3])[0], expected)


def test_a_low_mass_is_a_warning_with_its_cure(caplog) -> None:
    """Who trains for hours on a broken template should read it in the first minute."""
    low = LabelMass(16, 0.03, 0.001, "row_7", " The")
    with caplog.at_level(logging.INFO, logger="vqaflow"):
        low.say("the untuned base")
        replace(low, mean=0.97).say("the untuned base")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "0.030 of the vocabulary's probability" in caplog.text and "row 'row_7'" in caplog.text
    assert "It would rather say ' The'. Check prompt.templates" in caplog.text


def test_rows_are_drawn_evenly() -> None:
    """The first rows of a sorted table would be of one kind."""
    assert sample_of(list(range(100)), 16) == list(range(0, 100, 7)) and sample_of([1, 2], 16) == [1, 2]
