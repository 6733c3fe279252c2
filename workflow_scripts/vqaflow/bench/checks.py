"""Whether the fast step is correct on this device: against the library's layers, and bit-identical when repeated."""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from vqaflow.bench.made_rows import MadeEncoder, MadeFeatures, MadeRows
from vqaflow.bench.random_base import build
from vqaflow.model.base import Base
from vqaflow.model.decoder.branches import answer_states, pack
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.decoder.layouts import make_layout
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.plan.shape import SHAPES
from vqaflow.training.placement import make_deterministic

if TYPE_CHECKING:
    from vqaflow.bench.training_bench import TrainingBench


STEPS = 20
SMALL = replace(SHAPES["7b"], layers=3, vocabulary=2048, vision_depth=2, full_attention=(1,))


def check(bench: "TrainingBench") -> dict[str, Any]:
    """Relative errors against float32, of our step and the library's, and the digests of two runs."""
    make_deterministic()
    shape = SMALL if bench.device.type == "cuda" else SHAPES["tiny"]
    made = MadeRows(shape, small=True)
    results: dict[str, Any] = {}
    for orders in (1, 4):
        exact = _outcome(bench, made, orders, torch.float32, fused=False)
        for name, fused in (("ours", True), ("the library's layers", False)):
            got = _outcome(bench, made, orders, bench.dtype, fused)
            for what, ours, theirs in zip(("states", "gradients"), got, exact, strict=True):
                error = float((ours - theirs).norm() / theirs.norm())
                results[f"{what} of {name} against float32, {orders} order(s): relative error"] = error
    digests = [_digest_after_steps(bench) for _ in range(2)]
    results[f"adapters after {STEPS} steps, run twice: bit-identical"] = digests[0] == digests[1]
    results["adapter digest"] = digests[0][:16]
    return results


def _outcome(
    bench: "TrainingBench", made: MadeRows, orders: int, dtype: torch.dtype, fused: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """States at the answers, and the gradients of a function of them for all adapter weights, in float64."""
    from vqaflow.bench.training_bench import train_config

    base = build(made.shape, bench.device, bench.quantization, dtype)
    add_adapter(base, train_config().lora, seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in trainable(base):
            weight.copy_((torch.randn(weight.shape, generator=draw) * 0.02).to(weight.device))
    encoded = [made.encoded(i, orders) for i in range(3)]
    features = [torch.randn(made.visual, made.shape.hidden, generator=draw).to(bench.device, dtype) for _ in encoded]
    states = _states(base, made, encoded, features, fused).float()
    scales = torch.linspace(-1, 1, states.numel(), device=bench.device).view_as(states)
    gradients = torch.autograd.grad((states * scales).sum(), trainable(base))
    return states.detach().double(), torch.cat([gradient.double().flatten() for gradient in gradients])


def _states(base: Base, made: MadeRows, encoded: list[Any], features: list[torch.Tensor], fused: bool) -> torch.Tensor:
    if fused:
        layout = make_layout(encoded, made.image_token, base.device, base.dtype)
        return FusedDecoder(base).answer_states(layout, features)
    batch = pack(encoded, made.image_token, pad_token=0).to(base.device)
    with torch.autocast(base.device.type, dtype=base.dtype, enabled=base.dtype is not torch.float32):
        return answer_states(base.language_model, batch, features)


def _digest_after_steps(bench: "TrainingBench") -> str:
    """sha256 of the adapter's weights after some steps of the real loop in four orders."""
    from vqaflow.bench.training_bench import train_config
    from vqaflow.training.loop import Trainer

    shape = SMALL if bench.device.type == "cuda" else SHAPES["tiny"]
    made = MadeRows(shape, small=True)
    base = build(shape, bench.device, bench.quantization, bench.dtype)
    train = train_config(choice_orders=4, learning_rate=1e-3)
    add_adapter(base, train.lora, train.seed)
    trainer = Trainer(base, MadeEncoder(made), MadeFeatures(base, made, True), made.rows(8), [], train)
    torch.manual_seed(3)
    for _ in range(STEPS):
        trainer.step([(row, ["abcd", "bcda", "cdab", "dabc"]) for row in made.rows(4)])
    return hashlib.sha256(b"".join(w.detach().cpu().numpy().tobytes() for w in trainable(base))).hexdigest()
