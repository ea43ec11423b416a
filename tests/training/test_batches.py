"""Batches made ahead, in a thread: the same as made on the spot, and no thread is slowed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from gzfound.models import EncoderTransform
from gzfound.training.augment import Augment
from gzfound.training.batches import ArrayBatches, Batch
from gzfound.training.order import BatchOrder
from gzfound.training.resident import ResidentBatches
from gzfound.views import ViewConfig, make_views

CPU = torch.device("cpu")
CONFIG = ViewConfig(size=24)
ARRAYS = {
    "images": np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8),
    "votes": np.arange(80, dtype=np.int32).reshape(40, 2),
}
ORDER = BatchOrder(np.arange(40), 8, seed=4)


def augment(views: int = 2) -> Augment:
    return Augment(CONFIG, EncoderTransform(24), seed=3, views=views)


@pytest.mark.parametrize("kind", [ArrayBatches, ResidentBatches])
@pytest.mark.parametrize(("views", "start"), [(1, 0), (2, 0), (2, 3)])
def test_views_made_ahead_are_those_made_on_the_spot(kind: type, views: int, start: int) -> None:
    transform = EncoderTransform(24)
    for epoch in (0, 1):
        steps = ORDER.epoch(epoch)[start:]
        batches = kind(ARRAYS, ORDER, CPU, augment(views)).epoch(epoch, start)
        for rows, batch in zip(steps, batches, strict=True):
            images = torch.from_numpy(ARRAYS["images"][rows])
            plain = torch.cat(
                [
                    make_views(images, rows, CONFIG, seed=3, epoch=epoch, view=view)
                    for view in range(views)
                ]
            )
            expected = transform.standardise(plain)
            assert set(batch) == {"pixels", "votes", "rows"}
            assert batch["pixels"].is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(batch["pixels"], expected, atol=1e-5, rtol=0)
            assert np.array_equal(batch["votes"], ARRAYS["votes"][rows])
            assert np.array_equal(batch["rows"], rows)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_have_the_bits_that_one_process_has(processes: int) -> None:
    """Views of galaxies depend on seed, epoch and galaxy; another seed gives another order too."""

    def made(seed: int, process: int = 0, processes: int = 1) -> list[Batch]:
        order = BatchOrder(np.arange(40), 8, seed, process, processes)
        augment = Augment(CONFIG, EncoderTransform(24), seed, views=2)
        epochs = (ArrayBatches(ARRAYS, order, CPU, augment).epoch(epoch) for epoch in (0, 1))
        # Copied, because the memory of a batch is used again.
        return [{k: v.clone() for k, v in batch.items()} for batches in epochs for batch in batches]

    one, other = made(3), made(4)
    parts = zip(*(made(3, process, processes) for process in range(processes)), strict=True)
    for whole, shares in zip(one, parts, strict=True):
        for name in ("rows", "votes"):
            assert torch.equal(torch.cat([share[name] for share in shares]), whole[name])
        for view in (0, 1):
            found = torch.cat([share["pixels"].chunk(2)[view] for share in shares])
            assert torch.equal(found, whole["pixels"].chunk(2)[view])
    assert not any(torch.equal(a["rows"], b["rows"]) for a, b in zip(one, other, strict=True))
    views = [
        torch.cat([batch["pixels"].chunk(2)[0] for batch in batches[: ORDER.steps]])[
            torch.cat([batch["rows"] for batch in batches[: ORDER.steps]]).argsort()
        ]
        for batches in (one, other)
    ]
    assert len(views[0]) == 40
    assert (views[0] != views[1]).flatten(1).any(dim=1).all(), "each galaxy has another view"


def test_the_memory_of_a_batch_is_that_of_the_last_but_one() -> None:
    pixels = [
        batch["pixels"].data_ptr() for batch in ArrayBatches(ARRAYS, ORDER, CPU, augment()).epoch(0)
    ]
    assert len(set(pixels)) == 2
    assert pixels == [pixels[0], pixels[1]] * 2 + [pixels[0]]


def test_the_next_batch_is_made_while_the_step_works() -> None:
    """The step at batch 0 waits until batch 1 has been made, which takes another thread."""
    made = [threading.Event() for _ in range(ORDER.steps)]
    makers, threads = [], []

    def make(batch: Batch, epoch: int) -> Batch:
        makers.append(threading.get_ident())
        threads.append(torch.get_num_threads())
        made[len(makers) - 1].set()
        return batch

    before = torch.get_num_threads()
    for step, _ in enumerate(ArrayBatches(ARRAYS, ORDER, CPU, make).epoch(0)):
        assert made[min(step + 1, ORDER.steps - 1)].wait(10)
        assert torch.get_num_threads() == before
    assert len(set(makers)) == 1
    assert threading.get_ident() not in makers
    assert set(threads) == {1}


def test_a_thread_started_later_has_as_many_threads_as_before() -> None:
    found = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in ArrayBatches(ARRAYS, ORDER, CPU).epoch(0):
            later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
            later.start()
            later.join()
    finally:
        torch.set_num_threads(before)
    assert set(found) == {2}


def test_what_goes_wrong_ahead_is_raised_in_the_step() -> None:
    def make(batch: Batch, epoch: int) -> Batch:
        raise KeyError("images")

    with pytest.raises(KeyError, match="images"):
        next(ArrayBatches(ARRAYS, ORDER, CPU, make).epoch(0))
