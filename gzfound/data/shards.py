"""The Parquet files of one split: rows in as tables of any size, files of fixed row groups out.

A writer holds what it will say of each row group at the end of the file, so memory grows with the
row groups of a file: they are limited too, for tables without images or with tiny ones.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.data.card import SplitSize

ROWS_PER_GROUP = 100
BYTES_PER_FILE = 256 * 2**20
GROUPS_PER_FILE = 1000
TINY_EVERY = 100
TINY_LEAST = 8


class ParquetShards:
    """The Parquet files of one split: fixed row groups, a new file when one is large or long."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self._folder, self._split, self._schema = folder, split, schema
        self._pending = schema.empty_table()
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._groups = 0

    def add(self, table: pa.Table) -> None:
        """Add rows; whole row groups are written at once, the rest waits."""
        self._pending = pa.concat_tables([self._pending, table.cast(self._schema)])
        while len(self._pending) >= ROWS_PER_GROUP:
            self._write_group(self._pending.slice(0, ROWS_PER_GROUP))
            self._pending = self._pending.slice(ROWS_PER_GROUP)
        self._pending = self._pending.combine_chunks()

    def _write_group(self, table: pa.Table) -> None:
        if self._writer is None:
            path = self._folder / f"{self._split}-{len(self._files):05d}.part"
            self._files.append(path)
            dictionaries = [name for name in ("dataset_name",) if name in self._schema.names]
            self._writer = pq.ParquetWriter(path, self._schema, use_dictionary=dictionaries)
        self._writer.write_table(table.combine_chunks(), row_group_size=ROWS_PER_GROUP)
        self._groups += 1
        large = self._files[-1].stat().st_size >= BYTES_PER_FILE
        if large or self._groups >= GROUPS_PER_FILE:
            self._close_file()

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._groups = 0

    def finish(self) -> SplitSize:
        """Write what waits and name the files; a split without rows has no file."""
        if len(self._pending):
            self._write_group(self._pending)
        self._close_file()
        rows = num_bytes = download = 0
        for number, path in enumerate(self._files):
            metadata = pq.read_metadata(path)
            rows += metadata.num_rows
            groups = range(metadata.num_row_groups)
            num_bytes += sum(metadata.row_group(group).total_byte_size for group in groups)
            download += path.stat().st_size
            name = f"{self._split}-{number:05d}-of-{len(self._files):05d}.parquet"
            path.replace(path.with_name(name))
        return SplitSize(rows, num_bytes, download)


class OneInAHundred:
    """Passes on every hundredth row, or the first few rows of a split that has too few."""

    def __init__(self, sink: ParquetShards) -> None:
        self._sink = sink
        self._seen = self._kept = 0
        self._first: pa.Table | None = None
        self._held: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Take rows 99, 199, ... of the split, counted from its start."""
        if self._first is None or len(self._first) < TINY_LEAST:
            head = table.slice(0, TINY_LEAST - (0 if self._first is None else len(self._first)))
            self._first = head if self._first is None else pa.concat_tables([self._first, head])
        start = (TINY_EVERY - 1 - self._seen) % TINY_EVERY
        kept = table.take(pa.array(range(start, len(table), TINY_EVERY), pa.int64()))
        self._seen += len(table)
        self._kept += len(kept)
        self._held.append(kept)
        if self._kept >= TINY_LEAST:
            self._release()

    def _release(self) -> None:
        for table in self._held:
            self._sink.add(table)
        self._held = []

    def finish(self) -> SplitSize:
        """Fall back on the first rows if need be, and finish the files."""
        if self._kept < TINY_LEAST and self._first is not None:
            self._held = [self._first]
        self._release()
        return self._sink.finish()
