"""Embeddings in memory, and read back from the Parquet files that hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.data.table import shorten
from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.writing import Batch, Vectors, write_embeddings
from gzfound.errors import DataError

MANIFEST = "manifest.json"
"""File, in a directory of an extraction that can be resumed, of how many files it is to hold."""


@dataclass(frozen=True)
class Embeddings:
    """Embeddings with the galaxies they belong to.

    Attributes:
        ids: ``id_str`` of each galaxy.
        vectors: float32 ``(N, num_features)``.
        encoder: what made them, where that is known.
    """

    ids: list[str]
    vectors: Vectors
    encoder: EncoderIdentity | None = None

    def write(self, path: str | Path) -> None:
        """Write a Parquet file with columns ``id_str`` and ``embedding`` (a fixed-size list)."""
        rows = iter([(self.ids, self.vectors)])
        write_embeddings(rows, self.vectors.shape[1], path, encoder=self.encoder)

    @classmethod
    def read(cls, path: str | Path) -> Embeddings:
        """Read a file, or a directory of files in the order of their names.

        Raises:
            DataError: there is no Parquet file of embeddings.
        """
        batches = list(read_batches(path))
        width = batches[0][1].shape[1] if batches else embedding_width(path)
        vectors = np.concatenate([np.empty((0, width), np.float32), *(v for _, v in batches)])
        return cls([name for ids, _ in batches for name in ids], vectors, encoder_of(path))


def embedding_width(path: str | Path) -> int:
    """The length of the embeddings in a file, or in a directory of files.

    Raises:
        DataError: there is no Parquet file of embeddings.
    """
    first = embedding_files(path)[0]
    with opened(first) as parquet:
        return vector_length(parquet.schema_arrow, first)


def encoder_of(path: str | Path) -> EncoderIdentity | None:
    """The encoder that made the embeddings in a file, or in a directory of files, where they say.

    Raises:
        DataError: there is no Parquet file of embeddings, or files of two encoders.
    """
    found = []
    for file in embedding_files(path):
        with opened(file) as parquet:
            found.append(EncoderIdentity.from_metadata(parquet.schema_arrow.metadata))
        if found[0] != found[-1]:
            raise DataError(f"embeddings: {path} holds files of several encoders ({file.name})")
    return found[0]


def read_batches(path: str | Path) -> Iterator[Batch]:
    """Ids and embeddings of a file, or of a directory of files, a row group at a time.

    Raises:
        DataError: there is no Parquet file of embeddings.
    """
    width = embedding_width(path)
    for file in embedding_files(path):
        with opened(file) as parquet:
            if vector_length(parquet.schema_arrow, file) != width:
                raise DataError(f"embeddings: {file} has not the {width} numbers of the first")
            for group in range(parquet.num_row_groups):
                table = parquet.read_row_group(group, columns=["id_str", "embedding"])
                table.validate()
                ids = checked_ids(table.column("id_str").combine_chunks(), file)
                column = table.column("embedding").combine_chunks()
                yield ids.to_pylist(), checked_vectors(column, width, file)


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file of embeddings while it is read.

    Raises:
        DataError: it cannot be.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            yield parquet
    except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"embeddings: {file} holds no embeddings: {reason}") from error


def vector_length(schema: pa.Schema, file: Path) -> int:
    """The length of the embeddings in a file with columns ``id_str`` and ``embedding``."""
    for name in ("id_str", "embedding"):
        if schema.names.count(name) != 1:
            found = shorten(schema.names)
            reason = f"one column '{name}' is needed; found {found}"
            raise DataError(f"embeddings: {file} holds no embeddings: {reason}")
    kind = schema.field("embedding").type
    if not pa.types.is_fixed_size_list(kind) or kind.list_size < 1:
        reason = f"column 'embedding' must hold lists of one size, not {kind}"
        raise DataError(f"embeddings: {file} holds no embeddings: {reason}")
    return int(kind.list_size)


def checked_ids(column: Any, file: Path) -> Any:
    """Names as text, within :func:`opened`; raises ``DataError`` if one is missing."""
    ids = column.cast(pa.string())
    ids.validate(full=True)
    if ids.null_count:
        raise DataError(f"embeddings: {file} has rows without an id_str")
    return ids


def checked_vectors(column: Any, width: int, file: Path) -> Vectors:
    """Embeddings ``(b, width)``, within :func:`opened`; raises ``DataError`` if one is missing."""
    lists = column.cast(pa.list_(pa.float32(), width))
    lists.validate(full=True)
    values = lists.flatten()
    if lists.null_count or values.null_count:
        raise DataError(f"embeddings: {file} has rows without an embedding, or without all of it")
    vectors: Vectors = values.to_numpy().reshape(-1, width)
    return vectors


def embedding_files(path: str | Path) -> list[Path]:
    """The file, or the Parquet files of a directory in the order of their names: at least one.

    Raises:
        DataError: there is none, or fewer than an extraction that was killed has to write.
    """
    place = Path(path)
    found = sorted(place.glob("*.parquet")) if place.is_dir() else [place]
    if not found:
        raise DataError(f"embeddings: {path} holds no embeddings: no *.parquet in it")
    wanted = _files_of_extraction(place / MANIFEST)
    if len(found) < wanted:
        raise DataError(
            f"embeddings: {path} is not finished: {len(found)} of {wanted} files are there; run "
            "the extraction again with --resume"
        )
    return found


def _files_of_extraction(manifest: Path) -> int:
    """How many files an extraction is to write; 0 where nothing says so."""
    try:
        return int(json.loads(manifest.read_text(encoding="utf-8"))["files"])
    except (OSError, KeyError, TypeError):  # none, or one of something else
        return 0
    except ValueError as error:
        raise DataError(f"embeddings: {manifest} is damaged: {error}") from error
