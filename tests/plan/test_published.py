"""The published shapes are those of the models whose names they have."""

import pytest

import rows
from vqaflow.plan import published
from vqaflow.plan.offline import read_shape
from vqaflow.plan.published import PUBLISHED, published_in
from vqaflow.plan.shape import Shape

# Billions of weights, head and tower included. Those of Qwen3-VL-8B, Qwen3.5-9B and 27B were measured; the others are
# totals as commonly given, some with a layer that the library does not build.
BILLIONS = {
    "7b": 8.29,
    "3b": 3.75,
    "qwen3-vl-4b": 4.44,
    "qwen3-vl-8b": 8.77,
    "qwen3-vl-32b": 33.4,
    "qwen3-vl-30b-a3b": 31.1,
    "qwen3.5-0.8b": 0.87,
    "qwen3.5-4b": 4.66,
    "qwen3.5-9b": 9.41,
    "qwen3.5-27b": 27.4,
    "qwen3.5-35b-a3b": 35.1,
    "gemma-4-31b": 31.3,
    "gemma-4-e4b": 8.0,
    "internvl3.5-8b": 8.5,
}


@pytest.mark.parametrize("name", BILLIONS)
def test_a_published_model_has_as_many_weights_as_its_card_says(name: str) -> None:
    """A slip in one number would plan and measure another model under a known name."""
    assert Shape.of(PUBLISHED[name]).weights / 1e9 == pytest.approx(BILLIONS[name], rel=0.05)


def test_all_published_models_are_counted() -> None:
    """A model that nobody checked must not be offered."""
    assert set(BILLIONS) | {"tiny"} == set(PUBLISHED)


def test_tiny_is_the_base_of_the_demo() -> None:
    """Its benchmark would be of another model."""
    assert Shape.of(PUBLISHED["tiny"]) == read_shape(rows.ROOT / "assets" / "tiny-qwen2_5-vl" / "config.json")


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl-8b"),
        ("Qwen/Qwen3-VL-30B-A3B-Thinking", "qwen3-vl-30b-a3b"),
        ("Qwen/Qwen3.5-9B", "qwen3.5-9b"),
        ("Qwen/Qwen3.5-27B", "qwen3.5-27b"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "7b"),
        ("/models/my_Qwen2.5-VL-3B_tuned", "3b"),
        ("google/gemma-4-E4B-it", "gemma-4-e4b"),
        ("OpenGVLab/InternVL3_5-8B-HF", "internvl3.5-8b"),
        ("Qwen/Qwen2-VL-7B-Instruct", None),
        ("Qwen/Qwen3-8B", None),
        ("Qwen/Qwen3-VL-Embedding-8B", None),
        ("Qwen/Qwen3.6-27B", None),
        ("Qwen/Qwen2.5-VL-72B-Instruct", None),
        ("Qwen/Qwen2.5-7B", None),
        ("o/my_7b_tuned", None),
    ],
)
def test_a_name_is_known_by_model_and_size_together(base: str, name: str | None) -> None:
    """A Qwen2-VL-7B planned as a Qwen2.5-VL-7B, or a 27B as a 7B, would be planned wrong without a word."""
    assert published_in(base) == name


def test_names_of_the_benchmarks_are_published() -> None:
    """A shape that the command offers must be there, and the ones of the goals must be offered."""
    assert {"7b", "3b", "tiny", "qwen3-vl-8b", "qwen3.5-9b", "qwen3.5-27b"} <= set(published.IN_BENCHMARKS)
