"""Qwen3.5 and its successors 3.6 and 3.8, dense and sparse: three layers with a recurrent state to one of attention.

The recurrent layers are gated delta networks: a causal convolution over four tokens, then a state that each token
reads and updates. Choice orders continue the state that the shared prefix left.
"""

from dataclasses import replace

from vqaflow.model.families.family import ATTENTION, HALVES, MLP, Family, whole_image_features

# The recurrent layers' counterparts of attention's projections.
MIXERS = ATTENTION | {
    "q_proj": ("self_attn.q_proj", "linear_attn.in_proj_qkv"),
    "v_proj": ("self_attn.v_proj", "linear_attn.in_proj_z"),
    "o_proj": ("self_attn.o_proj", "linear_attn.out_proj"),
}
DENSE = Family(
    name="Qwen3.5",
    kinds=("qwen3_5",),
    network="Qwen3_5ForConditionalGeneration",
    example="Qwen/Qwen3.5-9B",
    hub_names=("qwen3.5", "qwen3.6", "qwen3.8"),
    llama_factory="qwen3_5_nothink",
    image_processor="Qwen2VLImageProcessor",
    normalisation=HALVES,
    prefix="state",
    features=whole_image_features,
    interleaved=True,
    zero_centred=True,
    gated=True,
    adapted=MIXERS | MLP,
    unquantized=("model.visual", "lm_head", "in_proj_a", "in_proj_b"),
    float16="its activations overflow float16",
    nf4="4 bits cost this family more accuracy than others",
)
SPARSE = replace(
    DENSE,
    name="Qwen3.5 (experts)",
    kinds=("qwen3_5_moe",),
    network="Qwen3_5MoeForConditionalGeneration",
    example="Qwen/Qwen3.5-35B-A3B",
    adapted=MIXERS | {name: (f"mlp.shared_expert.{name}",) for name in MLP},
    unquantized=(*DENSE.unquantized, "shared_expert_gate"),
    nf4="its experts are stacked weights, which NF4 does not reach",
)
