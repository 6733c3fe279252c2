"""Choice orders that share a prefix compute what separate passes would, padded and batched in any way."""

import pytest
import torch

import random_qwen
import rows
from vqaflow.artifacts.rows import Row
from vqaflow.model.decoder.branches import answer_states, letter_logits, pack
from vqaflow.model.encoding.orders import all_orders
from vqaflow.model.encoding.row_encoder import RowEncoder, mrope_positions
from vqaflow.model.vision.windows import image_features


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Five rows with pictures of different sizes, their encoder, and a random model."""
    table = rows.make_rows(tmp_path_factory.mktemp("images"))
    encoder = RowEncoder(random_qwen.processor(), rows.model_config(), rows.prompt_config())
    return table, encoder, random_qwen.model()


def logits_of(setting, table: list[Row], orders: list[str], multiple: int = 8) -> torch.Tensor:
    """Letter logits (B, K, 4) of `table` in one packed pass."""
    _, encoder, network = setting
    encoded = [encoder.encode(row, orders, rows.VIEW) for row in table]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    features = image_features(network.model.visual, pixels, [e.grid for e in encoded])
    batch = pack(encoded, encoder.image_token, 0, multiple)
    return letter_logits(
        answer_states(network.model.language_model, batch, features), network.lm_head.weight[encoder.letter_ids]
    )


@pytest.mark.parametrize("count", [2, 4, 24])
def test_shared_prefix_equals_separate_passes(setting, count: int) -> None:
    """A branch must not see its siblings, and must stand at the positions it would have alone."""
    table, _, _ = setting
    orders = all_orders("abcd")[:count]
    together = logits_of(setting, table, orders)
    alone = torch.stack([logits_of(setting, table, [order])[:, 0] for order in orders], dim=1)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert together.std(dim=1).max() > 1e-2, "if all orders gave one result, nothing would be tested"


@pytest.mark.parametrize("orders", [["abcd"], ["abcd", "bcda", "cdab", "dabc"]])
def test_batched_equals_single_rows(setting, orders: list[str]) -> None:
    """The other rows, their order and the padding do not change a row's logits."""
    table, _, _ = setting
    single = torch.cat([logits_of(setting, [row], orders, multiple=1) for row in table])
    torch.testing.assert_close(logits_of(setting, table, orders), single, atol=1e-4, rtol=0)
    reversed_ = logits_of(setting, table[::-1], orders, multiple=64).flip(0)
    torch.testing.assert_close(reversed_, single, atol=1e-4, rtol=0)


def test_the_answer_is_read_at_the_last_token_of_each_branch(setting) -> None:
    """One token earlier, the hidden state predicts the end of the prompt and not the answer."""
    table, encoder, _ = setting
    encoded = [encoder.encode(row, ["abcd", "bcda", "cdab"], rows.VIEW) for row in table]
    batch = pack(encoded, encoder.image_token, 0)
    for b, row in enumerate(encoded):
        whole = row.prefix_ids + [token for branch in row.branch_ids for token in branch]
        assert batch.ids_BT[b, : len(whole)].tolist() == whole
        lengths = [len(branch) for branch in row.branch_ids]
        ends = [len(row.prefix_ids) + sum(lengths[: k + 1]) - 1 for k in range(3)]
        assert batch.ends_BK[b].tolist() == ends


@pytest.mark.parametrize("checkpointing", [False, True])
def test_shared_prefix_gradients_equal_separate_passes(setting, checkpointing: bool) -> None:
    """Training k orders in one pass is training them one by one."""
    table, encoder, _ = setting
    network = random_qwen.model().train()
    orders = all_orders("abcd")[:4]
    weights = [p for n, p in network.model.language_model.named_parameters() if "proj" in n]
    if checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    target = torch.tensor([i % 4 for i in range(len(table))])

    def gradients(groups: list[list[str]]) -> list[torch.Tensor]:
        logits = torch.cat([logits_of((table, encoder, network), table, group) for group in groups], dim=1)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.repeat_interleave(len(orders)))
        return list(torch.autograd.grad(loss, weights))

    together, alone = gradients([orders]), gradients([[order] for order in orders])
    for shared, separate in zip(together, alone, strict=True):
        torch.testing.assert_close(shared, separate, atol=1e-4, rtol=1e-4)
    assert max(g.abs().max() for g in together) > 1e-3


def test_positions_are_the_librarys(setting) -> None:
    """M-RoPE positions equal get_rope_index; without them the library silently uses text positions."""
    table, encoder, network = setting
    for row in table:
        encoded = encoder.encode(row, ["abcd"], rows.VIEW)
        ids = torch.tensor([encoded.prefix_ids + encoded.branch_ids[0]])
        theirs, _ = network.model.get_rope_index(
            ids, (ids == encoder.image_token).long(), image_grid_thw=torch.tensor([encoded.grid])
        )
        batch = pack([encoded], encoder.image_token, 0, multiple=1)
        assert torch.equal(batch.positions_3BT, theirs)
    assert mrope_positions(10, [2], [(1, 4, 4)], 2)[:, 6].tolist() == [4, 4, 4]


def test_encoder_agrees_with_the_processor(setting) -> None:
    """Ids, image tokens, grid and patches are what the processor makes of the same prompt and picture."""
    table, encoder, _ = setting
    for row in table:
        encoded = encoder.encode(row, ["dcba"], rows.VIEW)
        rendered = encoder.renderer.render(row, ["dcba"])
        size = {"shortest_edge": encoder.model.min_pixels, "longest_edge": encoder.model.max_pixels}
        image = random_qwen.Image.open(row.image_file)
        theirs = random_qwen.processor()(
            text=[rendered.prefix + rendered.branches[0]],
            images=[image],
            images_kwargs={"size": size},
            return_tensors="pt",
        )
        assert theirs["input_ids"][0].tolist() == encoded.prefix_ids + encoded.branch_ids[0]
        assert tuple(theirs["image_grid_thw"][0].tolist()) == encoded.grid
        ours = encoder.pixels(row.image_file, rows.VIEW)
        assert ours.shape == theirs["pixel_values"].shape
