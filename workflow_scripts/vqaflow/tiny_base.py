"""Pre-train the tiny base model, a real Qwen2.5-VL of a few million weights, on generated pictures and questions.

``python -m vqaflow.tiny_base --out assets/tiny-qwen2_5-vl --minutes 5`` makes the model that the demo fine-tunes. It
sees no row or picture of the demo's data sets: pictures come from tiny_pictures, questions from tiny_world. The folder
it writes loads as the published models do, and its README.md says how it came about.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from vqaflow.config import ModelConfig, PromptConfig, checked_config, section
from vqaflow.files import atomic_folder, current_umask
from vqaflow.progress import log, stage
from vqaflow.tiny_card import model_card
from vqaflow.tiny_digits import Dice
from vqaflow.tiny_pictures import FACT_SIZES, FACTS, SIDE, Painter
from vqaflow.tiny_prompts import PromptAssembler, all_texts, prompt_styles, rendered_pieces
from vqaflow.tiny_tokenizer import TOKENIZER_SIZE, build_processor
from vqaflow.tiny_words import LANGUAGES, TOKENIZER_WORDS
from vqaflow.tiny_world import KINDS, World
from vqaflow.vision import grid_arguments, use_window_attention

PATCH, MERGE, WINDOW = 14, 2, 56
GRID = (1, SIDE // PATCH, SIDE // PATCH)
CONFIGURED_STYLE_SHARE = 0.7  # of the prompts that are worded as config.yaml does
SEEN_FACTS = ("color", "shape", "digit")  # what an auxiliary head reads off the mean image feature
AUXILIARY_WEIGHT, END_WEIGHT = 0.3, 0.02
SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_SAVES = 10, 75
VALIDATION_SEED = 10**6


@dataclass(frozen=True)
class Recipe:
    """How the model is trained; `rows` overrides `minutes` where it is positive."""

    minutes: float
    rows: int
    batch: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    seed: int
    validation_rows: int


def build_model(processor: Any) -> Qwen2_5_VLForConditionalGeneration:
    """A new model: windows and full attention in the tower, grouped-query attention in the decoder, as in the 7B."""
    token = processor.tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "initializer_range": 0.06,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 320,
            "num_heads": 4,
            "out_hidden_size": 128,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "window_size": WINDOW,
            "fullatt_block_indexes": [1, 3],
            "initializer_range": 0.06,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    config._attn_implementation = "sdpa"
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.update(
        bos_token_id=token("<|endoftext|>"), eos_token_id=token("<|im_end|>"), pad_token_id=token("<|endoftext|>")
    )
    return model


def fast_tower(visual: Any) -> None:
    """Let the tower group its windows, and embed patches by one matrix product.

    The library's Conv3d covers each patch exactly, so that this is the same sum; its bfloat16 kernels can be slow.
    """
    use_window_attention(visual)
    visual.patch_embed.forward = partial(_embed_patches, visual.patch_embed.proj)


def _embed_patches(proj: torch.nn.Conv3d, patches: torch.Tensor) -> torch.Tensor:
    return F.linear(patches.to(proj.weight.dtype), proj.weight.flatten(1))


class Patches:
    """Cuts pictures into normalised patches exactly as Qwen2VLImageProcessor does, on any device."""

    def __init__(self, image_processor: Any, device: torch.device) -> None:
        self.temporal = image_processor.temporal_patch_size
        self.mean = torch.tensor(image_processor.image_mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(image_processor.image_std, device=device).view(3, 1, 1)

    def __call__(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """Patches (B·h·w, 3·temporal·14·14) in the order of the merged grid."""
        normal = (pixels_B3HW / 255 - self.mean) / self.std
        count, side = len(normal), normal.shape[-1] // (PATCH * MERGE)
        cut = normal.view(count, 3, side, MERGE, PATCH, side, MERGE, PATCH)
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # image, block row, block column, row, column, channel, y, x
        cut = cut.unsqueeze(6).expand(*cut.shape[:6], self.temporal, *cut.shape[6:])
        return cut.reshape(-1, 3 * self.temporal * PATCH * PATCH)


@dataclass(frozen=True)
class Example:
    """B rows: what the model reads, and what is right (for reports also which kind of row each one is)."""

    patches: torch.Tensor
    ids_BT: torch.Tensor
    positions_3BT: torch.Tensor
    ends_B: torch.Tensor
    answer_B: torch.Tensor
    facts_B5: torch.Tensor
    kind_B: torch.Tensor
    language_B: torch.Tensor
    negated_B: torch.Tensor


class Generator:
    """Draws batches of generated rows on one device from one seed."""

    def __init__(
        self, processor: Any, model: Any, styles: Sequence[PromptConfig], device: torch.device, seed: int
    ) -> None:
        self.painter = Painter(device, seed)
        self.dice = self.painter.dice
        self.world = World(self.dice)
        self.patches = Patches(processor.image_processor, device)
        self.prompts = PromptAssembler(processor, model, self.world, styles, GRID)

    def draw(self, count: int) -> Example:
        """`count` fresh rows."""
        pictures = self.painter.paint(count)
        questions = self.world.ask(pictures.facts)
        styles = len(self.prompts.prefix)
        other = 1 + self.dice.integers(count, styles - 1)
        style = torch.where(self.dice.chance(count, CONFIGURED_STYLE_SHARE), 0, other)
        prompts = self.prompts.assemble(questions, style)
        return Example(
            self.patches(pictures.pixels),
            prompts.ids_BT,
            prompts.positions_3BT,
            prompts.ends_B,
            questions.answer,
            pictures.facts,
            questions.kind,
            questions.language,
            questions.negated,
        )


def forward(model: Any, batch: Example, image_token: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (B, 2, H) at each prompt's last token and at the answer, and image features (B, N, H)."""
    count = len(batch.ids_BT)
    arguments = grid_arguments((GRID,) * count, MERGE, WINDOW, PATCH, str(batch.patches.device))
    features = model.model.visual(batch.patches, **arguments).pooler_output
    language = model.model.language_model
    embeds = language.embed_tokens(batch.ids_BT)
    embeds = embeds.masked_scatter((batch.ids_BT == image_token)[..., None], features.to(embeds.dtype))
    hidden = language(inputs_embeds=embeds, position_ids=batch.positions_3BT, use_cache=False).last_hidden_state
    index = torch.stack([batch.ends_B, batch.ends_B + 1], 1)[..., None].expand(-1, -1, hidden.shape[-1])
    return hidden.gather(1, index), features.view(count, -1, features.shape[-1])


class Trainer:
    """The model, its optimizer and its generator on one device."""

    def __init__(self, recipe: Recipe, model_settings: ModelConfig, prompt: PromptConfig, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.prompt, self.device = recipe, prompt, device
        styles = prompt_styles(prompt)
        self.processor = new_processor(styles, model_settings)
        self.model = build_model(self.processor).to(device)
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
            (free if weight.ndim < 2 or "embed_tokens" in name else decayed).append(weight)
        return [{"params": decayed, "weight_decay": self.recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]

    def autocast(self) -> torch.autocast:
        """bfloat16 matrix products on a GPU, float32 without."""
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


def new_processor(styles: Sequence[PromptConfig], settings: ModelConfig) -> Any:
    """The processor, its tokenizer learned from every text of the generated world and a list of everyday words."""
    spare = build_processor([], 0, settings.min_pixels, settings.max_pixels)  # bytes only: enough to render prompts
    world = World(Dice(torch.device("cpu"), 0))
    texts = all_texts(rendered_pieces(spare, world, styles))
    everyday = [form for language in LANGUAGES for w in TOKENIZER_WORDS[language].split() for form in (w, " " + w)]
    return build_processor([*texts, *everyday * 3], TOKENIZER_SIZE, settings.min_pixels, settings.max_pixels)


class Meter:
    """Tells rows, loss, accuracy and speed every few seconds without making a GPU wait in between."""

    def __init__(self, batch: int, device: torch.device) -> None:
        self.batch, self.right = batch, torch.zeros((), dtype=torch.long, device=device)
        self.started = self.told = time.monotonic()
        self.steps = self.told_steps = 0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def rows(self) -> int:
        """Since the start."""
        return self.steps * self.batch

    def count(self, loss: torch.Tensor, right: torch.Tensor, last: bool) -> None:
        """Add one step; log a line if it is time."""
        self.right += right
        if time.monotonic() - self.told < SECONDS_BETWEEN_LINES and not last:
            return
        rows = (self.steps - self.told_steps) * self.batch
        accuracy, loss_value = self.right.item() / rows, loss.item()
        speed = rows / (time.monotonic() - self.told)
        text = "step %d  rows %s  loss %.3f  accuracy %.3f  %.0f rows/s  %.0f s"
        log.info(text, self.steps, f"{self.rows:,}", loss_value, accuracy, speed, self.seconds)
        self.right.zero_()
        self.told, self.told_steps = time.monotonic(), self.steps


def train(recipe: Recipe, settings: ModelConfig, prompt: PromptConfig, device: torch.device, out: Path) -> None:
    """Train for the recipe's time, saving every minute or so, and write the model with its card to `out`."""
    trainer = Trainer(recipe, settings, prompt, device)
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


def half_copy(trainer: Trainer) -> Qwen2_5_VLForConditionalGeneration:
    """The model as it is published: in float16, ready for the library's loader."""
    copy = build_model(trainer.processor)
    copy.load_state_dict(trainer.model.state_dict())
    return copy.half().eval()


def save(trainer: Trainer, out: Path, card: str) -> None:
    """Write weights, configuration, processor and card to `out`, replacing what stood there as a whole."""
    with atomic_folder(out) as folder:
        half_copy(trainer).save_pretrained(folder)
        trainer.processor.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        for file in folder.iterdir():  # safetensors keeps its file to the owner
            file.chmod(0o666 & ~current_umask())


@torch.no_grad()
def evaluate(trainer: Trainer) -> list[tuple[str, int, float]]:
    """(kind and language, rows, accuracy over the four letters) of the float16 weights on fresh generated rows.

    A GPU computes them in float16, a CPU in float32.
    """
    model = half_copy(trainer).to(trainer.device)
    model = model if trainer.device.type == "cuda" else model.float()
    fast_tower(model.model.visual)
    styles = prompt_styles(trainer.prompt)
    generator = Generator(trainer.processor, model, styles, trainer.device, VALIDATION_SEED)
    counts: dict[str, list[int]] = {}
    for _ in range(-(-trainer.recipe.validation_rows // trainer.recipe.batch)):
        batch = generator.draw(trainer.recipe.batch)
        states_B2H, _ = forward(model, batch, trainer.image_token)
        logits_B4 = model.lm_head(states_B2H[:, 0])[:, generator.prompts.letters].float()
        assert logits_B4.isfinite().all(), "the float16 model overflows"
        right = (logits_B4.argmax(1) == batch.answer_B).tolist()
        keys = zip(batch.kind_B.tolist(), batch.language_B.tolist(), batch.negated_B.tolist(), right, strict=True)
        for kind, language, negated, hit in keys:
            name = KINDS[kind] + (" negated" if negated else "")
            for key in (f"{name} {LANGUAGES[language]}", "all"):
                total = counts.setdefault(key, [0, 0])
                total[0] += 1
                total[1] += hit
    return [(key, rows, hits / rows) for key, (rows, hits) in sorted(counts.items())]


def main() -> None:
    """Train the tiny base model."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.tiny_base", description=__doc__)
    parser.add_argument("--config", type=Path, nargs="+", default=[Path("config.yaml")], help="prompt and pixel limits")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model; replaced as a whole")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to train (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=0, help="train on so many rows instead")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--warmup-steps", type=int, default=200)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--validation-rows", type=int, default=16384)
    parser.add_argument("--seed", type=int, default=0)
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    with stage(None):
        config = checked_config(*arguments.pop("config"))
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        settings, prompt = section(ModelConfig, config["model"]), section(PromptConfig, config["prompt"])
        train(Recipe(**arguments), settings, prompt, device, out)


if __name__ == "__main__":
    main()
