"""Batches from the memory of the device are those from the memory of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gzfound.training.batches import ArrayBatches
from gzfound.training.order import BatchOrder
from gzfound.training.resident import ResidentBatches, batches_for, fits

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    return {"images": images, "votes": draw.integers(0, 9, (50, 5), dtype=np.int32)}


def order(process: int = 0, processes: int = 1) -> BatchOrder:
    return BatchOrder(np.arange(3, 50), 8, seed=4, process=process, processes=processes)


@pytest.mark.parametrize("place", [(0, 1), (1, 2)])
@pytest.mark.parametrize("start", [0, 3])
def test_the_same_batches(
    arrays: dict[str, np.ndarray], place: tuple[int, int], start: int
) -> None:
    plain = ArrayBatches(arrays, order(*place), CPU)
    resident = ResidentBatches(arrays, order(*place), CPU)
    for epoch in (0, 1):
        pairs = list(zip(plain.epoch(epoch, start), resident.epoch(epoch, start), strict=True))
        assert len(pairs) == plain.order.steps - start
        for expected, found in pairs:
            assert set(found) == set(expected) == {"images", "votes", "rows"}
            for name in found:
                assert found[name].dtype == expected[name].dtype
                assert torch.equal(found[name], expected[name])


def test_what_is_made_of_batches(arrays: dict[str, np.ndarray]) -> None:
    def make(batch: dict[str, torch.Tensor], epoch: int) -> dict[str, torch.Tensor]:
        return {"sum": batch["images"].sum((1, 2, 3)) + epoch, "rows": batch["rows"]}

    plain = ArrayBatches(arrays, order(), CPU, make)
    resident = ResidentBatches(arrays, order(), CPU, make)
    for expected, found in zip(plain.epoch(1), resident.epoch(1), strict=True):
        assert torch.equal(found["sum"], expected["sum"])
        assert set(found) == {"sum", "rows"}


def test_no_batches_after_the_last(arrays: dict[str, np.ndarray]) -> None:
    assert list(ResidentBatches(arrays, order(), CPU).epoch(0, order().steps)) == []


def test_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 free bytes 500 may be taken; a CPU has no memory of its own to take."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert fits(500, GPU)
    assert not fits(501, GPU)
    assert not fits(1, CPU)


def test_the_choice(arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for answer in (False, True):

        def said(size: int, device: torch.device, answer: bool = answer) -> bool:
            sizes.append(size)
            return answer

        monkeypatch.setattr("gzfound.training.resident.fits", said)
        found = batches_for(arrays, order(), CPU)
        assert isinstance(found, ResidentBatches if answer else ArrayBatches)
    assert sizes == [50 * (8 * 8 * 3 + 5 * 4)] * 2
