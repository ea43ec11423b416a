"""Splits that depend on nothing but the name of a galaxy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from gzfound.draws import stream_key
from gzfound.errors import ConfigError, DataError

Rows = npt.NDArray[np.int64]

DEFAULT_FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.8, "test": 0.2})


def split_by_id(
    ids: Iterable[str],
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    *,
    purpose: str = "split",
) -> dict[str, Rows]:
    """Divide galaxies by a hash of ``id_str``.

    The split of a galaxy depends only on its name, the fractions and the seed, never on the
    other galaxies, the order of rows, the process or the platform; the sizes are therefore only
    close to the fractions.

    Args:
        ids: ``id_str`` of each galaxy.
        fractions: fraction of galaxies in each split, by name, adding up to 1.
        seed: another seed gives an independent division.
        purpose: so does another purpose; galaxies that are one part of a division must be
            divided further for another purpose, or the same hash puts them all in one part.

    Returns:
        Row numbers of each split, ascending, in the order of ``fractions``.

    Raises:
        ConfigError: the fractions are not positive or do not add up to 1.
    """
    shares = np.array(list(fractions.values()), dtype=np.float64)
    if not shares.size or not (shares > 0).all() or abs(shares.sum() - 1.0) > 1e-6:
        raise ConfigError(f"fractions {dict(fractions)}: must be positive and add up to 1")
    edges = np.cumsum(shares)[:-1]
    keys = np.array([stream_key(seed, purpose, name) for name in ids], dtype=np.uint64)
    places = (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53
    numbers = np.searchsorted(edges, places, side="right")
    return {name: np.flatnonzero(numbers == k) for k, name in enumerate(fractions)}


def check_no_overlap(train: Iterable[str], test: Iterable[str], *names: str) -> None:
    """Raise ``DataError`` if a galaxy, by ``id_str``, is in both of two splits called ``names``."""
    both = set(train) & set(test)
    if both:
        first, second = names
        raise DataError(
            f"data: {len(both)} galaxies, such as {min(both)!r}, are in split {first!r} and in "
            f"{second!r}; what is tested must not be trained on"
        )
