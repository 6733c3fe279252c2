"""The loss is the metric's, and equals the naive computation over the whole vocabulary."""

import random
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

import random_qwen
import rows
from vqaflow.model.decoder.branches import answer_states, pack
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.vision.windows import image_features
from vqaflow.training.augment import shuffle_choices
from vqaflow.training.objective import answer_loss, soft_cross_entropy, without_absent
from vqaflow.training.targets import batch_targets, shown_target

SMOOTHING = 0.1


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Rows, one of which several people answered, their encoder and a random model."""
    table = rows.make_rows(tmp_path_factory.mktemp("images"))
    table[1] = replace(table[1], shares=(0.2, 0.6, 0.0, 0.2), people=5)
    return (
        table,
        RowEncoder(random_qwen.processor(), rows.model_config(), rows.prompt_config(), choices=4),
        random_qwen.model(),
    )


def naive(setting, objective: str) -> torch.Tensor:
    """Summed loss from the library's own (B, L, V) logits, one row at a time."""
    table, encoder, network = setting
    total = torch.zeros(())
    for row in table:
        logits_LV = rows.library_logits(network, encoder, row)
        target = torch.tensor([row.target()])
        vocabulary = torch.zeros(1, logits_LV.shape[1])
        vocabulary[0, encoder.letter_ids] = target
        choice = cross_entropy(logits_LV[-1, encoder.letter_ids][None], target, label_smoothing=SMOOTHING)
        token = cross_entropy(logits_LV[-1][None], vocabulary)
        total = total + {"choice": choice, "lm": token, "mixed": (choice + token) / 2}[objective]
    return total


def ours(setting, objective: str) -> torch.Tensor:
    """The same from the answer positions' hidden states alone."""
    table, encoder, network = setting
    encoded = [encoder.encode(row, ["abcd"], rows.VIEW) for row in table]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    features = image_features(network.model.visual, pixels, [e.grid for e in encoded])
    states = answer_states(network.model.language_model, pack(encoded, encoder.image_token, 0), features)
    target, weight = batch_targets([(row, ["abcd"]) for row in table])
    head = network.lm_head.weight
    letters = head[encoder.letter_ids]
    return answer_loss(objective, states, target, encoder.letter_ids, letters, head, SMOOTHING, weight_BK=weight)[0]


@pytest.mark.parametrize("objective", ["choice", "lm", "mixed"])
def test_loss_and_gradients_equal_the_naive_full_logits(setting, objective: str) -> None:
    """Computing four rows of the head, or one position, is exact and not an approximation."""
    weights = [p for n, p in setting[2].model.language_model.named_parameters() if "proj.weight" in n]
    results = [(loss := compute(setting, objective), torch.autograd.grad(loss, weights)) for compute in (naive, ours)]
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-5)
    for expected, got in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert max(g.abs().max() for g in results[0][1]) > 1e-3


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.3])
def test_one_answer_per_row_trains_bit_for_bit_as_before(smoothing: float) -> None:
    """Users whose tables have one answer get the adapters that they had: value and gradient are torch's own."""
    rng = torch.Generator().manual_seed(0)
    results = []
    for rows_orders in ((1, 1), (7, 2), (333, 4)):
        logits = torch.randn(*rows_orders, 4, generator=rng) * 5
        position = torch.randint(0, 4, rows_orders, generator=rng)
        one_hot, weight = torch.nn.functional.one_hot(position, 4).float(), torch.ones(rows_orders)
        for loss_of in (
            lambda x: cross_entropy(x.flatten(0, 1), position.flatten(), label_smoothing=smoothing, reduction="sum"),  # noqa: B023
            lambda x: soft_cross_entropy(log_softmax(x, -1), one_hot, weight, smoothing),  # noqa: B023
        ):
            given = logits.clone().requires_grad_()
            loss = loss_of(given)
            loss.backward()
            results.append((loss.detach(), given.grad))
    for (loss, grad), (same_loss, same_grad) in zip(results[::2], results[1::2], strict=True):
        assert torch.equal(loss, same_loss) and torch.equal(grad, same_grad)


def test_the_shares_of_people_are_learned_as_torch_learns_probabilities() -> None:
    """With soft targets the loss is torch's cross-entropy with probabilities, smoothed and weighted row by row."""
    rng = torch.Generator().manual_seed(1)
    logits, target = torch.randn(5, 3, 4, generator=rng), torch.rand(5, 3, 4, generator=rng)
    target, weight = target / target.sum(-1, keepdim=True), torch.rand(5, 3, generator=rng)
    each = cross_entropy(logits.flatten(0, 1), target.flatten(0, 1), label_smoothing=0.1, reduction="none")
    ours = soft_cross_entropy(log_softmax(logits, -1), target, weight, 0.1)
    torch.testing.assert_close(ours, (each * weight.flatten()).sum())
    assert not torch.isclose(ours, each.sum())


def test_a_choice_that_a_row_lacks_takes_no_part_in_the_loss() -> None:
    """A row with three choices in a table of four has the loss of a table of three, without NaN in loss or gradient."""
    rng = torch.Generator().manual_seed(2)
    three, target = torch.randn(2, 1, 3, generator=rng), torch.tensor([[[0.6, 0.4, 0.0]], [[0.0, 0.0, 1.0]]])
    absent = torch.full((2, 1, 1), -torch.inf)
    four = torch.cat([three, absent], -1).requires_grad_()
    loss = soft_cross_entropy(log_softmax(four, -1), torch.cat([target, torch.zeros(2, 1, 1)], -1), None, 0.1)
    torch.testing.assert_close(loss, soft_cross_entropy(log_softmax(three, -1), target, None, 0.1))
    (grad,) = torch.autograd.grad(loss, four)
    assert grad.isfinite().all() and (grad[..., 3] == 0).all()


def test_each_order_shows_the_shares_where_it_shows_the_choices(setting) -> None:
    """If the shares did not move with the choices, training would teach positions instead of answers."""
    row = replace(setting[0][0], shares=(0.1, 0.2, 0.3, 0.4), people=10)
    assert shown_target(row.target(), "bcda", 4) == [0.2, 0.3, 0.4, 0.1]
    assert shown_target(row.target(), "db", 4) == [0.4, 0.2, 0.0, 0.0]
    shuffled = shuffle_choices(row, random.Random(1))
    assert shuffled.choices != row.choices
    assert dict(zip(shuffled.choices, shuffled.shares, strict=True)) == dict(zip(row.choices, row.shares, strict=True))


def test_positions_that_a_row_does_not_show_cannot_be_chosen() -> None:
    """Whatever the number of choice orders: here one, of four choices, in rows of four and of two."""
    shown_BKC = without_absent(torch.zeros(2, 1, 4), torch.tensor([4, 2]))
    assert shown_BKC.tolist() == [[[0.0] * 4], [[0.0, 0.0, -torch.inf, -torch.inf]]]
