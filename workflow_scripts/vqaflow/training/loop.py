"""The training loop of one adapter: deterministic batches, one optimiser, validation by the scorer's own accuracy.

Shapes: B rows of a pass, K choice orders, H hidden size, V vocabulary, C letters.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import TrainConfig
from vqaflow.model.base import Base
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.encoding.orders import require_orders, training_orders
from vqaflow.model.lora import rate_groups, trainable
from vqaflow.runtime.errors import OutOfMemory, UserError
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log
from vqaflow.training.answer_model import AnswerModel, Encoder, Features
from vqaflow.training.augment import augment_row
from vqaflow.training.checkpoints import StopRequest, load_checkpoint, save_checkpoint
from vqaflow.training.finite import ScalerWatch, require_finite
from vqaflow.training.objective import answer_loss, without_absent
from vqaflow.training.ranks import Ranks
from vqaflow.training.targets import batch_targets, taught_targets

VALIDATION_SHARE = 2  # rows of a validation pass per row of a training pass: without backward, they take less memory
ONE_ROW_TOO_LARGE = (
    "train.batch_size: one row does not fit into the GPU's memory. Lower model.max_pixels or train.choice_orders, or "
    "set train.gradient_checkpointing to true."
)
BUCKET_STEPS = 8  # steps whose rows are sorted by length together: little padding, and still a random order


@dataclass
class Progress:
    """The state of a run; a checkpoint holds all of it."""

    step: int = 0
    micro_rows: int = 0
    loss_sum: float = 0.0
    right: float = 0.0
    answers: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_accuracy: float = -1.0
    best_weights: dict[str, torch.Tensor] | None = None
    without_gain: int = 0


@dataclass(frozen=True)
class Pass:
    """What a training pass gave, on the device."""

    ids: list[str]
    states_BKH: torch.Tensor
    logits_BKC: torch.Tensor
    loss: torch.Tensor
    target_BKC: torch.Tensor


class Trainer:
    """Trains the adapter on `base` with `rows`, and measures it on `validation`."""

    def __init__(
        self,
        base: Base,
        encoder: Encoder,
        features: Features,
        rows: Sequence[Row],
        validation: Sequence[Row],
        config: TrainConfig,
        on_validation: Callable[[dict[str, float]], None] = lambda record: None,
        on_step: Callable[[dict[str, float]], None] = lambda record: None,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        self.base, self.encoder, self.features, self.config = base, encoder, features, config
        self.rows, self.validation = list(rows), list(validation)
        self.on_validation, self.on_step = on_validation, on_step
        require_orders("train.choice_orders", config.choice_orders, ALL_LETTERS[: len(self.rows[0].choices)])
        self.model = AnswerModel(base, encoder, features, config)
        self.letter_ids = encoder.letter_ids[: len(self.rows[0].choices)]
        self.letter_rows_CH = base.letter_rows(self.letter_ids)
        self.head_VH = None if config.objective == "choice" else base.head.weight
        self.step_rows = config.batch_size * config.accumulation
        self.steps_an_epoch = math.ceil(len(self.rows) / self.step_rows)
        self.steps = self.last_step = math.ceil(config.epochs * self.steps_an_epoch)
        self.weights = trainable(base)
        self.optimizer = torch.optim.AdamW(
            rate_groups(base, config.learning_rate, config.loraplus_lr_ratio),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.scaler = torch.amp.GradScaler(base.device.type, enabled=base.dtype is torch.float16)
        self.watch = ScalerWatch(self.scaler)
        self.progress = Progress(micro_rows=config.batch_size)

    def _rate(self, step: int) -> float:
        """Share of the peak learning rate: linear warm-up, then a cosine down to zero."""
        warmup = self.config.warmup_ratio * self.steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, self.steps - warmup)))

    def end_at(self, epoch: float) -> None:
        """End after this epoch; the learning rate still follows the schedule of all epochs."""
        self.last_step = min(self.steps, max(1, round(epoch * self.steps_an_epoch)))
        log.info("the folds' trainings were best at epoch %.3g (median): this one ends there", epoch)

    def run(self, work: Path, key: str, stop: StopRequest, *, began: float | None = None) -> None:
        """Train to the end, resuming from the last checkpoint of `key` under `work`, if there is one.

        Raises UserError if train.max_minutes have passed since `began` (a time.monotonic, by default now), and
        SystemExit on a signal; both after a checkpoint and at least one step.
        """
        self.restore(work, key)
        self.ranks.require_same(self.progress.step)
        self.ranks.copy_first(self.weights)
        self.ranks.vary_chance(self.config.seed, self.progress.step)
        is_first = self.ranks.is_first  # it decides when to stop, and ends the others with it
        saved = time.monotonic()
        began = saved if began is None else began
        with ProgressBar(self.last_step, f"train {work.name}", "step", self.progress.step) as bar:
            while not self._is_finished():
                if self._validation_is_due():
                    self._validate(bar, stop)
                else:
                    self.step(self.rows_of_step(self.progress.step))
                    state = self.progress
                    bar.advance(1, loss=state.loss_sum / state.answers, accuracy=state.right / state.answers)
                    self.on_step(self._record())
                now = time.monotonic()
                late = is_first and bool(self.config.max_minutes) and now - began > 60 * self.config.max_minutes
                # Also before a validation: a stop then does not wait for its end.
                is_time = self._validation_is_due() or now - saved > 60 * self.config.checkpoint_minutes
                if is_first and (stop.signal or late or is_time):
                    save_checkpoint(work, key, self._state())
                    saved = now
                self._leave_if_asked(stop)
                if late and not self._is_finished():
                    raise UserError(
                        f"train.max_minutes: {self.config.max_minutes} minutes are over at step {self.progress.step} "
                        f"of {self.last_step}. A checkpoint is saved; run the same command again to resume."
                    )
        if self.config.keep == "best" and self.progress.best_weights is not None:
            self._load_weights(self.progress.best_weights)

    def _is_finished(self) -> bool:
        early = 0 < self.config.early_stopping <= self.progress.without_gain
        return not self._validation_is_due() and (early or self.progress.step >= self.last_step)

    def _validation_is_due(self) -> bool:
        step, history = self.progress.step, self.progress.history
        each = max(1, round(self.config.validate_every * self.steps_an_epoch))
        is_its_time = step > 0 and (step % each == 0 or step == self.last_step)
        return is_its_time and not (history and history[-1]["step"] == step)

    def _leave_if_asked(self, stop: StopRequest) -> None:
        if stop.signal:
            log.info(
                "stopped by signal %d after step %d; run the same command again to resume",
                stop.signal,
                self.progress.step,
            )
            raise SystemExit(128 + stop.signal)

    def rows_of_step(self, step: int) -> list[tuple[Row, list[str]]]:
        """The rows of a step, each with its choice orders; they depend only on the seed."""
        epoch, at = divmod(step, self.steps_an_epoch)
        if getattr(self, "_epoch", None) != epoch:
            self._epoch, self._batches = epoch, list(self._epoch_batches(epoch))
        return self._batches[at]

    def _epoch_batches(self, epoch: int) -> Iterator[list[tuple[Row, list[str]]]]:
        rng = random.Random(f"{self.config.seed}/{epoch}")
        drawn = []
        for row in rng.sample(self.rows, len(self.rows)):
            row = augment_row(row, self.config.augment, self.config.seed, epoch)
            fixed = self.config.choice_orders == 1 and not self.config.augment.shuffle_choices
            orders = [row.letters] if fixed else training_orders(self.config.choice_orders, rng, row.letters)
            drawn.append((row, orders))
        span = self.step_rows * BUCKET_STEPS
        batches = []
        for start in range(0, len(drawn), span):
            near = sorted(drawn[start : start + span], key=lambda item: self._length(item[0]))
            batches += [near[i : i + self.step_rows] for i in range(0, len(near), self.step_rows)]
        rng.shuffle(batches)
        return iter(batches)

    def _length(self, row: Row) -> tuple[int, int]:
        return row.width * row.height, len(row.question) + sum(map(len, row.choices))

    def step(self, drawn: list[tuple[Row, list[str]]]) -> None:
        """One optimiser step over `drawn` (rows and their choice orders), in passes that fit into memory."""
        count = sum(len(orders) for _, orders in drawn)
        while True:
            try:
                passes = self._accumulate(self.ranks.share(drawn), count)
                break
            except torch.OutOfMemoryError:
                self._take_less_memory()
        self.ranks.sum_gradients(self.weights)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.weights, self.config.max_grad_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.watch.after_step(scale, [row.id for row, _ in drawn], self.progress.step):
            self.schedule.step()
        # Waits for the GPU, which has all of the step by now.
        loss, right = self.ranks.sums(*self._outcome(passes))
        state = self.progress
        if state.step % self.steps_an_epoch == 0:
            state.loss_sum, state.right, state.answers = 0.0, 0.0, 0
        state.loss_sum, state.right, state.answers = state.loss_sum + loss, state.right + right, state.answers + count
        state.step += 1

    def _take_less_memory(self) -> None:
        """Recompute what was kept, else halve the passes: the step's rows and its gradient stay the same."""
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        if self.model.keep_less():
            log.warning("out of memory: from now on nothing is kept for the backward pass; each step keeps its rows")
            return
        if self.progress.micro_rows == 1:
            raise OutOfMemory(ONE_ROW_TOO_LARGE)
        rows = self.progress.micro_rows = self.progress.micro_rows // 2
        passes = math.ceil(self.step_rows / rows)
        log.warning("out of memory: from now on %d passes of %d rows per step; each step keeps its rows", passes, rows)

    def _accumulate(self, drawn: Sequence[tuple[Row, list[str]]], count: int) -> list[Pass]:
        """Gradients of the loss of `drawn` as part of the mean over a step's `count` orders of rows.

        It does not wait for the GPU.
        """
        self.optimizer.zero_grad(set_to_none=True)
        if not self.base.model.training:  # it would visit thousands of modules
            self.base.model.train()
        passes = []
        for start in range(0, len(drawn), self.progress.micro_rows):
            part = drawn[start : start + self.progress.micro_rows]
            target_BKC, weight_BK = (made.to(self.base.device) for made in batch_targets(part))
            aim_BKC = taught_targets(part, target_BKC, self.config.teacher_weight)
            states_BKH = self.model.states([row for row, _ in part], [orders for _, orders in part])
            loss, logits_BKC = answer_loss(
                self.config.objective,
                states_BKH,
                aim_BKC,
                self.letter_ids,
                self.letter_rows_CH,
                self.head_VH,
                self.config.label_smoothing,
                self.base.softcap,
                self._choices([row for row, _ in part]),
                weight_BK,
            )
            self.scaler.scale(loss / count).backward()
            ids = [row.id for row, _ in part]
            passes.append(Pass(ids, states_BKH.detach(), logits_BKC.detach(), loss.detach(), target_BKC))
        return passes

    def _choices(self, rows: Sequence[Row]) -> torch.Tensor | None:
        """How many choices each row has (B); None if all have those of the table."""
        counts = [len(row.letters) for row in rows]
        return None if min(counts) == len(rows[0].choices) else torch.tensor(counts, device=self.base.device)

    def _outcome(self, passes: Sequence[Pass]) -> tuple[float, float]:
        """Summed loss of a step, and right answers: the target at each chosen position.

        Raises NotFinite, which names the row, if a loss is not finite.
        """
        loss_sum, right = 0.0, 0.0
        for one in passes:
            require_finite(one.ids, one.states_BKH, one.logits_BKC, one.loss, self.progress.step)
            loss_sum += one.loss.item()
            chosen_BK1 = one.logits_BKC.argmax(-1, keepdim=True)
            right += one.target_BKC.gather(-1, chosen_BK1).sum().item()
        return loss_sum, right

    @torch.no_grad()
    def validation_accuracy(self, stop: StopRequest | None = None) -> float:
        """Share of the validation rows that the choice scorer gets right in the identity order.

        Where several people answered, a row counts as the share of them who gave the chosen answer.
        Raises NotFinite, which names the row, if a logit is NaN or infinite, and SystemExit if `stop` asks for it.
        """
        self.base.model.eval()
        right = 0.0
        ordered = self.ranks.share(sorted(self.validation, key=self._length))
        rows = VALIDATION_SHARE * self.progress.micro_rows
        for start in range(0, len(ordered), rows):
            right += self._right_answers(ordered[start : start + rows])
            if stop:
                self._leave_if_asked(stop)
        return self.ranks.sums(right)[0] / len(self.validation)

    def _right_answers(self, part: Sequence[Row]) -> float:
        """How many of `part` are right, or what share of people; run in halves if one pass does not fit into memory."""
        try:
            states_BKH = self.model.states(part, [[row.letters] for row in part])
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise OutOfMemory(ONE_ROW_TOO_LARGE) from None
        else:
            logits_BKC = letter_logits(states_BKH, self.letter_rows_CH, self.base.softcap)
            ids = [row.id for row in part]
            require_finite(ids, states_BKH, logits_BKC, logits_BKC.sum(), self.progress.step)
            chosen = without_absent(logits_BKC, self._choices(part))[:, 0].argmax(-1).tolist()
            return sum(row.target()[ALL_LETTERS.index(row.letters[i])] for i, row in zip(chosen, part, strict=True))
        torch.cuda.empty_cache()
        half = len(part) // 2
        return self._right_answers(part[:half]) + self._right_answers(part[half:])

    def _record(self) -> dict[str, float]:
        """The state of training for a report; loss and accuracy are means over the epoch so far."""
        state = self.progress
        return {
            "step": state.step,
            "epoch": state.step / self.steps_an_epoch,
            "loss": state.loss_sum / state.answers,
            "accuracy": state.right / state.answers,
            "learning_rate": self.schedule.get_last_lr()[0],
        }

    def _validate(self, bar: ProgressBar, stop: StopRequest) -> None:
        state, record = self.progress, self._record()
        if self.validation:
            record["val_accuracy"] = accuracy = self.validation_accuracy(stop)
            state.without_gain += 1
            if accuracy > state.best_accuracy:
                state.best_accuracy, state.without_gain = accuracy, 0
                if self.config.keep == "best":
                    state.best_weights = self._weights()
        state.history.append(record)
        log.info("  ".join(f"{name} {value:.4g}" for name, value in record.items()))
        bar.log_state()
        self.on_validation(record)

    def _weights(self) -> dict[str, torch.Tensor]:
        named = self.base.model.named_parameters()
        return {name: weight.detach().cpu().clone() for name, weight in named if weight.requires_grad}

    def _load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.base.model.named_parameters():
                if weight.requires_grad:
                    weight.copy_(weights[name])

    def _state(self) -> dict[str, Any]:
        return {
            "progress": vars(self.progress),
            "weights": self._weights(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, work: Path, key: str) -> int:
        """Resume from the last checkpoint of `key` under `work`, if there is one; returns the number of steps done."""
        state = load_checkpoint(work, key, self._state()) if self.progress.step == 0 else None
        if state is None:
            return self.progress.step
        self.progress = Progress(**state["progress"])
        self._load_weights(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        log.info("resuming from step %d of %d", self.progress.step, self.last_step)
        return self.progress.step
