"""Galaxies of several FITS files, or of one HDU among many: from a table, or from file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from gzfound.data.image_index import ImageIndex
from gzfound.data.skipped import BadInput
from gzfound.data.table import LabelTable
from gzfound.errors import DataError

Columns = dict[str, Any]


def is_pattern(source: str) -> bool:
    """Whether a source is a pattern of file names, such as ``cutouts/{id}_{band}.fits``."""
    return "{id}" in source or "{band}" in source


def pattern_root(source: str) -> Path:
    """The folder that holds every file of a pattern.

    Raises:
        DataError: the pattern lacks a part, or there is no such folder.
    """
    if "{id}" not in source or "{band}" not in source:
        raise DataError(f"{source}: a pattern needs both {{id}} and {{band}}")
    root = Path(source.split("{", 1)[0] + "x").parent.expanduser()
    if not root.is_dir():
        raise DataError(f"{source}: no such folder as {root}")
    return root


def galaxies_of_pattern(source: str, images: Sequence[str], bad: BadInput) -> Columns:
    """The galaxies whose files fit a pattern, their bands in alphabetical order.

    Args:
        source: the pattern; ``{id}`` becomes ``id_str``.
        images: paths of files, relative to the root of the pattern.
        bad: what becomes of galaxies that lack a band.

    Raises:
        DataError: no file fits, or a galaxy lacks a band that another has.
    """
    root = pattern_root(source)
    written = source[len(source.split("{", 1)[0].rpartition("/")[0]) :].lstrip("/")
    expression = re.escape(written).replace(r"\{", "{").replace(r"\}", "}")
    for part, group in (("{id}", "(?P<id>.+)"), ("{band}", "(?P<band>[^/]+?)")):
        name = part.strip("{}")
        expression = expression.replace(part, group, 1).replace(part, f"(?P={name})")
    fitting = re.compile(expression)
    galaxies: dict[str, dict[str, str]] = {}
    for path in images:
        if found := fitting.fullmatch(path):
            galaxies.setdefault(found["id"], {})[found["band"]] = path
    if not galaxies:
        raise DataError(f"{source}: no file in {root} fits this pattern")
    bands = sorted({band for files in galaxies.values() for band in files})
    columns: Columns = {"image": [], "id_str": [], "fits_files": []}
    for name, files in sorted(galaxies.items()):
        if missing := [band for band in bands if band not in files]:
            reason = f"galaxy '{name}' has no file of band '{missing[0]}', as others have"
            bad.meet(name, DataError(f"{source}: {reason}"))
            continue
        columns["image"].append(files[bands[0]])
        columns["id_str"].append(name)
        columns["fits_files"].append(
            [{"band": band, "path": _full(root, files[band]), "hdu": ""} for band in bands]
        )
    return columns


def galaxies_of_table(
    folder: Path, index: ImageIndex, table: LabelTable, bad: BadInput
) -> tuple[Columns, list[int]]:
    """The galaxies of a table with a column of files for each band, or with a column of HDUs.

    Args:
        folder: that holds the files.
        index: of paths relative to it.
        table: with bands or HDUs.
        bad: what becomes of rows without a file.

    Returns:
        ``image``, ``id_str`` and ``fits_files`` of each galaxy, and its row in the table.

    Raises:
        DataError: a row names a file that is not there, or that several files could be meant by.
    """
    columns: Columns = {"image": [], "id_str": [], "fits_files": []}
    rows: list[int] = []
    first: dict[str, int] = {}
    for row in range(len(table.names)):
        called = table.ids[row] if table.ids else _default_id(table, row)
        try:
            files = [
                {"band": part.band, "path": _found(part.names[row], row, folder, index, table)}
                | {"hdu": part.hdus[row]}
                for part in table.parts
            ]
            if called in first:
                reason = f"id_str '{called}' is repeated in rows {first[called] + 1} and {row + 1}"
                raise DataError(f"{table.path}: {reason}")
        except DataError as error:
            bad.meet(called, error)
            continue
        first[called] = row
        rows.append(row)
        columns["image"].append(files[0]["path"])
        columns["id_str"].append(called)
        columns["fits_files"].append(
            [{**file, "path": _full(folder, file["path"])} for file in files]
        )
    return columns, rows


def _default_id(table: LabelTable, row: int) -> str:
    part = table.parts[0]
    stem = re.sub(r"\.(fits?|fts)(\.(gz|fz))?$", "", part.names[row], flags=re.IGNORECASE)
    return f"{stem}-{part.hdus[row]}" if part.hdus[row] else stem


def _found(name: str, row: int, folder: Path, index: ImageIndex, table: LabelTable) -> str:
    """The path, relative to the folder, of the file that a row names."""
    found = find_image(name, row, folder, index, table)
    if found is None:
        raise DataError(
            f"{table.path}: row {row + 1} names '{name}', which is not in {folder}; "
            "on_error='skip' leaves it out"
        )
    return found


def find_image(
    name: str, row: int, folder: Path, index: ImageIndex, table: LabelTable
) -> str | None:
    """The path, relative to the folder, of the image that a row names; None without one.

    Raises:
        DataError: several could be meant.
    """
    key = PurePath(name)
    if key.is_absolute() and key.is_relative_to(folder.absolute()):
        key = key.relative_to(folder.absolute())
    found = index.get(key.as_posix())
    if len(found) > 1:
        reason = f"row {row + 1} names '{name}', which fits {found[0]} and {found[1]}"
        raise DataError(f"{table.path}: {reason}")
    return found[0] if found else None


def _full(folder: Path, path: str) -> str:
    return str(folder.absolute() / path)
