"""The measurements of `vqaflow bench score`: the usual predictor, plain passes, and this package's scorer.

Shapes: H hidden size, 4 letters of the made-up rows.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from transformers import Qwen2VLImageProcessor

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.bench.made_rows import SMALL_VISUAL, VISUAL, MadeEncoder, MadeRows
from vqaflow.bench.random_base import build
from vqaflow.bench.tools import table
from vqaflow.bench.training_bench import IN_FLOAT16, precision_of, train_config
from vqaflow.config.sections import ViewConfig
from vqaflow.data.images.pictures import Picture
from vqaflow.model.base import Base
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.decoder.merged_adapters import Adapter, use_adapter
from vqaflow.model.encoding.orders import cyclic_shifts
from vqaflow.model.encoding.row_encoder import EncodedRow
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.lora import target_pattern
from vqaflow.model.numerics.elementwise import Kernels
from vqaflow.model.vision.fused_tower import FusedTower, use_kernels
from vqaflow.model.vision.whole_images import library_forward
from vqaflow.model.vision.whole_tower import is_known, whole_forward
from vqaflow.model.vision.windows import Grid, grid_arguments, use_window_attention
from vqaflow.plan.footprint import LAST_LINEARS
from vqaflow.plan.published import PUBLISHED
from vqaflow.plan.shape import is_attention
from vqaflow.plan.timing import matmul_ceiling, measure, peak_gib, reset_peak
from vqaflow.scoring.scorer import Scorer

ADAPTERS, RANK, ALPHA = 3, 24, 48
ORDERS = cyclic_shifts("".join(ALL_LETTERS[:4]))  # of the made-up rows
CALLS = ADAPTERS * len(ORDERS)
FLOAT32_SHARE = 0.8  # of a GPU's memory that the weights in float32 may take
WHOLE = ["what", "batch", "calls per row", "s/row", "rows/s", "times the usual", "peak GiB"]
PARTS = ["part", "batch", "s/row", "of ceiling", "peak GiB"]


class ScoredRows(MadeEncoder):
    """Stands in for RowEncoder: made rows with patches."""

    def __init__(self, made: MadeRows) -> None:
        super().__init__(made)
        self.made_patches = made.pixels(1)[0]
        self.image_processor = Qwen2VLImageProcessor()

    @property
    def images(self) -> "ScoredRows":
        """What reads images."""
        return self

    def patches(self, row: Row, view: ViewConfig, pictures: Sequence[Picture]) -> list[torch.Tensor]:
        """The same patches for each picture."""
        return [self.made_patches for _ in pictures]

    def pixel_limits(self, view: ViewConfig) -> tuple[int, int]:
        """A stand-in for the image area's limits."""
        return 0, 0


class ScoringBench:
    """Measures on one machine and collects the rows of two tables."""

    def __init__(
        self,
        shape: str,
        device: torch.device,
        rows: int,
        batch_tokens: int,
        quantization: str | None = None,
        visual: int | None = None,
    ) -> None:
        self.config, self.device, self.rows, self.batch_tokens = PUBLISHED[shape], device, rows, batch_tokens
        self.dtype, self.quantization = precision_of(shape, device, quantization)
        self.has_usual = shape in IN_FLOAT16
        self.made = MadeRows(self.config, visual or (SMALL_VISUAL if shape == "tiny" else VISUAL))
        self.shape = self.made.shape
        self.encoder = ScoredRows(self.made)
        self.ceiling = matmul_ceiling(device, self.dtype)
        self.batch = max(1, batch_tokens // self.made.tokens(len(ORDERS)))
        self.whole: list[dict[str, Any]] = []
        self.parts: list[dict[str, Any]] = []
        self.checks: dict[str, float] = {}

    @property
    def fits_in_float32(self) -> bool:
        """Whether the weights in float32 fit into the device's memory."""
        if self.device.type != "cuda":
            return True
        memory = torch.cuda.get_device_properties(self.device).total_memory
        return 4 * self.shape.weights <= FLOAT32_SHARE * memory

    def build(self, quantization: str) -> Base:
        """A random base; unquantised on a CPU."""
        return build(self.config, self.device, quantization if self.device.type == "cuda" else "none", self.dtype)

    def add_whole(self, what: str, batch: int, calls: int, seconds: float, peak: float) -> None:
        """Note the seconds that `calls` calls per row take together."""
        row = {"what": what, "batch": batch, "calls per row": calls, "s/row": seconds, "rows/s": 1 / seconds}
        first = self.whole[0]["s/row"] if self.whole else seconds
        self.whole.append(row | {"times the usual": first / seconds, "peak GiB": peak})
        print(table(self.whole[-1:], WHOLE).splitlines()[-1], flush=True)

    def add_part(self, part: str, batch: int, run: Callable[[], object], work: float) -> None:
        """Measure one part; `work` is what it must compute for a row, in floating-point operations."""
        seconds, peak = measure(run, self.device, 3)
        row = {"part": part, "batch": batch, "s/row": seconds / batch, "peak GiB": peak}
        self.parts.append(row | {"of ceiling": work * batch / seconds / self.ceiling})
        print(table(self.parts[-1:], PARTS).splitlines()[-1], flush=True)

    def decoder_work(self) -> float:
        """Operations of the decoder's linears for a row in one pass; the last layer continues with the ends only."""
        last = self.shape.layers[-1]
        heads = sum(
            outputs * inputs
            for path, (outputs, inputs) in last.linears.items()
            if is_attention(path) and path.rpartition(".")[2] not in LAST_LINEARS
        )
        tokens, ends = self.made.tokens(len(ORDERS)), len(ORDERS)
        return 2.0 * ((self.shape.products - last.products + heads) * tokens + (last.products - heads) * ends)

    def tower_work(self, visual: Any) -> float:
        """Operations of the tower's linears for an image: its mergers compute visual tokens, the rest patches."""
        mergers = sum(weight.numel() for name, weight in visual.named_parameters() if "merger" in name)
        return 2.0 * ((self.shape.tower_weights - mergers) * self.made.patches + mergers * self.made.visual)


def library_inputs(bench: ScoringBench, rows: Sequence[EncodedRow], order: int) -> dict[str, torch.Tensor]:
    """What the library's forward takes for rows in one of their orders."""
    ids = torch.tensor([row.prefix_ids + row.branch_ids[order] for row in rows])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == bench.made.image_token).long(),
        "pixel_values": torch.cat([bench.encoder.made_patches] * len(rows)),
        "image_grid_thw": torch.tensor([row.grid for row in rows]),
    }
    return {name: value.to(bench.device) for name, value in inputs.items()}


def with_peft(base: Base, targets: Any, seed: int = 1) -> Any:
    """The base's network with a PEFT adapter that changes its logits."""
    network = get_peft_model(base.model, PeftLoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if ".lora_B." in name:
                weight.copy_((torch.randn(weight.shape, generator=draw) * 0.01).to(weight.device))
    return network.eval()


def measure_usual(bench: ScoringBench) -> None:
    """The usual predictor: batch 1, one call of `generate` (one token) per adapter and order, adapter unmerged."""
    base = bench.build("nf4-tower")
    base.visual.config._attn_implementation = "sdpa"
    network = with_peft(base, list(train_config().lora.targets))
    inputs = library_inputs(bench, [bench.made.encoded(0, 1)], 0)

    def call() -> None:
        with torch.inference_mode():
            network.generate(**inputs, max_new_tokens=1, do_sample=False, pad_token_id=0)

    seconds, peak = measure(call, bench.device, 5)
    bench.add_whole("usual predictor: generate", 1, CALLS, CALLS * seconds, peak)
    base.model = network.unload()
    network = with_peft(base, target_pattern(base, train_config().lora))
    seconds, peak = measure(call, bench.device, 5)
    bench.add_whole("the same, adapter in the decoder only", 1, CALLS, CALLS * seconds, peak)


def measure_plain(bench: ScoringBench, base: Base, timed: bool) -> tuple[Adapter, torch.Tensor]:
    """One library forward per batch and order, with the last position's logits and PEFT's layers.

    Returns the adapter and the letters' logits (N, K, 4) of the first rows, to compare with; `base` is left without it.
    """
    base.visual.config._attn_implementation = "sdpa"
    network = with_peft(base, target_pattern(base, train_config().lora))
    batch = min(bench.batch, bench.rows)
    rows = [bench.made.encoded(i, len(ORDERS)) for i in range(batch)]

    def logits(rows: Sequence[EncodedRow], order: int) -> torch.Tensor:
        with torch.inference_mode():
            out = network(**library_inputs(bench, rows, order), logits_to_keep=1, use_cache=False)
        return out.logits[:, 0, bench.made.letter_ids].float()

    if timed:
        seconds, peak = measure(lambda: logits(rows, 0), bench.device, 3)
        bench.add_whole("last position of a batched forward", batch, CALLS, CALLS * seconds / batch, peak)
    expected = torch.stack([logits(rows[:4], k) for k in range(len(ORDERS))], dim=1).cpu()
    pairs = {
        name: (module.lora_A["default"].weight.detach().cpu(), module.lora_B["default"].weight.detach().cpu())
        for name, module in network.get_base_model().named_modules()
        if hasattr(module, "lora_A")
    }
    base.model = network.unload()
    use_window_attention(base.visual)
    return Adapter(Path("made"), ALPHA / RANK, pairs), expected


def measure_ours(
    bench: ScoringBench, base: Base, adapter: Adapter, compiled: bool, expected: torch.Tensor
) -> torch.Tensor:
    """The scorer of the rule score_choices with three adapters one after the other, and its decoder by itself.

    Reading the adapters, like loading the base, happens once per job and is not counted. Returns the letters' logits
    (N, K, 4) of the first rows, which are compared with `expected`, too.
    """
    precision = base.quantization if base.quantization != "none" else str(bench.dtype).removeprefix("torch.")
    name = f"ours, {precision}{', compiled' if compiled else ''}"
    began = time.perf_counter()
    decoder = FusedDecoder(base, compiled)
    use_adapter(decoder, adapter)
    encoded = [bench.made.encoded(i, len(ORDERS)) for i in range(bench.batch)]
    features = [one.to(bench.device, bench.dtype) for one in bench.made.features(1)] * bench.batch
    letters_4H = base.letter_rows(bench.made.letter_ids)

    def decode() -> None:
        with torch.no_grad():
            letter_logits(decoder.states(encoded, features), letters_4H).cpu()

    decode()
    if compiled:
        bench.checks[f"{name}: s from the start to the first batch"] = time.perf_counter() - began
    bench.add_part(f"decoder, {name}", bench.batch, decode, bench.decoder_work())
    with tempfile.TemporaryDirectory() as folder:
        kept = FeatureFolder(Path(folder), base, bench.encoder, ViewConfig())
        scorer = Scorer(decoder, bench.encoder, ViewConfig(), ORDERS, bench.batch_tokens, kept)
        items = scorer.prepare(bench.made.rows(bench.rows))
        plain = Scorer(decoder, bench.encoder, ViewConfig(), ORDERS, bench.batch_tokens)
        plain.score(items[: 2 * bench.batch])  # a warm-up
        reset_peak(bench.device)
        seconds = [_seconds(lambda: scorer.score(items)) / len(items) for _ in range(ADAPTERS)]
    bench.add_whole(name, bench.batch, ADAPTERS, sum(seconds), peak_gib(bench.device))
    bench.whole[-1]["s/row of each adapter"] = seconds
    mine = first_logits(bench, plain, len(expected))
    bench.checks[f"logits of {name} against the library's: relative error"] = relative(mine, expected)
    bench.checks[f"logits of {name} against the library's: largest difference"] = float((mine - expected).abs().max())
    return mine


def first_logits(bench: ScoringBench, scorer: Scorer, count: int) -> torch.Tensor:
    """The letters' logits (count, K, 4) of the first rows, as shown: with the choice orders not undone."""
    items = scorer.prepare(bench.made.rows(count))
    assert [item.row.id for item in items] == [f"made_{i}" for i in range(count)]
    shown = torch.tensor([[scorer.letters.index(letter) for letter in order] for order in scorer.orders])
    return torch.from_numpy(scorer.score(items)).gather(2, shown.expand(count, -1, -1))


def compare_with_float32(bench: ScoringBench, base: Base, adapter: Adapter, found: dict[str, torch.Tensor]) -> None:
    """How far logits in half precision are from those of the same weights in float32."""
    base.network.float()
    exact = Base(base.model, None, base.device, torch.float32, "none")
    decoder = FusedDecoder(exact)
    use_adapter(decoder, adapter)
    scorer = Scorer(decoder, bench.encoder, ViewConfig(), ORDERS, bench.batch_tokens)
    theirs = first_logits(bench, scorer, len(next(iter(found.values()))))
    bench.checks["standard deviation of the logits in float32"] = float(theirs.std())
    for name, logits in found.items():
        bench.checks[f"logits of {name} against float32: relative error"] = relative(logits, theirs)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """‖ours - theirs‖ / ‖theirs‖."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def measure_tower(bench: ScoringBench, base: Base) -> None:
    """The tower as shipped and in the ways that are used here; their errors against float32."""
    visual, count = base.visual, min(8, bench.rows)
    grids = (bench.made.grid,) * count
    patches = torch.cat([bench.encoder.made_patches] * count).to(bench.device, bench.dtype)
    made: dict[str, torch.Tensor] = {}

    def add(name: str, run: Callable[[], torch.Tensor]) -> None:
        def without_graph() -> None:
            with torch.no_grad():
                made[name] = run()

        bench.add_part(name, count, without_graph, bench.tower_work(visual))

    visual.config._attn_implementation = "sdpa"
    grid_thw = torch.tensor(grids, device=bench.device)
    add("tower as shipped", lambda: visual(patches, grid_thw=grid_thw).pooler_output)
    use_window_attention(visual)
    if hasattr(visual.config, "fullatt_block_indexes"):
        add_windowed(bench, visual, patches, add)
    else:
        add_unwindowed(bench, visual, patches, grids, add)
    visual.config._attn_implementation = "sdpa"
    visual.float()
    with torch.no_grad():
        exact = visual(patches.float(), grid_thw=grid_thw).pooler_output
    for name, features in made.items():
        bench.checks[f"{name}, against float32: relative error"] = relative(features, exact)
    use_window_attention(visual)


def add_windowed(
    bench: ScoringBench, visual: Any, patches: torch.Tensor, add: Callable[[str, Callable[[], torch.Tensor]], None]
) -> None:
    """A tower with windows: grouped, fused and compiled."""
    config, grids = visual.config, (bench.made.grid,) * (len(patches) // bench.made.patches)
    arguments = grid_arguments(
        grids, config.spatial_merge_size, config.window_size, config.patch_size, str(bench.device)
    )
    add("tower, windows grouped", lambda: visual(patches, **arguments).pooler_output)
    fused = FusedTower(visual)
    add("tower, fused", lambda: fused.forward(patches, arguments))
    if bench.device.type == "cuda":
        compiled = FusedTower(visual, Kernels.compiled())
        add("tower, fused, compiled", lambda: compiled.forward(patches, arguments))


def add_unwindowed(
    bench: ScoringBench,
    visual: Any,
    patches: torch.Tensor,
    grids: Sequence[Grid],
    add: Callable[[str, Callable[[], torch.Tensor]], None],
) -> None:
    """A tower with full attention per image: grouped, fused and compiled; of its features, the tokens only."""
    hidden = bench.shape.hidden
    add("tower, images grouped", lambda: library_forward(visual, patches, grids)[:, :hidden])
    kernels = {"tower, fused": Kernels()}
    if bench.device.type == "cuda":
        kernels["tower, fused, compiled"] = Kernels.compiled()
    for name, made in kernels.items() if is_known(visual) else ():
        use_kernels(visual, made)
        add(name, lambda: whole_forward(visual, patches, grids)[:, :hidden])


def free(bench: ScoringBench) -> None:
    """Free the memory of objects that are no longer used."""
    gc.collect()
    reset_peak(bench.device)
