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
        groups: a number for each of ``rows``; then every group fills the same share of an epoch.
            Galaxies of a small group come several times; those of a large one take turns, so that
            over the epochs each comes as often as any other of its group.
    """

    rows: npt.NDArray[np.int64]
    batch_size: int
    seed: int
    process: int = 0
    processes: int = 1
    accumulate: int = 1
    groups: npt.NDArray[np.int64] | None = None

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
        order = self._shuffled(epoch)
        rows = self.rows if self.groups is None else self._balanced(self.groups, epoch)
        whole = rows[order[: self.steps * self.batch_size]]
        return whole.reshape(self.steps, self.processes, -1)[:, self.process]

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        """The places of the rows in the order of an epoch, at least those of its batches."""
        return permutation(stream_key(self.seed, "order", epoch), len(self.rows))

    def _balanced(self, groups: npt.NDArray[np.int64], epoch: int) -> npt.NDArray[np.int64]:
        """As many rows as there are, the same number of each group, by turns over the epochs.

        The rows of a group are dealt in one endless sequence of its shuffles, and an epoch takes
        the stretch that is its own: a function of seed and epoch, whatever came before.
        """
        names = np.unique(groups)
        edges = len(self.rows) * np.arange(len(names) + 1) // len(names)
        parts = []
        for name, share in zip(names.tolist(), np.diff(edges).tolist(), strict=True):
            own = self.rows[groups == name]
            places = np.arange(epoch * share, (epoch + 1) * share)
            for turn in np.unique(places // len(own)).tolist():
                shuffled = permutation(stream_key(self.seed, "turn", name, turn), len(own))
                here = places[places // len(own) == turn] % len(own)
                parts.append(own[shuffled[here]])
        balanced: npt.NDArray[np.int64] = np.concatenate(parts)
        return balanced
