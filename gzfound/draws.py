"""Random draws that depend on what they are for, never on when they are made.

Every draw is a hash of (seed, stream, galaxy, column), so the views, votes and images of a
galaxy are the same whatever the batch, the process or the thread that asks for them.
The mixing function is the finaliser of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, fig. 17).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def stream_key(*parts: int | str) -> np.uint64:
    """A 64-bit key for a stream of draws, such as ``stream_key(seed, "views", epoch)``."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))


def hash_words(key: np.uint64, ids: npt.ArrayLike, columns: int) -> npt.NDArray[np.uint64]:
    """Hashes of shape ``(len(ids), columns)``; row i depends only on ``key`` and ``ids[i]``."""
    rows = np.asarray(ids).astype(np.uint64)
    with np.errstate(over="ignore"):
        start = _mix((rows + np.uint64(1)) * _GOLDEN ^ key)
        steps = (np.arange(columns, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        return _mix(start[:, None] + steps[None, :])


def uniforms(key: np.uint64, ids: npt.ArrayLike, columns: int) -> npt.NDArray[np.float64]:
    """Uniform draws in [0, 1) of shape ``(len(ids), columns)``, one row a galaxy."""
    words = hash_words(key, ids, columns)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(key: np.uint64, length: int) -> npt.NDArray[np.int64]:
    """A random order of ``range(length)`` that depends only on ``key``."""
    return np.random.Generator(np.random.Philox(key=int(key))).permutation(length)
