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


@pytest.mark.parametrize("name", [*PUBLISHED, "Qwen/Qwen3-VL-9B-Instruct", "someone/Qwen2.5-VL-7B-tuned", "a/b.c_d-e"])
def test_names_of_the_right_form_pass(name):
    """Another size, or someone's own checkpoint, may exist: only the hub knows."""
    assert base_problems(name) == []
