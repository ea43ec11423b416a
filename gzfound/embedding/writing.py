"""Embeddings streamed to Parquet files, whole or absent."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.embedding.identity import EncoderIdentity
from gzfound.errors import ConfigError
from gzfound.files import atomic_directory, atomic_file, check_file, one_line_if_full

Vectors = npt.NDArray[np.float32]
Batch = tuple[list[str], Vectors]

_GROUP_NUMBERS = 2**20
"""Numbers in a row group of a file: 4 MiB, held in memory until they are written."""


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
    batches: Iterator[Batch],
    width: int,
    path: str | Path,
    rows_per_file: int | None = None,
    *,
    encoder: EncoderIdentity | None = None,
) -> int:
    """Stream embeddings to Parquet, whole or absent; returns the number of rows.

    Args:
        batches: ids and embeddings ``(b, width)``.
        width: length of an embedding.
        path: a file, or with ``rows_per_file`` a directory of files ``part-00000.parquet``, ...
        rows_per_file: rows of each file but the last.
        encoder: what made them, kept in the metadata of each file.
    """
    check_output(path, rows_per_file)
    tables = _tables(batches, width, rows_per_file or sys.maxsize)
    schema = _schema_of(width, encoder)
    if rows_per_file is None:
        with atomic_file(path) as temporary:
            return _write((table for _, table in tables), schema, temporary, Path(path))
    count = 0
    with atomic_directory(path) as folder:
        for number, some in itertools.groupby(tables, key=itemgetter(0)):
            file = folder / f"part-{number:05d}.parquet"
            count += _write((table for _, table in some), schema, file, Path(path))
        if not count:
            _write(iter([]), schema, folder / "part-00000.parquet", Path(path))
    return count


def write_one_file(
    batches: Iterator[Batch],
    width: int,
    path: Path,
    notes: Callable[[], Mapping[str, str]],
    encoder: EncoderIdentity,
) -> int:
    """Stream embeddings to one Parquet file, whole or absent; returns the number of rows.

    Args:
        batches: ids and embeddings ``(b, width)``.
        width: length of an embedding.
        path: the file.
        notes: gives more metadata of the file once all batches are written.
        encoder: what made them, kept in the metadata too.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as temporary:
        tables = (table for _, table in _tables(batches, width, sys.maxsize))
        return _write(tables, _schema_of(width, encoder), temporary, path, notes)


def _write(
    tables: Iterator[pa.Table],
    schema: pa.Schema,
    path: Path,
    target: Path,
    notes: Callable[[], Mapping[str, str]] = dict,
) -> int:
    """Write tables to ``path``, which is to become ``target``."""
    count = 0
    with one_line_if_full(target):
        writer = pq.ParquetWriter(path, schema)
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


def _schema_of(width: int, encoder: EncoderIdentity | None) -> pa.Schema:
    return _schema(width).with_metadata(encoder.metadata() if encoder else None)


def _schema(width: int) -> pa.Schema:
    return pa.schema([("id_str", pa.string()), ("embedding", pa.list_(pa.float32(), width))])


def _table(ids: Sequence[str], parts: Sequence[Vectors], width: int) -> pa.Table:
    flat = pa.array(np.concatenate(parts).astype(np.float32, copy=False).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table([pa.array(ids, pa.string()), column], schema=_schema(width))
