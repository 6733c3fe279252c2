"""Loading a base model and its processor: the same path for 7B and tiny bases.

Shapes: H hidden size, C letters.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import dispatch_model
from transformers import AutoProcessor, BitsAndBytesConfig
from transformers.utils import logging as library_logging

from vqaflow.config.sections import BaseConfig
from vqaflow.model.checkpoint import (
    PROCESSOR_FACTS,
    family_in,
    fits_unquantized,
    image_processor_problems,
    normalisation_warning,
    processor_class_problems,
    read_config,
    require_loadable,
    require_whole,
    tokenizer_problems,
    unloadable,
    without_weights,
)
from vqaflow.model.families.family import Family
from vqaflow.model.families.known import family_of
from vqaflow.model.fp8_linear import quantize_linears, require_fp8
from vqaflow.model.hub import NO_CODE, source_of, unpinned
from vqaflow.model.numerics.precision import DTYPES
from vqaflow.model.spread import places_of_parts
from vqaflow.model.vision.windows import use_window_attention
from vqaflow.model.weight_files import ADAPTER, MERGE, RESTORE
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log, memory_problem


@dataclass
class Base:
    """A loaded base: `model` is its family's network, maybe wrapped by PEFT."""

    model: Any
    processor: Any
    device: torch.device
    dtype: torch.dtype
    quantization: str

    @property
    def network(self) -> Any:
        """The bare network under any PEFT wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @cached_property
    def family(self) -> Family:
        """What differs between this base and others."""
        return family_of(self.network.config.model_type, self.network)

    @property
    def is_separate(self) -> bool:
        """Whether each choice order is a pass of the library's forward."""
        return self.family.prefix == "separate"

    @property
    def is_tied(self) -> bool:
        """Whether the head is the embedding table."""
        return self.head.weight is self.network.get_input_embeddings().weight

    @property
    def softcap(self) -> float | None:
        """The value c of a head that gives c · tanh(logit / c) instead of the logit; None for other heads."""
        return getattr(self.network.config.get_text_config(), "final_logit_softcapping", None)

    @property
    def language_model(self) -> Any:
        """The decoder (embeddings to last hidden states), with the adapter's layers in place."""
        return self.network.get_submodule(self.family.decoder)

    @property
    def visual(self) -> Any:
        """The frozen vision tower."""
        return self.network.get_submodule(self.family.tower)

    @property
    def feature_width(self) -> int:
        """Numbers in the features of one visual token: H, and as many again for each level of DeepStack."""
        levels = len(getattr(self.visual, "deepstack_visual_indexes", []))
        return (1 + levels) * self.network.get_input_embeddings().weight.shape[1]

    @property
    def head(self) -> Any:
        """The language-model head."""
        return self.network.get_output_embeddings()

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
        """The language-model head's rows (C, H) of the letters, float32, on the device."""
        return self.head.weight[letter_ids].detach().float().to(self.device)


def best_device() -> torch.device:
    """The GPU that this process was given, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(model: BaseConfig, device: torch.device) -> torch.dtype:
    """`model.compute_dtype` with auto resolved: on a GPU float16, or bfloat16 for families that overflow float16.

    With FP8 weights it is bfloat16. Raises UserError for bfloat16 on a card that only emulates it, and for float16 in
    a family that overflows it.
    """
    asked = model.compute_dtype
    if device.type != "cuda":
        return torch.float32 if asked == "auto" else DTYPES[asked]
    if model.quantization == "fp8":
        if asked not in ("auto", "bfloat16"):
            raise UserError(
                f"config model.compute_dtype: FP8 products give bfloat16, not {asked}. Use bfloat16 or auto."
            )
        return torch.bfloat16
    name, has_bfloat16 = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device) >= (8, 0)
    if asked == "bfloat16" and not has_bfloat16:
        raise UserError(
            f"config model.compute_dtype: {name} has no bfloat16 units (compute capability below 8.0). Use float16, or "
            "float32 for a base that overflows float16."
        )
    if asked in ("auto", "float16"):
        family = family_in(model)
        if family.float16 and (asked == "float16" or not has_bfloat16):
            cure = "Use bfloat16" if has_bfloat16 else f"{name} has no bfloat16 either: use float32, or a Qwen3-VL base"
            what = f"{family.name} does not work in float16: {family.float16}"
            raise UserError(f"config model.compute_dtype: {what}. {cure}.")
        if asked == "auto":  # of an unknown class, nobody knows whether it overflows float16
            asked = "bfloat16" if family.float16 or (not family.example and has_bfloat16) else "float16"
    return DTYPES[asked]


def quantization(model: BaseConfig, device: torch.device) -> str:
    """`model.quantization` with auto resolved: nf4 on a GPU that is too small for the 16-bit weights, else none.

    Raises UserError for fp8 on a card without FP8 units.
    """
    if model.quantization == "fp8":
        require_fp8(device)
    if model.quantization != "auto":
        return model.quantization
    return "none" if device.type != "cuda" or fits_unquantized(model, device) else "nf4"


def load_base(
    model: BaseConfig, device: torch.device | None = None, stored: Path | None = None, devices: int = 1
) -> Base:
    """Load base and processor from a folder or, by name, from the hub: all frozen, in evaluation mode.

    `stored` is the folder of the quantised weights, if they have been saved (see `stored_base.open_base`). With
    `devices` above 1, its layers lie on so many GPUs; without a GPU, all is on the CPU. Raises UserError if the base
    cannot be loaded.
    """
    device = device or best_device()
    require_whole(model.base)
    if told := unpinned(model):
        log.warning("%s", told)
    if not stored:
        require_loadable(read_config(model), model.base)
    with library_errors(model):
        processor = AutoProcessor.from_pretrained(model.base, **source_of(model))
    network = load_network(model, device, stored, devices)
    base = Base(network, processor, device, compute_dtype(model, device), quantization(model, device))
    require_own_processor(base, model.base)
    return base


@contextmanager
def library_errors(model: BaseConfig) -> Iterator[None]:
    """Turn what the library raises for a broken checkpoint, which may be anything, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if memory_problem(error):
            raise
        raise unloadable(model, error) from error


def load_network(model: BaseConfig, device: torch.device, stored: Path | None = None, devices: int = 1) -> Any:
    """The frozen network of `load_base`, quantised if the configuration asks for it."""
    config = read_config(model, stored)
    family = family_of(config.model_type)
    if not family.example:  # of an unknown class: what NF4 must leave alone shows in its network
        family = family_of(config.model_type, without_weights(config))
    dtype, quantized = compute_dtype(model, device), quantization(model, device)
    places: dict[str, Any] = {"": str(device)}
    if devices > 1 and device.type == "cuda":
        places = places_of_parts(without_weights(config), family, quantized, devices)
    options = NO_CODE | {"local_files_only": True} if stored else source_of(model)
    if quantized == "nf4" and not stored:
        if family.nf4:
            log.warning("%s in NF4: %s. bfloat16 needs a card with more memory", family.name, family.nf4)
        options["quantization_config"] = nf4_config(family, dtype)
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # else a service of the hub would be asked to convert pickles
    if not sys.stderr.isatty():
        library_logging.disable_progress_bar()  # a file gets whole lines, not a bar that is drawn over itself
    with library_errors(model):
        network, loading = getattr(transformers, family.network).from_pretrained(
            stored or model.base,
            dtype=dtype,
            attn_implementation=None if family.prefix == "separate" else "sdpa",
            device_map={"": "cpu"} if quantized == "fp8" else places,  # 16 bits need not fit on the card
            output_loading_info=True,
            ignore_mismatched_sizes=not stored,  # require_same_weights names them
            use_safetensors=True,
            **options,
        )
    require_same_weights(loading, str(stored or model.base), is_stored=stored is not None)
    if getattr(network, "_hf_peft_config_loaded", False):
        raise UserError(f"config model.base: {model.base} brings its own adapter. Merge it into the base first.")
    network.requires_grad_(False)
    network.eval()
    require_finite_weights(network, model.base)
    if quantized == "fp8":
        quantize_linears(network, family, places)
        dispatch_model(network, places)
    require_placement(network, family, quantized)
    if family.features:
        use_window_attention(network.get_submodule(family.tower))
    return network


def require_placement(network: Any, family: Family, quantized: str) -> None:
    """Raise UserError unless each linear was loaded as asked for: a skip list that matches nothing gives no warning."""
    cure = "Install the versions in requirements.lock"
    for name, module in network.named_modules():
        if not hasattr(module, "in_features"):
            continue
        wanted = quantized != "none" and family.is_quantized(name)
        found = type(module).__name__ == {"nf4": "Linear4bit", "fp8": "Fp8Linear"}.get(quantized)
        if found != wanted or not (found or module.weight.is_floating_point()):
            kind = quantized.upper() if wanted else "16-bit or float32"
            raise UserError(
                f"model.quantization: {name} was loaded as {type(module).__name__} ({module.weight.dtype}), not as "
                f"{kind}. {cure}."
            )
    used = network.config.get_text_config()._attn_implementation
    if used != "sdpa" and family.prefix != "separate":
        raise UserError(f"model.base: the base was loaded with {used!r} attention, not sdpa. {cure}.")


def require_finite_weights(network: Any, base: str) -> None:
    """Raise UserError if a weight of a loaded network is NaN or infinite: training would blame the learning rate."""
    bad = [name for name, weight in network.named_parameters() if not _is_finite(weight)]
    if bad:
        dtype = str(network.dtype).removeprefix("torch.")
        cure = "Download the checkpoint again"
        if dtype == "float16":
            cure += ", or set model.compute_dtype to bfloat16 or float32 if its weights exceed float16's range"
        raise UserError(
            f"config model.base: {base} has values that are NaN or infinite in {dtype}: {bad[0]} ({len(bad)} such "
            f"weights). {cure}."
        )


def _is_finite(weight: torch.Tensor) -> bool:
    """Whether a weight, or the scales of a quantised one, is finite."""
    state = getattr(weight, "quant_state", None)
    parts = [weight] if state is None else [state.offset, getattr(state.state2, "absmax", None)]
    numbers = (part for part in parts if part is not None and part.is_floating_point() and part.numel())
    return all(torch.stack(part.detach().aminmax()).isfinite().all() for part in numbers)


def require_same_weights(loading: Mapping[str, Any], base: str, is_stored: bool = False) -> None:
    """Raise UserError unless the weights of a checkpoint are those that its configuration describes.

    The library would fill what is missing or of another shape with random numbers, and drop what has no place.
    """
    missing, extra = (sorted(loading[kind]) for kind in ("missing_keys", "unexpected_keys"))
    problem = None
    if missing and extra and not is_stored:
        problem = (
            f"does not fit its config.json: {missing[0]} is missing ({len(missing)} such weights), and {extra[0]} has "
            f"no place ({len(extra)} such weights). {MERGE if ADAPTER.search(extra[0]) else RESTORE}"
        )
    elif missing:
        cure = "Delete the folder: it is made again from the base." if is_stored else "Download it again."
        problem = f"lacks {missing[0]} ({len(missing)} missing weights in total). {cure}"
    elif extra and not is_stored:
        cure = MERGE if ADAPTER.search(extra[0]) else RESTORE
        problem = f"has {extra[0]}, for which its config.json has no place ({len(extra)} such weights). {cure}"
    elif loading["mismatched_keys"]:
        name, found, wanted = min(loading["mismatched_keys"])
        problem = f"has {name} with the shape {(*found,)}, but its config.json says {(*wanted,)}. {RESTORE}"
    if problem:
        raise UserError(f"config model.base: {base} {problem}")


def require_own_processor(base: Base, name: str) -> None:
    """Raise UserError if the processor is another model's: its patches or tokens would mean something else.

    Another normalisation of pictures is only reported, since a base may have been trained with it.
    """
    for part in ("tokenizer", "image_processor"):
        if getattr(base.processor, part, None) is None:
            cure = "Use a checkpoint that answers questions about images, with all its processor files."
            found = type(base.processor).__name__
            raise UserError(f"config model.base: {name} has no {part.replace('_', ' ')} (only {found}). {cure}")
    image_processor, family, config = base.processor.image_processor, base.family, base.network.config
    settings = {key: getattr(image_processor, key, None) for key in PROCESSOR_FACTS}
    settings["image_processor_type"] = type(image_processor).__name__
    vision = config.vision_config.to_dict() if hasattr(config, "vision_config") else {}
    rows = len(base.network.get_input_embeddings().weight)
    for problem in chain(
        processor_class_problems(type(base.processor).__name__, family, name),
        image_processor_problems(settings, vision, family, name),
        tokenizer_problems(base.processor, config, rows, name),
    ):
        raise UserError(f"config model.base: {problem}")
    if warning := normalisation_warning(settings, family, name):
        log.warning("%s", warning)


def nf4_config(family: Family, dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with double quantisation for the language model's linears; tower and head stay unquantised."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(family.unquantized),
    )
