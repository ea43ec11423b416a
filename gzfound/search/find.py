"""Similar galaxies, by the name of one in a table of embeddings or by an image file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.table import EmbeddingTable, Integers
from gzfound.embedding.writing import Vectors
from gzfound.errors import ConfigError, DataError, WeightsError
from gzfound.neighbours import Floats
from gzfound.search.searcher import Searcher


@dataclass(frozen=True)
class Neighbours:
    """What is most like a galaxy.

    Attributes:
        query: the ``id_str`` or the image file that was asked for.
        image: whether it is an image file.
        ids: of the ``k`` most similar galaxies, most similar first.
        similarities: cosine similarity of each, ``(k,)``.
    """

    query: str
    image: bool
    ids: list[str]
    similarities: Floats


def find_neighbours(
    embeddings: str | Path,
    query: str | Path | Sequence[str | Path],
    k: int = 10,
    *,
    weights: str | Path | None = None,
    exact: bool = False,
) -> list[Neighbours]:
    """The ``k`` galaxies most similar to each query, by the cosine of their embeddings.

    Args:
        embeddings: a Parquet file of ``gzfound embed``, or a directory of them. Its index is used
            where there is one (:func:`gzfound.build_index`).
        query: an ``id_str`` of the table or an image file, or several. A galaxy of the table never
            finds itself. An image is embedded by the weights that made the table.
        k: how many galaxies to find.
        weights: where those weights are now, if no longer where the table says.
        exact: compare with every embedding, even where there is an index.

    Returns:
        One result a query, in the same order.

    Raises:
        DataError: the table or an image cannot be read, or a query is neither.
        WeightsError: the weights are not those that made the table.
        ConfigError: ``k`` is not between 1 and the number of other galaxies.
    """
    queries = [str(q) for q in ([query] if isinstance(query, (str, Path)) else query)]
    if not queries:
        raise ConfigError("query: missing; name an id_str of the table or an image file")
    searcher = Searcher(embeddings, exact=exact)
    table = searcher.table
    own = table.find(queries)
    images = [name for name in queries if not len(own[name])]
    for name in images:
        if not Path(name).is_file():
            raise DataError(f"query: '{name}' is no id_str of {table.path} and no image file")
    known = [name for name in queries if len(own[name])]
    vectors = np.empty((len(queries), table.features), dtype=np.float32)
    at = {name: place for place, name in enumerate(queries)}
    if known:
        vectors[[at[n] for n in known]] = table.vectors([own[n][0] for n in known])
    if images:
        vectors[[at[n] for n in images]] = _embedded(images, table, weights)
    vectors = vectors[[at[name] for name in queries]]
    most = max(len(rows) for rows in own.values())
    if not 1 <= k <= table.rows - most:
        raise ConfigError(
            f"k is {k}: allowed is 1 to {table.rows - most}, the number of other galaxies"
        )
    rows, similarities = searcher.nearest(vectors, k + most)
    kept = [
        _without(found, scores, own[name], k)
        for name, found, scores in zip(queries, rows, similarities, strict=True)
    ]
    names = table.names(np.concatenate([found for found, _ in kept]))
    return [
        Neighbours(name, name in images, names[k * n : k * n + k], scores)
        for n, (name, (_, scores)) in enumerate(zip(queries, kept, strict=True))
    ]


def _without(
    rows: Integers, similarities: Floats, left_out: Integers, k: int
) -> tuple[Integers, Floats]:
    keep = np.flatnonzero(~np.isin(rows, left_out))[:k]
    return rows[keep], similarities[keep]


def _embedded(images: Sequence[str], table: EmbeddingTable, weights: str | Path | None) -> Vectors:
    """Embeddings of image files by the weights that made the table."""
    made_by = table.encoder
    if made_by is None:
        raise DataError(
            f"embeddings: {table.path} does not say which weights made it, so that no image can be "
            "compared with it; embed it anew, or query by id_str"
        )
    from datasets import Dataset

    from gzfound.embedding.calls import embed
    from gzfound.models import load_encoder

    named = weights or made_by.weights
    if not named:
        raise WeightsError(f"weights: {table.path} does not say where they are; name them")
    encoder = load_encoder(named, crop=made_by.crop, fits=made_by.fits)
    if EncoderIdentity.of(encoder).digest != made_by.digest:
        raise WeightsError(
            f"weights: {named} did not make {table.path}: "
            f"{made_by.weights or 'others'} did, as they were then"
        )
    return embed(Dataset.from_dict({"image": images, "id_str": images}), encoder).vectors
