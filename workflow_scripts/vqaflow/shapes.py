"""Random models of published shapes, built in place: what speed and memory depend on, without a download.

`build("7b", device, "nf4")` makes each decoder linear on the device and quantises it before the next one, so that it
never takes more memory than the quantised model. The weights are random; nothing here can answer a question.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from vqaflow.base_model import UNQUANTIZED_MODULES, Base
from vqaflow.vision import use_window_attention

DECODER = "model.language_model."


@dataclass(frozen=True)
class Shape:
    """The numbers of a Qwen2.5-VL config.json that differ between its sizes."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool
    vision_hidden: int = 1280
    vision_inner: int = 3420
    vision_depth: int = 32
    vision_heads: int = 16
    full_attention: tuple[int, ...] = (7, 15, 23, 31)

    @property
    def head(self) -> int:
        """Size of an attention head."""
        return self.hidden // self.heads

    def config(self) -> Qwen2_5_VLConfig:
        """The library's configuration of this shape."""
        quarter = self.head // 8
        return Qwen2_5_VLConfig(
            text_config={
                "vocab_size": self.vocabulary,
                "hidden_size": self.hidden,
                "intermediate_size": self.inner,
                "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads,
                "num_key_value_heads": self.key_value_heads,
                "rms_norm_eps": 1e-6,
                "max_position_embeddings": 128000,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 1000000.0,
                    "mrope_section": [quarter, *[(self.head // 2 - quarter) // 2] * 2],
                },
            },
            vision_config={
                "depth": self.vision_depth,
                "hidden_size": self.vision_hidden,
                "intermediate_size": self.vision_inner,
                "num_heads": self.vision_heads,
                "out_hidden_size": self.hidden,
                "fullatt_block_indexes": list(self.full_attention),
                "window_size": 112,
            },
            tie_word_embeddings=self.tied,
            image_token_id=self.vocabulary - 9,
            video_token_id=self.vocabulary - 8,
            vision_start_token_id=self.vocabulary - 12,
            vision_end_token_id=self.vocabulary - 11,
        )


SHAPES = {
    "7b": Shape(3584, 18944, 28, 28, 4, 152064, False),
    "3b": Shape(2048, 11008, 36, 16, 2, 151936, True),
    "tiny": Shape(128, 256, 4, 8, 2, 512, True, 64, 128, 4, 4, (1, 3)),
}


def build(shape: Shape, device: torch.device, quantization: str, dtype: torch.dtype, seed: int = 0) -> Base:
    """A frozen random model of `shape` on `device`; `quantization` is nf4, nf4-tower (the tower too) or none.

    It has no processor: its rows are made, not encoded.
    """
    torch.manual_seed(seed)
    with torch.device("meta"):
        network = Qwen2_5_VLForConditionalGeneration(shape.config()).to(dtype)
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


def _small_model(shape: Shape) -> Any:
    """A model with the buffers of `shape` (they depend on the size of heads alone) and hardly any weights."""
    small = replace(shape, layers=1, inner=8, vision_depth=1, vision_inner=8, full_attention=(0,), vocabulary=64)
    return Qwen2_5_VLForConditionalGeneration(small.config())


def _is_quantized(name: str, quantization: str) -> bool:
    if quantization == "nf4-tower":
        return name != "lm_head"
    return quantization == "nf4" and not name.startswith(tuple(UNQUANTIZED_MODULES))


def nf4_linear(module: torch.nn.Linear, device: torch.device, dtype: torch.dtype) -> Any:
    """A quantised linear with random weights of the module's shape."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    has_bias = module.bias is not None
    linear = Linear4bit(
        module.in_features, module.out_features, has_bias, compute_dtype=dtype, quant_type="nf4", device="meta"
    )
    weight = torch.randn(module.out_features, module.in_features, device=device, dtype=dtype) * 0.02
    linear.weight = Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4").to(device)
    if has_bias:
        linear.bias = torch.nn.Parameter(torch.zeros(module.out_features, device=device, dtype=dtype), False)
    return linear


def _materialise(network: Any, device: torch.device, dtype: torch.dtype, donor: Any) -> None:
    """Give all that is still on the meta device a place and a value; buffers get the values of `donor`'s."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.device.type == "meta":
                value = torch.empty(weight.shape, device=device, dtype=dtype)
                value = value.normal_(0, 0.02) if weight.ndim > 1 else value.fill_("weight" == name)
                setattr(module, name, torch.nn.Parameter(value, requires_grad=False))
    for name, value in donor.named_buffers():
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, value.to(device))
    left = [n for n, t in [*network.named_parameters(), *network.named_buffers()] if t.device.type == "meta"]
    assert not left, f"without a value: {left}"
