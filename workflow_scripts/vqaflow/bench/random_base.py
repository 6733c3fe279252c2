"""Random models of published shapes, built in place: what speed and memory depend on, without a download.

`build("7b", device, "nf4")` makes each decoder linear on the device and quantises it before the next one, so that it
never takes more memory than the quantised model. The weights are random; nothing here can answer a question.
"""

from dataclasses import replace
from typing import Any

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from vqaflow.model.base import UNQUANTIZED_MODULES, Base
from vqaflow.model.vision.windows import use_window_attention
from vqaflow.plan.shape import Shape


def build(shape: Shape, device: torch.device, quantization: str, dtype: torch.dtype, seed: int = 0) -> Base:
    """A frozen random model of `shape` on `device`; `quantization` is nf4, nf4-tower (the tower too) or none.

    It has no processor: its rows are made, not encoded.
    """
    torch.manual_seed(seed)
    with torch.device("meta"):
        network = Qwen2_5_VLForConditionalGeneration(library_config(shape)).to(dtype)
    for name, module in list(network.named_modules()):
        if isinstance(module, torch.nn.Linear) and _is_quantized(name, quantization):
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, nf4_linear(module, device, dtype))
    _materialise(network, device, dtype, _small_model(shape))
    network.tie_weights()
    network.is_loaded_in_4bit = quantization != "none"
    network.config._attn_implementation = network.config.text_config._attn_implementation = "sdpa"
    network.requires_grad_(False)
    network.eval()
    use_window_attention(network.model.visual)
    return Base(network, None, device, dtype, "none" if quantization == "none" else "nf4")


def library_config(shape: Shape) -> Qwen2_5_VLConfig:
    """The library's configuration of `shape`."""
    quarter = shape.head // 8
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_value_heads,
            "rms_norm_eps": 1e-6,
            "max_position_embeddings": 128000,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1000000.0,
                "mrope_section": [quarter, *[(shape.head // 2 - quarter) // 2] * 2],
            },
        },
        vision_config={
            "depth": shape.vision_depth,
            "hidden_size": shape.vision_hidden,
            "intermediate_size": shape.vision_inner,
            "num_heads": shape.vision_heads,
            "out_hidden_size": shape.hidden,
            "fullatt_block_indexes": list(shape.full_attention),
            "window_size": shape.window,
        },
        tie_word_embeddings=shape.tied,
        image_token_id=shape.vocabulary - 9,
        video_token_id=shape.vocabulary - 8,
        vision_start_token_id=shape.vocabulary - 12,
        vision_end_token_id=shape.vocabulary - 11,
    )


def _small_model(shape: Shape) -> Any:
    """A model with the buffers of `shape` (they depend only on the size of heads) and hardly any weights."""
    small = replace(shape, layers=1, inner=8, vision_depth=1, vision_inner=8, full_attention=(0,), vocabulary=64)
    return Qwen2_5_VLForConditionalGeneration(library_config(small))


def _is_quantized(name: str, quantization: str) -> bool:
    if quantization == "nf4-tower":
        return name != "lm_head"
    return quantization == "nf4" and not name.startswith(tuple(UNQUANTIZED_MODULES))


def random_weight(shape: torch.Size, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Values that float16 can represent: a model has the same weights in every precision."""
    return (torch.randn(shape, device=device) * 0.02).half().to(dtype)


def nf4_linear(module: torch.nn.Linear, device: torch.device, dtype: torch.dtype) -> Any:
    """A quantised linear with random weights of the module's shape."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    has_bias = module.bias is not None
    linear = Linear4bit(
        module.in_features, module.out_features, has_bias, compute_dtype=dtype, quant_type="nf4", device="meta"
    )
    weight = random_weight(torch.Size([module.out_features, module.in_features]), device, dtype)
    linear.weight = Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4").to(device)
    if has_bias:
        linear.bias = torch.nn.Parameter(torch.zeros(module.out_features, device=device, dtype=dtype), False)
    return linear


def _materialise(network: Any, device: torch.device, dtype: torch.dtype, donor: Any) -> None:
    """Give all that is still on the meta device a place and a value; buffers get the values of `donor`'s."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.device.type == "meta":
                if weight.ndim > 1:
                    value = random_weight(weight.shape, device, dtype)
                else:
                    value = torch.full(weight.shape, float(name == "weight"), device=device, dtype=dtype)
                setattr(module, name, torch.nn.Parameter(value, requires_grad=False))
    for name, value in donor.named_buffers():
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, value.to(device))
    left = [n for n, t in [*network.named_parameters(), *network.named_buffers()] if t.device.type == "meta"]
    assert not left, f"without a value: {left}"
