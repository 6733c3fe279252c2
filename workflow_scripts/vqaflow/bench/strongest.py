"""The fastest scoring that Transformers and PEFT allow without other kernels: a row of `vqaflow bench score`.

The adapter is merged into unquantised weights, torch.compile compiles the decoder, image features are computed once for
all adapters and kept in memory, keys and values of a row's prefix are computed once and reused by its choice orders,
and only the letters' rows of the head are multiplied. Rows of one length need no padding.

Shapes: B rows, M axes of a position, K choice orders, P tokens of a prefix, S of a branch, H hidden size.
"""

import inspect
from typing import Any

import torch
from transformers import DynamicCache

from vqaflow.bench.scoring_bench import ADAPTERS, ORDERS, ScoringBench, library_inputs, relative, with_peft
from vqaflow.bench.training_bench import train_config
from vqaflow.model.base import Base
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.lora import target_pattern
from vqaflow.plan.timing import measure

NAME = "Transformers at its best: merged, compiled, prefix kept"


class PrefixScorer:
    """The letters' logits of made rows from the library's decoder, the prefix's keys and values reused."""

    def __init__(self, bench: ScoringBench, base: Base, compiled: bool) -> None:
        self.bench, self.base, self.language = bench, base, base.language_model
        parameters = inspect.signature(type(self.language).forward).parameters
        self.cache_name = "cache" if "cache" in parameters else "past_key_values"
        self.run = torch.compile(self.language, dynamic=False) if compiled else self.language
        self.letters_4H = base.letter_rows(bench.made.letter_ids)

    @torch.inference_mode()
    def logits(self, features: torch.Tensor, count: int) -> torch.Tensor:
        """Logits (B, K, 4) of the first `count` rows, which all show the image with `features`."""
        device = self.base.device
        rows = [self.bench.made.encoded(i, len(ORDERS)) for i in range(count)]
        ids_BP = torch.tensor([row.prefix_ids for row in rows], device=device)
        table = self.language.embed_tokens
        prefix_BPH = table(ids_BP)
        image = (ids_BP == self.bench.made.image_token)[..., None]
        prefix_BPH = prefix_BPH.masked_scatter(image, features.to(prefix_BPH.dtype).repeat(count, 1))
        positions_3BP = torch.stack([row.prefix_positions for row in rows], dim=1).to(device)
        cache = DynamicCache(config=self.language.config)
        self._pass(prefix_BPH, positions_3BP, cache)
        cache.batch_repeat_interleave(len(ORDERS))
        branches_MS = torch.tensor([branch for row in rows for branch in row.branch_ids], device=device)
        first_M = torch.tensor([row.next_position for row in rows for _ in row.branch_ids], device=device)
        positions_MS = first_M[:, None] + torch.arange(branches_MS.shape[1], device=device)
        out_MSH = self._pass(table(branches_MS), positions_MS.expand(3, -1, -1), cache)
        return letter_logits(out_MSH[:, -1].unflatten(0, (count, -1)), self.letters_4H)

    def _pass(self, embeds: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        """Hidden states of one call, which adds its keys and values to `cache`."""
        out = self.run(inputs_embeds=embeds, position_ids=positions, use_cache=True, **{self.cache_name: cache})
        return out.last_hidden_state


def measure_strongest(bench: ScoringBench, compiled: bool) -> None:
    """Measure the tower once per row and the decoder for each adapter, as a row of the table."""
    base = bench.build("none")
    base.visual.config._attn_implementation = "sdpa"
    base.model = with_peft(base, target_pattern(base, train_config().lora)).merge_and_unload()
    count = min(bench.batch, bench.rows)
    patches = torch.cat([bench.encoder.made_patches] * count).to(bench.device, bench.dtype)
    grids = torch.tensor([bench.made.grid] * count, device=bench.device)

    @torch.inference_mode()
    def features() -> torch.Tensor:
        return base.visual(patches, grid_thw=grids).pooler_output

    of_one = features()[: bench.made.visual]
    scorer = PrefixScorer(bench, base, compiled)
    rows = [bench.made.encoded(i, len(ORDERS)) for i in range(min(4, count))]
    with torch.inference_mode():
        passes = [base.network(**library_inputs(bench, rows, k), logits_to_keep=1) for k in range(len(ORDERS))]
    plain = torch.stack([one.logits[:, 0, bench.made.letter_ids].float() for one in passes], dim=1)
    error = relative(scorer.logits(of_one, count)[: len(rows)], plain)
    bench.checks[f"logits of {NAME} against the library's: relative error"] = error
    tower, _ = measure(features, bench.device, 3)
    seconds, peak = measure(lambda: scorer.logits(of_one, count).cpu(), bench.device, 5)
    bench.add_whole(NAME, count, ADAPTERS, (tower + ADAPTERS * seconds) / count, peak)
    bench.whole[-1] |= {"tower, s/row": tower / count, "decoder, s/row": seconds / count}
