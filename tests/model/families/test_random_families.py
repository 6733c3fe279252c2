"""The random checkpoints are real ones: what the exactness tests show of them holds for published checkpoints too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import random_families
import random_qwen
from random_families import DEEPSTACK, NAMES

PUBLISHED_CLASSES = {
    "qwen2_vl": ("Qwen2VLProcessor", "Qwen2Tokenizer", "Qwen2VLVideoProcessor"),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2Tokenizer", "Qwen2VLVideoProcessor"),
    "qwen3_vl": ("Qwen3VLProcessor", "Qwen2Tokenizer", "Qwen3VLVideoProcessor"),
    "qwen3_vl_moe": ("Qwen3VLProcessor", "Qwen2Tokenizer", "Qwen3VLVideoProcessor"),
    "qwen3_5": ("Qwen3VLProcessor", "Qwen3_5Tokenizer", "Qwen3VLVideoProcessor"),
    "qwen3_5_moe": ("Qwen3VLProcessor", "Qwen3_5Tokenizer", "Qwen3VLVideoProcessor"),
}


def loaded(folder: Path) -> tuple[Any, Any]:
    """Processor and network of a folder, as the library loads them, with nothing missing and nothing left over."""
    options = {"dtype": torch.float32, "output_loading_info": True}
    network, loading = AutoModelForImageTextToText.from_pretrained(folder, **options)
    assert not any(loading.values()), loading
    return AutoProcessor.from_pretrained(folder), network


@torch.no_grad()
def logits(processor: Any, network: Any, picture: int = 0) -> torch.Tensor:
    """The logits after a question about the random picture of that number."""
    content = [{"type": "image", "image": random_qwen.image(picture, 150, 90)}, {"type": "text", "text": "Which?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
    )
    return network(**inputs).logits[0, -1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"shard": "100KB"}, {"tied": True}], ids=["one file", "shards", "tied"])
def test_a_saved_checkpoint_is_loaded_as_it_was(name: str, options: dict, tmp_path: Path) -> None:
    """Weights that do not arrive would make every later comparison one of two random networks."""
    random_families.save(name, tmp_path, **options)
    processor, network = loaded(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 3 or "shard" not in options
    assert (network.lm_head.weight is network.get_input_embeddings().weight) == ("tied" in options)
    original = random_families.network(name, tied="tied" in options)
    for ours, theirs in zip(network.parameters(), original.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    expected = logits(random_families.processor(name), original)
    # Experts are summed in an order that may vary from call to call.
    torch.testing.assert_close(logits(processor, network), expected, atol=1e-5, rtol=0)
    assert expected.isfinite().all() and expected.std() > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_processors_are_those_of_published_checkpoints(name: str, tmp_path: Path) -> None:
    """AutoProcessor chooses classes by model_type where a checkpoint's files do not name them."""
    random_families.save(name, tmp_path)
    processor, _ = loaded(tmp_path)
    parts = (processor, processor.tokenizer, processor.video_processor)
    assert tuple(type(part).__name__ for part in parts) == PUBLISHED_CLASSES[name]
    assert type(processor.image_processor).__name__ == "Qwen2VLImageProcessor"
    assert processor.image_processor.patch_size == (14 if name.startswith("qwen2") else 16)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_changes_the_logits(name: str) -> None:
    """A tower whose features never arrive would pass every test of exactness."""
    processor, network = random_families.processor(name), random_families.network(name)
    assert (logits(processor, network, 0) - logits(processor, network, 1)).abs().max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_counts(name: str) -> None:
    """A weight that does nothing hides that our code forgets it: each one must have a gradient."""
    processor, network = random_families.processor(name), random_families.network(name)
    with torch.enable_grad():
        logits.__wrapped__(processor, network).square().sum().backward()
    idle = [path for path, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


@pytest.mark.parametrize("name", DEEPSTACK)
def test_each_level_of_deepstack_changes_the_logits(name: str) -> None:
    """A level that does nothing would hide that our code leaves it out."""
    processor, network = random_families.processor(name), random_families.network(name)
    before = logits(processor, network)
    mergers = network.model.visual.deepstack_merger_list
    assert len(mergers) == len(network.config.vision_config.deepstack_visual_indexes) >= 2
    for merger in mergers:
        with torch.no_grad():
            merger.linear_fc2.weight.neg_()
            changed = logits(processor, network)
            merger.linear_fc2.weight.neg_()
        assert (changed - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "thinking", "arguments", "opening"),
    [
        ("qwen2_vl", None, {}, ""),
        ("qwen2_5_vl", None, {}, ""),
        ("qwen3_vl", None, {}, ""),
        ("qwen3_vl", "only", {}, "<think>\n"),
        ("qwen3_vl", "only", {"enable_thinking": False}, "<think>\n"),
        ("qwen3_5", None, {}, "<think>\n"),
        ("qwen3_5", None, {"enable_thinking": True}, "<think>\n"),
        ("qwen3_5_moe", None, {"enable_thinking": False}, "<think>\n\n</think>\n\n"),
    ],
)
def test_templates_open_the_answer_as_published_ones_do(name, thinking, arguments, opening) -> None:
    """A letter scored in an open think block stands where a thought should begin."""
    processor = random_families.processor(name, thinking)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which?"}]}
    text = processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True, **arguments)
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" if name.startswith("qwen2") else ""
    user = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Which?<|im_end|>\n"
    assert text == system + user + "<|im_start|>assistant\n" + opening
    for word in random_families.THINK:
        assert (len(processor.tokenizer(word)["input_ids"]) == 1) == name.startswith("qwen3")
