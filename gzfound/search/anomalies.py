"""How unlike the others each galaxy is, by three methods, on embeddings of unit length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.embedding.table import EmbeddingTable, Integers
from gzfound.errors import ConfigError
from gzfound.files import atomic_file
from gzfound.neighbours import Floats, unit_vectors
from gzfound.search.searcher import Searcher

Method = Literal["isolation_forest", "local_outlier_factor", "neighbour_distance"]
METHODS: tuple[Method, ...] = get_args(Method)

DEFAULT_K = 50
"""Neighbours that a galaxy is compared with: more than there are alike anomalies."""
_SAMPLE = 20_000
"""Most galaxies that the forest and the outlier factor are fitted to."""
_TREES = 300
_COMPONENTS = 64
"""Principal components that the forest sees."""

Scores = npt.NDArray[np.floating]
Score = Callable[[Integers, Floats], Scores]
"""Scores ``(b,)`` of rows ``(b,)`` with unit vectors ``(b, F)``."""


@dataclass(frozen=True)
class Anomalies:
    """The strangest galaxies of a table, strangest first.

    Attributes:
        method: how they were found.
        ids: ``id_str`` of each.
        scores: of each; higher is stranger, and comparable within one ranking alone.
    """

    method: Method
    ids: list[str]
    scores: Floats

    def write(self, path: str | Path) -> None:
        """Write a Parquet file with columns ``id_str``, ``score`` and ``rank`` from 1."""
        ranks = pa.array(range(1, len(self.ids) + 1), pa.int64())
        table = pa.table({"id_str": self.ids, "score": self.scores, "rank": ranks})
        with atomic_file(path) as temporary:
            pq.write_table(table, temporary)


def rank_anomalies(
    embeddings: str | Path,
    method: Method = "isolation_forest",
    *,
    top: int | None = None,
    k: int | None = None,
    seed: int = 0,
    exact: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Anomalies:
    """Rank the galaxies of a table by how unlike the others they are.

    ``isolation_forest`` (Liu et al. 2008) asks how few random cuts part a galaxy from the others;
    ``local_outlier_factor`` (Breunig et al. 2000) how much sparser it is around it than around its
    neighbours; ``neighbour_distance`` how far its neighbours are: the mean of 1 - cosine. The
    first two are fitted to at most 20,000 galaxies drawn at random.

    Args:
        embeddings: a Parquet file of ``gzfound embed``, or a directory of them.
        method: one of the three.
        top: how many galaxies to give, all by default.
        k: neighbours that a galaxy is compared with; by default 50, or half of all where these
            are few. A group of more alike galaxies than that is no anomaly to the last two methods.
        seed: of the sample and the forest.
        exact: find neighbours exactly, even where there is an index.
        progress: called with the galaxies done and the galaxies in all.

    Raises:
        DataError: the embeddings cannot be read.
        ConfigError: an option is out of range.
    """
    table = EmbeddingTable(embeddings)
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: not one of {', '.join(METHODS)}")
    if top is not None and top < 1:
        raise ConfigError(f"top {top}: must be at least 1")
    others = min(table.rows, _SAMPLE) - 1
    if others < 1:
        raise ConfigError(f"embeddings: {table.path} holds {table.rows}; an anomaly needs others")
    if k is not None and not 1 <= k <= others:
        raise ConfigError(f"k is {k}: allowed is 1 to {others}")
    near = min(DEFAULT_K, (others + 1) // 2) if k is None else k
    if method == "neighbour_distance":
        score = _distance(Searcher(embeddings, exact=exact), near)
    elif method == "isolation_forest":
        score = _forest(table, seed)
    else:
        score = _outlier_factor(table, near, seed)
    scores = np.empty(table.rows, dtype=np.float32)
    first = 0
    for block in table.blocks():
        rows = np.arange(first, first + len(block))
        scores[rows] = score(rows, unit_vectors(block, "vectors", first))
        first += len(block)
        if progress is not None:
            progress(first, table.rows)
    order = np.argsort(-scores, kind="stable")[:top]
    return Anomalies(method, table.names(order), scores[order])


def _distance(searcher: Searcher, k: int) -> Score:
    def score(rows: Integers, units: Floats) -> Scores:
        _, similarities = searcher.nearest_others(rows, units, k)
        distances: Scores = 1 - similarities.mean(axis=1)
        return distances

    return score


def _forest(table: EmbeddingTable, seed: int) -> Score:
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest

    _, sample = table.sample(min(table.rows, _SAMPLE), seed)
    units = unit_vectors(sample)
    most = min(_COMPONENTS, *units.shape)
    components = PCA(most, svd_solver="full").fit(units)
    forest = IsolationForest(n_estimators=_TREES, random_state=seed)
    forest.fit(components.transform(units))

    def score(_: Integers, units: Floats) -> Scores:
        found: npt.NDArray[np.float64] = forest.score_samples(components.transform(units))
        return -found

    return score


def _outlier_factor(table: EmbeddingTable, k: int, seed: int) -> Score:
    """Of those fitted to, the factor among them; of the others, as a newcomer among them."""
    from sklearn.neighbors import LocalOutlierFactor

    fitted, sample = table.sample(min(table.rows, _SAMPLE), seed)
    factor: Any = LocalOutlierFactor(n_neighbors=k, algorithm="brute", novelty=True)
    factor.fit(unit_vectors(sample))

    def score(rows: Integers, units: Floats) -> Scores:
        found = np.empty(len(rows))
        inside = np.isin(rows, fitted)
        places = np.searchsorted(fitted, rows[inside])
        found[inside] = factor.negative_outlier_factor_[places]
        if not inside.all():
            found[~inside] = factor.score_samples(units[~inside])
        return -found

    return score
