"""Loading a base model and its processor: the same path for 7B and tiny bases.

Shapes: H hidden size, 4 letters.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoProcessor, BitsAndBytesConfig, Qwen2_5_VLForConditionalGeneration

from vqaflow.config.sections import BaseConfig
from vqaflow.model.numerics.precision import DTYPES
from vqaflow.model.vision.windows import use_window_attention
from vqaflow.runtime.errors import UserError

# Matched as a prefix of the module's full name: "visual" by itself would match nothing.
UNQUANTIZED_MODULES = ["model.visual", "lm_head"]
UNQUANTIZED = ("model.visual.", "lm_head")  # full names with these prefixes must stay unquantised


@dataclass
class Base:
    """A loaded base: `model` is Qwen2_5_VLForConditionalGeneration, maybe wrapped by PEFT."""

    model: Any
    processor: Any
    device: torch.device
    dtype: torch.dtype
    quantization: str

    @property
    def qwen(self) -> Any:
        """The bare Qwen2_5_VLForConditionalGeneration under any PEFT wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def language_model(self) -> Any:
        """The decoder (embeddings to last hidden states), with the adapter's layers in place."""
        return self.qwen.model.language_model

    @property
    def visual(self) -> Any:
        """The frozen vision tower."""
        return self.qwen.model.visual

    def leave_gpu(self, *modules: Any) -> None:
        """Move modules that the job rarely or never needs to the host's memory."""
        for module in modules:
            module.to("cpu")
            module.__dict__.pop("_fused_tower", None)  # it holds the weights too, and is made again when needed
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def join_gpu(self, *modules: Any) -> None:
        """Move modules back to the device that an earlier training had moved away."""
        for module in modules:
            module.to(self.device)

    def letter_rows(self, letter_ids: list[int]) -> torch.Tensor:
        """The language-model head's rows (4, H) of the four letters, float32, on the device."""
        return self.qwen.lm_head.weight[letter_ids].detach().float().to(self.device)


def best_device() -> torch.device:
    """The GPU that this process was given, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(model: BaseConfig, device: torch.device) -> torch.dtype:
    """`model.compute_dtype` with auto resolved. Raises UserError for bfloat16 on a card that only emulates it."""
    if model.compute_dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    dtype = DTYPES[model.compute_dtype]
    if dtype is torch.bfloat16 and device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        name = torch.cuda.get_device_name(device)
        raise UserError(
            f"config model.compute_dtype: {name} has no bfloat16 units (compute capability below 8.0). Use float16."
        )
    return dtype


def quantization(model: BaseConfig, device: torch.device) -> str:
    """`model.quantization` with auto resolved: nf4 on a GPU, otherwise none."""
    if model.quantization == "auto":
        return "nf4" if device.type == "cuda" else "none"
    return model.quantization


def load_base(model: BaseConfig, device: torch.device | None = None, stored: Path | None = None) -> Base:
    """Load base and processor from a folder or, by name, from the hub: all frozen, in evaluation mode.

    `stored` is the folder of the quantised weights, if they have been saved (see `stored_base.open_base`). Raises
    UserError if the base cannot be loaded.
    """
    device = device or best_device()
    try:
        processor = AutoProcessor.from_pretrained(model.base, revision=model.revision)
    except (OSError, ValueError) as error:  # ValueError: the folder or name has no processor
        raise unloadable(model, error) from error
    try:
        network = load_network(model, device, stored)
    except (OSError, SafetensorError) as error:
        raise unloadable(model, error) from error
    return Base(network, processor, device, compute_dtype(model, device), quantization(model, device))


def unloadable(model: BaseConfig, error: Exception) -> UserError:
    """The error for a base that the library cannot load."""
    return UserError(
        f"config model.base: cannot load {model.base!r} ({str(error).splitlines()[0]}). Give a folder with a "
        "Qwen2.5-VL checkpoint, or a hub name on a machine that reaches the hub."
    )


def load_network(model: BaseConfig, device: torch.device, stored: Path | None = None) -> Any:
    """The frozen Qwen2_5_VLForConditionalGeneration of `load_base`, quantised if the configuration asks for it."""
    dtype = compute_dtype(model, device)
    options: dict[str, Any] = {"revision": model.revision} if model.revision else {}
    if stored or Path(model.base).is_dir():
        options = {"local_files_only": True}
    if quantization(model, device) == "nf4" and not stored:
        options["quantization_config"] = nf4_config(dtype)
    source = stored or model.base
    config = AutoConfig.from_pretrained(source, revision=options.get("revision"))
    require_kind(config.model_type, model.base)
    if not stored and getattr(config, "quantization_config", None):
        raise UserError(
            f"config model.base: {model.base!r} is already quantised. Give the checkpoint that it was made from."
        )
    network, loading = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        source,
        dtype=dtype,
        attn_implementation="sdpa",
        device_map={"": str(device)},
        output_loading_info=True,
        **options,
    )
    if missing := sorted(loading["missing_keys"]):
        count = f"{len(missing)} missing weights in total"
        raise UserError(f"config model.base: {model.base!r} lacks {missing[0]} ({count}). Download it again.")
    network.requires_grad_(False)
    network.eval()
    require_placement(network, quantization(model, device))
    use_window_attention(network.model.visual)
    return network


def require_kind(kind: str, base: str) -> None:
    """Raise UserError unless a checkpoint is a Qwen2.5-VL: the library would load others with random weights."""
    if kind != "qwen2_5_vl":
        raise UserError(
            f"config model.base: {base!r} is a {kind} model. Use a Qwen2.5-VL checkpoint (3B or 7B Instruct)."
        )


def require_placement(network: Any, quantized: str) -> None:
    """Raise UserError unless each linear was loaded as asked for: a skip list that matches nothing gives no warning."""
    cure = "Install the versions in requirements.lock"
    for name, module in network.named_modules():
        if not hasattr(module, "in_features"):
            continue
        wanted = "Linear4bit" if quantized == "nf4" and not name.startswith(UNQUANTIZED) else "Linear"
        if type(module).__name__ != wanted:
            raise UserError(f"model.quantization: {name} was loaded as {type(module).__name__}, not {wanted}. {cure}.")
    used = network.config.text_config._attn_implementation
    if used != "sdpa":
        raise UserError(f"model.base: the base was loaded with {used!r} attention, not sdpa. {cure}.")


def nf4_config(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with double quantisation for the language model's linears; tower and head stay unquantised."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=UNQUANTIZED_MODULES,
    )
