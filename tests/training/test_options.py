"""Options that winners used: LoRA+ rates, mirrored training images, and a teacher's soft labels."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps
from torch.nn.functional import cross_entropy

import random_qwen
import rows
from training_world import job, make_world, training_arguments
from vqaflow.artifacts.rows import rows_of
from vqaflow.config.loading import load_config
from vqaflow.config.sections import TrainConfig, ViewConfig, section
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features.cache import FeatureCache
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.runtime.errors import UserError
from vqaflow.training import train_adapter as training
from vqaflow.training.augment import augment_row, images_shown
from vqaflow.training.curve import kept_epoch
from vqaflow.training.loop import Trainer
from vqaflow.training.rows import FoldRows
from vqaflow.training.targets import batch_targets, taught_targets

CONFIG = replace(
    section(TrainConfig, load_config(rows.ROOT / "config.yaml")["train"]),
    batch_size=4,
    learning_rate=0.01,
    weight_decay=0.3,
    warmup_ratio=0,
    max_grad_norm=1e9,
    cache_vision="memory",
)
MIRROR = replace(CONFIG.augment, mirror=True)


def trainer(folder: Path, config: TrainConfig, change=lambda table: table) -> Trainer:
    """A trainer of eight rows, changed by `change`, on a fresh tiny network."""
    base = Base(random_qwen.model(), random_qwen.processor(), torch.device("cpu"), torch.float32, "none")
    encoder = RowEncoder(base.processor, rows.model_config(), rows.prompt_config())
    add_adapter(base, config.lora, config.seed)
    features = FeatureCache(base, encoder, ViewConfig(), config.cache_vision, folder)
    return Trainer(base, encoder, features, change(rows.make_rows(folder, 8)), [], config)


# --- LoRA+ ---


@pytest.mark.parametrize("ratio", [1, 16])
def test_b_learns_at_a_multiple_of_the_rate(tmp_path: Path, ratio: float) -> None:
    """A ratio that reached A, no matrix or all of them would be another method than LoRA+ under its name."""
    one = trainer(tmp_path, replace(CONFIG, loraplus_lr_ratio=ratio))
    weights = {name: weight for name, weight in one.base.model.named_parameters() if weight.requires_grad}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    planted = {
        name: torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) for name, weight in weights.items()
    }
    for name, weight in weights.items():
        weight.register_hook(lambda _, name=name: planted[name].clone())
    config = replace(one.config, batch_size=8)
    one.config, one.progress.micro_rows = config, 8  # one pass, so that each weight has the gradient once
    one.step(one.rows_of_step(0))
    seen = set()
    for name, weight in weights.items():
        rate = 0.01 * (ratio if "lora_B" in name else 1)
        # The first step of AdamW: decay, then the sign of the gradient (m = g, v = g²; epsilon 1e-8).
        expected = before[name] * (1 - rate * 0.3) - rate * planted[name] / (planted[name].abs() + 1e-8)
        torch.testing.assert_close(weight.detach(), expected, atol=1e-6, rtol=1e-5)
        seen.add("lora_B" in name)
    assert seen == {True, False}


def test_without_lora_plus_a_training_has_the_bits_that_it_had(tmp_path: Path) -> None:
    """The default must not change: one group of all weights and two groups at one rate take equal steps."""
    made = []
    for groups in ("two", "one"):
        one = trainer(tmp_path, CONFIG)
        if groups == "one":
            one.optimizer = torch.optim.AdamW(one.weights, lr=0.01, weight_decay=0.3, fused=True)
            one.schedule = torch.optim.lr_scheduler.LambdaLR(one.optimizer, one._rate)
        for step in range(2):
            one.step(one.rows_of_step(step))
        made.append([weight.detach().clone() for weight in trainable(one.base)])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*made, strict=True))
    assert max(weight.abs().max() for weight in made[0]) > 0.01


# --- mirrored images ---


@pytest.mark.parametrize("view", [ViewConfig(), ViewConfig(tiles="2x2"), ViewConfig(flip=True)])
def test_a_mirrored_row_shows_what_the_other_view_shows(tmp_path: Path, view: ViewConfig) -> None:
    """A picture that was not mirrored, or only its tiles, would teach nothing; the row's cached features do not fit."""
    encoder = RowEncoder(random_qwen.processor(), rows.model_config(), rows.prompt_config())
    row = rows.make_rows(tmp_path)[4]
    turned = replace(row, mirrored=True)
    other = replace(view, flip=not view.flip)
    encoded, beside = encoder.encode(turned, ["abcd"], view), encoder.encode(row, ["abcd"], other)
    shown = encoder.patches(turned, view, encoded.pictures)
    for ours, theirs in zip(shown, encoder.patches(row, other, beside.pictures), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(shown[0], encoder.patches(row, view, beside.pictures)[0])
    assert not set(encoded.keys) & set(encoder.encode(row, ["abcd"], view).keys)


def test_only_safe_rows_are_mirrored_every_second_time(tmp_path: Path) -> None:
    """A mirrored "left of" or a mirrored text has another answer: the row would teach a wrong one."""
    safe, unsafe = (replace(rows.make_rows(tmp_path)[0], flip_unsafe=value) for value in (False, True))
    drawn = [augment_row(safe, MIRROR, 42, epoch).mirrored for epoch in range(400)]
    assert 160 < sum(drawn) < 240 and drawn == [augment_row(safe, MIRROR, 42, epoch).mirrored for epoch in range(400)]
    assert not any(augment_row(unsafe, MIRROR, 42, epoch).mirrored for epoch in range(50))
    assert augment_row(safe, CONFIG.augment, 42, 1) == safe
    assert images_shown([safe, unsafe], MIRROR) == [safe, unsafe, replace(safe, mirrored=True)]
    assert images_shown([safe, unsafe], CONFIG.augment) == [safe, unsafe]


def test_the_table_says_which_rows_are_safe(tmp_path: Path) -> None:
    """What the question types found must reach training; rows of which nothing is known are not mirrored."""
    table = rows.make_table(tmp_path)
    assert all(row.flip_unsafe for row in rows_of(table))
    assert [row.flip_unsafe for row in rows_of(table.assign(flip_unsafe=[True, False] * 2 + [True]))][:2] == [
        True,
        False,
    ]


def test_the_cache_keeps_both_sides_of_an_image(tmp_path: Path) -> None:
    """Features of the image as it is, given to a mirrored row, would train one side only."""
    one = trainer(
        tmp_path, replace(CONFIG, augment=MIRROR), lambda table: [replace(r, flip_unsafe=False) for r in table]
    )
    both = [one.rows[4], replace(one.rows[4], mirrored=True)]
    items = [(row, one.encoder.encode(row, ["abcd"], ViewConfig())) for row in both]
    one.features.fill(items)
    plain, turned = one.features.of(items)
    one.features.mode = "off"
    one.features.kept.clear()
    assert torch.equal(plain, one.features.of(items[:1])[0]) and torch.equal(turned, one.features.of(items[1:])[0])
    assert not torch.allclose(plain, turned)


def test_mirroring_the_file_and_mirroring_the_row_are_one(tmp_path: Path) -> None:
    """Mirrored twice, an image is as it was."""
    row = rows.make_rows(tmp_path)[4]
    file = tmp_path / "turned.png"
    ImageOps.mirror(Image.open(row.image_file)).save(file)
    encoder = RowEncoder(random_qwen.processor(), rows.model_config(), rows.prompt_config())
    turned = replace(row, mirrored=True)
    ours = encoder.patches(turned, ViewConfig(), encoder.encode(turned, ["abcd"], ViewConfig()).pictures)
    assert torch.equal(ours[0], encoder.pixels(file, ViewConfig()))


# --- soft labels ---


SAID = (0.1, 0.2, 0.3, 0.4)


def test_the_loss_of_a_taught_row_is_the_naive_one(tmp_path: Path) -> None:
    """A weight on the wrong side, or what the teacher says in another order than the choices, teaches wrong answers."""
    config = replace(CONFIG, batch_size=8, teacher_weight=0.3, label_smoothing=0.0)
    one = trainer(tmp_path, config, lambda table: [replace(row, taught=SAID) for row in table])
    drawn = one.rows_of_step(0)
    losses = []
    for row, orders in drawn:
        for order in orders:
            places = ["abcd".index(letter) for letter in order]
            moved = replace(row, choices=tuple(row.choices[i] for i in places))
            logits = rows.library_logits(one.base.network, one.encoder, moved)[-1, one.letter_ids]
            target = torch.tensor([0.7 * (letter == row.answer) + 0.3 * SAID["abcd".index(letter)] for letter in order])
            losses.append(cross_entropy(logits[None], target[None]))
    one.step(drawn)
    assert one.progress.loss_sum / one.progress.answers == pytest.approx(torch.stack(losses).mean().item(), abs=1e-5)
    assert one.progress.right == int(one.progress.right), "accuracy counts answers, not what the teacher says"


def test_a_row_without_a_teacher_keeps_its_target(tmp_path: Path) -> None:
    """The default must train the bits that it trained."""
    part = [(row, ["abcd", "badc"]) for row in rows.make_rows(tmp_path, 2)]
    target, _ = batch_targets(part)
    assert taught_targets(part, target, 0.5) is target
    mixed = taught_targets([(replace(part[0][0], taught=SAID), part[0][1]), part[1]], target, 1.0)
    assert mixed[0].tolist() == [pytest.approx(SAID), pytest.approx([0.2, 0.1, 0.4, 0.3])]
    assert torch.equal(mixed[1], target[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 40 rows in two folds, and what a teacher says."""
    made = make_world(tmp_path_factory.mktemp("world"))
    ids = pd.read_parquet(made / "train.parquet")["id"]
    said = pd.DataFrame({"id": ids[::-1]} | {f"p_{letter}": value for letter, value in zip("abcd", SAID, strict=True)})
    said["p_a"], said["p_b"] = said.index / 400, 0.3 - said.index / 400
    said.to_parquet(made / "teacher.parquet")
    said[said["id"] != "row_7"].to_parquet(made / "short.parquet")
    return made


def test_rows_that_train_are_taught_by_their_ids_and_held_out_rows_are_not(world: Path) -> None:
    """A teacher's row for another row, or in the rows that measure, would spoil the adapter or its accuracy."""
    inside, targets = FoldRows(
        world / "train.parquet", world / "folds.parquet", 0, teacher=world / "teacher.parquet"
    ).split()
    assert all(row.taught is None for row in inside) and len(targets.rows) == 20
    for row in targets.rows:
        number = int(row.id.removeprefix("row_"))
        assert row.taught == pytest.approx((number / 400, 0.3 - number / 400, 0.3, 0.4))


def test_a_teacher_that_lacks_a_row_stops_the_training(world: Path) -> None:
    with pytest.raises(UserError, match=r"short\.parquet: lacks rows .*row_7.*\. Run the rule pool_member again"):
        FoldRows(world / "train.parquet", world / "folds.parquet", 0, teacher=world / "short.parquet").split()


# --- keys ---


def key_of(world: Path, monkeypatch, change=lambda table: table, teacher: Path | None = None, **train: object) -> str:
    """The key under which a training's adapter is kept, without training."""
    keys = []
    monkeypatch.setattr(
        training, "cached", lambda store, parts, out, compute: keys.append(training.value_digest(parts))
    )
    given = job(world, "keys", **train)
    arguments = training_arguments(**given)
    arguments["rows"] = replace(arguments["rows"], teacher=teacher)
    table = change(pd.read_parquet(world / "train.parquet"))
    table.to_parquet(world / "changed.parquet")
    arguments["rows"] = replace(arguments["rows"], table=world / "changed.parquet")
    training.train_adapter(**arguments)
    return keys[0]


def test_options_that_are_off_keep_adapters_valid_and_those_that_are_on_do_not(world: Path, monkeypatch) -> None:
    """Hours of training would be repeated for a key without effect, or an adapter kept that was trained otherwise."""
    augment = {"shuffle_choices": False, "paraphrase": False}
    unsafe = {"change": lambda table: table.assign(flip_unsafe=False)}
    plain = key_of(world, monkeypatch)
    same = [
        {"augment": augment},
        {"loraplus_lr_ratio": 1.0},
        {"teacher_weight": 0.9},
        unsafe,
    ]
    assert {key_of(world, monkeypatch, **one) for one in same} == {plain}
    taught = {"teacher": world / "teacher.parquet"}
    other = [
        {"loraplus_lr_ratio": 4},
        {"augment": augment | {"mirror": True}},
        {"augment": augment | {"mirror": True}} | unsafe,
        taught,
    ]
    assert len({plain, *(key_of(world, monkeypatch, **one) for one in other)}) == 5


def test_the_curve_marks_the_epoch_that_is_kept() -> None:
    """A mark at another epoch than the adapter's would mislead who judges overfitting by it."""
    history = pd.DataFrame({"epoch": [1.0, 2.0, 3.0], "val_accuracy": [0.5, 0.7, 0.7]})
    assert kept_epoch(history, "best") == 2.0 and kept_epoch(history, "last") == 3.0
    assert kept_epoch(history.drop(columns="val_accuracy"), "best") == 3.0
