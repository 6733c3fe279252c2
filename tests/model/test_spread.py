"""A base whose layers lie on several GPUs: where each part goes, and that its logits are those of one GPU."""

from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import random_families
import random_others
import random_qwen
import rows
import scoring_world
from vqaflow.config.sections import ModelConfig
from vqaflow.model.base import load_base
from vqaflow.model.decoder.layouts import FlatLayout, PaddedLayout, moved_layout
from vqaflow.model.decoder.merged_adapters import Adapter, read_adapter
from vqaflow.model.families.known import family_of
from vqaflow.model.pipeline.parts import make_decoder, make_encoder, use
from vqaflow.model.pipeline.reading import written
from vqaflow.model.spread import place_of, places_of_parts
from vqaflow.runtime.errors import UserError

ORDERS = ["abcd", "bcda"]
two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("name", random_families.NAMES)
def test_every_weight_has_a_place_and_layers_follow_each_other(name: str, quantization: str, devices: int) -> None:
    """A weight without a place would stay on the CPU; layers in another order would send states to and fro."""
    network = random_families.network(name)
    family = family_of(network.config.model_type)
    places = places_of_parts(network, family, quantization, devices)
    for weight, _ in [*network.named_parameters(), *network.named_buffers()]:
        assert place_of(places, weight) in range(devices)
    layers = [places[f"{family.decoder}.layers.{i}"] for i in range(len(network.get_submodule(family.decoder).layers))]
    assert all(after - before in (0, 1) for before, after in pairwise(layers))
    assert place_of(places, f"{family.decoder}.norm.weight") == layers[-1]
    assert {place_of(places, part) for part in (family.tower, f"{family.decoder}.embed_tokens", "lm_head")} == {0}


def test_each_gpu_gets_the_same_share() -> None:
    """Else a base that fits on two GPUs together would still not fit on the first."""
    network = random_qwen.model()
    layers = network.model.language_model.layers
    for _ in range(30):
        layers.append(layers[0])
    places = places_of_parts(network, family_of("qwen2_5_vl"), "none", 2)
    sizes = [0, 0]
    for name, weight in network.named_parameters(remove_duplicate=False):
        sizes[place_of(places, name)] += weight.numel()
    layer = sum(weight.numel() for weight in layers[0].parameters())
    assert abs(sizes[0] - sizes[1]) <= layer


def test_a_family_of_separate_passes_is_refused() -> None:
    """The library's forward would end in a traceback about two devices."""
    network = random_others.network("llava")
    with pytest.raises(UserError, match=r"model\.devices: .* separate passes.*Set it to 1"):
        places_of_parts(network, family_of("llava", network), "none", 2)


def tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in a layout, also in what it holds."""
    if isinstance(value, torch.Tensor):
        return [value]
    if is_dataclass(value) and not isinstance(value, type):
        return [t for field in fields(value) for t in tensors(getattr(value, field.name))]
    return [t for part in value for t in tensors(part)] if isinstance(value, list | tuple) else []


@pytest.mark.parametrize("orders", [["abcd"], ORDERS])
@pytest.mark.parametrize("kind", [PaddedLayout, FlatLayout])
def test_a_moved_layout_is_on_the_other_device_with_all_it_holds(kind: type, orders: list[str], tmp_path: Path) -> None:
    """One tensor left behind ends the first batch with an error of torch's."""
    scoring_world.save_base(tmp_path / "base")
    settings = rows.model_config(base=str(tmp_path / "base"))
    encoder = make_encoder(load_base(settings, torch.device("cpu")), settings, rows.prompt_config())
    encoded = [encoder.encode(row, orders, rows.VIEW) for row in rows.make_rows(tmp_path, 2)]
    layout = kind(encoded, encoder.image_token, torch.device("cpu"), torch.float32)
    meta = torch.device("meta")
    there = moved_layout(layout, meta)
    moved = {name: tensors(value) for name, value in vars(there).items() if name != "encoded"}
    assert sum(map(len, moved.values())) >= 6
    assert all(tensor.device == meta for found in moved.values() for tensor in found)
    assert there.device == meta and layout.device.type == "cpu"
    assert all(t.device.type == "cpu" for name, v in vars(layout).items() if name != "encoded" for t in tensors(v))


def states_of(settings: ModelConfig, folder: Path, devices: int, adapter: Adapter | None = None) -> torch.Tensor:
    """The states of three rows in two orders, computed by a base on so many GPUs."""
    base = load_base(settings, torch.device("cuda"), devices=devices)
    assert {weight.device.index for weight in base.network.parameters()} == set(range(devices))
    encoder, decoder = make_encoder(base, settings, rows.prompt_config()), make_decoder(base, adapter is not None)
    use(decoder, adapter)
    table = rows.make_rows(folder, 3)
    encoded = [encoder.encode(row, ORDERS, rows.VIEW) for row in table]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    with torch.no_grad():
        features = base.family.features(base.visual, pixels, [row.grid for row in encoded])
        states_BKH = decoder.states(encoded, features).cpu()
    assert torch.cuda.current_device() == 0 and states_BKH.isfinite().all()
    return states_BKH


@two_gpus
@pytest.mark.parametrize("name", random_families.NAMES)
def test_two_gpus_give_the_states_of_one(name: str, tmp_path: Path) -> None:
    """`model.devices` says that results do not depend on it: it makes nothing stale."""
    random_families.save(name, tmp_path / "base")
    settings = rows.model_config(base=str(tmp_path / "base"), quantization="none", compute_dtype="auto")
    assert torch.equal(states_of(settings, tmp_path, 1), states_of(settings, tmp_path, 2))


@two_gpus
@pytest.mark.parametrize("quantization", ["nf4", "fp8"])
def test_quantised_layers_lie_on_their_gpus_too(quantization: str, tmp_path: Path) -> None:
    """FP8 is quantised layer by layer, each on its own GPU; NF4 by the library."""
    scoring_world.save_base(tmp_path / "base")
    settings = rows.model_config(base=str(tmp_path / "base"), quantization=quantization, compute_dtype="auto")
    assert torch.equal(states_of(settings, tmp_path, 1), states_of(settings, tmp_path, 2))


@two_gpus
def test_an_adapter_is_merged_on_the_gpu_of_its_layer(tmp_path: Path) -> None:
    """A tuned member may be scored on several GPUs too; here with compiled kernels."""
    scoring_world.save_base(tmp_path / "base")
    adapter = read_adapter(scoring_world.save_adapter(tmp_path / "adapter"))
    settings = rows.model_config(base=str(tmp_path / "base"), quantization="none", compute_dtype="auto")
    one, two = (states_of(settings, tmp_path, devices, adapter) for devices in (1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, states_of(settings, tmp_path, 1))


@two_gpus
@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_5"])
def test_a_view_reads_the_same_text_on_two_gpus(name: str, tmp_path: Path) -> None:
    """Reading runs the library's own layers, with their own caches."""
    random_families.save(name, tmp_path / "base")
    settings = rows.model_config(base=str(tmp_path / "base"), quantization="none", compute_dtype="auto")
    row, texts = rows.make_rows(tmp_path, 1)[0], []
    for devices in (1, 2):
        base = load_base(settings, torch.device("cuda"), devices=devices)
        encoder = make_encoder(base, settings, rows.prompt_config())
        encoded = encoder.encode(row, ["abcd"], rows.VIEW)
        with torch.no_grad():
            pixels = [encoder.pixels(row.image_file, rows.VIEW)]
            (features,) = base.family.features(base.visual, pixels, [encoded.grid])
            texts.append(written(base, encoded, features, 6, []))
    assert texts[0] == texts[1] and len(texts[0]) == 6
