"""The setting for reproducible matrix products is read, and then out of the way."""

import os

import torch

from vqaflow.model.numerics import cublas


def test_the_setting_is_read_before_it_goes(monkeypatch) -> None:
    """Without the product before, deterministic training would end with PyTorch's error."""
    seen = []
    monkeypatch.setenv(cublas.SETTING, ":4096:8")
    monkeypatch.setattr(torch, "ones", lambda *shape, device: torch.zeros(*shape))
    monkeypatch.setattr(torch, "mm", lambda *factors: seen.append(os.environ.get(cublas.SETTING)))
    cublas.settle_workspace(torch.device("cuda"))
    assert seen == [":4096:8"] and cublas.SETTING not in os.environ
    cublas.settle_workspace(torch.device("cuda"))
    assert len(seen) == 1


def test_a_cpu_is_left_alone(monkeypatch) -> None:
    """Nothing is read there."""
    monkeypatch.setenv(cublas.SETTING, ":4096:8")
    cublas.settle_workspace(torch.device("cpu"))
    assert os.environ[cublas.SETTING] == ":4096:8"
