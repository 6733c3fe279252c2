"""A tiny base of Qwen3-VL is what the library makes of it, and differs from the first only in its family."""

from argparse import ArgumentParser
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from places import ROOT
from vqaflow.artifacts.rows import text_row
from vqaflow.commands.tools.tiny_base import add_arguments
from vqaflow.config.loading import checked_config, load_config
from vqaflow.config.sections import ModelConfig, PromptConfig, section
from vqaflow.demo.tiny_base.examples import Generator
from vqaflow.demo.tiny_base.families import FAMILIES, GRID
from vqaflow.demo.tiny_base.network import build_model, fast_tower, forward
from vqaflow.demo.tiny_base.pretrainer import Pretrainer, PretrainingSettings, new_processor
from vqaflow.demo.tiny_base.pretraining import train
from vqaflow.demo.tiny_base.prompts import prompt_styles
from vqaflow.demo.tiny_base.tokenizer import build_processor
from vqaflow.model.encoding.prompts import PromptRenderer

CPU = torch.device("cpu")
CONFIG = load_config(ROOT / "config.yaml")
SETTINGS, PROMPT = section(ModelConfig, CONFIG["model"]), section(PromptConfig, CONFIG["prompt"])
STYLES = prompt_styles(PROMPT)
QWEN3_VL = FAMILIES["qwen3_vl"]
RECIPE = PretrainingSettings(
    minutes=0,
    rows=48,
    batch=16,
    learning_rate=1e-3,
    warmup_steps=2,
    weight_decay=0.1,
    seed=0,
    validation_rows=32,
    family="qwen3_vl",
)
ROWS = 6


@pytest.fixture(scope="module")
def processor():
    return new_processor(STYLES, SETTINGS, QWEN3_VL)


@pytest.fixture(scope="module")
def model(processor):
    """Random weights and biases, large enough that one missing level or position shows in the logits."""
    torch.manual_seed(0)
    network = build_model(processor, QWEN3_VL).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2) if weight.ndim == 2 else weight.add_(torch.randn_like(weight), alpha=0.1)
    return network


@pytest.fixture(scope="module")
def drawn(processor, model):
    """Rows of every style: their pictures, their texts, and the example that the model is trained on."""
    generator = Generator(processor, model, STYLES, CPU, 6)
    pictures = generator.painter.paint(ROWS)
    questions = generator.world.ask(pictures.facts)
    style = torch.arange(ROWS) % len(STYLES)
    prompts = generator.prompts.assemble(questions, style)
    example = generator.example(pictures, questions, prompts)
    texts = []
    for i in range(ROWS):
        text, qtype = generator.world.questions[questions.question[i]]
        row = text_row(text, [generator.world.words[w] for w in questions.words_B4[i].tolist()], qtype)
        rendered = PromptRenderer(processor, STYLES[style[i]]).render(row, ["abcd"])
        texts.append(rendered.prefix + rendered.branches[0])
    images = [Image.fromarray(p.permute(1, 2, 0).byte().numpy()) for p in pictures.pixels]
    return images, texts, example, generator.prompts.image


def test_forward_is_the_librarys_on_what_the_processor_makes(processor, model, drawn):
    """Otherwise the model would be trained on other patches, positions or DeepStack levels than it is used with."""
    images, texts, example, image_token = drawn
    fast = build_model(processor, QWEN3_VL).eval()
    fast.load_state_dict(model.state_dict())
    fast_tower(fast.model.visual)
    with torch.no_grad():
        states, features = forward(fast, example, image_token)
        logits = fast.lm_head(states[:, 0])
        for i, (image, text) in enumerate(zip(images, texts, strict=True)):
            inputs = processor(images=[image], text=[text], return_tensors="pt")
            assert inputs["image_grid_thw"].tolist() == [list(GRID)]
            library = model(**inputs).logits[0, -1]
            torch.testing.assert_close(logits[i], library, atol=1e-4, rtol=1e-4)
    assert features.shape == (ROWS, 16, model.config.text_config.hidden_size)


def test_pictures_are_cut_and_normalised_as_for_the_published_checkpoints(processor, model):
    """A tiny base with other patches would not stand in for Qwen3-VL where pixels become visual tokens of 32 x 32."""
    image_processor = processor.image_processor
    assert (image_processor.patch_size, image_processor.merge_size) == (16, 2)
    assert [*image_processor.image_mean, *image_processor.image_std] == [0.5] * 6
    assert model.config.vision_config.patch_size == 16


def test_training_writes_a_model_that_the_librarys_auto_classes_load(tmp_path, drawn):
    """`model.base` names such a folder: the library must find the family's classes by itself."""
    images, texts, *_ = drawn
    folder = tmp_path / "tiny"
    train(RECIPE, SETTINGS, PROMPT, CPU, folder)
    processor = AutoProcessor.from_pretrained(folder)
    network, loading = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert type(processor) is QWEN3_VL.processor and type(network) is QWEN3_VL.network
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert network.dtype == torch.float16 and 2.5e6 < network.num_parameters() < 4e6
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6
    inputs = processor(images=images[:1], text=texts[:1], return_tensors="pt")
    with torch.no_grad():
        assert network.float().eval()(**inputs).logits.isfinite().all()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "# tiny-qwen3-vl" in card and "`Qwen3VLForConditionalGeneration`" in card
    assert "--family qwen3_vl" in card and "DeepStack from 0, 1, 2" in card and "| all | 32 |" in card


def test_training_lowers_the_loss():
    torch.set_num_threads(1)
    trainer = Pretrainer(replace(RECIPE, rows=0, batch=8), SETTINGS, PROMPT, CPU)
    losses = [trainer.step(0.0, step)[0].item() for step in range(12)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_every_part_that_sees_the_picture_learns():
    """A level of DeepStack that never gets a gradient would stay random noise in the decoder."""
    trainer = Pretrainer(RECIPE, SETTINGS, PROMPT, CPU)
    loss, _ = trainer.losses(trainer.generator.draw(8))
    loss.backward()
    untouched = [n for n, p in trainer.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not untouched


def new_processor_of(family):
    return build_processor([], 0, SETTINGS.min_pixels, SETTINGS.max_pixels, FAMILIES[family])


@pytest.mark.parametrize(("family", "default_turn"), [("qwen2_5_vl", True), ("qwen3_vl", False)])
def test_a_default_system_turn_is_added_only_where_the_published_template_adds_one(family, default_turn):
    """The prompts without a system turn are those of `system: ""`; the published templates differ there."""
    spare = new_processor_of(family)
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which?"}]}]
    text = spare.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert ("You are a helpful assistant." in text) == default_turn
    assert text.endswith(
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Which?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_demo_s_images_become_pictures_of_the_size_that_was_trained(family):
    """With the pixel numbers of config.yaml, whose example for Qwen3-VL changes only the base."""
    made = new_processor_of(family).image_processor(images=[Image.new("RGB", (64, 64))], return_tensors="pt")
    assert made["image_grid_thw"].tolist() == [list(GRID)]


def test_the_example_configuration_changes_only_the_base():
    config = checked_config(ROOT / "docs" / "examples" / "qwen3_vl.yaml")
    assert config["model"] == CONFIG["model"] | {"base": "assets/tiny-qwen3-vl"}


def test_the_command_offers_every_family():
    parser = ArgumentParser()
    add_arguments(parser)
    for family in FAMILIES:
        assert parser.parse_args(["--out", "x", "--family", family]).family == family
    assert parser.parse_args(["--out", "x"]).family == "qwen2_5_vl"
    with pytest.raises(SystemExit):
        parser.parse_args(["--out", "x", "--family", "llava"])
