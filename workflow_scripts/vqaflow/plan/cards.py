"""GPUs that people have: their memory, and how fast their matrix products are."""

from dataclasses import dataclass

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import did_you_mean

NOT_IN_DIGESTS = True  # a plan is not a result


@dataclass(frozen=True)
class Card:
    """A GPU: GiB as torch sees them, the TFLOP/s that its products in 16 bits sustain, and GB/s of its memory.

    `measured` says that the speed is from docs/benchmarks; the other speeds are assumed from the makers' peaks.
    """

    name: str
    title: str
    gib: float
    tflops: float
    gbps: float
    measured: bool = False
    bfloat16: bool = True
    fp8: bool = True


# Peaks without sparsity, by the makers' data sheets: T4 65, L4 121, RTX 4060 Ti 88 (16-bit sums in 32 bits), RTX 4090
# 165, A100 312, H100 989 TFLOP/s. A large product sustains three quarters of it (H100: measured); a T4 and an L4, whose
# 70 watts do not last, 0.4 and 0.5. The speeds of memory in GB/s are those of the data sheets.
CARDS = [
    Card("t4", "T4 16 GB", 14.7, 24.0, 320.0, bfloat16=False, fp8=False),
    Card("rtx-4060ti", "RTX 4060 Ti 16 GB", 15.6, 66.0, 288.0),
    Card("l4", "L4 24 GB", 22.0, 60.0, 300.0),
    Card("rtx-4090", "RTX 4090 24 GB", 23.5, 124.0, 1008.0),
    Card("a100-40", "A100 40 GB", 39.4, 234.0, 1555.0, fp8=False),
    Card("a100-80", "A100, H100 80 GB", 79.1, 234.0, 1935.0),
    Card("h100", "H100 80 GB", 79.1, 750.0, 3350.0, measured=True),
    Card("h200", "H200 141 GB", 139.8, 750.0, 4800.0, measured=True),
]
BY_NAME = {card.name: card for card in CARDS}


def card_named(name: str) -> Card:
    """The card called `name`. Raises UserError if there is no such card."""
    if name.lower() not in BY_NAME:
        raise UserError(f"--card {name}: is not known here; {did_you_mean(name.lower(), BY_NAME)}")
    return BY_NAME[name.lower()]


def card_of(vram_gib: float) -> Card:
    """The card whose memory is nearest to `vram_gib`; of several, the slowest."""
    return min(CARDS, key=lambda card: (abs(card.gib - vram_gib), card.tflops))


def card_here() -> Card | None:
    """The first GPU of this machine, with the speed of the known card that it is, or else of one of its memory."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    gib, words = found.total_memory / 2**30, found.name.lower().replace("-", " ").split()
    named = [card for card in CARDS if card.name.split("-")[0] in words and abs(card.gib - gib) < 0.1 * gib]
    like = named[0] if named else card_of(gib)
    bfloat16 = torch.cuda.get_device_capability(0) >= (8, 0)
    return Card("here", found.name, gib, like.tflops, like.gbps, bool(named) and like.measured, bfloat16)
