"""Search in embeddings on the disk: similar galaxies, and galaxies unlike all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gzfound.lazy import lazy_names

_HOME = {
    "Anomalies": "gzfound.search.anomalies",
    "IndexSummary": "gzfound.search.index",
    "Neighbours": "gzfound.search.find",
    "Searcher": "gzfound.search.searcher",
    "build_index": "gzfound.search.index",
    "find_neighbours": "gzfound.search.find",
    "rank_anomalies": "gzfound.search.anomalies",
}

if TYPE_CHECKING:
    from gzfound.search.anomalies import Anomalies, rank_anomalies
    from gzfound.search.find import Neighbours, find_neighbours
    from gzfound.search.index import IndexSummary, build_index
    from gzfound.search.searcher import Searcher

__all__ = [
    "Anomalies",
    "IndexSummary",
    "Neighbours",
    "Searcher",
    "build_index",
    "find_neighbours",
    "rank_anomalies",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
