"""How much GPU memory and arithmetic a training step takes, only from the base's published numbers.

The parts are what the decoder holds when memory is fullest, at the start of the backward pass. The benchmark compares
their sum with measurements (docs/benchmarks/train.md).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from vqaflow.model.families.family import Family
from vqaflow.model.families.known import family_of
from vqaflow.plan.shape import Layer, Shape, Size, is_attention

GIB = 2**30
# NF4 with double quantisation: half a byte per weight, an 8-bit scale per 64 weights, and a float32 scale per 256 of
# those scales. The fused decoder also keeps the scales of 64 weights as float32.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
NF4_SCALES = 4 / 64
FP8_BYTES = 1.0  # and a float32 scale per output, which is less than a thousandth
ADAPTER_BYTES = 12  # float32: weight and AdamW's two moments
WORKSPACE_GIB = 0.1  # of matrix products and attention
# GPU memory that torch's tensors cannot use: the driver's context, and gaps between tensors.
CONTEXT_GIB, GAPS = 0.6, 0.04
# Memory of the library's layers under checkpointing or without it, in values of inner size per token; measured.
LIBRARY_TRANSIENT, LIBRARY_KEPT = 20, 12
# The same for a layer with a recurrent state, in float32 values per token and channel of its convolution; ours measured
# on an H100: what its backward pass holds of the chunks' queries, keys, values and states.
RECURRENT_VALUES, LIBRARY_RECURRENT_VALUES = 11, 6
FLOAT32 = 4
LAST_LINEARS = ("o_proj", "out_proj", "down_proj")  # of a block: they are never computed twice


@dataclass(frozen=True)
class Footprint:
    """What determines the memory of a step.

    tokens: the largest number of tokens in a pass, all its rows and orders together. visual: visual tokens whose
    features a step holds. targets: config's train.lora.targets. quantized: NF4, fp8: FP8 weights. kept_layers: the
    last layers, whose MLPs keep their products; those with experts never do. library: the library's layers instead of
    the fused decoder (for LoRA dropout, and for families whose choice orders are separate passes).
    """

    shape: Shape
    tokens: int
    rank: int
    targets: Collection[str]
    width: int = 2  # bytes of a value of the compute dtype
    quantized: bool = True
    accumulates: bool = False
    kept_layers: int = 0
    tower: bool = True
    head: bool = False
    embedding: bool = False
    library: bool = False
    checkpointed: bool = True
    visual: int = 0
    fp8: bool = False

    @property
    def family(self) -> Family:
        """The family of the shape."""
        return family_of(self.shape.kind)

    @property
    def adapter_weights(self) -> int:
        """Number of the adapter's weights."""
        pairs = (sizes for layer in self.shape.layers for sizes in adapted_linears(layer, self.family, self.targets))
        return sum(self.rank * (outputs + inputs) for outputs, inputs in pairs)

    @property
    def keeping_layers(self) -> int:
        """Number of layers that keep products: of the last `kept_layers`, those without experts."""
        return sum(self._keeps())

    def _keeps(self) -> list[bool]:
        """Whether each layer keeps products."""
        first = len(self.shape.layers) - self.kept_layers
        return [i >= first and not layer.experts for i, layer in enumerate(self.shape.layers)]

    def parts(self) -> dict[str, float]:
        """GiB per part."""
        shape, width = self.shape, self.width
        head = shape.head_weights * (self.head and not (shape.tied and self.embedding))
        parts = {
            "decoder": sum(self._layer_bytes(layer) for layer in shape.layers),
            "experts": sum(layer.experts for layer in shape.layers) * width,
            "vision tower": shape.tower_weights * width * self.tower,
            "embedding and head": (shape.tables * self.embedding + head) * width,
            "adapter and optimiser": self.adapter_weights * (ADAPTER_BYTES + 4 * self.accumulates + width),
            "kept for backward": self._kept(),
            "working memory": self._working() + WORKSPACE_GIB * GIB,
        }
        return {name: size / GIB for name, size in parts.items()}

    def _layer_bytes(self, layer: Layer) -> float:
        """Bytes of a layer's weights without its experts, which stay in 16 bits."""
        weights = layer.linear_weights + layer.rest
        if not (self.quantized or self.fp8):
            return weights * self.width
        start = f"{self.family.decoder}.layers.0."
        small = sum(o * i for path, (o, i) in layer.linears.items() if self.family.is_quantized(start + path))
        stored = FP8_BYTES if self.fp8 else NF4_BYTES + NF4_SCALES * (not self.library)
        return small * stored + (weights - small) * self.width

    def _kept(self) -> float:
        """Two inputs per layer, gate and up products of the layers that keep them, and DeepStack's levels."""
        shape, token = self.shape, self.tokens * self.width
        levels = shape.levels * self.visual * shape.hidden * self.width
        if not self.library:
            return token * (2 * len(shape.layers) * shape.hidden + 2 * self.keeping_layers * shape.inner) + levels
        if self.checkpointed:
            return len(shape.layers) * token * shape.hidden + levels
        recurrent = LIBRARY_RECURRENT_VALUES * FLOAT32 * self.tokens
        return sum(LIBRARY_KEPT * token * shape.inner + recurrent * layer.channels for layer in shape.layers) + levels

    def _working(self) -> float:
        """One block's backward: an MLP's expanded weights and products of inner size, or a recurrent layer's chunks."""
        shape, token = self.shape, self.tokens * self.width
        matrix = shape.inner * shape.hidden * self.width * (self.quantized or self.fp8)
        recurrent = FLOAT32 * self.tokens * shape.channels
        if self.library:
            whole_layer = LIBRARY_TRANSIENT * token * shape.inner + LIBRARY_RECURRENT_VALUES * recurrent
            return whole_layer * self.checkpointed + 3 * matrix
        recomputed = 2 * (self.keeping_layers < len(shape.layers) - 1)
        first = (2 + recomputed) * token * shape.inner + 3 * matrix
        mlp = max(first, 5 * token * shape.inner + 2 * matrix)
        return max(mlp, RECURRENT_VALUES * recurrent) + 2 * token * shape.hidden

    @property
    def peak_gib(self) -> float:
        """GiB of torch's tensors at the fullest moment."""
        return sum(self.parts().values())

    def passes(self) -> float:
        """A step's arithmetic in forward passes: forward, backward, and recomputation."""
        if self.library:
            return 3.0 if self.checkpointed else 2.0
        again = map(_computed_again, self.shape.layers, self._keeps())
        return 2 + sum(again) / self.shape.products

    def keeping(self, limit_gib: float) -> "Footprint":
        """This footprint with as many layers that keep products as `limit_gib` of tensors allow."""
        most = 0 if all(layer.experts for layer in self.shape.layers) else len(self.shape.layers)
        fitting = (replace(self, kept_layers=n) for n in range(most, 0, -1))
        return next((one for one in fitting if one.peak_gib <= limit_gib), replace(self, kept_layers=0))


def adapted_linears(layer: Layer, family: Family, targets: Collection[str]) -> Iterator[Size]:
    """(outputs, inputs) of the linears of a layer that get an adapter.

    A family whose passes are separate takes them by the last part of their paths, wherever they are in a layer.
    """
    paths = {path for target in targets for path in family.adapted.get(target, ())}
    for path, sizes in layer.linears.items():
        if path in paths or (family.prefix == "separate" and path.rpartition(".")[2] in targets):
            yield sizes


def _computed_again(layer: Layer, kept: bool) -> float:
    """Multiplications per token that backward repeats: all but each block's last, and not those of `kept` MLPs."""
    again = 2 / 3 * layer.chosen * layer.experts
    for path, (outputs, inputs) in layer.linears.items():
        if path.rpartition(".")[2] not in LAST_LINEARS:
            again += outputs * inputs * (is_attention(path) or not kept)
    return again


def usable_gib(vram_gib: float) -> float:
    """GiB of a GPU's memory that torch's tensors can use."""
    return vram_gib * (1 - GAPS) - CONTEXT_GIB
