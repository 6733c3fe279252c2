"""How much GPU memory and arithmetic a training step takes, only from the base's published numbers.

The parts are what the fused decoder holds when memory is fullest, at the start of the backward pass. The benchmark
compares their sum with measurements (docs/benchmarks/train.md).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from vqaflow.plan.shape import Shape

GIB = 2**30
# NF4 with double quantisation: half a byte per weight, an 8-bit scale per 64 weights, and a float32 scale per 256 of
# those scales. The fused decoder also keeps the scales of 64 weights as float32.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
NF4_SCALES = 4 / 64
ADAPTER_BYTES = 12  # float32: weight and AdamW's two moments
WORKSPACE_GIB = 0.1  # of matrix products and attention
# GPU memory that torch's tensors cannot use: the driver's context, and gaps between tensors.
CONTEXT_GIB, GAPS = 0.6, 0.04
# Memory of the library's layers under LoRA dropout, in values of inner size per token; measured on an H200.
LIBRARY_TRANSIENT, LIBRARY_KEPT = 20, 12


@dataclass(frozen=True)
class Footprint:
    """What determines the memory of a step; `tokens` is the largest number of tokens in a pass."""

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
    library: bool = False  # LoRA dropout: the library's layers instead of the fused decoder
    checkpointed: bool = True

    @property
    def adapter_weights(self) -> int:
        """Number of the adapter's weights."""
        sizes = self.shape.linears
        return self.shape.layers * sum(self.rank * sum(sizes[name]) for name in self.targets)

    def parts(self) -> dict[str, float]:
        """GiB per part."""
        shape, width = self.shape, self.width
        table = shape.vocabulary * shape.hidden * width
        tables = self.embedding + (self.head and not (shape.tied and self.embedding))
        parts = {
            "decoder": shape.linear_weights * self._weight_bytes(),
            "vision tower": shape.tower_weights * width * self.tower,
            "embedding and head": table * tables,
            "adapter and optimiser": self.adapter_weights * (ADAPTER_BYTES + 4 * self.accumulates + width),
            "kept for backward": self._kept(),
            "working memory": self._working() + WORKSPACE_GIB * GIB,
        }
        return {name: size / GIB for name, size in parts.items()}

    def _weight_bytes(self) -> float:
        return NF4_BYTES + NF4_SCALES * (not self.library) if self.quantized else self.width

    def _kept(self) -> float:
        """Two inputs per layer, and gate and up products of the layers that keep them."""
        shape, token = self.shape, self.tokens * self.width
        if self.library:
            return shape.layers * token * (shape.hidden if self.checkpointed else LIBRARY_KEPT * shape.inner)
        return token * (2 * shape.layers * shape.hidden + 2 * self.kept_layers * shape.inner)

    def _working(self) -> float:
        """One MLP's backward: its expanded weights, and products of inner size."""
        shape, token = self.shape, self.tokens * self.width
        matrix = shape.inner * shape.hidden * self.width * self.quantized
        if self.library:
            return LIBRARY_TRANSIENT * token * shape.inner * self.checkpointed + 3 * matrix
        recomputed = 2 * (self.kept_layers < shape.layers - 1)
        first = (2 + recomputed) * token * shape.inner + 3 * matrix
        return max(first, 5 * token * shape.inner + 2 * matrix) + 2 * token * shape.hidden

    @property
    def peak_gib(self) -> float:
        """GiB of torch's tensors at the fullest moment."""
        return sum(self.parts().values())

    def passes(self) -> float:
        """A step's arithmetic in forward passes: forward, backward, and recomputation."""
        sizes = {name: outputs * inputs for name, (outputs, inputs) in self.shape.linears.items()}
        if self.library:
            return 3.0 if self.checkpointed else 2.0
        again = sum(sizes[name] for name in ("q_proj", "k_proj", "v_proj"))
        again += (sizes["gate_proj"] + sizes["up_proj"]) * (1 - self.kept_layers / self.shape.layers)
        return 2 + again / sum(sizes.values())

    def keeping(self, limit_gib: float) -> "Footprint":
        """This footprint with as many layers that keep products as `limit_gib` of tensors allow."""
        layers = self.shape.layers
        fitting = (replace(self, kept_layers=n) for n in range(layers, 0, -1))
        return next((one for one in fitting if one.peak_gib <= limit_gib), replace(self, kept_layers=0))


def usable_gib(vram_gib: float) -> float:
    """GiB of a GPU's memory that torch's tensors can use."""
    return vram_gib * (1 - GAPS) - CONTEXT_GIB
