"""Where the parts of the base are kept during training, and deterministic kernels."""

import os

import torch

from vqaflow.config.sections import TrainConfig
from vqaflow.model.base import Base


def make_deterministic() -> None:
    """Equal inputs give equal adapters: bit for bit on the CPU; on a GPU as far as its kernels allow."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)  # warn_only would leave attention's backward pass non-deterministic
    torch.utils.deterministic.fill_uninitialized_memory = False  # all memory is written before it is read
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def place(base: Base, train: TrainConfig, tower: bool) -> None:
    """Keep on the GPU what the steps need: no embedding table, no head for `choice`, the tower only if `tower`.

    The library's forward, which separate passes run, needs all parts.
    """
    if base.is_separate:
        return
    head = train.objective != "choice"
    needed = [
        (base.language_model.embed_tokens, head and base.is_tied),
        (base.head, head),
        (base.visual, tower),
    ]
    base.leave_gpu(*(module for module, is_needed in needed if not is_needed))
    base.join_gpu(*(module for module, is_needed in needed if is_needed))


def set_checkpointing(base: Base, train: TrainConfig) -> None:
    """Recompute activations in the backward pass where memory is short (on GPUs, by default)."""
    if train.lora.dropout == 0 and not base.is_separate:
        return  # the fused decoder recomputes by itself
    wanted = base.device.type == "cuda" if train.gradient_checkpointing == "auto" else train.gradient_checkpointing
    if wanted:
        base.network.gradient_checkpointing_enable({"use_reentrant": False})
