"""Nearest neighbours by cosine similarity: exact, in blocks, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from gzfound.errors import ConfigError, DataError

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

QUERY_BLOCK = 256
VECTOR_BLOCK = 16_384


def nearest(
    vectors: npt.NDArray[np.floating],
    queries: npt.NDArray[np.floating],
    k: int,
    *,
    ids: Sequence[str] | npt.NDArray[np.generic] | None = None,
    query_ids: Sequence[str] | npt.NDArray[np.generic] | None = None,
) -> tuple[Integers, Floats]:
    """The ``k`` vectors most similar to each query, most similar first.

    Args:
        vectors: ``(N, F)`` embeddings; may be a memory map, read a block at a time.
        queries: ``(Q, F)`` embeddings to search for.
        k: how many neighbours to return.
        ids: ``(N,)`` names of the vectors. Give both or neither of ``ids`` and ``query_ids``:
            a query then never finds a vector of its own name.
        query_ids: ``(Q,)`` names of the queries.

    Returns:
        Row numbers into ``vectors`` ``(Q, k)`` and cosine similarities ``(Q, k)`` in [-1, 1].
        Equal similarities are ordered by row number. A vector of zeros has similarity 0 to all.

    Raises:
        DataError: the shapes do not agree, or a value is not finite.
        ConfigError: ``k`` is not between 1 and the number of vectors a query may find.
    """
    _check(vectors, queries, k)
    names, query_names = _name_codes(ids, query_ids, len(vectors), len(queries))

    own = None
    if names is not None and query_names is not None:
        own = partial(_of_own_name, names, query_names)
    starts = range(0, len(vectors), VECTOR_BLOCK)
    blocks = (vectors[first : first + VECTOR_BLOCK] for first in starts)
    rows, similarities = _scan(blocks, queries, k, own)
    if np.isneginf(similarities).any():
        raise ConfigError(
            f"k is {k}, but query {int(np.argmax(np.isneginf(similarities).any(axis=1)))} may "
            f"find fewer of the {len(vectors)} vectors than that: allowed is at most their number "
            "without those of the query's own name"
        )
    return rows, np.clip(similarities, -1, 1)


def nearest_in_blocks(
    blocks: Iterable[npt.NDArray[np.floating]], queries: npt.NDArray[np.floating], k: int
) -> tuple[Integers, Floats]:
    """:func:`nearest` among vectors that come a block ``(b, F)`` at a time, such as from a file.

    Rows count from the first block on. Raises :class:`ConfigError` where the blocks hold fewer
    than ``k`` vectors in all.
    """
    _check(queries, queries, 1)
    rows, similarities = _scan(blocks, queries, k)
    if k < 1 or np.isneginf(similarities).any():
        raise ConfigError(f"k is {k}: allowed is 1 to the number of vectors")
    return rows, np.clip(similarities, -1, 1)


def _scan(
    blocks: Iterable[npt.NDArray[np.floating]],
    queries: npt.NDArray[np.floating],
    k: int,
    own: Callable[[slice, int], npt.NDArray[np.bool_]] | None = None,
) -> tuple[Integers, Floats]:
    """The best ``k`` of each query; -inf where there are fewer.

    ``own`` gives what some queries may not find in the block that begins at a row.
    """
    rows = np.zeros((len(queries), k), dtype=np.int64)
    similarities = np.full((len(queries), k), -np.inf, dtype=np.float32)
    first = 0
    for block in blocks:
        units = unit_vectors(block, "vectors", first)
        for start in range(0, len(queries), QUERY_BLOCK):
            some = slice(start, start + QUERY_BLOCK)
            scores = unit_vectors(queries[some], "queries", start) @ units.T
            if own is not None:
                scores[own(some, first)] = -np.inf
            rows[some], similarities[some] = _merge(rows[some], similarities[some], first, scores)
        first += len(block)
    return rows, similarities


def _of_own_name(
    names: Integers, query_names: Integers, some: slice, first: int
) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = (
        query_names[some, None] == names[None, first : first + VECTOR_BLOCK]
    )
    return same


def unit_vectors(
    vectors: npt.NDArray[np.floating], name: str = "vectors", first_row: int = 0
) -> Floats:
    """``(N, F)`` vectors scaled to length 1 as float32; zeros stay zeros.

    ``name`` and ``first_row`` (the number of row 0) appear in the error about a value that is
    not finite, a :class:`DataError`.
    """
    values = np.asarray(vectors, dtype=np.float64)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = first_row + int(np.argmin(finite))
        raise DataError(f"{name}: row {row} holds a value that is not finite")
    lengths = np.sqrt(np.einsum("nf,nf->n", values, values))[:, None]
    units = np.zeros(values.shape, dtype=np.float32)
    np.divide(values, lengths, out=units, where=lengths > 0, casting="same_kind")
    return units


def representatives(
    vectors: npt.NDArray[np.floating], count: int, *, seed: int = 0, at_most: int = 5_000
) -> Integers:
    """Rows of ``count`` different, typical vectors: the nearest to each k-means centre.

    Clusters the first ``at_most`` rows of ``vectors`` ``(N, F)`` on the unit sphere. Raises
    :class:`ConfigError` where ``count`` is not between 1 and N.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    units = unit_vectors(vectors[:at_most])
    if not 1 <= count <= len(units):
        raise ConfigError(f"count is {count}: allowed is 1 to {len(units)}, the number of vectors")
    distinct = min(count, len(np.unique(units, axis=0)))
    with threadpool_limits(1):
        centres = KMeans(distinct, n_init=1, random_state=seed).fit(units).cluster_centers_
    distances = -(units @ centres.T.astype(np.float32))
    chosen: list[int] = []
    for column in [*range(distinct), *([0] * (count - distinct))]:
        order = np.argsort(distances[:, column], kind="stable")
        chosen.append(next(int(row) for row in order if int(row) not in chosen))
    return np.array(chosen, dtype=np.int64)


def _merge(rows: Integers, best: Floats, first: int, scores: Floats) -> tuple[Integers, Floats]:
    """The best ``k`` so far ``(Q, k)`` with ``scores`` ``(Q, N)`` of rows ``first`` and on."""
    k = best.shape[1]
    together = np.concatenate([best, scores], axis=1)
    columns = _largest(together, k)
    old = np.take_along_axis(rows, np.minimum(columns, k - 1), axis=1)
    return (
        np.where(columns < k, old, first + columns - k),
        np.take_along_axis(together, columns, axis=1),
    )


def _largest(scores: Floats, k: int) -> Integers:
    """The columns of the ``k`` largest scores of each line, falling, ties to the left."""
    threshold = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above = scores > threshold
    level = scores == threshold
    wanted = k - above.sum(axis=1, keepdims=True)
    keep = above | (level & (np.cumsum(level, axis=1, dtype=np.int32) <= wanted))
    columns = np.nonzero(keep)[1].reshape(len(scores), k)
    kept = np.take_along_axis(scores, columns, axis=1)
    return np.take_along_axis(columns, np.argsort(-kept, axis=1, kind="stable"), axis=1)


def _name_codes(
    ids: Sequence[str] | npt.NDArray[np.generic] | None,
    query_ids: Sequence[str] | npt.NDArray[np.generic] | None,
    vectors: int,
    queries: int,
) -> tuple[Integers | None, Integers | None]:
    if ids is None and query_ids is None:
        return None, None
    if ids is None or query_ids is None:
        raise DataError("ids and query_ids: one of them is missing; give both or neither")
    if len(ids) != vectors or len(query_ids) != queries:
        raise DataError(
            f"ids and query_ids hold {len(ids)} and {len(query_ids)} names, "
            f"but there are {vectors} vectors and {queries} queries"
        )
    together = np.concatenate([np.asarray(ids).astype(str), np.asarray(query_ids).astype(str)])
    codes = np.unique(together, return_inverse=True)[1].astype(np.int64)
    return codes[:vectors], codes[vectors:]


def _check(vectors: npt.NDArray[np.floating], queries: npt.NDArray[np.floating], k: int) -> None:
    for name, array in (("vectors", vectors), ("queries", queries)):
        if array.ndim != 2:
            raise DataError(f"{name} has shape {array.shape}: allowed is (rows, features)")
    if vectors.shape[1] != queries.shape[1]:
        raise DataError(
            f"queries have {queries.shape[1]} features, but vectors have {vectors.shape[1]}"
        )
    if not 1 <= k <= len(vectors):
        raise ConfigError(f"k is {k}: allowed is 1 to {len(vectors)}, the number of vectors")
