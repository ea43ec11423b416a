"""Tables of labels: CSV or Parquet, with a column that names the images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gzfound.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

FILE_COLUMNS = ("file", "file_name", "filename", "image")
ID_COLUMNS = ("id_str", "id")
TABLE_ENDINGS = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True)
class LabelTable:
    """A table whose rows name images.

    Attributes:
        path: where it was read from.
        columns: every column, with its type; ``id_str`` and the key as strings.
        key: the column that names the images, one of ``FILE_COLUMNS`` or ``ID_COLUMNS``.
        names: the values of ``key``.
        ids: the values of ``id_str`` (or of ``id`` where that is the key); None without them.
    """

    path: Path
    columns: pa.Table
    key: str
    names: list[str]
    ids: list[str] | None


def shorten(names: list[str], most: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "none"


def is_table(path: Path) -> bool:
    """Whether the name of a file says that it is a CSV or Parquet table."""
    return path.name.lower().endswith(TABLE_ENDINGS)


def find_table(folder: Path) -> Path | None:
    """The only table directly inside a folder, None without any.

    Raises:
        DataError: there are several.
    """
    found = sorted(p for p in folder.iterdir() if p.is_file() and is_table(p) and p.name[0] != ".")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder}: several tables ({names}); name one as the source, or table=")
    return found[0] if found else None


def read_table(path: Path) -> LabelTable:
    """Read a table and find the column that names the images.

    Raises:
        DataError: it cannot be read, has no such column, or a row without a name.
    """
    columns = _read(path)
    present = [name for name in (*FILE_COLUMNS, *ID_COLUMNS) if name in columns.column_names]
    if not present:
        wanted, found = ", ".join((*FILE_COLUMNS, *ID_COLUMNS)), shorten(columns.column_names)
        raise DataError(f"{path}: no column names the images; needs one of {wanted}; found {found}")
    key = present[0]
    for name in {key, "id_str"} & set(columns.column_names):
        columns = _as_text(columns, name, path)
    id_column = key if key in ID_COLUMNS else "id_str"
    has_ids = id_column in columns.column_names
    return LabelTable(
        path=path,
        columns=columns,
        key=key,
        names=columns.column(key).to_pylist(),
        ids=columns.column(id_column).to_pylist() if has_ids else None,
    )


def _read(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if path.name.lower().endswith(".parquet"):
            with parquet.ParquetFile(path) as file:
                return _checked(file.read(), path)
        whole = min(2**31 - 1, 20 * path.stat().st_size + 2**16)
        text: dict[str, Any] = {name: pa.string() for name in (*FILE_COLUMNS, *ID_COLUMNS)}
        found = csv.read_csv(
            path,
            read_options=csv.ReadOptions(block_size=whole),
            convert_options=csv.ConvertOptions(column_types=text),
        )
        return _checked(found, path)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: cannot be read as a table ({reason})") from error


def _checked(columns: pa.Table, path: Path) -> pa.Table:
    """The table, if no column is there twice and every value is what its type says."""
    repeated = [name for name, times in Counter(columns.column_names).items() if times > 1]
    if repeated:
        raise DataError(f"{path}: column '{repeated[0]}' is there more than once; keep one")
    columns.validate(full=True)
    return columns


def _as_text(columns: pa.Table, name: str, path: Path) -> pa.Table:
    import pyarrow as pa

    column = columns.column(name)
    kind = column.type
    if not (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    ):
        raise DataError(f"{path}: column '{name}' must hold text or whole numbers; it holds {kind}")
    text = column.cast(pa.string())
    for row, value in enumerate(text.to_pylist(), start=1):
        if not value:
            raise DataError(f"{path}: column '{name}' is empty in row {row}")
    return columns.set_column(columns.column_names.index(name), name, text)
