"""A decoder layer's MLP for training: it keeps little, and recomputes what backward needs.

Shapes: N tokens of the batch, H hidden size.
"""

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from vqaflow.model.decoder.projection import Projection, norm_weight, project
from vqaflow.model.families.family import Family
from vqaflow.model.numerics.elementwise import Kernels, gated, rms_norm


class MlpBlock:
    """x + mlp(norm(x)) of one layer; `keep` says whether it keeps the gate and up products for backward."""

    def __init__(self, layer: Any, family: Family, kernels: Kernels) -> None:
        self.kernels = kernels
        self.norm, self.eps = norm_weight(layer.post_attention_layernorm, family.zero_centred)
        self.gate_up = Projection([layer.mlp.gate_proj, layer.mlp.up_proj])
        self.down = Projection([layer.mlp.down_proj])
        self.projections = [self.gate_up, self.down]
        self.parameters = [*self.gate_up.parameters, *self.down.parameters]
        self.keep = False

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H) to (N, H)."""
        return MlpFunction.apply(x, self, *self.parameters)


class MlpFunction(torch.autograd.Function):
    """MlpBlock, recomputed in backward unless it keeps its products."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, block: MlpBlock, *parameters: torch.Tensor) -> torch.Tensor:
        """(N, H) to (N, H)."""
        normed = block.kernels.norm(x, block.norm, block.eps, block.gate_up.extra)
        gate_up = block.gate_up.forward(normed, block.gate_up.weight(x))
        ctx.save_for_backward(x, gate_up if block.keep else None)
        ctx.block = block
        return block.down.forward(block.kernels.gated(gate_up), block.down.weight(x), x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients for x and the adapters' weights."""
        block = ctx.block
        x, gate_up = ctx.saved_tensors
        normed = block.kernels.norm(x, block.norm, block.eps, block.gate_up.extra)
        weight = block.gate_up.weight(x)
        if gate_up is None:
            gate_up = block.gate_up.forward(normed, weight)
        elif block.gate_up.extra:
            block.gate_up.read(normed)
        grad = grad.contiguous()
        grad_product, down_grads = block.down.backward(grad, block.kernels.gated(gate_up), block.down.weight(x))
        grad_gate_up = block.kernels.gated_backward(grad_product, gate_up)
        del gate_up, grad_product
        grad_normed, grads = block.gate_up.backward(grad_gate_up, normed, weight)
        grad_x = block.kernels.norm_backward(grad_normed, x, block.norm, block.eps, grad)
        return grad_x, None, *grads, *down_grads


class ExpertsBlock:
    """x + experts(norm(x)) of one layer: the library's frozen experts, and the shared expert with its adapters."""

    def __init__(self, layer: Any, family: Family, kernels: Kernels) -> None:
        del kernels  # experts see few tokens each: the library's way is as fast
        self.norm, self.eps = norm_weight(layer.post_attention_layernorm, family.zero_centred)
        self.mlp = layer.mlp
        shared = getattr(self.mlp, "shared_expert", None)
        self.shared = (
            None
            if shared is None
            else (
                Projection([shared.gate_proj, shared.up_proj]),
                Projection([shared.down_proj]),
            )
        )
        self.projections = list(self.shared or ())

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H) to (N, H); only x is kept for backward."""
        if not torch.is_grad_enabled():
            return self._forward(x)
        return checkpoint(self._forward, x, use_reentrant=False, preserve_rng_state=False)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = rms_norm(x, self.norm, self.eps)
        _, weights, chosen = self.mlp.gate(normed)
        out = self.mlp.experts(normed, chosen, weights)
        if self.shared is not None:
            gate_up, down = self.shared
            shared = project(gated(project(normed, gate_up)), down)
            out = out + torch.sigmoid(self.mlp.shared_expert_gate(normed)) * shared
        return x + out
