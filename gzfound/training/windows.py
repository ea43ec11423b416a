"""The order of galaxies that are streamed: shuffled, yet a batch needs few pieces of the data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from gzfound.draws import permutation, stream_key
from gzfound.errors import ConfigError
from gzfound.training.order import BatchOrder


@dataclass(frozen=True, eq=False)
class WindowedOrder(BatchOrder):
    """Shuffled whole batches of galaxies that lie in pieces, such as the row groups of Parquet.

    The pieces come in a random order. The galaxies of each are spread at random over the time in
    which ``window`` pieces go by, so at any time those of about ``window`` pieces are mixed, and of
    half as many more near the ends of an epoch. Like any :class:`BatchOrder` it is a function of
    seed, epoch and step.

    Within a batch galaxies are sorted by a random number of their piece, so that of several
    processes each needs mostly its own part of the pieces; which galaxies share a batch does not
    depend on the processes.

    Attributes:
        pieces: the number of the piece of each of ``rows``.
        window: pieces that are mixed.
    """

    pieces: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    window: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1:
            raise ConfigError(f"stream_window: {self.window} must be at least 1")

    @classmethod
    def of(cls, order: BatchOrder, pieces: npt.NDArray[np.int64], window: int) -> WindowedOrder:
        """Batches of the galaxies of another order, by as many processes.

        Args:
            order: not of balanced groups.
            pieces: the number of the piece of each galaxy of the data.
            window: pieces that are mixed.
        """
        given = {each.name: getattr(order, each.name) for each in fields(BatchOrder)}
        return cls(**given, pieces=pieces[order.rows], window=window)

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        names, own = np.unique(self.pieces, return_inverse=True)
        turn = permutation(stream_key(self.seed, "pieces", epoch), len(names))[own]
        # The first and the last half window begin and end together, so that they are mixed too.
        start = np.clip(turn - self.window // 2, 0, max(0, len(names) - self.window))
        key = int(stream_key(self.seed, "order", epoch))
        draws = np.random.Generator(np.random.Philox(key=key)).random(len(own))
        order = np.argsort(start + self.window * draws, kind="stable")
        batches = order[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)
        lane = permutation(stream_key(self.seed, "lanes", epoch), len(names))[own]
        by_piece = np.argsort(lane[batches], axis=1, kind="stable")
        shuffled: npt.NDArray[np.int64] = np.take_along_axis(batches, by_piece, 1).ravel()
        return shuffled
