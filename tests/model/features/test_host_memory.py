"""Features in page-locked memory are whole, do not overlap, and go on without it."""

import pytest
import torch

from vqaflow.model.features import host_memory
from vqaflow.model.features.host_memory import HostMemory, to_send

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def slabs(monkeypatch) -> list[torch.Tensor]:
    """The slabs that were taken; ordinary memory stands in for page-locked memory."""
    taken: list[torch.Tensor] = []

    def bytes_of(count: int) -> torch.Tensor:
        taken.append(torch.full((count,), 255, dtype=torch.uint8))
        return taken[-1]

    monkeypatch.setattr(host_memory, "locked_bytes", bytes_of)
    monkeypatch.setattr(host_memory, "SLAB", 2048)
    return taken


def test_many_features_share_few_slabs_and_none_overlaps(slabs) -> None:
    """An overwritten feature would show a row another row's picture."""
    memory = HostMemory(GPU)
    features = [torch.randn(n, 16).to(dtype) for n in (3, 8, 1, 40, 5, 7) for dtype in (torch.bfloat16, torch.float32)]
    kept = [memory.keep(one) for one in features]
    assert all(torch.equal(mine, one) and mine.dtype is one.dtype for mine, one in zip(kept, features, strict=True))
    assert 1 < len(slabs) < len(features) and max(map(len, slabs)) == 40 * 16 * 4, "one is larger than a slab"


def test_without_more_page_locked_memory_features_are_still_kept(monkeypatch, caplog) -> None:
    """The job goes on, a little slower, and says so once."""

    def refuse(count: int) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(host_memory, "locked_bytes", refuse)
    memory, one = HostMemory(GPU), torch.randn(4, 4)
    assert all(torch.equal(memory.keep(one), one) for _ in range(2))
    assert sum("page-locked" in record.message for record in caplog.records) == 1


def test_a_cpu_keeps_tensors_as_they_are(slabs) -> None:
    """There is nothing to copy to."""
    one = torch.randn(4, 4)
    assert HostMemory(CPU).keep(one) is one and to_send(one, CPU) is one and not slabs
