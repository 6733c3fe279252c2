"""Hub names as people write them: what would break if only a download told a slip, or if a good name were refused."""

import pytest

from vqaflow.model.checkpoint import base_problems
from vqaflow.model.hub_names import PUBLISHED

QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Qwen2.5-VL-7B-Instruct", f"did you mean '{QWEN}'?"),
        ("qwen/qwen2.5-vl-7b-instruct", f"did you mean '{QWEN}'?"),
        ("Qwen/Qwen2.5VL-7B-Instruct", f"did you mean '{QWEN}'?"),
        ("Qwen/Qwen2.5_VL_7B_Instruct", f"did you mean '{QWEN}'?"),
        ("Qwen/Qwen2.5-VL-7B-Instuct", f"did you mean '{QWEN}'?"),
        ("Qwen/Qwen2.5-VL-7B-Instruct ", f"has a space. Write '{QWEN}'"),
        ("Qwen/ Qwen2.5-VL-7B-Instruct", f"has a space. Write '{QWEN}'"),
        ("Qwen/Qwen2.5-VL-7B-Instruct/", f"has a / too many. Write '{QWEN}'"),
        ("Qwen\\Qwen2.5-VL-7B-Instruct", f"has a \\. Write '{QWEN}'"),
        (f"https://huggingface.co/{QWEN}", f"is an address, not a hub name. Write '{QWEN}'."),
        (f"huggingface.co/{QWEN}/tree/main", f"is an address, not a hub name. Write '{QWEN}'."),
        (f"hf://{QWEN}", f"is an address, not a hub name. Write '{QWEN}'."),
        (f"{QWEN}:main", f"Write '{QWEN}', and it in model.revision."),
        ("기본 모델", "there is no folder 기본 모델, and as a hub name (owner/name) it has a space"),
        ("my models/qwen", "there is no folder my models/qwen, and as a hub name (owner/name) it has a space"),
        ("C:\\models\\qwen", "and as a hub name (owner/name) it has a \\. Correct it."),
        ("someone/tuned/", "has a / too many. Write 'someone/tuned'"),
        ("https://huggingface.co/Qwen", "Write the model's own name, owner/name."),
        ("hf.co/", "Write the model's own name, owner/name."),
        ("기본모델", "is neither a folder nor a hub name"),
        ("Qwen/-VL", "is neither a folder nor a hub name"),
        ("google/gemma-4-12b-it", "did you mean 'google/gemma-4-12B-it'?"),
    ],
)
def test_a_name_of_a_wrong_form_is_told_without_the_network(name, told):
    (problem,) = base_problems(name)
    assert told in problem and problem.startswith("model.base: "), problem


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen3-8B",
        "Qwen/Qwen2.5-7B-Instruct",
        "Qwen/Qwen3-30B-A3B-Instruct-2507",
        "Qwen/Qwen-7B-Chat",
        "Qwen/Qwen-1_8B-Chat",
        "Qwen/QwQ-32B",
        "meta-llama/Llama-3.1-8B-Instruct",
        "meta-llama/Meta-Llama-3-8B",
        "meta-llama/Llama-3.2-3B-Instruct",
        "mistralai/Mistral-7B-Instruct-v0.3",
        "google/gemma-2-9b-it",
        "google/gemma-3-1b-it",
        "microsoft/phi-4",
        "microsoft/Phi-4-mini-instruct",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct",
    ],
)
def test_a_model_without_eyes_is_refused_by_its_name(name):
    """A job would say so only when it has fetched the model's config.json."""
    assert base_problems(name) == [
        f"model.base: {name} reads no pictures. Give a vision-language model, such as Qwen/Qwen3-VL-8B-Instruct."
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen-VL-Chat",
        "Qwen/Qwen3-8B-VL-Instruct",
        "Qwen/Qwen2.5-Omni-7B",
        "Qwen/Qwen3-Omni-30B-A3B-Instruct",
        "Qwen/Qwen3.5-4B",
        "meta-llama/Llama-3.2-11B-Vision-Instruct",
        "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
        "mistralai/Pixtral-12B-2409",
        "google/gemma-3-4b-it",
        "google/gemma-3n-E4B-it",
        "google/paligemma2-3b-mix-448",
        "microsoft/Phi-4-multimodal-instruct",
        "microsoft/Phi-3.5-vision-instruct",
        "microsoft/Phi-4-reasoning-vision-15B",
        "deepseek-ai/deepseek-vl2-tiny",
        "deepseek-ai/DeepSeek-V4",
        "someone/Qwen3-8B-with-eyes",
    ],
)
def test_a_model_that_may_have_eyes_passes(name):
    assert base_problems(name) == []


@pytest.mark.parametrize("name", [*PUBLISHED, "Qwen/Qwen3-VL-9B-Instruct", "someone/Qwen2.5-VL-7B-tuned", "a/b.c_d-e"])
def test_names_of_the_right_form_pass(name):
    """Another size, or someone's own checkpoint, may exist: only the hub knows."""
    assert base_problems(name) == []
