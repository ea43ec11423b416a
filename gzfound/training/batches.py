"""Batches of galaxies from arrays in memory, or mapped into it, one batch ahead of the step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gzfound.training.order import BatchOrder

Batch = dict[str, Tensor]

Make = Callable[[Batch, int], Batch]
"""Turns the gathered rows of an epoch into what the step takes: ``make(batch, epoch)``."""


class Batches(Protocol):
    """The batches of every epoch, wherever they come from."""

    order: BatchOrder

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step ``start`` on."""


class ArrayBatches:
    """Gathers the rows of each batch in a thread of its own, while the step is at the one before.

    On a CPU that thread also makes of them what the step takes. For a GPU it pins the batch, which
    is then copied without waiting, and ``make`` runs on the GPU.

    Args:
        arrays: one row a galaxy each, such as ``images`` ``(N, S, S, C)`` and ``votes`` ``(N, A)``.
        order: which rows make which batch.
        device: where the batches go; ``rows`` stays on the CPU, where draws are made from it.
        make: makes of a batch what the step takes; None for the batch itself. It may write to the
            memory of the batch before the last: the step is done with that.
    """

    def __init__(
        self,
        arrays: Mapping[str, npt.NDArray[Any]],
        order: BatchOrder,
        device: torch.device,
        make: Make | None = None,
    ) -> None:
        self.arrays = dict(arrays)
        self.order = order
        self.device = device
        self.make = make

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step ``start`` on; ``rows`` holds the galaxies' numbers."""
        steps = self.order.epoch(epoch)[start:]
        if not len(steps):
            return
        threads = torch.get_num_threads()
        # A thread that calls torch would start a team of its own, as large as that of the step.
        pool = ThreadPoolExecutor(1, "gzfound-batches", torch.set_num_threads, (1,))
        with closing(self._gathered(steps)) as gathered, pool as ahead:
            waiting = [ahead.submit(self._prepare, gathered, rows, epoch) for rows in steps[:1]]
            for later in [*steps[1:], None]:
                batch = waiting.pop().result()
                torch.set_num_threads(threads)  # the last to set it sets it for threads to come
                if later is not None:
                    waiting.append(ahead.submit(self._prepare, gathered, later, epoch))
                yield self._arrive(batch, epoch)

    def _gathered(self, steps: npt.NDArray[np.int64]) -> Generator[Batch, None, None]:
        """The rows of each step, gathered."""
        for rows in steps:
            yield {name: torch.from_numpy(array[rows]) for name, array in self.arrays.items()}

    def _prepare(self, gathered: Iterator[Batch], rows: npt.NDArray[np.int64], epoch: int) -> Batch:
        batch = next(gathered)
        if self.device.type == "cuda":
            batch = {name: value.pin_memory() for name, value in batch.items()}
        batch["rows"] = torch.from_numpy(rows)
        if self.device.type == "cpu" and self.make:
            return self.make(batch, epoch)
        return batch

    def _arrive(self, batch: Batch, epoch: int) -> Batch:
        if self.device.type == "cpu":
            return batch
        there = {k: v.to(self.device, non_blocking=True) for k, v in batch.items() if k != "rows"}
        there["rows"] = batch["rows"]
        return self.make(there, epoch) if self.make else there
