"""The training of the tiny base: losses, optimiser, one step.

Shapes: B rows, N image tokens of a picture, H hidden size, V vocabulary, 5 facts, 2 positions (last token and answer).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from vqaflow.config.sections import ModelConfig, PromptConfig
from vqaflow.demo.tiny_base.digits import Dice
from vqaflow.demo.tiny_base.examples import Generator
from vqaflow.demo.tiny_base.families import FAMILIES, QWEN2_5_VL, TinyFamily
from vqaflow.demo.tiny_base.network import Example, build_model, fast_tower, forward
from vqaflow.demo.tiny_base.pictures import FACT_SIZES, FACTS
from vqaflow.demo.tiny_base.prompts import all_texts, prompt_styles, rendered_pieces
from vqaflow.demo.tiny_base.tokenizer import TOKENIZER_SIZE, build_processor
from vqaflow.demo.tiny_base.words import LANGUAGES, TOKENIZER_WORDS
from vqaflow.demo.tiny_base.world import GeneratedWorld

SEEN_FACTS = ("color", "shape", "digit")  # what an auxiliary head predicts from the mean image feature
AUXILIARY_WEIGHT, END_WEIGHT = 0.3, 0.02


@dataclass(frozen=True)
class PretrainingSettings:
    """Which model is trained, and how; `rows` overrides `minutes` where it is positive."""

    minutes: float
    rows: int
    batch: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    seed: int
    validation_rows: int
    family: str = QWEN2_5_VL.name


class Pretrainer:
    """The model, its optimizer and its generator on one device."""

    def __init__(
        self, recipe: PretrainingSettings, model_settings: ModelConfig, prompt: PromptConfig, device: torch.device
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.prompt, self.device = recipe, prompt, device
        styles = prompt_styles(prompt)
        self.family = FAMILIES[recipe.family]
        self.processor = new_processor(styles, model_settings, self.family)
        self.model = build_model(self.processor, self.family).to(device)
        fast_tower(self.model.model.visual)
        self.generator = Generator(self.processor, self.model, styles, device, recipe.seed)
        self.image_token = self.generator.prompts.image
        self.end_token = self.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        width = self.model.config.text_config.hidden_size
        self.auxiliary = torch.nn.Linear(width, sum(FACT_SIZES[fact] for fact in SEEN_FACTS)).to(device)
        self.optimizer = torch.optim.AdamW(self._groups(), recipe.learning_rate, betas=(0.9, 0.98))

    def _groups(self) -> list[dict[str, Any]]:
        decayed, free = [], []
        for name, weight in [*self.model.named_parameters(), *self.auxiliary.named_parameters()]:
            is_table = "embed_tokens" in name or "pos_embed" in name
            (free if weight.ndim < 2 or is_table else decayed).append(weight)
        return [{"params": decayed, "weight_decay": self.recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]

    def autocast(self) -> torch.autocast:
        """bfloat16 matrix products on a GPU, float32 on a CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def losses(self, batch: Example) -> tuple[torch.Tensor, torch.Tensor]:
        """The training loss, and how many answers were right (over the four letters)."""
        with self.autocast():
            states_B2H, features_BNH = forward(self.model, batch, self.image_token)
            logits_B2V = self.model.lm_head(states_B2H)
            seen = self.auxiliary(features_BNH.mean(1))
        letters = self.generator.prompts.letters
        logits_B2V = logits_B2V.float()
        loss = F.cross_entropy(logits_B2V[:, 0], letters[batch.answer_B])
        loss = loss + END_WEIGHT * F.cross_entropy(logits_B2V[:, 1], torch.full_like(batch.answer_B, self.end_token))
        for logits, fact in zip(seen.float().split([FACT_SIZES[f] for f in SEEN_FACTS], 1), SEEN_FACTS, strict=True):
            target = batch.facts_B5[:, FACTS.index(fact)]
            loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(logits, target, ignore_index=-1)
        right = (logits_B2V[:, 0, letters].argmax(1) == batch.answer_B).sum()
        return loss, right

    def step(self, progress: float, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One optimizer step at `progress` from 0 to 1: a short warm-up, then a cosine to a hundredth."""
        factor = min(1.0, (step + 1) / self.recipe.warmup_steps) * (
            0.505 + 0.495 * math.cos(math.pi * min(1, progress))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * factor
        loss, right = self.losses(self.generator.draw(self.recipe.batch))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach(), right


def new_processor(styles: Sequence[PromptConfig], settings: ModelConfig, family: TinyFamily = QWEN2_5_VL) -> Any:
    """The processor, its tokenizer learned from every text of the generated world and a list of everyday words."""
    pixels = settings.min_pixels, settings.max_pixels
    spare = build_processor([], 0, *pixels, family)  # bytes only: enough to render prompts
    world = GeneratedWorld(Dice(torch.device("cpu"), 0))
    texts = all_texts(rendered_pieces(spare, world, styles))
    everyday = [form for language in LANGUAGES for w in TOKENIZER_WORDS[language].split() for form in (w, " " + w)]
    return build_processor([*texts, *everyday * 3], TOKENIZER_SIZE, *pixels, family)
