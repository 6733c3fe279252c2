"""Whether the fast step is correct on this device: against the library's layers, and bit-identical when repeated."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.bench.made_rows import SMALL_VISUAL, MadeEncoder, MadeFeatures, MadeRows
from vqaflow.bench.random_base import build
from vqaflow.config.sections import ViewConfig
from vqaflow.model.encoding.orders import cyclic_shifts
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.training.answer_model import AnswerModel
from vqaflow.training.placement import make_deterministic

if TYPE_CHECKING:
    from vqaflow.bench.training_bench import TrainingBench


STEPS = 20
SMALL_VOCABULARY = 2048
ORDERS = cyclic_shifts("".join(ALL_LETTERS[:4]))  # of the made-up rows


class GivenFeatures:
    """Stands in for FeatureCache: these features of the rows in their order."""

    def __init__(self, features: list[torch.Tensor]) -> None:
        self.features, self.view = features, ViewConfig()

    def of(self, items: Sequence[Any]) -> list[torch.Tensor]:
        """The features."""
        return self.features


def checked(bench: "TrainingBench") -> Mapping[str, Any]:
    """The config.json of the model that is checked: of the bench's widths on a GPU, the bench's own on a CPU."""
    return small(bench.config) if bench.device.type == "cuda" else bench.config


def small(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with the widths of `config` but few layers and tokens; with both kinds of layers, if it has two."""
    text, vision = dict(config["text_config"]), dict(config["vision_config"])
    text |= {"num_hidden_layers": 4 if "full_attention_interval" in text else 3, "vocab_size": SMALL_VOCABULARY}
    vision["depth"] = 2
    vision |= {"fullatt_block_indexes": [1]} if "fullatt_block_indexes" in vision else {}
    vision |= {"deepstack_visual_indexes": [0, 1]} if "deepstack_visual_indexes" in vision else {}
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    tokens = {name: SMALL_VOCABULARY - 1 - i for i, name in enumerate(names)}
    text |= {"bos_token_id": 0, "eos_token_id": 0}
    return {**config, **tokens, "text_config": text, "vision_config": vision}


def check(bench: "TrainingBench") -> dict[str, Any]:
    """Relative errors against float32, of our step and the library's, and the digests of two runs."""
    make_deterministic()
    made = MadeRows(checked(bench), SMALL_VISUAL)
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

    base = build(made.config, bench.device, bench.quantization, dtype)
    train = train_config(compile=False)
    add_adapter(base, train.lora, seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in trainable(base):
            weight.copy_((torch.randn(weight.shape, generator=draw) * 0.02).to(weight.device))
    rows = made.rows(3)
    features = GivenFeatures([one.to(bench.device, dtype) for one in made.features(len(rows), draw)])
    model = AnswerModel(base, MadeEncoder(made), features, train)
    states = (model.states if fused else model.library_states)(rows, [ORDERS[:orders]] * len(rows)).float()
    scales = torch.linspace(-1, 1, states.numel(), device=bench.device).view_as(states)
    gradients = torch.autograd.grad((states * scales).sum(), trainable(base))
    return states.detach().double(), torch.cat([gradient.double().flatten() for gradient in gradients])


def _digest_after_steps(bench: "TrainingBench") -> str:
    """sha256 of the adapter's weights after some steps of the real loop in four orders."""
    from vqaflow.bench.training_bench import train_config
    from vqaflow.training.loop import Trainer

    made = MadeRows(checked(bench), SMALL_VISUAL)
    base = build(made.config, bench.device, bench.quantization, bench.dtype)
    train = train_config(choice_orders=4, learning_rate=1e-3)
    add_adapter(base, train.lora, train.seed)
    trainer = Trainer(base, MadeEncoder(made), MadeFeatures(base, made, True), made.rows(8), [], train)
    torch.manual_seed(3)
    for _ in range(STEPS):
        trainer.step([(row, ORDERS) for row in made.rows(4)])
    return hashlib.sha256(b"".join(w.detach().cpu().numpy().tobytes() for w in trainable(base))).hexdigest()
