"""The sizes of a model, from its config.json or as published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The numbers of a Qwen2.5-VL config.json that differ between its sizes."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool
    vision_hidden: int = 1280
    vision_inner: int = 3420
    vision_depth: int = 32
    vision_heads: int = 16
    full_attention: tuple[int, ...] = (7, 15, 23, 31)
    window: int = 112

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Shape":
        """The shape in a config.json, whose decoder's numbers are in text_config or at the top level."""
        text, vision = config.get("text_config", config), config["vision_config"]
        return cls(
            text["hidden_size"],
            text["intermediate_size"],
            text["num_hidden_layers"],
            text["num_attention_heads"],
            text["num_key_value_heads"],
            text["vocab_size"],
            config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)),
            vision["hidden_size"],
            vision["intermediate_size"],
            vision["depth"],
            vision["num_heads"],
            tuple(vision["fullatt_block_indexes"]),
            vision["window_size"],
        )

    @property
    def head(self) -> int:
        """Size of an attention head."""
        return self.hidden // self.heads

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(outputs, inputs) of one decoder layer's linears, by their names."""
        keys = self.head * self.key_value_heads
        sizes = {"q_proj": (self.hidden, self.hidden), "k_proj": (keys, self.hidden), "v_proj": (keys, self.hidden)}
        sizes |= {"o_proj": (self.hidden, self.hidden), "gate_proj": (self.inner, self.hidden)}
        return sizes | {"up_proj": (self.inner, self.hidden), "down_proj": (self.hidden, self.inner)}

    @property
    def linear_weights(self) -> int:
        """Number of weights of all decoder layers' linears: the multiplications per token."""
        return self.layers * sum(outputs * inputs for outputs, inputs in self.linears.values())

    @property
    def tower_weights(self) -> int:
        """Number of the vision tower's weights."""
        wide = 4 * self.vision_hidden
        block = 4 * self.vision_hidden**2 + 3 * self.vision_hidden * self.vision_inner
        return 1176 * self.vision_hidden + self.vision_depth * block + wide**2 + wide * self.hidden


SHAPES = {
    "7b": Shape(3584, 18944, 28, 28, 4, 152064, False),
    "3b": Shape(2048, 11008, 36, 16, 2, 151936, True),
    "tiny": Shape(128, 384, 6, 4, 2, 1863, False, 128, 320, 4, 4, (1, 3), 56),  # the demo's base, in assets/
}
