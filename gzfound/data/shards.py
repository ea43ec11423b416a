"""The Parquet files of one split: rows in as tables of any size, files of fixed row groups out.

Whoever loads a dataset holds an object for each column of each row group, and whoever streams it
holds some row groups whole. So a group has 100 rows of large images, and more of small ones once
the split is long enough to have many groups. ``datasets`` reads a file in batches of the length of
its first group, so those of a file are of one size.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gzfound.data.card import SplitSize

ROWS_PER_GROUP = 100
"""Rows of a row group at least, but for the last one."""
MOST_ROWS_PER_GROUP = 10_000
BYTES_PER_GROUP = 4 * 2**20
"""Bytes of images that a row group of more rows may hold."""
GROUPS_BEFORE = 20
"""A row group is at most this part of the rows before its file, if it has more than the least."""
APART = 4
"""A new file begins where row groups would be so many times larger or smaller."""
BYTES_PER_FILE = 256 * 2**20
GROUPS_PER_FILE = 1000
"""Row groups of the least length, or as many rows: ``datasets`` reads a file into memory."""
_PIECES = 16
TINY_EVERY = 100
TINY_LEAST = 8


class ParquetShards:
    """The Parquet files of one split: fixed row groups, a new file when one is large or long."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self._folder, self._split, self._schema = folder, split, schema
        self._pending: list[pa.Table] = []
        self._waiting = self._written = 0
        self._times, self._planned = 0, False
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Add rows; whole row groups are written at once, the rest waits."""
        self._pending.append(table.cast(self._schema))
        self._waiting += len(table)
        if len(self._pending) > _PIECES:  # each holds an object for each column
            self._pending = [pa.concat_tables(self._pending).combine_chunks()]
        while self._waiting >= self._next_group():
            rows = self._next_group()
            whole = pa.concat_tables(self._pending)
            self._pending = [whole.slice(rows).combine_chunks()]
            self._waiting -= rows
            self._write_group(whole.slice(0, rows))

    def _next_group(self) -> int:
        """Rows of the next group; it depends on the rows alone, not on how they come."""
        if self._waiting < ROWS_PER_GROUP:
            return ROWS_PER_GROUP
        if not self._planned:
            first = pa.concat_tables(self._pending).slice(0, ROWS_PER_GROUP)
            lengths = pc.binary_length(pc.struct_field(first["image"], "bytes"))
            wanted = min(
                BYTES_PER_GROUP // max(1, pc.sum(lengths).as_py() or 0),
                MOST_ROWS_PER_GROUP // ROWS_PER_GROUP,
                self._written // (GROUPS_BEFORE * ROWS_PER_GROUP),
            )
            if not self._times <= APART * max(1, wanted) < APART**2 * self._times:
                self._close_file()
                self._times = max(1, wanted)
            self._planned = True
        return ROWS_PER_GROUP * self._times

    def _write_group(self, table: pa.Table) -> None:
        if self._writer is None:
            path = self._folder / f"{self._split}-{len(self._files):05d}.part"
            self._files.append(path)
            dictionaries = [name for name in ("dataset_name",) if name in self._schema.names]
            self._writer = pq.ParquetWriter(path, self._schema, use_dictionary=dictionaries)
        self._writer.write_table(table.combine_chunks(), row_group_size=len(table))
        self._rows += len(table)
        self._written += len(table)
        self._planned = False
        large = self._files[-1].stat().st_size >= BYTES_PER_FILE
        if large or self._rows >= GROUPS_PER_FILE * ROWS_PER_GROUP:
            self._close_file()

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._rows = self._times = 0

    def finish(self) -> SplitSize:
        """Write what waits and name the files; a split without rows has no file."""
        if self._waiting:
            self._write_group(pa.concat_tables(self._pending))
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
