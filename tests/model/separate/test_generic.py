"""What is found in a network that no family module describes."""

import pytest
import torch
import transformers

import random_others
from vqaflow.model.families import gemma4, internvl
from vqaflow.model.families.generic import (
    adapted_modules,
    decoder_path,
    generic_family,
    outside_decoder,
)
from vqaflow.runtime.errors import UserError


@pytest.mark.parametrize("name", random_others.NAMES)
def test_linears_of_the_decoder_are_adapted_and_no_others(name: str) -> None:
    """An adapter on the tower would not be what `adapted` says, and its features could not be kept."""
    network = random_others.network(name)
    found = adapted_modules(network, ("q_proj", "gate_proj"))
    tower = [name for name, module in network.named_modules() if "vision" in name and name.endswith("q_proj")]
    assert tower, "the tower has linears of the same name"
    layers = network.config.get_text_config().num_hidden_layers
    assert len(found) == 2 * layers
    assert all(name.startswith("model.language_model.layers.") for name in found)


def test_targets_that_do_not_exist_are_refused_with_those_that_do() -> None:
    """Else the user has to read the library's source to find the names."""
    with pytest.raises(UserError, match=r"no linear named c_attn\. Choose from: q_proj, k_proj, .*down_proj\."):
        adapted_modules(random_others.network("llava"), ("c_attn",))


def test_names_stay_when_an_adapter_is_attached() -> None:
    """Continuing a training must find the same linears."""
    network = random_others.network("llava")
    before = adapted_modules(network, ("q_proj",))
    from peft import LoraConfig, get_peft_model

    get_peft_model(network, LoraConfig(target_modules=before))
    assert adapted_modules(network, ("q_proj",)) == before


@pytest.mark.parametrize("name", random_others.NAMES)
def test_the_family_s_paths_exist(name: str) -> None:
    """A path that matches nothing would quantise the tower, or leave the decoder in 16 bits."""
    network, family = random_others.network(name), random_others.FAMILIES[name]
    if not family.decoder:
        family = generic_family("llava", network)
    assert decoder_path(network) == family.decoder
    if family.tower:
        assert network.get_submodule(family.tower) is not None
    left = {name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    left = {name for name in left if not family.is_quantized(name)}
    assert left == set(outside_decoder(network))


def test_a_network_without_layers_is_refused() -> None:
    """Then nothing says where the decoder is."""
    network = transformers.GitForCausalLM(
        transformers.GitConfig(
            vocab_size=16,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=16,
            vision_config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 32},
        )
    )
    with pytest.raises(UserError, match="layers are not found in GitForCausalLM"):
        decoder_path(network)


def test_families_name_classes_of_the_library() -> None:
    """A misspelt class would fail only when a checkpoint of it is loaded."""
    for family in (gemma4.FAMILY, gemma4.UNIFIED, internvl.FAMILY, generic_family("llava")):
        assert hasattr(transformers, family.network)
        assert family.prefix == "separate"
        assert not family.image_processor or hasattr(transformers, family.image_processor)
    assert gemma4.FAMILY.float16 and gemma4.UNIFIED.float16
