"""Pre-training the demo's tiny base on generated pictures and questions."""

import time
from dataclasses import asdict
from pathlib import Path

import torch

from vqaflow.config.sections import ModelConfig, PromptConfig
from vqaflow.demo.tiny_base.card import model_card
from vqaflow.demo.tiny_base.pretrainer import Pretrainer, PretrainingSettings
from vqaflow.demo.tiny_base.saving import evaluate, save
from vqaflow.runtime.stage import log

SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_SAVES = 10, 75


class Meter:
    """Logs rows, loss, accuracy and speed every few seconds, without making a GPU wait in between."""

    def __init__(self, batch: int, device: torch.device) -> None:
        self.batch, self.right = batch, torch.zeros((), dtype=torch.long, device=device)
        self.started = self.logged = time.monotonic()
        self.steps = self.logged_steps = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def rows(self) -> int:
        """Rows since the start."""
        return self.steps * self.batch

    def count(self, loss: torch.Tensor, right: torch.Tensor, last: bool) -> None:
        """Add one step; log a line if it is time."""
        self.right += right
        if time.monotonic() - self.logged < SECONDS_BETWEEN_LINES and not last:
            return
        rows = (self.steps - self.logged_steps) * self.batch
        accuracy, loss_value = self.right.item() / rows, loss.item()
        speed = rows / max(time.monotonic() - self.logged, 1e-9)  # a clock may stand still
        text = "step %d  rows %s  loss %.3f  accuracy %.3f  %.0f rows/s  %.0f s"
        log.info(text, self.steps, f"{self.rows:,}", loss_value, accuracy, speed, self.seconds)
        self.right.zero_()
        self.logged, self.logged_steps = time.monotonic(), self.steps


def train(
    recipe: PretrainingSettings, settings: ModelConfig, prompt: PromptConfig, device: torch.device, out: Path
) -> None:
    """Train for the recipe's time, saving every minute or so, and write the model with its card to `out`."""
    trainer = Pretrainer(recipe, settings, prompt, device)
    weights = sum(p.numel() for p in trainer.model.parameters())
    tokens, length = len(trainer.processor.tokenizer), trainer.generator.prompts.length
    log.info("%s weights, %d tokens, prompts of at most %d tokens", f"{weights:,}", tokens, length)
    meter, progress, saves = Meter(recipe.batch, device), 0.0, 1
    while progress < 1:
        loss, right = trainer.step(progress, meter.steps)
        meter.steps += 1
        progress = meter.rows / recipe.rows if recipe.rows else meter.seconds / (60 * recipe.minutes)
        meter.count(loss, right, last=progress >= 1)
        if meter.seconds > saves * SECONDS_BETWEEN_SAVES:
            save(trainer, out, f"Unfinished: {meter.rows} rows, {meter.seconds:.0f} s.\n")
            saves += 1
    facts = {"rows": meter.rows, "steps": meter.steps, "seconds": meter.seconds, "weights": weights}
    table = evaluate(trainer)
    for line in table:
        log.info("%-22s %6d rows  accuracy %.3f", *line)
    save(trainer, out, model_card(asdict(recipe), facts, table, device, trainer.model.config))
    log.info("saved %s", out)
