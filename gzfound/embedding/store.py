"""Embeddings in memory, and the Parquet files that hold them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.errors import ConfigError, DataError
from gzfound.files import atomic_directory, atomic_file, check_file, one_line_if_full

Vectors = npt.NDArray[np.float32]
Batch = tuple[list[str], Vectors]

_GROUP_NUMBERS = 2**20
"""Numbers in a row group of a file: 4 MiB, held in memory until they are written."""


@dataclass(frozen=True)
class Embeddings:
    """Embeddings with the galaxies they belong to.

    Attributes:
        ids: ``id_str`` of each galaxy.
        vectors: float32 ``(N, num_features)``.
    """

    ids: list[str]
    vectors: Vectors

    def write(self, path: str | Path) -> None:
        """Write a Parquet file with columns ``id_str`` and ``embedding`` (a fixed-size list)."""
        write_embeddings(iter([(self.ids, self.vectors)]), self.vectors.shape[1], path)

    @classmethod
    def read(cls, path: str | Path) -> Embeddings:
        """Read a file, or a directory of files in the order of their names.

        Raises:
            DataError: there is no Parquet file of embeddings.
        """
        batches = list(read_batches(path))
        width = batches[0][1].shape[1] if batches else embedding_width(path)
        vectors = np.concatenate([np.empty((0, width), np.float32), *(v for _, v in batches)])
        return cls([name for ids, _ in batches for name in ids], vectors)


def embedding_width(path: str | Path) -> int:
    """The length of the embeddings in a file, or in a directory of files.

    Raises:
        DataError: there is no Parquet file of embeddings.
    """
    first = _files(path)[0]
    try:
        return int(pq.read_schema(first).field("embedding").type.list_size)
    except (OSError, pa.ArrowException, AttributeError, KeyError) as error:
        raise _not_embeddings(path, error) from error


def read_batches(path: str | Path) -> Iterator[Batch]:
    """Ids and embeddings of a file, or of a directory of files, a row group at a time.

    Raises:
        DataError: there is no Parquet file of embeddings.
    """
    for file in _files(path):
        width = embedding_width(file)
        try:
            with pq.ParquetFile(file) as opened:
                for group in range(opened.num_row_groups):
                    table = opened.read_row_group(group, columns=["id_str", "embedding"])
                    column = table.column("embedding").combine_chunks()
                    vectors = np.asarray(column.flatten(), dtype=np.float32).reshape(-1, width)
                    yield table.column("id_str").to_pylist(), vectors
        except (OSError, pa.ArrowException, KeyError) as error:
            raise _not_embeddings(path, error) from error


def _files(path: str | Path) -> list[Path]:
    place = Path(path)
    found = sorted(place.glob("*.parquet")) if place.is_dir() else [place]
    if not found:
        raise DataError(f"embeddings: {path} holds no embeddings: no *.parquet in it")
    return found


def _not_embeddings(path: str | Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"embeddings: {path} holds no embeddings: {reason}")


def check_output(path: str | Path, rows_per_file: int | None) -> None:
    """Raise ``ConfigError`` if embeddings cannot be written there: before the work, not after it.

    Args:
        path: a file, or a directory if ``rows_per_file`` is given.
        rows_per_file: rows of each file in the directory.
    """
    if rows_per_file is None:
        check_file(path)
        return
    if rows_per_file < 1:
        raise ConfigError(f"rows_per_file: {rows_per_file} must be at least 1")
    place = Path(path)
    if place.exists() and not place.is_dir():
        raise ConfigError(f"output: {place} is a file; with rows_per_file name a directory")
    others = [p.name for p in place.glob("*") if not p.match("part-*.parquet")]
    if others:
        raise ConfigError(f"output: {place} holds other files ({others[0]}); name a new directory")


def write_embeddings(
    batches: Iterator[Batch], width: int, path: str | Path, rows_per_file: int | None = None
) -> int:
    """Stream embeddings to Parquet, whole or absent; returns the number of rows.

    Args:
        batches: ids and embeddings ``(b, width)``.
        width: length of an embedding.
        path: a file, or with ``rows_per_file`` a directory of files ``part-00000.parquet``, ...
        rows_per_file: rows of each file but the last.
    """
    check_output(path, rows_per_file)
    tables = _tables(batches, width, rows_per_file or sys.maxsize)
    if rows_per_file is None:
        with atomic_file(path) as temporary:
            return _write((table for _, table in tables), width, temporary, Path(path))
    count = 0
    with atomic_directory(path) as folder:
        for number, some in itertools.groupby(tables, key=itemgetter(0)):
            file = folder / f"part-{number:05d}.parquet"
            count += _write((table for _, table in some), width, file, Path(path))
        if not count:
            _write(iter([]), width, folder / "part-00000.parquet", Path(path))
    return count


def write_one_file(
    batches: Iterator[Batch], width: int, path: Path, notes: Callable[[], Mapping[str, str]]
) -> int:
    """Stream embeddings to one Parquet file, whole or absent; returns the number of rows.

    Args:
        batches: ids and embeddings ``(b, width)``.
        width: length of an embedding.
        path: the file.
        notes: gives the metadata of the file once all batches are written.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as temporary:
        tables = (table for _, table in _tables(batches, width, sys.maxsize))
        return _write(tables, width, temporary, path, notes)


def _write(
    tables: Iterator[pa.Table],
    width: int,
    path: Path,
    target: Path,
    notes: Callable[[], Mapping[str, str]] = dict,
) -> int:
    """Write tables to ``path``, which is to become ``target``."""
    count = 0
    with one_line_if_full(target):
        writer = pq.ParquetWriter(path, _schema(width))
    try:
        for table in tables:
            with one_line_if_full(target):
                writer.write_table(table)
            count += table.num_rows
        writer.add_key_value_metadata(dict(notes()))
    except BaseException:
        with suppress(OSError):
            writer.close()
        raise
    with one_line_if_full(target):
        writer.close()
    return count


def _tables(
    batches: Iterator[Batch], width: int, rows_per_file: int
) -> Iterator[tuple[int, pa.Table]]:
    """Row groups, each with the number of the file that it belongs to."""
    full = max(1, _GROUP_NUMBERS // width)
    ids: list[str] = []
    parts: list[Vectors] = []
    file, room = 0, rows_per_file
    for names, vectors in batches:
        while names:
            taken = min(len(names), full - len(ids), room)
            ids += names[:taken]
            parts.append(vectors[:taken])
            names, vectors, room = names[taken:], vectors[taken:], room - taken
            if len(ids) == full or not room:
                yield file, _table(ids, parts, width)
                ids, parts = [], []
            if not room:
                file, room = file + 1, rows_per_file
    if ids:
        yield file, _table(ids, parts, width)


def _schema(width: int) -> pa.Schema:
    return pa.schema([("id_str", pa.string()), ("embedding", pa.list_(pa.float32(), width))])


def _table(ids: Sequence[str], parts: Sequence[Vectors], width: int) -> pa.Table:
    flat = pa.array(np.concatenate(parts).astype(np.float32, copy=False).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table([pa.array(ids, pa.string()), column], schema=_schema(width))
