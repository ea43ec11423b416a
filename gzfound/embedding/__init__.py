"""Images in, embeddings out: one call, one row a galaxy, in the order of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gzfound.lazy import lazy_names

_HOME = {
    "Embeddings": "gzfound.embedding.store",
    "Forward": "gzfound.embedding.forward",
    "Vectors": "gzfound.embedding.writing",
    "embed": "gzfound.embedding.calls",
    "embed_arrays": "gzfound.embedding.forward",
    "embed_batches": "gzfound.embedding.batches",
    "extract": "gzfound.embedding.calls",
    "whole_dataset": "gzfound.embedding.calls",
    "write_embeddings": "gzfound.embedding.writing",
}

if TYPE_CHECKING:
    from gzfound.embedding.batches import embed_batches
    from gzfound.embedding.calls import embed, extract, whole_dataset
    from gzfound.embedding.forward import Forward, embed_arrays
    from gzfound.embedding.store import Embeddings
    from gzfound.embedding.writing import Vectors, write_embeddings

__all__ = [
    "Embeddings",
    "Forward",
    "Vectors",
    "embed",
    "embed_arrays",
    "embed_batches",
    "extract",
    "whole_dataset",
    "write_embeddings",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
