"""The files of a checkpoint's weights: are they there and whole, and do their shapes fit config.json?

Reads no weights: the header of a safetensors file has the name and shape of each.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqaflow.data.images.visual_tokens import json_object
from vqaflow.model.families.known import BY_KIND

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")  # in the order in which the library looks for them
PICKLES = (".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
CONVERT = (
    "Use an edition with safetensors files; if you trust its source, convert it: load it with transformers elsewhere "
    "and call save_pretrained."
)
CAN_RUN_CODE = "is a pickle, which can run any code when it is opened."
RESTORE = "Restore the config.json that belongs to the weights, or download the checkpoint again."
MERGE = "Merge the adapter into the base first (merge_and_unload of PEFT)."
ADAPTER = re.compile(r"^base_model\.|\.(lora_\w+|base_layer|modules_to_save|original_module)(\.|$)")
DECODER = r"^(?:model\.)?(?:language_model\.)?(?:model\.)?"  # what stands before its parts in old and new files
EMBEDDING, HEAD = re.compile(DECODER + r"embed_tokens\.weight$"), re.compile(r"^(?:language_model\.)?lm_head\.weight$")
LAYER, BLOCK = re.compile(DECODER + r"layers\.(\d+)\."), re.compile(r"^(?:model\.)?visual\.blocks\.(\d+)\.")


def weight_problems(folder: Path) -> Iterator[str]:
    """Weights that are not there or not whole."""
    name = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if name is None:
        pickle = next((path.name for path in sorted(folder.iterdir()) if path.name.endswith(PICKLES)), None)
        if pickle:
            yield f"{folder}: {pickle} {CAN_RUN_CODE} {CONVERT}"
            return
        what = "its weights in GGUF" if any(folder.glob("*.gguf")) else f"no weights ({WEIGHTS[0]})"
        yield f"{folder} has {what}. Download the checkpoint's safetensors files."
        return
    files = [name]
    if name.endswith(".json"):
        shards = json_object(folder / name).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            yield f"{folder}: {name} cannot be read. Download it again."
            return
        files = sorted({str(file) for file in shards.values()})
        if pickle := next((file for file in files if not file.endswith(".safetensors")), None):
            yield f"{folder}: {name} names {pickle}, which {CAN_RUN_CODE} {CONVERT}"
            return
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        yield (
            f"{folder} lacks {missing[0]} ({len(missing)} of {len(files)} files of weights are missing). "
            "Download what is missing."
        )
    for file in files:
        if file not in missing and not _is_whole(folder / file):
            yield f"cannot load {folder}: {file} is not a whole file of weights. Download it again."


def header_problems(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """What the names and shapes of the weights say against a config.json of a known family, the first problem.

    The library would drop weights that have no place, make up missing ones, or allocate a network of another size.
    """
    if config.get("model_type") not in BY_KIND or not folder.is_dir():
        return
    shapes = weight_shapes(folder)
    if part := next(filter(ADAPTER.search, shapes), None):
        yield f"{folder} has {part}, a part of an adapter that is not merged. {MERGE}"
        return
    text, vision = (
        found if isinstance(found := config.get(name), Mapping) else {} for name in ("text_config", "vision_config")
    )
    text = text or config
    table = [text.get("vocab_size", config.get("vocab_size")), text.get("hidden_size")]
    for name, shape in shapes.items():
        if (EMBEDDING.search(name) or HEAD.search(name)) and None not in table and shape != table:
            yield f"{folder} has {name} with the shape {(*shape,)}, but its config.json says {(*table,)}. {RESTORE}"
            return
    for what, pattern, wanted in (
        ("decoder layers", LAYER, text.get("num_hidden_layers")),
        ("blocks of the tower", BLOCK, vision.get("depth")),
    ):
        found = {int(match[1]) for match in map(pattern.search, shapes) if match}
        if found and isinstance(wanted, int) and max(found) + 1 != wanted:
            yield f"{folder} has {max(found) + 1} {what}, but its config.json says {wanted}. {RESTORE}"
            return


def weight_shapes(folder: Path) -> dict[str, list[int]]:
    """The shape of each weight in a folder's safetensors files, by its name; empty if they are of another format."""
    name = next((name for name in WEIGHTS if (folder / name).is_file()), "")
    files = [name]
    if name.endswith(".index.json"):
        files = sorted({str(file) for file in (json_object(folder / name).get("weight_map") or {}).values()})
    found: dict[str, list[int]] = {}
    for file in files:
        if file.endswith(".safetensors") and (folder / file).is_file():
            found |= {name: about["shape"] for name, about in _header(folder / file).items()}
    return found


def _header(file: Path) -> dict[str, Any]:
    """What the header of a safetensors file says of each weight; empty if it is damaged."""
    with file.open("rb") as opened:
        size, length = file.stat().st_size, int.from_bytes(opened.read(8), "little")
        try:
            header = json.loads(opened.read(length)) if length <= size else {}
            return {name: about for name, about in header.items() if name != "__metadata__"}
        except (ValueError, AttributeError):
            return {}


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    with file.open("rb") as opened:
        start = opened.read(8)
    try:
        end = max((about["data_offsets"][1] for about in _header(file).values()), default=0)
        return file.stat().st_size == 8 + int.from_bytes(start, "little") + end
    except (LookupError, TypeError):
        return False
