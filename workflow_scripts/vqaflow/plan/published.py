"""The numbers of published models: what their config.json says about the shapes of weights, and nothing else.

`vqaflow plan` and `vqaflow bench` build networks of these shapes without a download. Values that the library's
configuration has by default are left out. test_published.py counts the weights.
"""

import re
from typing import Any

Config = dict[str, Any]

QWEN25_ROTATION = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
QWEN3_ROTATION = {
    "rope_type": "default",
    "rope_theta": 5000000.0,
    "mrope_section": [24, 20, 20],
    "mrope_interleaved": True,
}
QWEN35_ROTATION = {
    "rope_type": "default",
    "rope_theta": 10000000.0,
    "partial_rotary_factor": 0.25,
    "mrope_section": [11, 11, 10],
    "mrope_interleaved": True,
}
QWEN25_TOKENS = {
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
}
QWEN25_TOWER = {
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "depth": 32,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "window_size": 112,
}
TINY_TEXT = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1863,
    "bos_token_id": 1856,
    "eos_token_id": 1855,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 4096,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
}
TINY_TOWER = {
    "hidden_size": 128,
    "intermediate_size": 320,
    "depth": 4,
    "num_heads": 4,
    "fullatt_block_indexes": [1, 3],
    "window_size": 56,
}
TINY_TOKENS = {
    "image_token_id": 1861,
    "video_token_id": 1862,
    "vision_start_token_id": 1858,
    "vision_end_token_id": 1859,
}
# The vision towers of Qwen3-VL and Qwen3.5, and the blocks whose features are DeepStack's levels in Qwen3-VL.
SMALLEST_TOWER = {"hidden_size": 768, "intermediate_size": 3072, "depth": 12, "num_heads": 12}
SMALL_TOWER = {"hidden_size": 1024, "intermediate_size": 4096, "depth": 24}
LARGE_TOWER = {"hidden_size": 1152, "intermediate_size": 4304, "depth": 27}
SMALL_LEVELS = {"deepstack_visual_indexes": [5, 11, 17]}
LARGE_LEVELS = {"deepstack_visual_indexes": [8, 16, 24]}
LARGE_GEMMA_TOWER = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 72,
    "standardize": True,
}


def qwen25_vl(text: Config, tower: Config, tied: bool) -> Config:
    """A Qwen2.5-VL."""
    hidden = text["hidden_size"]
    text = {"rms_norm_eps": 1e-6, "max_position_embeddings": 128000, "rope_parameters": QWEN25_ROTATION} | text
    return model("qwen2_5_vl", text, {"out_hidden_size": hidden} | tower, tied, **QWEN25_TOKENS)


def qwen3_vl(text: Config, tower: Config, tied: bool) -> Config:
    """A Qwen3-VL; one with experts is of another kind."""
    kind = "qwen3_vl_moe" if "num_experts" in text else "qwen3_vl"
    tower = tower | {"num_heads": 16, "out_hidden_size": text["hidden_size"]}
    text = text | {"head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 262144}
    return model(kind, text | {"rope_parameters": QWEN3_ROTATION}, tower, tied, **QWEN25_TOKENS)


def qwen35(text: Config, tower: Config, tied: bool) -> Config:
    """A Qwen3.5; one with experts is of another kind. Its layers with linear attention have 16 key heads."""
    kind = "qwen3_5_moe" if "num_experts" in text else "qwen3_5"
    tower = {"num_heads": 16, "out_hidden_size": text["hidden_size"]} | tower
    text = text | {"head_dim": 256, "vocab_size": 248320, "max_position_embeddings": 262144}
    text |= {"linear_num_key_heads": 16, "linear_key_head_dim": 128, "linear_value_head_dim": 128}
    text |= {"linear_conv_kernel_dim": 4, "full_attention_interval": 4, "rope_parameters": QWEN35_ROTATION}
    return model(kind, text, tower, tied)


def gemma4(text: Config, tower: Config, audio: Config | None) -> Config:
    """A Gemma 4, whose head is always the embedding table."""
    text = text | {"head_dim": 256, "global_head_dim": 512, "vocab_size": 262144, "final_logit_softcapping": 30.0}
    return model("gemma4", text, tower, True, audio_config=audio)


def decoder(hidden: int, inner: int, layers: int, heads: int, key_value_heads: int, **more: Any) -> Config:
    """A text_config: hidden size, MLP width, layers, attention heads, and what else there is."""
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        **more,
    }


def experts(inner: int, count: int, **more: Any) -> Config:
    """The part of a text_config about experts, of which 8 work on each token."""
    return {"moe_intermediate_size": inner, "num_experts": count, "num_experts_per_tok": 8, **more}


def model(kind: str, text: Config, tower: Config, tied: bool, **more: Any) -> Config:
    """A config.json."""
    return {"model_type": kind, "text_config": text, "vision_config": tower, "tie_word_embeddings": tied, **more}


PUBLISHED: dict[str, Config] = {
    "7b": qwen25_vl(decoder(3584, 18944, 28, 28, 4, vocab_size=152064), QWEN25_TOWER, tied=False),
    "3b": qwen25_vl(decoder(2048, 11008, 36, 16, 2, vocab_size=151936), QWEN25_TOWER, tied=True),
    "tiny": qwen25_vl(TINY_TEXT, TINY_TOWER, tied=False) | TINY_TOKENS,  # the demo's base, in assets/
    "qwen3-vl-4b": qwen3_vl(decoder(2560, 9728, 36, 32, 8), SMALL_TOWER | SMALL_LEVELS, tied=True),
    "qwen3-vl-8b": qwen3_vl(decoder(4096, 12288, 36, 32, 8), LARGE_TOWER | LARGE_LEVELS, tied=False),
    "qwen3-vl-32b": qwen3_vl(decoder(5120, 25600, 64, 64, 8), LARGE_TOWER | LARGE_LEVELS, tied=False),
    "qwen3-vl-30b-a3b": qwen3_vl(
        decoder(2048, 6144, 48, 32, 4) | experts(768, 128), LARGE_TOWER | LARGE_LEVELS, tied=False
    ),
    "qwen3.5-0.8b": qwen35(decoder(1024, 3584, 24, 8, 2, linear_num_value_heads=16), SMALLEST_TOWER, tied=True),
    "qwen3.5-4b": qwen35(decoder(2560, 9216, 32, 16, 4, linear_num_value_heads=32), SMALL_TOWER, tied=True),
    "qwen3.5-9b": qwen35(decoder(4096, 12288, 32, 16, 4, linear_num_value_heads=32), LARGE_TOWER, tied=False),
    "qwen3.5-27b": qwen35(decoder(5120, 17408, 64, 24, 4, linear_num_value_heads=48), LARGE_TOWER, tied=False),
    "qwen3.5-35b-a3b": qwen35(
        decoder(2048, 512, 40, 16, 2, linear_num_value_heads=32)
        | experts(512, 256, shared_expert_intermediate_size=512),
        LARGE_TOWER,
        tied=False,
    ),
    "gemma-4-31b": gemma4(
        decoder(
            5376,
            21504,
            60,
            32,
            16,
            num_global_key_value_heads=4,
            attention_k_eq_v=True,
            hidden_size_per_layer_input=0,
            sliding_window=1024,
            use_bidirectional_attention="vision",
        ),
        LARGE_GEMMA_TOWER,
        audio=None,
    ),
    "gemma-4-e4b": gemma4(
        decoder(2560, 10240, 42, 8, 2, hidden_size_per_layer_input=256, num_kv_shared_layers=18, sliding_window=512),
        {},
        audio={},
    ),
    "internvl3.5-8b": model(
        "internvl",
        decoder(4096, 12288, 36, 32, 8, model_type="qwen3", head_dim=128, vocab_size=151936),
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
        tied=False,
        image_token_id=151671,
    ),
}
# Their choice orders share a prefix, for which the benchmarks make rows.
IN_BENCHMARKS = tuple(name for name, config in PUBLISHED.items() if config["model_type"].startswith("qwen"))
# How hub names call them: the model and its size, as in Qwen/Qwen3-VL-8B-Instruct.
HUB_NAMES = {name: name for name in PUBLISHED if "-" in name} | {"qwen2.5-vl-7b": "7b", "qwen2.5-vl-3b": "3b"}


def published_in(base: str) -> str | None:
    """The published model whose name and size a hub or folder name contains, if exactly one."""
    text = base.rpartition("/")[2].lower().replace("_", ".")
    found = [HUB_NAMES[name] for name in HUB_NAMES if re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", text)]
    return found[0] if len(found) == 1 else None
