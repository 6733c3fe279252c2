"""A checkpoint with an adapter merged into its weights, which any program that loads the base can load.

Tensor by tensor from the base's own files: names, tied embeddings and parts that the library drops stay as they are,
and memory holds one file of weights, not the network. The 16-bit files are merged also if the adapter was trained on
quantised weights.

Shapes: I inputs and O outputs of a linear, r ranks.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vqaflow.config.sections import BaseConfig
from vqaflow.data.images.visual_tokens import json_object
from vqaflow.model.decoder.merged_adapters import Adapter
from vqaflow.model.hub import source_of
from vqaflow.model.numerics.precision import DTYPES, name_of
from vqaflow.model.weight_files import DECODER, WEIGHTS, weight_shapes
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_json

SHARD_BYTES = 4 * 10**9
INDEX = WEIGHTS[1]
# Files beside the weights: configuration, tokenizer, processor, chat template. Code is never copied.
COPIED = (".json", ".jinja", ".txt", ".model", ".tiktoken")
WITHIN_LAYERS = re.compile(r"(?:^|\.)(layers\.\d+\..+)$")


@dataclass(frozen=True)
class Stored:
    """A tensor of a checkpoint: its name, its file, and the bytes that it takes in the type in which it is written."""

    name: str
    file: Path
    bytes: int


def base_folder(model: BaseConfig) -> Path:
    """The folder with a base's files: its own, or where the hub's download keeps them."""
    if Path(model.base).is_dir():
        return Path(model.base)
    from huggingface_hub import snapshot_download

    options = {key: value for key, value in source_of(model).items() if key != "trust_remote_code"}
    patterns = [f"*{suffix}" for suffix in (*COPIED, ".safetensors")]
    return Path(snapshot_download(model.base, allow_patterns=patterns, **options))


def merged_dtype(folder: Path, asked: str) -> torch.dtype:
    """The type of merged weights. `auto`: that of the base's files if it has 16 bits, else bfloat16."""
    if asked != "auto":
        return DTYPES[asked]
    config = json_object(folder / "config.json")
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else {}
    said = next((part[key] for part in (config, text) for key in ("dtype", "torch_dtype") if part.get(key)), None)
    return DTYPES[said] if said in ("bfloat16", "float16") else torch.bfloat16


def write_merged(folder: Path, adapter: Adapter, out: Path, dtype: torch.dtype, device: torch.device) -> int:
    """Write the checkpoint in `folder` with `adapter` merged, as `dtype`, into the empty folder `out`.

    Sums are float32, on `device`, and rounded once. Returns the bytes of the weights. Raises UserError if the adapter
    changes something that the checkpoint does not have under its own name, or in another shape.
    """
    shapes = weight_shapes(folder)
    targets = {stored: name for name, stored in stored_names(adapter, shapes, folder).items()}
    files = _files(folder)
    stored = [Stored(name, files[name], _size(shapes[name], dtype)) for name in sorted(files)]
    shards, where = list(_shards(stored)), {}
    for number, shard in enumerate(shards, 1):
        file = WEIGHTS[0] if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {one.name: _merged(one, targets.get(one.name), adapter, dtype, device) for one in shard}
        save_file(tensors, out / file, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, file)
    total = sum(one.bytes for one in stored)
    write_json(out / INDEX, {"metadata": {"total_size": total}, "weight_map": where})
    for path in sorted(folder.iterdir()):
        if path.suffix in COPIED and not path.name.endswith(".index.json"):
            shutil.copyfile(path, out / path.name)
    _tell_dtype(out / "config.json", name_of(dtype))
    return total


def stored_names(adapter: Adapter, shapes: Mapping[str, list[int]], folder: Path) -> dict[str, str]:
    """For each module that an adapter changes, the name of its weight (O, I) in a checkpoint.

    Files of older libraries have other names before `layers.`; what follows is the same. Raises UserError.
    """
    by_layer: dict[str, list[str]] = {}
    for name in shapes:
        if found := WITHIN_LAYERS.search(name.removesuffix(".weight")):
            by_layer.setdefault(found[1], []).append(name)
    names = {}
    for module, (a_rI, b_Or) in adapter.pairs.items():
        exact, layer = f"{module}.weight", WITHIN_LAYERS.search(module)
        alike = by_layer.get(layer[1], []) if layer else []
        decoders = [name for name in alike if re.match(DECODER + r"layers\.\d+\.", name)]
        found = [exact] if exact in shapes else decoders or alike
        if len(found) != 1:
            raise UserError(
                f"{adapter.folder}: it changes {module}, of which {folder} has {len(found)} weights. Merge it with the "
                "base that it was trained on; if that is this one, use merge_and_unload of PEFT."
            )
        theirs, ours = tuple(shapes[found[0]]), (b_Or.shape[0], a_rI.shape[1])
        if theirs != ours:
            raise UserError(
                f"{adapter.folder}: it changes {module} ({ours[0]} x {ours[1]}), but {folder} has "
                f"{' x '.join(map(str, theirs))} there. Merge it with the base that it was trained on."
            )
        names[module] = found[0]
    return names


def _files(folder: Path) -> dict[str, Path]:
    """The file of each tensor of a checkpoint."""
    if (folder / WEIGHTS[0]).is_file():
        return dict.fromkeys(weight_shapes(folder), folder / WEIGHTS[0])
    index = json_object(folder / INDEX).get("weight_map") or {}
    return {name: folder / file for name, file in index.items()}


def _size(shape: list[int], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize


def _shards(stored: list[Stored]) -> Iterator[list[Stored]]:
    """Tensors in files of about SHARD_BYTES."""
    shard: list[Stored] = []
    for one in stored:
        if shard and sum(other.bytes for other in shard) + one.bytes > SHARD_BYTES:
            yield shard
            shard = []
        shard.append(one)
    yield shard


def _merged(
    stored: Stored, module: str | None, adapter: Adapter, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """A tensor of the merged checkpoint, on the CPU; numbers that are no weights keep their type."""
    with safe_open(stored.file, framework="pt") as file:
        tensor = file.get_tensor(stored.name)
    if module is not None:
        a_rI, b_Or = (side.to(device, torch.float32) for side in adapter.pairs[module])
        tensor = tensor.to(device, torch.float32) + adapter.scaling * (b_Or @ a_rI)
    return tensor.to("cpu", dtype if tensor.is_floating_point() else None).contiguous()


def _tell_dtype(config: Path, dtype: str) -> None:
    """Have a config.json name the type of its weights, in all its sections that name one."""
    said: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    for part in (said, *(value for value in said.values() if isinstance(value, dict))):
        for key in ("dtype", "torch_dtype"):
            if key in part:
                part[key] = dtype
    if not {"dtype", "torch_dtype"} & said.keys():
        said["dtype"] = dtype
    write_json(config, said)
