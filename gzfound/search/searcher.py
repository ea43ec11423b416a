"""The nearest embeddings of a table: through its index where there is one, else exactly."""

from __future__ import annotations

import logging
from pathlib import Path

from gzfound.embedding.table import EmbeddingTable
from gzfound.embedding.writing import Vectors
from gzfound.errors import ConfigError, DataError
from gzfound.neighbours import Floats, Integers, nearest_in_blocks
from gzfound.search import index as indexes

_LOGGER = logging.getLogger("gzfound.search")


class Searcher:
    """Searches the embeddings of a Parquet file, or of a directory of files, by cosine similarity.

    Attributes:
        table: the embeddings.
        index: their index; None where the search is exact.

    Args:
        embeddings: a file or directory of ``gzfound embed``.
        exact: compare with every embedding, even where there is an index.

    Raises:
        DataError: the embeddings cannot be read; or their index is of other embeddings, or damaged.
    """

    def __init__(self, embeddings: str | Path, *, exact: bool = False) -> None:
        self.table = EmbeddingTable(embeddings)
        self.index: indexes.Index | None = None
        if exact or self.table.rows < indexes.LEAST_ROWS:
            return
        if indexes.index_path(embeddings).exists():
            self.index = indexes.Index(self.table)
        else:
            _LOGGER.warning(
                "no index: each search reads all %d embeddings; `gzfound index %s` makes one",
                self.table.rows,
                embeddings,
            )

    def nearest(self, queries: Vectors, k: int) -> tuple[Integers, Floats]:
        """The ``k`` rows most similar to each query, most similar first.

        Args:
            queries: ``(Q, features)`` vectors of any length.
            k: how many rows to find.

        Returns:
            Rows ``(Q, k)`` and cosine similarities ``(Q, k)``.

        Raises:
            DataError: the queries have another shape, or a value is not finite.
            ConfigError: ``k`` is not between 1 and the number of rows.
        """
        if queries.ndim != 2 or queries.shape[1] != self.table.features:
            raise DataError(
                f"queries have shape {queries.shape}: allowed is (any, {self.table.features})"
            )
        if not 1 <= k <= self.table.rows:
            raise ConfigError(
                f"k is {k}: allowed is 1 to {self.table.rows}, the number of embeddings"
            )
        if self.index is None:
            return nearest_in_blocks(self.table.blocks(), queries, k)
        rows, similarities = self.index.nearest(queries, k)
        short = (rows < 0).any(axis=1)
        if short.any():
            rows[short], similarities[short] = nearest_in_blocks(
                self.table.blocks(), queries[short], k
            )
        return rows, similarities

    def nearest_others(self, rows: Integers, queries: Vectors, k: int) -> tuple[Integers, Floats]:
        """:meth:`nearest` of ``queries``, the embeddings of ``rows``, without themselves."""
        found, similarities = self.nearest(queries, k + 1)
        own = found == rows[:, None]
        own[~own.any(axis=1), -1] = True
        return found[~own].reshape(-1, k), similarities[~own].reshape(-1, k)
