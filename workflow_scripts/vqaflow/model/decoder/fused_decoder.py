"""The decoder for training: the base's weights and PEFT's adapters, computed with little memory and few passes.

Each layer is two differentiable blocks that keep only their input and recompute what backward needs. Compared with the
library's layers under gradient checkpointing, this work is saved:

- the down and output projections are not recomputed (backward needs only their inputs), and an MLP block may keep its
  gate and up products if there is memory, which saves most of the other recomputation;
- quantised weights are expanded once for recomputation and backward together, never for weight gradients;
- projections that read the same input (q, k, v; gate, up) are one matrix product, and so are their adapters;
- the last layer computes keys and values for all tokens, and the rest only for the answers' positions;
- norms, rotation and gating can be compiled into single kernels (`train.compile`).

The result is that of the library with PEFT's layers, up to rounding (test_fused_decoder.py).

Shapes: N tokens of the batch, B rows, K branches (choice orders), H hidden size, F rotary frequencies, 3 axes of
M-RoPE, R ranks of a projection's adapters, I its inputs.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch

from vqaflow.model.base import Base
from vqaflow.model.decoder.attention import Angles, AttentionBlock
from vqaflow.model.decoder.delta import DeltaBlock
from vqaflow.model.decoder.layouts import TokenLayout, make_layout, moved_layout
from vqaflow.model.decoder.mlp import ExpertsBlock, MlpBlock
from vqaflow.model.decoder.projection import Projection, norm_weight
from vqaflow.model.encoding.row_encoder import EncodedRow
from vqaflow.model.numerics.cublas import settle_workspace
from vqaflow.model.numerics.elementwise import Kernels, rms_norm
from vqaflow.model.vision.fused_tower import use_kernels


class FusedDecoder:
    """The decoder of `base` (its adapter included, if any), from token ids and image features to answer states."""

    def __init__(self, base: Base, compile_kernels: bool = False) -> None:
        settle_workspace(base.device)
        model, family = base.language_model, base.family
        self.places = [next(layer.parameters()).device for layer in model.layers]  # several if one GPU is too small
        kernels = Kernels.compiled() if compile_kernels else Kernels()
        self.base, self.embedding, self.kernels = base, model.embed_tokens, kernels
        use_kernels(base.visual, kernels)
        self.image_token = base.network.config.image_token_id
        self.layers = [
            (
                (DeltaBlock if hasattr(layer, "linear_attn") else AttentionBlock)(layer, family, kernels),
                (ExpertsBlock if hasattr(layer.mlp, "experts") else MlpBlock)(layer, family, kernels),
            )
            for layer in model.layers
        ]
        self.norm, self.eps = norm_weight(model.norm, family.zero_centred)
        self.inverse_frequencies = model.rotary_emb.inv_freq.float()
        self.attention_scaling = model.rotary_emb.attention_scaling  # other than 1 with yarn
        self.sections, self.interleaved = model.config.rope_parameters["mrope_section"], family.interleaved
        for projection in self.projections:
            projection.fp8_rows = kernels.fp8_rows
        self.adapted = [projection for projection in self.projections if projection.parameters]
        self.copies = self._copies()
        for mixer, _ in self.layers:
            if isinstance(mixer, DeltaBlock):
                mixer.gradients = bool(self.adapted)

    @property
    def projections(self) -> list[Projection]:
        """All matrix products of the decoder that an adapter may change."""
        return [projection for pair in self.layers for block in pair for projection in block.projections]

    def keep_products(self, layers: int) -> None:
        """Make the last `layers` MLP blocks keep their gate and up products; experts are always computed again."""
        for i, (_, mlp) in enumerate(self.layers):
            if isinstance(mlp, MlpBlock):
                mlp.keep = i >= len(self.layers) - layers

    @property
    def keeps_products(self) -> bool:
        """Whether any MLP block keeps its products."""
        return any(isinstance(mlp, MlpBlock) and mlp.keep for _, mlp in self.layers)

    def _copies(self) -> list[tuple[list[torch.Tensor], list[torch.Tensor]]]:
        """Buffers and the weights that go there. Those beside a base's weight are apart: they would slow the rest."""
        pairs = [pair for p in self.adapted for pair in zip(p.buffers, p.parameters, strict=True)]
        kinds = [[pair for pair in pairs if pair[0].is_contiguous() is dense] for dense in (True, False)]
        return [([buffer for buffer, _ in kind], [weight for _, weight in kind]) for kind in kinds if kind]

    @torch.no_grad()
    def refresh_adapters(self) -> None:
        """Copy the adapters' weights into the projections' buffers, in few calls for all layers."""
        if self.adapted:
            for buffers, weights in self.copies:
                torch._foreach_copy_(buffers, weights)
            torch._foreach_mul_([p.a_RI for p in self.adapted], [p.scaling for p in self.adapted])

    def angles(self, positions_3N: torch.Tensor, dtype: torch.dtype) -> Angles:
        """M-RoPE's angles: each part of the frequencies turns by the position on its own axis."""
        turns_3NF = positions_3N[..., None].float() * self.inverse_frequencies.to(positions_3N.device)
        if self.interleaved:
            turns_NF = turns_3NF[0].clone()
            for axis in (1, 2):
                mine = slice(axis, 3 * self.sections[axis], 3)
                turns_NF[:, mine] = turns_3NF[axis, :, mine]
        else:
            sections = turns_3NF.split(self.sections, dim=-1)
            turns_NF = torch.cat([section[i % 3] for i, section in enumerate(sections)], dim=-1)
        turns = torch.cat([turns_NF, turns_NF], dim=-1)[:, None]
        cos, sin = ((turn * self.attention_scaling).to(dtype) for turn in (turns.cos(), turns.sin()))
        return cos, sin, -sin

    def states(self, rows: Sequence[EncodedRow], features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden states (B, K, H) at the answer positions of `rows`, from their image features."""
        layout = make_layout(rows, self.image_token, self.base.device, self.base.dtype)
        return self.answer_states(layout, features)

    def embed(self, layout: TokenLayout, features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Inputs (N, H): text from the embedding table (on any device), image features in their places.

        `features` are in the order of the rows, like the prefixes in a layout. What they hold beyond the hidden size
        are DeepStack's levels, each (image tokens, H), which are returned too.
        """
        device, dtype, table = self.base.device, self.base.dtype, self.embedding.weight
        text = table[layout.text_ids.to(table.device)].to(device=device, dtype=dtype)
        image, *levels = torch.cat(list(features)).to(device=device, dtype=dtype).split(table.shape[1], dim=1)
        return torch.cat([text, image]).index_select(0, layout.places_N), levels

    def answer_states(self, layout: TokenLayout, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden states (B, K, H) at the answer positions, after the final norm."""
        self.refresh_adapters()
        x, levels = self.embed(layout, features)
        angles = self.angles(layout.positions_3N, x.dtype)
        with ExitStack() as on_devices:
            for i, (mixer, mlp) in enumerate(self.layers):
                if x.device != (device := self.places[i]):
                    on_devices.enter_context(torch.cuda.device(device))  # own kernels start on the current one
                    x, layout = x.to(device), moved_layout(layout, device)
                    angles = tuple(part.to(device) for part in angles)
                is_last = i == len(self.layers) - 1
                x = mlp.apply(mixer.apply(x, layout, angles, layout.ends_BK.flatten() if is_last else None))
                if i < len(levels) and not is_last:  # an answer is no image token
                    x = x.index_add(0, layout.image_N, levels[i].to(x.device))
            states_BKH = rms_norm(x, self.norm, self.eps).unflatten(0, layout.ends_BK.shape)
        return states_BKH.to(self.base.device)
