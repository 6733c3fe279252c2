"""The loss is the metric's, and equals the naive computation over the whole vocabulary."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import random_qwen
import rows
from vqaflow.model.decoder.branches import answer_states, pack
from vqaflow.model.encoding.orders import position_of
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.vision.windows import image_features
from vqaflow.training.objective import answer_loss

SMOOTHING = 0.1


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Rows, their encoder and a random model."""
    table = rows.make_rows(tmp_path_factory.mktemp("images"))
    return table, RowEncoder(random_qwen.processor(), rows.model_config(), rows.prompt_config()), random_qwen.model()


def naive(setting, objective: str) -> torch.Tensor:
    """Summed loss from the library's own (B, L, V) logits, one row at a time."""
    table, encoder, network = setting
    total = torch.zeros(())
    for row in table:
        logits_LV = rows.library_logits(network, encoder, row)
        position = position_of(row.answer, "abcd")
        choice = cross_entropy(
            logits_LV[-1, encoder.letter_ids][None], torch.tensor([position]), label_smoothing=SMOOTHING
        )
        token = cross_entropy(logits_LV[-1][None], torch.tensor([encoder.letter_ids[position]]))
        total = total + {"choice": choice, "lm": token, "mixed": (choice + token) / 2}[objective]
    return total


def ours(setting, objective: str) -> torch.Tensor:
    """The same from the answer positions' hidden states alone."""
    table, encoder, network = setting
    encoded = [encoder.encode(row, ["abcd"], rows.VIEW) for row in table]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    features = image_features(network.model.visual, pixels, [e.grid for e in encoded])
    states = answer_states(network.model.language_model, pack(encoded, encoder.image_token, 0), features)
    target = torch.tensor([[position_of(row.answer, "abcd")] for row in table])
    head = network.lm_head.weight
    letters = head[encoder.letter_ids]
    return answer_loss(objective, states, target, encoder.letter_ids, letters, head, SMOOTHING)[0]


@pytest.mark.parametrize("objective", ["choice", "lm", "mixed"])
def test_loss_and_gradients_equal_the_naive_full_logits(setting, objective: str) -> None:
    """Computing four rows of the head, or one position, is exact and not an approximation."""
    weights = [p for n, p in setting[2].model.language_model.named_parameters() if "proj.weight" in n]
    results = [(loss := compute(setting, objective), torch.autograd.grad(loss, weights)) for compute in (naive, ours)]
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-5)
    for expected, got in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert max(g.abs().max() for g in results[0][1]) > 1e-3
