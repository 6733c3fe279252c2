"""What a step of training is, computed naively beside it: self-consistent mistakes show nowhere else."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

import random_qwen
import rows
from vqaflow.artifacts.rows import Row
from vqaflow.config.loading import load_config
from vqaflow.config.sections import TrainConfig, ViewConfig, section
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features.cache import FeatureCache
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.runtime.errors import NotFinite
from vqaflow.training import finite
from vqaflow.training.answer_model import AnswerModel
from vqaflow.training.finite import ScalerWatch
from vqaflow.training.loop import Trainer
from vqaflow.training.rows import FoldRows

CONFIG = replace(
    section(TrainConfig, load_config(rows.ROOT / "config.yaml")["train"]),
    batch_size=3,
    accumulation=2,
    epochs=2,
    learning_rate=0.01,
    weight_decay=0.3,
    warmup_ratio=0.4,
    choice_orders=2,
    label_smoothing=0.1,
    max_grad_norm=0.5,
    cache_vision="off",
)


def trainer(folder: Path, config: TrainConfig = CONFIG, count: int = 11) -> Trainer:
    """A trainer of `count` rows less three, which validate, on a fresh tiny network."""
    network = random_qwen.model()
    base = Base(network, random_qwen.processor(), torch.device("cpu"), torch.float32, "none")
    encoder = RowEncoder(base.processor, rows.model_config(), rows.prompt_config())
    add_adapter(base, config.lora, config.seed)
    table = rows.make_rows(folder, count)
    return Trainer(
        base, encoder, FeatureCache(base, encoder, ViewConfig(), "off", folder), table[:-3], table[-3:], config
    )


def answer_text(row: Row) -> str:
    """The right choice."""
    return row.choices["abcd".index(row.answer)]


def naive_loss(one: Trainer, drawn: list) -> torch.Tensor:
    """Mean loss from the library's full logits, each row in each order by itself, its choices moved in the row."""
    losses = []
    for row, orders in drawn:
        for order in orders:
            moved = replace(row, choices=tuple(row.choices["abcd".index(letter)] for letter in order))
            logits = rows.library_logits(one.base.network, one.encoder, moved)[-1, one.letter_ids]
            right = moved.choices.index(answer_text(row))
            losses.append(
                cross_entropy(logits[None], torch.tensor([right]), label_smoothing=one.config.label_smoothing)
            )
    return torch.stack(losses).mean()


def test_the_gradient_is_the_naive_one(tmp_path: Path) -> None:
    """A wrong target of a moved choice, smoothing or mean over passes trains another adapter than the config says."""
    one = trainer(tmp_path, replace(CONFIG, max_grad_norm=1e9))  # a step leaves its gradients, here not clipped
    with torch.no_grad():
        for weight in trainable(one.base):
            weight.normal_(std=0.2)
    drawn = one.rows_of_step(0)
    expected = torch.autograd.grad(naive_loss(one, drawn), trainable(one.base))
    one.step(drawn)
    for weight, gradient in zip(trainable(one.base), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, atol=1e-5, rtol=1e-3)
    assert max(g.abs().max() for g in expected) > 1e-3


def test_steps_follow_the_schedule_with_clipping_and_weight_decay(tmp_path: Path) -> None:
    """A learning rate, weight decay or max_grad_norm of the config that has no effect would be found by nobody."""
    one = trainer(tmp_path, replace(CONFIG, batch_size=6, accumulation=1))  # so that each weight has one gradient
    weights = trainable(one.base)
    with torch.no_grad():
        for weight in weights:
            weight.normal_(std=0.2)
    copies = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    optimizer = torch.optim.AdamW(copies, weight_decay=CONFIG.weight_decay)
    planted: list[torch.Tensor] = []
    for at, weight in enumerate(weights):
        weight.register_hook(lambda _, at=at: planted[at].clone())
    for step, share in enumerate([1 / 2.6, 2 / 2.6, (1 + math.cos(math.pi * 0.4 / 2.4)) / 2]):
        planted[:] = [torch.randn_like(weight) * 10**-step for weight in weights]
        one.step(one.rows_of_step(step))
        for copy, gradient in zip(copies, planted, strict=True):
            copy.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(copies, CONFIG.max_grad_norm)
        optimizer.param_groups[0]["lr"] = share * CONFIG.learning_rate
        optimizer.step()
    for got, expected in zip(weights, copies, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


def with_scaler(one: Trainer) -> Trainer:
    """`one` with a loss scale, as float16 on a GPU has it."""
    one.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    one.watch = ScalerWatch(one.scaler)
    return one


def test_gradients_are_clipped_without_the_loss_scale(tmp_path: Path) -> None:
    """Clipped with it, float16 trainings would have gradients smaller by the scale than max_grad_norm says."""
    made = []
    for change in (lambda one: one, with_scaler):
        one = change(trainer(tmp_path, replace(CONFIG, batch_size=6, accumulation=1, max_grad_norm=1e-3)))
        one.step(one.rows_of_step(0))
        made.append([weight.grad.clone() for weight in trainable(one.base)])
    norms = [torch.cat([gradient.flatten() for gradient in gradients]).norm() for gradients in made]
    assert norms[0] == pytest.approx(1e-3, rel=1e-3), "nothing was clipped, so nothing is tested"
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)
    for plain, scaled in zip(*made, strict=True):
        torch.testing.assert_close(scaled, plain, atol=1e-8, rtol=1e-3)


def test_gradients_that_overflow_in_every_step_end_the_training(tmp_path: Path, monkeypatch) -> None:
    """Each such step is skipped: a run could end after hours with the weights that it began with."""
    monkeypatch.setattr(finite, "SKIPPED_STEPS_ALLOWED", 2)
    one = with_scaler(trainer(tmp_path))
    for weight in trainable(one.base):
        weight.register_hook(lambda gradient: torch.full_like(gradient, math.inf))
    drawn = one.rows_of_step(0)
    one.step(drawn)
    one.step(drawn)
    with pytest.raises(NotFinite, match=r"rows 'row_\d+', .* the gradients overflow at step 2 at every loss scale"):
        one.step(drawn)


def test_a_skipped_step_does_not_lower_the_learning_rate(tmp_path: Path) -> None:
    """The first steps in float16 are often skipped: the warm-up would be over before the weights ever changed."""
    one = with_scaler(trainer(tmp_path))
    overflows = [True, True, False]
    for weight in trainable(one.base):
        weight.register_hook(lambda gradient: torch.full_like(gradient, math.inf) if overflows[0] else gradient)
    rates = [one.schedule.get_last_lr()[0]]
    for _ in range(3):
        one.step(one.rows_of_step(one.progress.step))
        rates.append(one.schedule.get_last_lr()[0])
        overflows.pop(0)
    assert rates[0] == rates[1] == rates[2] == pytest.approx(CONFIG.learning_rate / 2.6)
    assert rates[3] == pytest.approx(CONFIG.learning_rate * 2 / 2.6)
    assert one.progress.step == 3, "the rows of a skipped step were seen"


def test_a_training_step_that_is_not_finite_names_its_row(tmp_path: Path, monkeypatch) -> None:
    """A training on NaN would go on for hours, and save an adapter of NaN."""
    one, states = trainer(tmp_path), AnswerModel.states
    wanted = one.rows_of_step(0)[1][0].id

    def broken(self: AnswerModel, part: list, orders: list) -> torch.Tensor:
        made = states(self, part, orders)
        spoilt = torch.tensor([row.id == wanted for row in part])
        return torch.where(spoilt[:, None, None], made * torch.nan, made)

    monkeypatch.setattr(AnswerModel, "states", broken)
    with pytest.raises(NotFinite, match=rf"row '{wanted}': the hidden state .* at step 0"):
        one.step(one.rows_of_step(0))


def test_batches_do_not_come_from_small_to_large_images(tmp_path: Path) -> None:
    """Rows of like size share a batch; in that sequence, each epoch would end on its largest images."""
    one = trainer(tmp_path, replace(CONFIG, batch_size=1, accumulation=1))
    epochs = [[row for at in range(8) for row, _ in one.rows_of_step(8 * epoch + at)] for epoch in range(4)]
    sizes = [[row.width * row.height for row in drawn] for drawn in epochs]
    assert not any(areas == sorted(areas) for areas in sizes)
    assert len({tuple(row.id for row in drawn) for drawn in epochs}) == 4


def test_a_single_order_is_that_of_the_table(tmp_path: Path) -> None:
    """`choice_orders: 1` shows choice a first, as `orders: identity` scores it; shuffle_choices draws others."""
    one = trainer(tmp_path, replace(CONFIG, choice_orders=1))
    assert all(orders == ["abcd"] for at in range(4) for _, orders in one.rows_of_step(at))
    original = {row.id: row.choices for row in one.rows}
    assert all(row.choices == original[row.id] for at in range(4) for row, _ in one.rows_of_step(at))


def test_augmentation_differs_from_epoch_to_epoch(tmp_path: Path) -> None:
    """The same choices at the same places in each epoch would be learned by heart."""
    config = replace(CONFIG, choice_orders=1, augment=replace(CONFIG.augment, shuffle_choices=True))
    one = trainer(tmp_path, config)
    first, second = ({row.id: row.choices for at in (0, 1) for row, _ in one.rows_of_step(2 * e + at)} for e in (0, 1))
    assert first.keys() == second.keys() and first != second


def test_an_epoch_shows_each_row_once_and_the_next_one_otherwise(tmp_path: Path) -> None:
    """Rows left out or seen twice would bias the adapter; equal epochs would teach it an order."""
    one = trainer(tmp_path)
    epochs = [[item for at in range(2) for item in one.rows_of_step(2 * epoch + at)] for epoch in range(2)]
    assert all(Counter(row.id for row, _ in drawn) == Counter(f"row_{i}" for i in range(8)) for drawn in epochs)
    assert [row.id for row, _ in epochs[0]] != [row.id for row, _ in epochs[1]]
    shown = [{row.id: orders for row, orders in drawn} for drawn in epochs]
    assert shown[0] != shown[1]
    assert all(len(set(orders)) == 2 for orders in shown[0].values())


def test_augmentation_moves_the_answer_with_its_choice(tmp_path: Path) -> None:
    """A choice that moves without its letter would teach wrong answers."""
    config = replace(CONFIG, choice_orders=1, augment=replace(CONFIG.augment, shuffle_choices=True))
    one = trainer(tmp_path, config)
    original = {row.id: row for row in one.rows}
    varied = [row for at in range(2) for row, _ in one.rows_of_step(at)]
    assert any(row.choices[0] != original[row.id].choices[0] for row in varied)
    assert all(answer_text(row) == answer_text(original[row.id]) for row in varied)


def test_a_fold_is_held_out_and_not_trained_on(tmp_path: Path) -> None:
    """OOF scores of rows that were trained on would promise too much."""
    table = rows.make_table(tmp_path, 5).assign(id=list("abcde"))
    table.to_parquet(tmp_path / "t.parquet")
    table[["id"]].assign(fold=[0, 1, 2, 0, 1]).to_parquet(tmp_path / "f.parquet")
    inside, targets = FoldRows(tmp_path / "t.parquet", tmp_path / "f.parquet", 0).split()
    outside = targets.rows
    assert [row.id for row in inside] == ["a", "d"] and [row.id for row in outside] == ["b", "c", "e"]
