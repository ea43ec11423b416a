"""Which galaxies make which batch: a function of seed, epoch and step alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gzfound.draws import permutation, stream_key
from gzfound.errors import ConfigError


@dataclass(frozen=True, eq=False)
class BatchOrder:
    """Shuffled whole batches, each divided evenly over the processes.

    The last, smaller batch of an epoch is left out; since every epoch has its own order, no
    galaxy is left out for long.

    Attributes:
        rows: the galaxies to draw from, as row numbers of the data.
        batch_size: galaxies a step over all processes together.
        seed: of the order.
        process: number of this process.
        processes: number of processes.
        accumulate: batches whose gradients are added up; an epoch is a multiple of them.
    """

    rows: npt.NDArray[np.int64]
    batch_size: int
    seed: int
    process: int = 0
    processes: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.batch_size % self.processes:
            raise ConfigError(
                f"batch_size: {self.batch_size} must be a positive multiple of the "
                f"{self.processes} processes"
            )
        if len(self.rows) < self.batch_size * self.accumulate:
            raise ConfigError(
                f"batch_size: {self.accumulate} of {self.batch_size} are more than the "
                f"{len(self.rows)} galaxies at hand"
            )

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        return len(self.rows) // (self.batch_size * self.accumulate) * self.accumulate

    def epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        """Rows of this process in every batch of an epoch, ``(steps, batch_size / processes)``."""
        order = permutation(stream_key(self.seed, "order", epoch), len(self.rows))
        whole = self.rows[order[: self.steps * self.batch_size]]
        return whole.reshape(self.steps, self.processes, -1)[:, self.process]
