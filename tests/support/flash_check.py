"""The flash kernel against attention one sequence at a time, forward and backward, on a GPU.

`python tests/support/flash_check.py` prints the differences. Shapes: N query tokens, L key tokens, H and G heads of
queries and keys, D size of a head.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention

from vqaflow.model.numerics.flash_attention import cumulative, flash_attention

QUERIES, KEYS = [37, 5, 1, 64], [37, 21, 50, 130]  # a prefix, branches that see a prefix before them, an answer


def looped(q_NHD, k_LGD, v_LGD, causal: bool = True) -> torch.Tensor:
    """Attention in float32: each query sees the keys up to its own, and the last query is the last key."""
    parts, at_q, at_k = [], 0, 0
    for queries, keys in zip(QUERIES, KEYS, strict=True):
        q, k, v = q_NHD[at_q : at_q + queries], k_LGD[at_k : at_k + keys], v_LGD[at_k : at_k + keys]
        seen = torch.ones(queries, keys, dtype=torch.bool, device=q.device)
        seen = seen.tril(keys - queries) if causal else seen
        heads = [t.float().transpose(0, 1)[None] for t in (q, k, v)]
        parts.append(scaled_dot_product_attention(*heads, attn_mask=seen, enable_gqa=True)[0].transpose(0, 1))
        at_q, at_k = at_q + queries, at_k + keys
    return torch.cat(parts)


def differences(dtype: torch.dtype) -> dict[str, float]:
    """The largest differences, relative to the largest value: of the output, of each gradient, and if nothing was
    causal.
    """
    generator = torch.Generator("cuda").manual_seed(1)
    shapes = [(sum(QUERIES), 4, 64), (sum(KEYS), 2, 64), (sum(KEYS), 2, 64)]
    given = [torch.randn(shape, generator=generator, device="cuda").to(dtype).requires_grad_() for shape in shapes]
    sequences = (cumulative(QUERIES).cuda(), cumulative(KEYS).cuda(), max(QUERIES), max(KEYS))
    weights = torch.randn(shapes[0], generator=generator, device="cuda")
    found = []
    for out in (flash_attention(*given, sequences).float(), looped(*given)):
        found.append([out.detach(), *(g.float() for g in torch.autograd.grad((out * weights).sum(), given))])
    names = ("output", "gradient of q", "gradient of k", "gradient of v")
    told = {
        name: float((ours - theirs).abs().max() / theirs.abs().max())
        for name, ours, theirs in zip(names, *found, strict=True)
    }
    everything = looped(*given, causal=False).detach()
    return told | {"output, were it not causal": float((found[0][0] - everything).abs().max() / everything.abs().max())}


if __name__ == "__main__":
    for precision in (torch.float16, torch.bfloat16):
        print(precision, differences(precision))
