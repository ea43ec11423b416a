"""Batches of galaxies from arrays in memory, or mapped into it, one batch ahead of the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gzfound.training.order import BatchOrder

Batch = dict[str, Tensor]


class ArrayBatches:
    """Gathers the rows of each batch and moves them to the device in a thread of its own.

    Args:
        arrays: one row a galaxy each, such as ``images`` ``(N, S, S, C)`` and ``votes`` ``(N, A)``.
        order: which rows make which batch.
        device: where the batches go.
    """

    def __init__(
        self, arrays: Mapping[str, npt.NDArray[Any]], order: BatchOrder, device: torch.device
    ) -> None:
        self.arrays = dict(arrays)
        self.order = order
        self.device = device

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step ``start`` on; ``rows`` holds the galaxies' numbers."""
        steps = self.order.epoch(epoch)[start:]
        with ThreadPoolExecutor(max_workers=1) as ahead:
            waiting = [ahead.submit(self._gather, rows) for rows in steps[:1]]
            for later in [*steps[1:], None]:
                batch = waiting.pop().result()
                if later is not None:
                    waiting.append(ahead.submit(self._gather, later))
                yield batch

    def _gather(self, rows: npt.NDArray[np.int64]) -> Batch:
        cuda = self.device.type == "cuda"
        batch = {name: torch.from_numpy(array[rows]) for name, array in self.arrays.items()}
        batch["rows"] = torch.from_numpy(rows)
        if not cuda:
            return batch
        return {k: v.pin_memory().to(self.device, non_blocking=True) for k, v in batch.items()}
