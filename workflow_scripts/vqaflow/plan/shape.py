"""The sizes of a model, counted from the network that the library builds from its config.json, without memory.

Nothing here knows a family: decoder layers are the modules below the language model's `layers`, and what they consist
of is read from the modules themselves. The library and torch are imported only when a network is built.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vqaflow.model.checkpoint import without_weights

if TYPE_CHECKING:
    from torch.nn import Module

Size = tuple[int, int]
# What one visual token covers along each side, in patches: the names that vision_config or the config has for it.
MERGES = ("spatial_merge_size", "merge_size", "pooling_kernel_size")
CHOSEN_EXPERTS = ("num_experts_per_tok", "top_k_experts")
USUAL_PATCH, USUAL_MERGE = 14, 2
TILE_TOKENS = ("image_seq_length", "mm_tokens_per_image")  # visual tokens of one picture of the tower, in the config


@dataclass(frozen=True)
class Layer:
    """One decoder layer: (outputs, inputs) of each linear, by its path below the layer, and the other weights.

    experts: weights of experts, which are stacked in parameters and not linears. chosen: the share of them that one
    token uses. width: the largest size within the MLP per token. channels: values per token that go through the causal
    convolution of a layer with a recurrent state; 0 in other layers.
    """

    linears: Mapping[str, Size]
    experts: int
    chosen: float
    rest: int
    width: int
    channels: int

    @property
    def linear_weights(self) -> int:
        """Number of the linears' weights."""
        return sum(outputs * inputs for outputs, inputs in self.linears.values())

    @property
    def products(self) -> float:
        """Multiplications per token."""
        return self.linear_weights + self.chosen * self.experts


@dataclass(frozen=True)
class Shape:
    """The numbers of weights of a model of `kind` (its model_type), and the sizes that memory and time depend on.

    tied: whether the head is the embedding table, which `head_weights` then counts once more. tables: the embedding
    tables. tower_weights: all that is neither decoder layers nor tables nor head. patch, merge: a visual token covers
    merge x merge patches of patch x patch pixels. levels: levels of DeepStack. tile, tile_tokens: the side in pixels,
    and the visual tokens, of the pictures of a tower that takes them in one size only; 0 if there is no such size.
    """

    kind: str
    hidden: int
    vocabulary: int
    tied: bool
    layers: tuple[Layer, ...]
    tables: int
    head_weights: int
    tower_weights: int
    patch: int
    merge: int
    levels: int
    tile: int = 0
    tile_tokens: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Shape":
        """The shape of a config.json. Raises what the library raises for a config that it cannot build from."""
        plain = {key: value for key, value in config.items() if key != "quantization_config"}
        return _counted(json.dumps(plain, sort_keys=True, default=str))

    @property
    def inner(self) -> int:
        """The largest size within an MLP."""
        return max(layer.width for layer in self.layers)

    @property
    def channels(self) -> int:
        """The largest size of a recurrent layer's convolution."""
        return max(layer.channels for layer in self.layers)

    @property
    def linear_weights(self) -> int:
        """Number of weights of all decoder layers' linears."""
        return sum(layer.linear_weights for layer in self.layers)

    @property
    def products(self) -> float:
        """Multiplications per token in the decoder layers."""
        return sum(layer.products for layer in self.layers)

    @property
    def weights(self) -> int:
        """Number of all weights."""
        layers = sum(layer.linear_weights + layer.experts + layer.rest for layer in self.layers)
        return layers + self.tables + self.tower_weights + self.head_weights * (not self.tied)

    @property
    def pixels(self) -> int:
        """Pixels along the side of one visual token."""
        return self.patch * self.merge


def published(name: str) -> Shape:
    """The shape of a published model."""
    from vqaflow.plan.published import PUBLISHED

    return Shape.of(PUBLISHED[name])


def library_config(config: Mapping[str, Any]) -> Any:
    """The library's configuration for a config.json. Raises KeyError for a model_type that the library lacks."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))


@lru_cache(maxsize=64)
def _counted(text: str) -> Shape:
    """The shape of a config.json with this text."""
    config = library_config(json.loads(text))
    network = without_weights(config)
    decoder, head = network.get_decoder(), network.get_output_embeddings()
    embedding = network.get_input_embeddings().weight
    chosen, recurrent = _experts_per_token(config.get_text_config()), _layer_types(config.get_text_config())
    modules = decoder_layers(decoder)
    hidden = embedding.shape[1]
    layers = tuple(
        _layer(layer, hidden, chosen, i < len(recurrent) and "linear" in recurrent[i])
        for i, layer in enumerate(modules)
    )
    tables = sum(weight.numel() for weight in _tables(decoder))
    tied = head is not None and head.weight is embedding
    head_weights = 0 if head is None else head.weight.numel()
    total = sum(weight.numel() for weight in network.parameters())
    below = sum(weight.numel() for weight in modules.parameters())
    tower = total - below - tables - head_weights * (not tied)
    patch, merge = _pixels(config)
    levels = len(getattr(getattr(config, "vision_config", None), "deepstack_visual_indexes", None) or ())
    sizes = (hidden, embedding.shape[0], tied, layers, tables, head_weights, tower, patch, merge, levels)
    return Shape(config.model_type, *sizes, *_tile(config))


def decoder_layers(decoder: "Module") -> Any:
    """The list of a decoder's layers. Raises ValueError if there is none."""
    from torch.nn import ModuleList

    found = [
        module
        for name, module in decoder.named_modules()
        if name.rpartition(".")[2] == "layers" and isinstance(module, ModuleList)
    ]
    if not found:
        raise ValueError(f"{type(decoder).__name__} has no decoder layers")
    return max(found, key=len)


def _layer(layer: "Module", hidden: int, chosen: int | None, recurrent: bool) -> Layer:
    """One layer's sizes; `chosen` experts work on a token."""
    from torch.nn import Conv1d, Linear

    linears, channels, stacked = {}, 0, []
    for path, module in layer.named_modules():
        if isinstance(module, Linear):
            linears[path] = (module.out_features, module.in_features)
        elif isinstance(module, Conv1d):
            channels += module.out_channels * recurrent
        else:
            stacked += [weight.shape for weight in module.parameters(recurse=False) if weight.ndim == 3]
    experts = sum(shape.numel() for shape in stacked)
    count = stacked[0][0] if stacked else 0
    total = sum(weight.numel() for weight in layer.parameters())
    used = 1.0 if not count or chosen is None else chosen / count
    inner = [size for path, sizes in linears.items() if not is_attention(path) for size in sizes if size != hidden]
    inner += [round(used * count * size) for shape in stacked for size in shape[1:] if size != hidden][-1:]
    rest = total - experts - sum(outputs * inputs for outputs, inputs in linears.values())
    return Layer(linears, experts, used, rest, max(inner, default=hidden), channels)


def is_attention(path: str) -> bool:
    """Whether a linear belongs to the layer's attention rather than to its MLP."""
    return "attn" in path or "attention" in path


def _tables(decoder: "Module") -> Iterator[Any]:
    """The embedding tables of a decoder: more than one in models with embeddings per layer."""
    from torch.nn import Embedding

    yield from (module.weight for module in decoder.modules() if isinstance(module, Embedding))


def _experts_per_token(text: Any) -> int | None:
    """How many experts work on one token; None if the configuration does not say."""
    return next((n for name in CHOSEN_EXPERTS if (n := getattr(text, name, None))), None)


def _layer_types(text: Any) -> list[str]:
    """What each layer is, if the configuration says so."""
    return list(getattr(text, "layer_types", None) or ())


def _pixels(config: Any) -> Size:
    """Patch, in pixels, and merge, in patches, of one visual token; the usual ones where the config has none."""
    vision = getattr(config, "vision_config", None) or config
    patch = getattr(vision, "patch_size", None) or USUAL_PATCH
    patch = patch if isinstance(patch, int) else patch[-1]
    merge = next((n for name in MERGES if isinstance(n := getattr(vision, name, None), int)), None)
    ratio = getattr(config, "downsample_ratio", None)  # of the picture's sides, in the projector
    return patch, merge or (round(1 / ratio) if ratio else USUAL_MERGE)


def _tile(config: Any) -> Size:
    """Side in pixels and visual tokens of the pictures of a tower with one size; zeros where the config has none."""
    tokens = next((n for name in TILE_TOKENS if isinstance(n := getattr(config, name, None), int)), 0)
    side = getattr(getattr(config, "vision_config", None), "image_size", None) or 0
    side = side if isinstance(side, int) else side[-1]
    return (side, tokens) if side and tokens else (0, 0)
