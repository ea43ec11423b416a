"""Tables too large for memory, a few rows at a time: CSV as text, Parquet as it is typed."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from gzfound.data.image_index import id_of
from gzfound.data.shards import ROWS_PER_GROUP
from gzfound.data.table import (
    FILE_COLUMNS,
    ID_COLUMNS,
    TABLE_ENDINGS,
    check_names,
    is_table,
    shorten,
    text_of,
)
from gzfound.draws import stream_key
from gzfound.errors import DataError

RELEASE_IDS = ("subject_id", "objid", "dr7objid", "iauname", "survey_id", "zooniverse_id")
"""Columns that name galaxies in released tables, beside those of every table."""
_CSV_BLOCK = 2**22


@dataclass(frozen=True)
class RawTable:
    """A table on the disk.

    Attributes:
        path: of the file.
        names: of its columns.
        id_column: names the galaxies; None where only image files are named.
        file_column: names the image files; None where the ids do.
    """

    path: Path
    names: tuple[str, ...]
    id_column: str | None
    file_column: str | None

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows in order, ``ROWS_PER_GROUP`` or fewer at a time.

        Raises:
            DataError: the file is broken.
        """
        wanted = list(dict.fromkeys(columns))
        try:
            for batch in _read(self.path, wanted):
                batch.validate(full=True)
                for start in range(0, batch.num_rows, ROWS_PER_GROUP):
                    yield batch.slice(start, ROWS_PER_GROUP)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error

    @property
    def naming(self) -> tuple[str, ...]:
        """The columns that name galaxies and images."""
        return tuple(name for name in (self.id_column, self.file_column) if name)

    def ids(self, batch: pa.RecordBatch) -> list[str | None]:
        """``id_str`` of each row; None where there is none."""
        if self.id_column is not None:
            return _as_text(batch, self.id_column, self.path)
        names = self.files(batch)
        return [id_of(name) if name and PurePath(name).suffix else name for name in names]

    def files(self, batch: pa.RecordBatch) -> list[str | None]:
        """What each row calls its image; None where it does not."""
        column = self.file_column or self.id_column
        return [] if column is None else _as_text(batch, column, self.path)


def open_table(path: str | Path, id_column: str | None = None) -> RawTable:
    """Open a CSV or Parquet table and find the columns that name galaxies and images.

    Raises:
        DataError: it is no such table, or none of its columns names its galaxies.
    """
    file = Path(path).expanduser()
    if not file.is_file() or not is_table(file):
        raise DataError(f"{path}: no such table; allowed: {', '.join(TABLE_ENDINGS)}")
    try:
        names = tuple(_names(file))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error
    check_names(names, file)
    allowed = (*ID_COLUMNS, *RELEASE_IDS)
    if id_column is not None and id_column not in names:
        raise DataError(f"{file}: no column '{id_column}'; found {shorten(list(names))}")
    chosen = id_column or next((name for name in allowed if name in names), None)
    listed = next((name for name in FILE_COLUMNS if name in names), None)
    if chosen is None and listed is None:
        raise DataError(
            f"{file}: no column names the galaxies; needs one of "
            f"{', '.join((*allowed, *FILE_COLUMNS))}, or --id-column; found {shorten(list(names))}"
        )
    return RawTable(file, names, chosen, listed)


@dataclass(frozen=True)
class Survey:
    """What one pass over a table finds out before anything is written.

    Attributes:
        rows: how many there are.
        repeated: hashes of the ids that occur more than once.
        types: of the columns asked for.
    """

    rows: int
    repeated: frozenset[int]
    types: dict[str, pa.DataType]


def survey(table: RawTable, others: Sequence[str]) -> Survey:
    """Count the rows, find repeated ids and the types of ``others``; 8 bytes of memory a row."""
    hashes = array("Q")
    kinds: dict[str, list[pa.DataType]] = {name: [] for name in others}
    rows = 0
    for batch in table.batches([*table.naming, *others]):
        rows += batch.num_rows
        hashes.extend(hash_of(name) for name in table.ids(batch) if name)
        for name in others:
            kinds[name] = _narrowed(batch.column(name), kinds[name])
    ordered = np.frombuffer(hashes, np.uint64)
    ordered.sort()
    repeated = frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    types = {name: options[0] for name, options in kinds.items() if options}
    return Survey(rows, repeated, types)


def hash_of(name: str) -> int:
    """64 bits of an ``id_str``."""
    return int(stream_key(0, "id", name))


def _narrowed(column: pa.Array, so_far: list[pa.DataType]) -> list[pa.DataType]:
    """The types that all values so far fit, narrowest first; none for a type that is not kept."""
    kind = column.type
    if not pa.types.is_string(kind):
        return [kind.value_type] if pa.types.is_dictionary(kind) else _kept(kind)
    fits = []
    for option in so_far or [pa.int64(), pa.float64(), pa.string()]:
        try:
            column.cast(option)
        except pa.ArrowInvalid:
            continue
        fits.append(option)
    return fits


def _kept(kind: pa.DataType) -> list[pa.DataType]:
    return [] if pa.types.is_nested(kind) or pa.types.is_null(kind) else [kind]


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(".parquet")


def _names(path: Path) -> list[str]:
    if _is_parquet(path):
        return list(parquet.read_schema(path).names)
    with csv.open_csv(path, csv.ReadOptions(block_size=_CSV_BLOCK)) as reader:
        return list(reader.schema.names)


def _read(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    if _is_parquet(path):
        with parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):  # what is read beyond one is held to the end
                yield from file.iter_batches(ROWS_PER_GROUP, row_groups=[group], columns=columns)
        return
    text = csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()),
        include_columns=columns,
        strings_can_be_null=True,
    )
    with csv.open_csv(path, csv.ReadOptions(block_size=_CSV_BLOCK), convert_options=text) as reader:
        yield from reader


def _as_text(batch: pa.RecordBatch, name: str, path: Path) -> list[str | None]:
    text: list[str | None] = text_of(batch.column(name), name, path).to_pylist()
    return text


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:300]
    return DataError(f"{path}: cannot be read as a table ({reason})")
