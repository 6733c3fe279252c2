"""Rows of 2 to 10 choices, and rows that lack some: their logits and loss are those of one plain forward per order.

The reference knows nothing of absent choices: it makes a row of the choices that are shown, in their order, and runs
the library's own forward on it. All in float32 on the CPU, with random checkpoints.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import random_families
import random_others
import rows
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.artifacts.score_files import Logits
from vqaflow.config.sections import LoraConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.orders import scoring_orders, training_orders
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.model.pipeline.parts import make_decoder, make_encoder, make_features
from vqaflow.scoring.order_pooling import pool_orders
from vqaflow.scoring.scorer import Scorer
from vqaflow.training.objective import answer_loss
from vqaflow.training.targets import batch_targets

CPU = torch.device("cpu")
SHARED, SEPARATE = ("qwen2_5_vl", "qwen3_5"), ("gemma4_small", "llava")
CASES = [(3, 0), (5, 0), (10, 0), (4, 1), (5, 2), (10, 7)]  # choices of the table, and how many every second row lacks
SMOOTHING = 0.1


def base_of(name: str) -> Base:
    if name in SEPARATE:
        return random_others.base(name)
    return Base(random_families.network(name), random_families.processor(name), CPU, torch.float32, "none")


def shown_alone(row: Row, order: str) -> tuple[Row, str]:
    """A row of the choices that `order` shows, in their order, and the original letters that stand there."""
    own = [letter for letter in order if row.choices[ALL_LETTERS.index(letter)]]
    choices = tuple(row.choices[ALL_LETTERS.index(letter)] for letter in own)
    return replace(row, choices=choices), "".join(own)


def library_logits(base: Base, encoder: Any, row: Row, order: str) -> torch.Tensor:
    """Logits (C) of the original letters from a plain forward over the choices that are shown; -inf for the others."""
    alone, own = shown_alone(row, order)
    if base.is_separate:
        logits = random_others.library_logits(base, encoder, alone, alone.letters)
    else:
        logits = rows.library_logits(base.model, encoder, alone, alone.letters)[-1]
    found_C = torch.full((len(row.choices),), -torch.inf)
    for letter, token in zip(own, encoder.letter_ids, strict=False):
        found_C[ALL_LETTERS.index(letter)] = logits[token]
    return found_C


@pytest.mark.parametrize(("choices", "lacking"), CASES)
@pytest.mark.parametrize("name", [*SHARED, *SEPARATE])
@torch.no_grad()
def test_scores_are_those_of_one_forward_per_order(name: str, choices: int, lacking: int, tmp_path: Path) -> None:
    """A wrong map of letters gives every row's answer to another choice, and no message says so."""
    base, table = base_of(name), rows.make_rows(tmp_path, 4, choices, lacking)
    encoder = make_encoder(base, rows.model_config(), rows.prompt_config(), choices)
    orders = scoring_orders(min(choices, 4), ALL_LETTERS[:choices])
    scorer = Scorer(make_decoder(base, False), encoder, rows.VIEW, orders, batch_tokens=1 << 16)
    items = scorer.prepare(table)
    found_NKC = scorer.score(items)
    wanted = [[library_logits(base, encoder, item.row, order) for order in orders] for item in items]
    torch.testing.assert_close(torch.from_numpy(found_NKC), torch.stack([torch.stack(one) for one in wanted]), **NEAR)
    assert np.isneginf(found_NKC).any() == bool(lacking)
    logits = Logits(tuple(orders), np.ones(len(items), bool), found_NKC)
    for how in ("geometric", "arithmetic"):
        p_NC = np.exp(pool_orders(logits, how))
        there_NC = np.array([[letter in item.row.letters for letter in scorer.letters] for item in items])
        assert ((p_NC > 0) == there_NC).all() and np.allclose(p_NC.sum(1), 1)


NEAR = {"atol": 1e-3, "rtol": 1e-3}


def test_a_batch_may_mix_rows_of_different_numbers_of_choices(tmp_path: Path) -> None:
    """A row's logits must not depend on which rows are scored with it."""
    base, table = base_of("qwen2_5_vl"), rows.make_rows(tmp_path, 6, 5, 2)
    encoder = make_encoder(base, rows.model_config(), rows.prompt_config(), 5)
    found = []
    for tokens in (1, 1 << 16):  # each row alone, and all together
        scorer = Scorer(make_decoder(base, False), encoder, rows.VIEW, scoring_orders("cyclic", "abcde"), tokens)
        with torch.no_grad():
            found.append(torch.from_numpy(scorer.score(scorer.prepare(table))))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


def ours(base: Base, encoder: Any, table: Sequence[Row], orders: Sequence[Sequence[str]], objective: str) -> Any:
    encoded = [encoder.encode(row, shown, rows.VIEW) for row, shown in zip(table, orders, strict=True)]
    features = make_features(base, encoder, rows.VIEW, "off", Path()).of(list(zip(table, encoded, strict=True)))
    states = make_decoder(base, False).states(encoded, features)
    target, _ = batch_targets(list(zip(table, orders, strict=True)))
    head, ids = base.head.weight, encoder.letter_ids
    counts = torch.tensor([len(row.letters) for row in table])
    return answer_loss(objective, states, target, ids, head[ids], head, SMOOTHING, base.softcap, counts)[0]


def naive(base: Base, encoder: Any, table: Sequence[Row], orders: Sequence[Sequence[str]], objective: str) -> Any:
    """Cross-entropy over the letters that each prompt shows, and over the vocabulary."""
    losses = []
    for row, shown in zip(table, orders, strict=True):
        for order in shown:
            alone, own = shown_alone(row, order)
            if base.is_separate:
                logits = random_others.library_logits(base, encoder, alone, alone.letters)
            else:
                logits = rows.library_logits(base.model, encoder, alone, alone.letters)[-1]
            place, ids = own.index(row.answer), encoder.letter_ids[: len(own)]
            choice = cross_entropy(logits[ids][None], torch.tensor([place]), label_smoothing=SMOOTHING)
            token = cross_entropy(logits[None], torch.tensor([ids[place]]))
            losses.append({"choice": choice, "mixed": (choice + token) / 2}[objective])
    return torch.stack(losses).sum()


@pytest.mark.parametrize("objective", ["choice", "mixed"])
@pytest.mark.parametrize(("choices", "lacking"), [(3, 0), (10, 0), (4, 1), (5, 3)])
@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma4_small"])
def test_loss_and_gradients_are_over_the_choices_that_are_there(
    name: str, choices: int, lacking: int, objective: str, tmp_path: Path, draw: Callable
) -> None:
    """Were an absent choice part of the loss, the model would learn against letters that no prompt shows."""
    base, table = base_of(name), rows.make_rows(tmp_path, 3, choices, lacking)
    encoder = make_encoder(base, rows.model_config(), rows.prompt_config(), choices)
    add_adapter(base, LoraConfig(r=4, alpha=8, dropout=0.0, targets=("q_proj", "down_proj")), seed=1)
    weights = trainable(base)
    with torch.no_grad():
        for weight in weights:
            weight.normal_(std=0.2, generator=torch.Generator().manual_seed(2))
    orders = [training_orders(2, draw, row.letters) for row in table]
    (expected, wanted), (loss, found) = (
        (made := compute(base, encoder, table, orders, objective), torch.autograd.grad(made, weights))
        for compute in (naive, ours)
    )
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4 * float(theirs.abs().max()) + 1e-7, rtol=1e-3)
    assert max(gradient.abs().max() for gradient in wanted) > 1e-4


@pytest.fixture
def draw() -> Any:
    """A seeded source of random orders."""
    import random

    return random.Random(3)
