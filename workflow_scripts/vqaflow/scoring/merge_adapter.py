"""Rule merge_adapter: a checkpoint with an adapter merged in, and whether it answers as base and adapter do.

Shapes: R rows, K choice orders, C choices of the table.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vqaflow.artifacts.adapter_files import CONFIG, WEIGHTS, adapter_digest, check_files
from vqaflow.artifacts.reading import letters_of_table
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ModelConfig
from vqaflow.model.base import Base, best_device, load_base
from vqaflow.model.checkpoint import fits_unquantized, require_whole
from vqaflow.model.decoder.merged_adapters import Adapter, read_adapter
from vqaflow.model.decoder.merged_checkpoint import base_folder, merged_dtype, write_merged
from vqaflow.model.numerics.elementwise import can_compile
from vqaflow.model.numerics.precision import name_of
from vqaflow.model.parity import check_parity
from vqaflow.model.pipeline.parts import make_decoder, make_encoder, use
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_folder, write_json
from vqaflow.runtime.stage import CLOSING, log
from vqaflow.scoring.scorer import Scorer
from vqaflow.scoring.selection import RowsToScore, Task, select_rows

CHECKED_ROWS = 16
BATCH_TOKENS = 4096
# The largest difference of a choice's log-probability that the rounding of all weights to a type explains.
BOUNDS = {"float32": 0.001, "float16": 0.1, "bfloat16": 0.5}
# Rounding moves the answers less than the adapter does: else the merged checkpoint is not the adapter's model.
MOST_OF_EFFECT = 0.5


@dataclass(frozen=True)
class Difference:
    """How far the merged checkpoint's log-probabilities of the choices are from those of base and adapter.

    `mean_effect` is how far the base's own are from them; `same_answers` counts the rows and orders with the same best
    choice, among `answers`.
    """

    largest_difference: float
    mean_difference: float
    mean_effect: float
    same_answers: int
    answers: int

    @classmethod
    def of(cls, base_RKC: np.ndarray, tuned_RKC: np.ndarray, merged_RKC: np.ndarray) -> "Difference":
        """The differences of three arrays of logits; a choice that a row lacks has -inf in all."""
        base, tuned, merged = (_log_shares(logits_RKC) for logits_RKC in (base_RKC, tuned_RKC, merged_RKC))
        has = np.isfinite(tuned)
        off, moved = np.abs(merged[has] - tuned[has]), np.abs(base[has] - tuned[has])
        same = int((merged.argmax(-1) == tuned.argmax(-1)).sum())
        return cls(float(off.max()), float(off.mean()), float(moved.mean()), same, tuned[..., 0].size)

    def problem(self, bound: float) -> str | None:
        """What is wrong with a merged checkpoint that is this far off; None if nothing is."""
        if not self.largest_difference <= bound:
            return f"its log-probabilities differ by up to {self.largest_difference:.4f}, more than {bound}"
        if self.mean_effect == 0:
            return "the adapter changes no log-probability of these rows"
        if self.mean_difference > MOST_OF_EFFECT * self.mean_effect:
            moved = f"{self.mean_difference:.2g} where the adapter moves them by {self.mean_effect:.2g}"
            return f"rounding moves the log-probabilities by {moved}"
        return None


def merge_adapter(
    *, task: Task, table: Path, part: str, adapter: Path, out: Path, report: Path, dtype: str = "auto"
) -> None:
    """Merge the adapter of a `part` into the 16-bit files of its base, as a checkpoint in the folder `out`.

    `dtype` is a type of weights; `auto` is that of the base's files, bfloat16 if they have 32 bits. `report` (JSON)
    tells how far the checkpoint's answers to the first rows of `table` are from those of base and adapter. Raises
    UserError, and writes nothing, if they are further than rounding explains.
    """
    run = check_files(adapter, (WEIGHTS, CONFIG))
    require_whole(task.model.base)
    plain = read_adapter(adapter)
    folder = base_folder(task.model)
    kind, device = merged_dtype(folder, dtype), best_device()
    if (trained := run.get("quantization", "none")) != "none":
        log.warning("%s: trained on %s weights; merged into the base's own files, not into those", adapter, trained)
    rows = select_rows(RowsToScore(table, None, part), replace(task, is_main=True))[:CHECKED_ROWS]
    letters = letters_of_table(table, "validate_tables")
    model, where = checked_model(task.model, device)
    with atomic_folder(out) as partial:
        size = write_merged(folder, plain, partial, kind, device)
        log.info("%s: %.2f GB in %s", out, size / 1e9, name_of(kind))
        shown = replace(task, model=model, view=replace(task.view, read=False))  # reading is the untuned base's
        base, tuned = _logits(rows, letters, shown, where, plain)
        made = replace(model, base=str(partial), revision=None)
        merged, _ = _logits(rows, letters, replace(shown, model=made), where)
        found, bound = Difference.of(base, tuned, merged), BOUNDS[name_of(kind)]
        if problem := found.problem(bound):
            raise UserError(
                f"{adapter}: merged in {name_of(kind)}, {problem} (on {len(rows)} rows). Merge it with `vqaflow "
                "merge_adapter --dtype float32`, or use the adapter as it is (docs/adapters_elsewhere.md)."
            )
    about = {"base": model.base, "revision": model.revision, "adapter": adapter_digest(adapter)}
    about |= {"dtype": name_of(kind), "bytes": size, "trained_quantization": trained}
    checked = {"rows": len(rows), "device": where.type, "bound": bound} | asdict(found)
    write_json(report, about | {"checked": checked})
    told = "%s: log-probabilities differ from base and adapter by at most %.4f (bound %s); %d of %d answers are equal"
    log.info(told, out, found.largest_difference, bound, found.same_answers, found.answers, extra=CLOSING)


def checked_model(model: ModelConfig, device: torch.device) -> tuple[ModelConfig, torch.device]:
    """The section `model` without quantisation, and where that fits: on the GPU, or as bfloat16 on the CPU."""
    plain = replace(model, quantization="none")
    if device.type != "cuda" or fits_unquantized(plain, device):
        return plain, device
    log.warning("%s in 16 bits does not fit on this card: the merged checkpoint is checked on the CPU", model.base)
    return replace(plain, compute_dtype="bfloat16"), torch.device("cpu")


@torch.no_grad()
def _logits(
    rows: Sequence[Row], letters: Sequence[str], task: Task, device: torch.device, adapter: Adapter | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (R, K, C) of rows without and with an adapter, in scoring order, from a base that is loaded for it."""
    base: Base = load_base(task.model, device)
    encoder = make_encoder(base, task.model, task.prompt, len(letters))
    if adapter is not None:
        check_parity(adapter.folder, base, encoder, task.model, task.prompt)
    decoder = make_decoder(base, can_compile(base.device))
    scorer = Scorer(decoder, encoder, task.view, task.shown(letters), BATCH_TOKENS)
    items = scorer.prepare(rows)
    without = scorer.score(items)
    if adapter is None:
        return without, without
    use(decoder, adapter)
    return without, scorer.score(items)


def _log_shares(logits_RKC: np.ndarray) -> np.ndarray:
    """Log-probabilities among a row's choices: a shift of all logits changes no answer."""
    top = logits_RKC.max(-1, keepdims=True)
    return logits_RKC - top - np.log(np.exp(logits_RKC - top).sum(-1, keepdims=True))
