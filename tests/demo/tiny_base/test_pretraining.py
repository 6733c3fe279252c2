"""The tiny base model: its generated rows say what their pictures show, and its fast path is the library's own."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from places import ROOT
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import text_row
from vqaflow.config.loading import load_config
from vqaflow.config.sections import ModelConfig, PromptConfig, section
from vqaflow.demo.questions import OTHER_SHAPES, SHAPES
from vqaflow.demo.tiny_base.digits import Dice
from vqaflow.demo.tiny_base.examples import Generator, Patches
from vqaflow.demo.tiny_base.network import GRID, build_model, fast_tower, forward
from vqaflow.demo.tiny_base.pictures import FACTS, SIDE, Painter
from vqaflow.demo.tiny_base.pretrainer import Pretrainer, PretrainingSettings, new_processor
from vqaflow.demo.tiny_base.pretraining import train
from vqaflow.demo.tiny_base.prompts import prompt_styles
from vqaflow.demo.tiny_base.words import LANGUAGES, UNGROUNDED, family, wordings
from vqaflow.demo.tiny_base.world import KINDS, GeneratedWorld
from vqaflow.model.encoding.prompts import PromptRenderer

LETTERS = ALL_LETTERS[:4]

CPU = torch.device("cpu")
CONFIG = load_config(ROOT / "config.yaml")
SETTINGS, PROMPT = section(ModelConfig, CONFIG["model"]), section(PromptConfig, CONFIG["prompt"])
STYLES = prompt_styles(PROMPT)
RECIPE = PretrainingSettings(
    minutes=0, rows=48, batch=16, learning_rate=1e-3, warmup_steps=2, weight_decay=0.1, seed=0, validation_rows=32
)


@pytest.fixture(scope="module")
def processor():
    return new_processor(STYLES, SETTINGS)


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(0)
    return build_model(processor).eval()


@pytest.fixture(scope="module")
def asked():
    """300 pictures' facts and the questions about them."""
    world = GeneratedWorld(Dice(CPU, 5))
    facts = Painter(CPU, 5).paint(300).facts
    return world, facts, world.ask(facts)


def table_row(world, questions, i):
    text, qtype = world.questions[questions.question[i]]
    return text_row(text, [world.words[w] for w in questions.words_B4[i].tolist()], qtype)


def test_open_questions_have_the_pictures_own_value_as_the_only_right_choice(asked):
    """A wrong target would teach the model the wrong names of things."""
    world, facts, questions = asked
    for i in range(len(facts)):
        kind, language = KINDS[questions.kind[i]], LANGUAGES[questions.language[i]]
        if kind not in FACTS:
            continue
        values = family(kind, language)
        shown = [next(v for v, words in enumerate(values) if world.words[w] in words) for w in questions.words_B4[i]]
        value = facts[i, FACTS.index(kind)].item()
        assert shown.index(value) == questions.answer[i] and len(set(shown)) == 4


def test_yes_no_answers_follow_claim_and_negation(asked):
    world, facts, questions = asked
    claims = wordings()
    affirming = {"yes", "true", "right", "예", "네", "맞다", "참"}
    seen = set()
    for i in range(len(facts)):
        if KINDS[questions.kind[i]] != "yesno":
            continue
        claim = claims[questions.question[i]]
        holds = facts[i, FACTS.index(claim.claim[0])].item() == claim.claim[1]
        right = world.words[questions.words_B4[i, questions.answer[i]]]
        assert (right in affirming) == (holds != claim.negated)
        seen.add((holds, claim.negated))
    assert len(seen) == 4


def test_choices_differ_and_answers_stand_everywhere(asked):
    _, _, questions = asked
    assert all(len(set(words)) == 4 for words in questions.words_B4.tolist())
    assert questions.answer.bincount(minlength=4).min() > 40
    assert set(questions.kind.tolist()) == set(range(len(KINDS)))


def test_the_demo_s_words_are_never_asked_about_a_picture():
    """What the demo's fine-tuning has to teach must be missing from the base, and so must the demo's questions."""
    families = [family(fact, language) for fact in FACTS for language in LANGUAGES]
    asked_words = {word for values in families for words in values for word in words}
    ungrounded = {word for words in UNGROUNDED.values() for word in words}
    assert not asked_words & ungrounded
    assert ({*SHAPES, *SHAPES.values(), "teal", "청록색"} - {"star", "별"}) <= ungrounded
    assert not any(word in w.text.split() for w in wordings() for word in ungrounded)
    assert set(OTHER_SHAPES) & ungrounded


def test_equal_seeds_draw_equal_pictures_and_others_differ():
    first, again, other = (Painter(CPU, seed).paint(20) for seed in (1, 1, 2))
    assert first.pixels.equal(again.pixels) and first.facts.equal(again.facts)
    assert not first.pixels.equal(other.pixels)
    assert first.pixels.shape == (20, 3, SIDE, SIDE) and first.pixels.min() >= 0 and first.pixels.max() <= 255


def test_patches_are_the_image_processors(processor):
    pixels = Painter(CPU, 3).paint(6).pixels
    images = [Image.fromarray(p.permute(1, 2, 0).byte().numpy()) for p in pixels]
    expected = processor.image_processor(images=images, do_resize=False, return_tensors="pt")
    assert expected["image_grid_thw"].tolist() == [list(GRID)] * 6
    torch.testing.assert_close(Patches(processor.image_processor, CPU)(pixels), expected["pixel_values"])


def test_assembled_prompts_are_the_renderers(processor, model):
    """The model must be trained on exactly the tokens that the workflow's renderer and tokenizer give later."""
    generator = Generator(processor, model, STYLES, CPU, 4)
    questions = generator.world.ask(generator.painter.paint(60).facts)
    style = torch.arange(60) % len(STYLES)
    prompts = generator.prompts.assemble(questions, style)
    for i in range(60):
        row = table_row(generator.world, questions, i)
        rendered = PromptRenderer(processor, STYLES[style[i]]).render(row, ["abcd"])
        text = rendered.prefix + rendered.branches[0] + LETTERS[questions.answer[i]]
        text = text.replace("<|image_pad|>", "<|image_pad|>" * generator.prompts.image_tokens)
        ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert prompts.ids_BT[i, : len(ids)].tolist() == ids
        assert prompts.ends_B[i] == len(ids) - 2 and (prompts.ids_BT[i, len(ids) :] == generator.prompts.pad).all()


def test_fast_forward_is_the_librarys(processor, model):
    generator = Generator(processor, model, STYLES, CPU, 6)
    batch = generator.draw(8)
    image_token = generator.prompts.image
    with torch.no_grad():
        library = model(
            input_ids=batch.ids_BT,
            attention_mask=torch.ones_like(batch.ids_BT),
            pixel_values=batch.patches,
            image_grid_thw=torch.tensor([GRID] * 8),
            mm_token_type_ids=(batch.ids_BT == image_token).int(),
        ).logits
        fast = build_model(processor).eval()
        fast.load_state_dict(model.state_dict())
        fast_tower(fast.model.visual)
        states, _ = forward(fast, batch, image_token)
        logits = fast.lm_head(states[:, 0])
    torch.testing.assert_close(logits, library[torch.arange(8), batch.ends_B], atol=1e-4, rtol=1e-4)


def test_training_writes_a_model_that_loads_as_the_published_ones(tmp_path):
    """Only from the trainer's folder, by the library's own loaders, in float16, with a card that describes the run."""
    folder = tmp_path / "tiny"
    train(RECIPE, SETTINGS, PROMPT, CPU, folder)
    loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype="auto")
    assert loaded.dtype == torch.float16
    assert type(AutoProcessor.from_pretrained(folder)).__name__ == "Qwen2_5_VLProcessor"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "48 generated rows" in card and "--rows 48" in card and "| all | 32 |" in card


def test_training_lowers_the_loss():
    torch.set_num_threads(1)
    trainer = Pretrainer(replace(RECIPE, rows=0, batch=8), SETTINGS, PROMPT, CPU)
    losses = [trainer.step(0.0, step)[0].item() for step in range(12)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
