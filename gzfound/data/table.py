"""Tables of labels: CSV or Parquet, with a column that names the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gzfound.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

FILE_COLUMNS = ("file", "file_name", "filename", "image")
ID_COLUMNS = ("id_str", "id")
BAND_PREFIX, HDU_COLUMN = "fits_", "hdu"
"""Columns of the files of each band, such as ``fits_g``; ``hdu`` or ``hdu_g`` names their HDU."""
TABLE_ENDINGS = (".csv", ".csv.gz", ".parquet")
FITS_ENDINGS = (".fits.gz", ".fits.fz", ".fits", ".fit", ".fts")


@dataclass(frozen=True)
class FitsColumn:
    """The FITS files of one band, or of all of them.

    Attributes:
        band: its name; empty where a galaxy has one file.
        names: of the files, one a row.
        hdus: of each row, a name or a number; empty where none is said.
    """

    band: str
    names: list[str]
    hdus: list[str]


@dataclass(frozen=True)
class LabelTable:
    """A table whose rows name images.

    Attributes:
        path: where it was read from.
        columns: every column, with its type; ``id_str`` and the key as strings.
        key: the column that names the images, one of ``FILE_COLUMNS`` or ``ID_COLUMNS``, or that
            of the first band.
        names: the values of ``key``.
        ids: the values of ``id_str`` (or of ``id`` where that is the key); None without them.
        parts: where galaxies have a file for each band, or an HDU of a file, these.
    """

    path: Path
    columns: pa.Table
    key: str
    names: list[str]
    ids: list[str] | None
    parts: tuple[FitsColumn, ...] = ()


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
    columns = read_columns(path)
    bands = [name for name in columns.column_names if _names_fits(columns, name)]
    known = (*FILE_COLUMNS, *bands[:1], *ID_COLUMNS)
    present = [name for name in known if name in columns.column_names]
    if not present:
        wanted, found = ", ".join((*FILE_COLUMNS, *ID_COLUMNS)), shorten(columns.column_names)
        raise DataError(f"{path}: no column names the images; needs one of {wanted}; found {found}")
    key = present[0]
    files = bands if key in bands else [key] if key in FILE_COLUMNS else []
    for name in {*files, key, "id_str"} & set(columns.column_names):
        columns = as_text(columns, name, path)
    id_column = key if key in ID_COLUMNS else "id_str"
    has_ids = id_column in columns.column_names
    return LabelTable(
        path=path,
        columns=columns,
        key=key,
        names=columns.column(key).to_pylist(),
        ids=columns.column(id_column).to_pylist() if has_ids else None,
        parts=_parts(columns, files, path),
    )


def _names_fits(columns: pa.Table, name: str) -> bool:
    """Whether a column is of FITS files: by its name, and by what it holds."""
    if not name.startswith(BAND_PREFIX):
        return False
    values = columns.column(name).to_pylist()
    return any(isinstance(each, str) and each.lower().endswith(FITS_ENDINGS) for each in values)


def _parts(columns: pa.Table, files: list[str], path: Path) -> tuple[FitsColumn, ...]:
    """The columns of FITS files; none for a column of files without HDUs."""
    parts = []
    for name in files:
        band = name.removeprefix(BAND_PREFIX) if name.startswith(BAND_PREFIX) else ""
        hdus = [""] * len(columns)
        for held in (HDU_COLUMN, f"{HDU_COLUMN}_{band}"):
            if held in columns.column_names:
                hdus = as_text(columns, held, path).column(held).to_pylist()
        parts.append(FitsColumn(band, columns.column(name).to_pylist(), hdus))
    plain = len(parts) == 1 and not parts[0].band and not any(parts[0].hdus)
    return () if plain else tuple(parts)


def read_columns(path: Path) -> pa.Table:
    """The columns of a CSV or Parquet file.

    Raises:
        DataError: it cannot be read.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if path.name.lower().endswith(".parquet"):
            with parquet.ParquetFile(path) as file:
                return _checked(file.read(), path)
        whole = min(2**31 - 1, 20 * path.stat().st_size + 2**16)
        named = (*FILE_COLUMNS, *ID_COLUMNS, HDU_COLUMN)
        text: dict[str, Any] = {name: pa.string() for name in named}
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
    check_names(columns.column_names, path)
    columns.validate(full=True)
    return columns


def check_names(names: Sequence[str], path: Path) -> None:
    """Raise ``DataError`` if a column of a table is there twice."""
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DataError(f"{path}: column '{repeated[0]}' is there more than once; keep one")


def as_text(columns: pa.Table, name: str, path: Path) -> pa.Table:
    """The table with a column of text or whole numbers as text.

    Raises:
        DataError: it holds something else, or nothing in a row.
    """
    text = text_of(columns.column(name), name, path)
    for row, value in enumerate(text.to_pylist(), start=1):
        if not value:
            raise DataError(f"{path}: column '{name}' is empty in row {row}")
    return columns.set_column(columns.column_names.index(name), name, text)


def text_of(column: pa.Array | pa.ChunkedArray, name: str, path: Path) -> Any:
    """A column of text or whole numbers as text; what is empty stays so.

    Raises:
        DataError: it holds something else.
    """
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    ):
        raise DataError(f"{path}: column '{name}' must hold text or whole numbers; it holds {kind}")
    return column.cast(pa.string())
