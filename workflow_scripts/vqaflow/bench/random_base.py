"""Random models of published shapes, built in place: what speed and memory depend on, without a download.

`build("7b", device, "nf4", dtype)` makes each decoder linear on the device and quantises it before the next one, so
that it never takes more memory than the quantised model. The weights are random; nothing here can answer a question.
"""

from collections.abc import Mapping
from typing import Any

import torch

from vqaflow.model.base import Base
from vqaflow.model.checkpoint import without_weights
from vqaflow.model.families.known import family_of
from vqaflow.model.fp8_linear import Fp8Linear
from vqaflow.model.vision.windows import use_window_attention
from vqaflow.plan.published import PUBLISHED
from vqaflow.plan.shape import library_config

DONE = "_is_hf_initialized"  # the library's mark on tensors that its initialisation must leave alone


def build(
    config: Mapping[str, Any] | str,
    device: torch.device,
    quantization: str,
    dtype: torch.dtype,
    seed: int = 0,
) -> Base:
    """A frozen random model on `device`, of a config.json or of a published model by its name.

    `quantization` is nf4, nf4-tower (the tower too), fp8 or none. It has no processor: its rows are made, not encoded.
    """
    torch.manual_seed(seed)
    network = without_weights(library_config(PUBLISHED[config] if isinstance(config, str) else config))
    family = family_of(network.config.model_type)
    for name, module in list(network.named_modules()):
        quantized = name != "lm_head" if quantization == "nf4-tower" else family.is_quantized(name)
        if isinstance(module, torch.nn.Linear) and quantized and quantization != "none":
            parent, _, last = name.rpartition(".")
            make = fp8_linear if quantization == "fp8" else nf4_linear
            setattr(network.get_submodule(parent), last, make(module, device, dtype))
    materialise(network, device, dtype)
    network.tie_weights()
    network.is_loaded_in_4bit = quantization.startswith("nf4")
    network.config._attn_implementation = network.config.get_text_config()._attn_implementation = "sdpa"
    network.requires_grad_(False)
    network.eval()
    if family.features:
        use_window_attention(network.get_submodule(family.tower))
    return Base(network, None, device, dtype, quantization.removesuffix("-tower"))


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


def fp8_linear(module: torch.nn.Linear, device: torch.device, dtype: torch.dtype) -> Fp8Linear:
    """An FP8 linear with the same random weights, rounded."""
    weight = random_weight(torch.Size([module.out_features, module.in_features]), device, dtype)
    bias = None if module.bias is None else torch.zeros(module.out_features, device=device, dtype=dtype)
    return Fp8Linear(weight, bias)


@torch.no_grad()
def materialise(network: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Give all that is still on the meta device a place and a value.

    Matrices, stacks of them and convolutions become random. Norms, biases, decay rates and buffers, such as rotary
    frequencies, get the values with which the library initialises them; buffers keep their own precision.
    """
    made: dict[int, torch.nn.Parameter] = {}  # a tied table is made once
    owners: dict[str, Any] = {}  # the model within the network that initialises a module
    for path, module in network.named_modules():
        owners[path] = module if hasattr(module, "_init_weights") else owners[path.rpartition(".")[0]]
        initialise = False
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.device.type != "meta":
                setattr(weight, DONE, True)
                continue
            if id(weight) not in made:
                made[id(weight)] = _parameter(name, weight, device, dtype)
            setattr(module, name, made[id(weight)])
            initialise = initialise or weight.ndim < 2
        for name, value in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.zeros(value.shape, dtype=value.dtype, device=device))
            initialise = True
        if initialise:
            owners[path]._init_weights(module)
    left = [n for n, t in [*network.named_parameters(), *network.named_buffers()] if t.device.type == "meta"]
    assert not left, f"without a value: {left}"


def _parameter(name: str, weight: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.nn.Parameter:
    """A parameter in the place of `weight`; one with at least two axes is random, and stays as it is."""
    if weight.ndim > 1:
        value = torch.nn.Parameter(random_weight(weight.shape, device, dtype), requires_grad=False)
        setattr(value, DONE, True)
        return value
    filled = torch.full(weight.shape, float("bias" not in name), device=device, dtype=dtype)
    return torch.nn.Parameter(filled, requires_grad=False)
