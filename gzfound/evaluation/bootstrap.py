"""Intervals by resampling galaxies with replacement (Efron 1979, Ann. Statist. 7, 1).

A metric that is a function of sums over galaxies is resampled by weights: one matrix product of
how often each galaxy is drawn with what it adds to each sum. The same seed draws the same
galaxies, so differences of two predictors are paired when they share a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gzfound.draws import stream_key
from gzfound.errors import ConfigError

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 1000
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A value with the central 95 % (or other) interval of its resamples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "–"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def line(self) -> str:
        """The value and its interval in three decimals, for a narrow column."""
        if not np.isfinite(self.value):
            return "–"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def overlaps(self, other: Interval) -> bool:
        """Whether the two intervals share any value."""
        return self.low <= other.high and other.low <= self.high


def _draws(galaxies: int, resamples: int, seed: int) -> np.random.Generator:
    if galaxies < 1 or resamples < 1:
        raise ConfigError(
            f"bootstrap of {galaxies} galaxies, {resamples} times: both must be at least 1"
        )
    return np.random.Generator(np.random.Philox(key=int(stream_key(seed, "bootstrap", galaxies))))


def resampled_sums(table: Floats, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Sums over resampled galaxies of what each adds, ``(N, K)`` to ``(resamples, K)``."""
    galaxies = len(table)
    generator = _draws(galaxies, resamples, seed)
    step = max(1, _CHUNK // galaxies)
    sums = np.empty((resamples, table.shape[1]))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, galaxies, (rows, galaxies))
        drawn += np.arange(rows)[:, None] * galaxies
        weights = np.bincount(drawn.ravel(), minlength=rows * galaxies)
        sums[start : start + rows] = weights.reshape(rows, galaxies).astype(np.float64) @ table
    return sums


def bootstrap_rows(
    metric: Callable[[npt.NDArray[np.int64]], npt.ArrayLike],
    groups: Sequence[int],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Floats:
    """A metric of any kind on resampled galaxies, ``(resamples, ...)``.

    Args:
        metric: takes row numbers ``(R, N)``, gives one value (or more) for each of R resamples.
        groups: sizes of consecutive groups of rows, N in all; each is resampled within itself
            and keeps its place. ``[N]`` resamples all galaxies alike.
        resamples: how many.
        seed: of the draws.
    """
    galaxies = int(sum(groups))
    generator = _draws(galaxies, resamples, seed)
    lengths = np.asarray(groups, np.int64)
    sizes, starts = np.repeat(lengths, lengths), np.repeat(lengths.cumsum() - lengths, lengths)
    step = max(1, _CHUNK // galaxies)
    parts = []
    for start in range(0, resamples, step):
        shape = (min(step, resamples - start), galaxies)
        rows = starts + generator.integers(0, sizes, shape)
        parts.append(np.asarray(metric(rows), np.float64))
    return np.concatenate(parts)


def interval(value: float, samples: Floats, level: float = LEVEL) -> Interval:
    """The percentile interval of resampled values ``(resamples,)``; NaN samples are left out."""
    finite = samples[np.isfinite(samples)]
    if not len(finite) or not np.isfinite(value):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))
