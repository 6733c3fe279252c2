"""What a family of vision-language models must say about itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the workflow is parsed without torch
    import torch

Grid = tuple[int, int, int]
Features = Callable[[Any, "Sequence[torch.Tensor]", Sequence[Grid]], "list[torch.Tensor]"]
ATTENTION = {name: (f"self_attn.{name}",) for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
CLIP = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # means, standard deviations
HALVES = [0.5] * 3, [0.5] * 3
MLP = {name: (f"mlp.{name}",) for name in ("gate_proj", "up_proj", "down_proj")}


def whole_image_features(visual: Any, patches: "Sequence[torch.Tensor]", grids: Sequence[Grid]) -> "list[torch.Tensor]":
    """The `features` of families whose towers let every patch see its whole image.

    One tensor (visual tokens, (1 + levels) x H) per image: the tokens, then each level of DeepStack, if there are any.
    """
    from vqaflow.model.vision import whole_images

    return whole_images.whole_image_features(visual, patches, grids)


@dataclass(frozen=True)
class Family:
    """One family; each module beside this one defines one, or a dense and a sparse one.

    name: as users call it. kinds: `model_type` of its checkpoints. network: its class in transformers. example: a
    published checkpoint, for messages. image_processor: the start of the class name of its checkpoints' image
    processors; normalisation: their mean and standard deviation of pixels, if they are the same in all. processors:
    class names of whole processors that work.

    prefix: how choice orders share the image and the question: `mask` (full attention, one pass with a mask), `state`
    (some layers carry a state, which each order continues), `separate` (one pass of the library's forward per order).
    features: (tower, patches, grids) to one tensor (visual tokens, (1 + levels) x hidden size) per image; None if the
    passes are separate. tower, decoder: the modules' paths in the network.

    interleaved: whether M-RoPE takes its three axes in turn instead of in sections. zero_centred: whether norms
    multiply by 1 + weight, in float32. gated: whether queries come with a gate for attention's output.

    adapted: for each name in config's train.lora.targets, the linears of a decoder layer that it means here.
    unquantized: modules that NF4 must leave alone: starts of their paths, or ends. float16: why float16 does not work,
    if it does not. nf4: why NF4 is advised against, if it is. template: arguments of the chat template besides those
    that every family gets (chat_template.NO_THINKING). image_options: (image processor, min_pixels, max_pixels) to
    arguments for the processor that keep to config's resolution policy.

    hub_names: what is in the hub names of its checkpoints, in lower case, for a base of which this machine has no file
    yet. llama_factory: what LLaMA-Factory calls its chat template, for exports.
    """

    name: str
    kinds: tuple[str, ...]
    network: str
    example: str
    image_processor: str = ""
    processors: tuple[str, ...] = ("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor")
    normalisation: tuple[list[float], list[float]] | None = None
    prefix: str = "mask"
    features: Features | None = None
    tower: str = "model.visual"
    decoder: str = "model.language_model"
    interleaved: bool = False
    zero_centred: bool = False
    gated: bool = False
    adapted: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: ATTENTION | MLP)
    unquantized: tuple[str, ...] = ("model.visual", "lm_head")
    float16: str | None = None
    nf4: str | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    image_options: Callable[[Any, int, int], dict[str, Any]] | None = None
    hub_names: tuple[str, ...] = ()
    llama_factory: str | None = None

    @property
    def is_fused(self) -> bool:
        """Whether vqaflow computes tower and decoder itself, so that settings it does not know are refused."""
        return self.features is not None and self.prefix != "separate"

    def is_quantized(self, name: str) -> bool:
        """Whether NF4 quantises the linear with this full name."""
        return not any(name.startswith(part) or name.endswith(part) for part in self.unquantized)
