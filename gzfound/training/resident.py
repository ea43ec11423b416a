"""Batches from arrays that live on the device whole: nothing is gathered or copied by the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gzfound.training.batches import ArrayBatches, Batch, Batches, Make
from gzfound.training.order import BatchOrder
from gzfound.training.streamed import StreamedBatches, StreamedImages
from gzfound.training.windows import WindowedOrder

SHARE_OF_FREE_MEMORY = 0.5
"""Arrays go to the device whole if they take no more of its free memory than this."""


class ResidentBatches:
    """Selects the rows of each batch on the device; gives what :class:`ArrayBatches` gives.

    ``rows`` stays on the CPU, where the random draws of views are made from it; fetching it from
    the device would wait for all queued work.

    Args:
        arrays: one row a galaxy each, such as ``images`` ``(N, S, S, C)`` and ``votes`` ``(N, A)``.
        order: which rows make which batch.
        device: where the arrays go, and the batches are made.
        make: makes of a batch what the step takes; None for the batch itself.
    """

    def __init__(
        self,
        arrays: Mapping[str, npt.NDArray[Any]],
        order: BatchOrder,
        device: torch.device,
        make: Make | None = None,
    ) -> None:
        self.arrays: dict[str, Tensor] = {
            name: torch.from_numpy(array).to(device) for name, array in arrays.items()
        }
        self.order = order
        self.device = device
        self.make = make

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step ``start`` on; ``rows`` holds the galaxies' numbers."""
        steps = torch.from_numpy(np.ascontiguousarray(self.order.epoch(epoch)[start:]))
        for rows, there in zip(steps, steps.to(self.device), strict=True):
            batch = {name: array.index_select(0, there) for name, array in self.arrays.items()}
            batch["rows"] = rows
            yield self.make(batch, epoch) if self.make else batch


def batches_for(
    arrays: Mapping[str, npt.NDArray[Any] | StreamedImages],
    order: BatchOrder,
    device: torch.device,
    make: Make | None = None,
) -> Batches:
    """Batches of arrays: from the device's memory where they fit, from the CPU's otherwise.

    If ``images`` are streamed, from where they are, in an order that keeps to few row groups.
    """
    images = arrays.get("images")
    held = {k: array for k, array in arrays.items() if not isinstance(array, StreamedImages)}
    if isinstance(images, StreamedImages):
        windowed = WindowedOrder.of(order, images.pieces(), images.window)
        return StreamedBatches(images, held, windowed, device, make)
    if fits(sum(array.nbytes for array in held.values()), device):
        return ResidentBatches(held, order, device, make)
    return ArrayBatches(held, order, device, make)


def fits(size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes may live on a GPU: at most half of what is free; never on a CPU."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return size <= SHARE_OF_FREE_MEMORY * free
