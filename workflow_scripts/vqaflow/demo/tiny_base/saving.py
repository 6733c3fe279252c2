"""The tiny base as it is published, and how well it answers.

Shapes: B rows, H hidden size, 4 letters, 2 positions (last token and answer).
"""

from pathlib import Path
from typing import Any

import torch

from vqaflow.demo.tiny_base.examples import Generator
from vqaflow.demo.tiny_base.network import build_model, fast_tower, forward
from vqaflow.demo.tiny_base.pretrainer import Pretrainer
from vqaflow.demo.tiny_base.prompts import prompt_styles
from vqaflow.demo.tiny_base.words import LANGUAGES
from vqaflow.demo.tiny_base.world import KINDS
from vqaflow.runtime.files import atomic_folder, current_umask

VALIDATION_SEED = 10**6


def half_copy(trainer: Pretrainer) -> Any:
    """The model as it is published: in float16, ready for the library's loader."""
    copy = build_model(trainer.processor, trainer.family)
    copy.load_state_dict(trainer.model.state_dict())
    return copy.half().eval()


def save(trainer: Pretrainer, out: Path, card: str) -> None:
    """Write weights, configuration, processor and card to `out`, replacing the whole folder."""
    with atomic_folder(out) as folder:
        half_copy(trainer).save_pretrained(folder)
        trainer.processor.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        for file in folder.iterdir():  # safetensors makes its file readable for the owner only
            file.chmod(0o666 & ~current_umask())


@torch.no_grad()
def evaluate(trainer: Pretrainer) -> list[tuple[str, int, float]]:
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
