"""Learn galaxy embeddings without labels, and turn them into answers.

The public names are imported on first use, so ``import gzfound`` itself is nearly free.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gzfound.lazy import lazy_names

__version__ = "0.1.0"

# Read when torch loads. Threads that spin while they wait make a step several times slower as soon
# as one other program is busy on the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOME = {
    "ConfigError": "gzfound.errors",
    "DataError": "gzfound.errors",
    "DecisionTree": "gzfound.trees",
    "Embeddings": "gzfound.embedding",
    "GzfoundError": "gzfound.errors",
    "ImageError": "gzfound.errors",
    "OutputError": "gzfound.errors",
    "WeightsError": "gzfound.errors",
    "build_index": "gzfound.search",
    "embed": "gzfound.embedding",
    "extract": "gzfound.embedding",
    "find_neighbours": "gzfound.search",
    "list_trees": "gzfound.trees",
    "list_weights": "gzfound.weights",
    "load_dataset": "gzfound.data",
    "load_encoder": "gzfound.models",
    "load_tree": "gzfound.trees",
    "predict": "gzfound.prediction",
    "rank_anomalies": "gzfound.search",
}

if TYPE_CHECKING:
    from gzfound.data import load_dataset
    from gzfound.embedding import Embeddings, embed, extract
    from gzfound.errors import (
        ConfigError,
        DataError,
        GzfoundError,
        ImageError,
        OutputError,
        WeightsError,
    )
    from gzfound.models import load_encoder
    from gzfound.prediction import predict
    from gzfound.search import build_index, find_neighbours, rank_anomalies
    from gzfound.trees import DecisionTree, list_trees, load_tree
    from gzfound.weights import list_weights

__all__ = [
    "ConfigError",
    "DataError",
    "DecisionTree",
    "Embeddings",
    "GzfoundError",
    "ImageError",
    "OutputError",
    "WeightsError",
    "__version__",
    "build_index",
    "embed",
    "extract",
    "find_neighbours",
    "list_trees",
    "list_weights",
    "load_dataset",
    "load_encoder",
    "load_tree",
    "predict",
    "rank_anomalies",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
