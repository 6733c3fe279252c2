"""What a checkpoint is, from its files: its family, whether it can be loaded rightly, and how large it is.

`base_problems` runs while the workflow is parsed: torch and transformers are imported only in functions that need them.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqaflow.config.sections import BaseConfig
from vqaflow.data.images.visual_tokens import json_object
from vqaflow.model.families.family import Family
from vqaflow.model.families.known import BY_KIND, family_of, names
from vqaflow.model.hub import NO_CODE, source_of
from vqaflow.model.hub_names import hub_name_problems, is_address
from vqaflow.model.weight_files import CONVERT, RESTORE, header_problems, weight_problems
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import reason_of

if TYPE_CHECKING:
    import torch

GIB = 2**30
FITTING_SHARE = 2 / 3  # of a GPU's memory for 16-bit weights; the rest is for activations, adapter and optimiser
SMALL_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.json",
)
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "tekken.json")
QUANTIZED = ("quantization_config", "compression_config", "quantization")  # the last is MLX's
QUANTIZED_NAME = re.compile(
    r"(awq|gptq|gguf|ggml|exl[23]|mlx|bnb|hqq|aqlm|eetq|vptq|spqr|quip|marlin|quanto|torchao|openvino|onnx|imatrix"
    r"|llamafile|autoround|bitnet|ct2|quanti[sz]ed|2of4|nf4|(nv|mx)?fp[468]|w[2-8](a(4|8|16))?|int[1-8]|iq[1-4]|q[4-68](k|f16)?"
    r"|[1-8]-?bits?)",
    re.I,
)
# Frequencies of these kinds depend on the length of the text; fused decoders compute them once.
CHANGING_ROPE = ("dynamic", "longrope")
# Facts of the image processor, and what they are called in the configuration of the tower.
TOWER_FACTS = {
    "patch_size": "patch_size",
    "merge_size": "spatial_merge_size",
    "temporal_patch_size": "temporal_patch_size",
}
PROCESSOR_FACTS = (*TOWER_FACTS, "do_normalize", "do_rescale", "rescale_factor", "image_mean", "image_std")


def read_config(model: BaseConfig, stored: Path | None = None) -> Any:
    """The library's configuration of a base, or of its quantised copy in the folder `stored`.

    Raises UserError if it cannot be read.
    """
    from transformers import AutoConfig

    source = NO_CODE | {"local_files_only": True} if stored else source_of(model)
    try:
        return AutoConfig.from_pretrained(stored or model.base, **source)
    except Exception as error:  # the library raises whatever a broken file causes
        raise unloadable(model, error) from error


def family_in(model: BaseConfig) -> Family:
    """The family of a base, from the `model_type` in its config.json. Raises UserError if it has none."""
    if Path(model.base).is_dir():
        kind = json_object(Path(model.base) / "config.json").get("model_type")
        if not isinstance(kind, str):
            raise UserError(f"config model.base: {_without_kind(model.base)}")
        return family_of(kind)
    return family_of(read_config(model).model_type)


def unloadable(model: BaseConfig, error: Exception) -> UserError:
    """The error for a base that the library cannot load: the first line of what it says."""
    reason = reason_of(error)
    if " " not in reason and reason != type(error).__name__:  # such as the key of a KeyError
        reason = f"{type(error).__name__} {reason}"
    cure = f"Give a folder with a checkpoint of {names()}, or a hub name on a machine that reaches the hub."
    if Path(model.base).is_dir():
        cure = "Download all its files again."
    if reason.startswith("Unrecognized image processor"):  # of the first transformers that knew the model
        reason = "its preprocessor_config.json names an image processor that this transformers does not know"
        cure = "Give its newest revision, or copy preprocessor_config.json from there."
    if "use_safetensors" in reason:  # of a hub name; weight_files.py looks into folders
        reason, cure = "it has no safetensors files", CONVERT
    return UserError(f"config model.base: cannot load {model.base} ({reason}). {cure}")


def base_problems(base: str) -> list[str]:
    """What is wrong with a base, from its files if it is a folder, else from its name: one line at most.

    Reads small files and the headers of the weights, in milliseconds. Only for a kind of model that no family names, it
    imports transformers, if that is installed here.
    """
    found = _folder_problems(base) if Path(base).is_dir() else _name_problems(base)
    return [f"model.base: {problem}" for problem in found][:1]


def require_whole(base: str) -> None:
    """Raise UserError if something is wrong with a base that is a folder."""
    for problem in _folder_problems(base) if Path(base).is_dir() else ():
        raise UserError(f"config model.base: {problem}")


def require_loadable(config: Any, base: str) -> None:
    """Raise UserError unless a checkpoint with this configuration is loaded rightly: unquantised, with known parts."""
    whole = config.to_dict()  # with the library's values for keys that config.json lacks
    for problem in chain(header_problems(Path(base), whole), _config_problems(whole, base)):
        raise UserError(f"config model.base: {problem}")


def _name_problems(base: str) -> Iterator[str]:
    """What is wrong with a base that is not a folder: written like one, or the hub name of a quantised checkpoint."""
    if Path(base).is_file():
        yield f"{base} is a file. Give the folder of a checkpoint, or a hub name."
    elif base.startswith(("/", ".", "~")) or (base.rstrip("/").count("/") > 1 and not is_address(base)):
        cure = "Write the path without ~." if base.startswith("~") else "Correct it, or give a hub name."
        yield f"there is no folder {base}. {cure}"
    elif how := quantization_in_name(base):
        yield already_quantized(base, how)
    else:
        yield from hub_name_problems(base)


def quantization_in_name(base: str) -> str | None:
    """The first part of a base's name that says how it is quantised, such as AWQ; None if there is none."""
    parts = re.split(r"[-_./]", base.rpartition("/")[2])
    return next((part for part in parts if QUANTIZED_NAME.fullmatch(part)), None)


def quantization_in_config(config: Mapping[str, Any]) -> str | None:
    """The method by which a checkpoint with this config.json is quantised; None if it is not."""
    for part in (config, *(value for value in config.values() if isinstance(value, Mapping))):
        for quantized in (part[key] for key in QUANTIZED if part.get(key)):
            how = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
            return str(how or "method unknown")
    return None


def already_quantized(base: str, how: str) -> str:
    """What to say of a base that cannot be trained because its weights are quantised, by the method `how`."""
    return f"{base} ({how}) is already quantised. Give the checkpoint that it was made from."


def _folder_problems(base: str) -> Iterator[str]:
    """What is wrong with the folder of a checkpoint, the first of each kind."""
    folder = Path(base)
    if (folder / "adapter_config.json").is_file():
        yield (
            f"{base} holds an adapter (adapter_config.json), which would be attached to the weights. Give a folder "
            "with a base alone, or merge the adapter into its base first."
        )
    config = json_object(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        yield _without_kind(base)
        return
    yield from _config_problems(config, base)
    if (folder / "quantize_config.json").is_file():
        yield already_quantized(base, "quantize_config.json")
    yield from weight_problems(folder)
    yield from header_problems(folder, config)
    yield from _processor_file_problems(folder, config)


def _without_kind(base: str) -> str:
    return f"{base} has no config.json with a model_type. Give the folder of a checkpoint of {names()}."


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of a configuration; older ones hold the text's keys at the top."""
    found = config.get(name)
    return found if isinstance(found, Mapping) else config if name == "text_config" else {}


def _config_problems(config: Mapping[str, Any], base: str) -> Iterator[str]:
    """What a config.json, as written or as the library completes it, says against loading its checkpoint."""
    if how := quantization_in_config(config):
        yield already_quantized(base, how)
    kind = str(config["model_type"])
    family = BY_KIND.get(kind)
    if family is None:
        yield from _kind_problems(kind, base)
        return
    others = {other.network: other for other in BY_KIND.values() if other.network != family.network}
    for name in config.get("architectures") or ():
        if name in others:
            yield (
                f"{base} is a {family.name} model by its model_type ({kind}), but a {others[name].name} model by its "
                f"architectures ({name}). Restore the config.json that belongs to the weights."
            )
    if family.is_fused:
        yield from _fused_problems(_part(config, "text_config"), _part(config, "vision_config"), family, base)


def _kind_problems(kind: str, base: str) -> Iterator[str]:
    """What speaks against a kind of model that no family names; nothing where transformers is not installed."""
    if find_spec("transformers") is None:
        return
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return
    what = "which does not answer questions about images" if kind in CONFIG_MAPPING_NAMES else ""
    what = what or f"which transformers {__version__} does not know (code that comes with a checkpoint is not run)"
    yield f"{base} is a {kind} model, {what}. Give a checkpoint of {names()}."


def _fused_problems(text: Mapping[str, Any], vision: Mapping[str, Any], family: Family, base: str) -> Iterator[str]:
    """Settings that the fused decoder or tower would ignore: they would give other logits without an error."""
    cure = f"Use a checkpoint with the settings of {family.example}."
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type"))
    if rope_type in CHANGING_ROPE:
        yield f"{base} has rotary positions of the type {rope_type}, which vqaflow does not compute. {cure}"
    yield from _section_problems(rope, text, family, base)
    windowed = bool(text.get("use_sliding_window") and text.get("sliding_window"))
    windowed &= text.get("max_window_layers", math.inf) < text.get("num_hidden_layers", 0)
    if "sliding_attention" in (text.get("layer_types") or ["sliding_attention"] * windowed):
        yield f"{base} attends within a sliding window, which vqaflow does not compute for {family.name}. {cure}"
    gated = [text, *([vision] if "fullatt_block_indexes" in vision else [])]  # a tower with windows has gated MLPs too
    for activation in (part.get("hidden_act") or "silu" for part in gated):
        if activation not in ("silu", "swish"):  # two names of one function
            yield f"{base} has the activation {activation}, but {family.name} has silu. {cure}"


def _section_problems(rope: Mapping[str, Any], text: Mapping[str, Any], family: Family, base: str) -> Iterator[str]:
    """Frequencies of M-RoPE that are not divided among time, height and width; keys that are absent pass."""
    heads, sections = text.get("num_attention_heads"), rope.get("mrope_section")
    if not rope or not heads or (family.interleaved and "mrope_section" not in rope):  # then the library has its own
        return
    size = text.get("head_dim") or text.get("hidden_size") or 0
    if not isinstance(size, int) or not isinstance(heads, int):
        return
    size = size if text.get("head_dim") else size // heads
    whole = isinstance(sections, Sequence) and len(sections) == 3 and all(isinstance(one, int) for one in sections)
    if not whole or (not family.interleaved and sum(sections) != size // 2):
        wanted = "three numbers" if family.interleaved else f"three numbers with the sum {size // 2}"
        yield f"{base} has mrope_section {sections}, but {family.name} needs {wanted}. {RESTORE}"


def _processor_file_problems(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Files of the tokenizer and the image processor that are not there or not whole, or are another model's."""
    family = BY_KIND.get(config["model_type"])
    source = f"Copy it from {family.example}." if family else "Copy it from the published checkpoint."
    usual = TOKENIZERS[:2] if family and family.is_fused else TOKENIZERS
    tokenizer = next((name for name in usual if (folder / name).is_file()), None)
    if tokenizer is None or (tokenizer == "vocab.json" and not (folder / "merges.txt").is_file()):
        yield f"{folder} lacks {TOKENIZERS[0]}. {source}"
    elif not _is_object(folder / tokenizer):
        yield f"{folder}: {tokenizer} is not a whole JSON file. {source}"
    for name in (name for name in SMALL_FILES if (folder / name).is_file() and not json_object(folder / name)):
        yield f"{folder}: {name} is not a JSON file with a section of keys. {source}"
    whole = json_object(folder / "processor_config.json")
    own = json_object(folder / "preprocessor_config.json")
    settings = whole.get("image_processor") or own
    if not settings and (family or not whole):
        yield f"{folder} lacks preprocessor_config.json, or it cannot be read. {source}"
    elif family and isinstance(settings, Mapping):
        named = [about.get("processor_class") for about in (whole, own, json_object(folder / "tokenizer_config.json"))]
        yield from processor_class_problems(next(filter(None, named), None), family, str(folder))
        yield from image_processor_problems(settings, _part(config, "vision_config"), family, str(folder))


def _is_object(file: Path) -> bool:
    """Whether a file, which may be large, begins and ends as a JSON object; others are read when they are needed."""
    with file.open("rb") as opened:
        start = opened.read(64).lstrip()
        opened.seek(max(0, file.stat().st_size - 64))
        return start.startswith(b"{") and len(start) > 1 and opened.read().rstrip().endswith(b"}")


def processor_class_problems(found: str | None, family: Family, base: str) -> Iterator[str]:
    """What is wrong with the name of a processor's class for this family; None passes: the library chooses it."""
    if found is not None and family.processors and found not in family.processors:
        yield (
            f"{base}: its processor is another model's: processor class {found}, but {family.name} needs "
            f"{' or '.join(family.processors)}. {_copied(family)}"
        )


def _copied(family: Family) -> str:
    return f"Copy the processor files (preprocessor_config.json and the like) from {family.example}."


def image_processor_problems(
    settings: Mapping[str, Any], vision: Mapping[str, Any], family: Family, base: str
) -> Iterator[str]:
    """What in an image processor's settings is not of this family or of this tower; settings that are absent pass."""
    cure = _copied(family)
    other, needs = f"{base}: its processor is another model's:", f"but {family.name} needs"
    found = settings.get("image_processor_type")
    if found is not None and not str(found).startswith(family.image_processor):
        yield f"{other} image processor {found}, {needs} {family.image_processor}. {cure}"
    if not family.is_fused:
        return
    for mine, theirs in TOWER_FACTS.items():
        value, wanted = settings.get(mine), vision.get(theirs)
        if value is not None and wanted is not None and value != wanted:
            yield f"{other} {mine} {value}, {needs} {wanted}. {cure}"
    for name in ("do_normalize", "do_rescale"):
        if settings.get(name) is not None and not settings[name]:
            yield f"{other} {name} {str(settings[name]).lower()}, {needs} true. {cure}"
    factor = settings.get("rescale_factor")
    if factor is not None and not (isinstance(factor, float) and math.isclose(factor, 1 / 255, rel_tol=1e-3)):
        yield f"{other} rescale_factor {factor}, {needs} {1 / 255} (1/255). {cure}"
    for name, least in (("image_mean", -math.inf), ("image_std", 0)):
        value = settings.get(name)
        if value is not None and not _are_three(value, least):
            yield f"{other} {name} {value}, {needs} three numbers{' above 0' if least == 0 else ''}. {cure}"


def _are_three(value: Any, least: float) -> bool:
    """Whether a value is one number above `least` for each colour."""
    if not isinstance(value, Sequence) or len(value) != 3:
        return False
    return all(isinstance(one, int | float) and one > least for one in value)


def normalisation_warning(settings: Mapping[str, Any], family: Family, base: str) -> str | None:
    """What to say if pictures are normalised otherwise than by the family's published checkpoints."""
    if family.normalisation is None:
        return None
    found, (mean, std) = (settings.get("image_mean"), settings.get("image_std")), family.normalisation
    if all(
        math.isclose(one, usual, abs_tol=1e-3)
        for values, wanted in zip(found, (mean, std), strict=True)
        for one, usual in zip(values or wanted, wanted, strict=True)
    ):
        return None
    return (
        f"model.base: the processor of {base} has image_mean {found[0]} and image_std {found[1]}, but {family.name} "
        f"has {mean} and {std}. Unless this base was trained with them, copy preprocessor_config.json from "
        f"{family.example}."
    )


def tokenizer_problems(processor: Any, config: Any, rows: int, base: str) -> Iterator[str]:
    """What in a tokenizer does not fit a network with this configuration, whose embedding has `rows` rows."""
    cure = "Copy the tokenizer files (tokenizer.json and the like) that belong to the weights."
    ids = processor.tokenizer.get_vocab()
    last = max(ids, key=ids.__getitem__)
    if ids[last] >= rows:
        yield f"{base}: its tokenizer gives {last!r} the id {ids[last]}, but the embedding has {rows} rows. {cure}"
    image = getattr(processor, "image_token", None)
    wanted = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
    if image is not None and image not in ids:
        yield f"{base}: its tokenizer has no image token {image}. {cure}"
    elif image is not None and wanted is not None and ids[image] != wanted:
        yield f"{base}: its tokenizer gives {image} the id {ids[image]}, but config.json says {wanted}. {cure}"


def weights_gib(model: BaseConfig) -> float:
    """GiB of a base's weights in 16 bits, counted from its configuration."""
    network = without_weights(read_config(model))
    return 2 * sum(math.prod(weight.shape) for weight in network.parameters()) / GIB


def without_weights(config: Any) -> Any:
    """The network of a configuration, which takes no memory."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def fits_unquantized(model: BaseConfig, device: "torch.device") -> bool:
    """Whether a base's 16-bit weights leave enough of the GPU's memory to train."""
    import torch

    return weights_gib(model) <= FITTING_SHARE * torch.cuda.get_device_properties(device).total_memory / GIB
