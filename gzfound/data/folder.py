"""A folder of images, with or without a table of labels, as a dataset of file paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from gzfound.data.image_index import ImageIndex, id_of
from gzfound.data.names import Names
from gzfound.data.several import (
    find_image,
    galaxies_of_pattern,
    galaxies_of_table,
    pattern_root,
)
from gzfound.data.skipped import BadInput
from gzfound.data.table import FITS_ENDINGS, LabelTable, find_table, read_table
from gzfound.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif")

Match = tuple[int, str]


def load_folder(
    source: Path,
    config: str | None,
    split: str | None,
    *,
    table: str | Path | None,
    bad: BadInput,
) -> Dataset | DatasetDict:
    """A folder of images, or the images that a table names, as one split ``train``.

    Arguments and result are those of :func:`gzfound.load_dataset`. Only paths are stored.

    Raises:
        DataError: no images, or table and images do not belong together.
    """
    if config not in (None, "default"):
        raise DataError(f"{source}: config '{config}' not found; a folder of images has none")
    named = source.is_file()
    folder = source.parent if named else source
    images = list_images(folder, bad)
    if not images:
        raise DataError(f"{folder}: no images in it ({', '.join(IMAGE_ENDINGS)}, or FITS)")
    path = source if named else _table_path(folder, table)
    if path is None:
        columns = _without_table(images, bad)
    else:
        columns = _with_table(folder, images, read_table(path), bad, leave_out_others=named)
    return _pick_split(_to_dataset(folder, columns), source, split)


def load_pattern(
    source: str, config: str | None, split: str | None, bad: BadInput
) -> Dataset | DatasetDict:
    """The galaxies whose files, one a band, fit a pattern such as ``cutouts/{id}_{band}.fits``.

    Arguments and result are those of :func:`gzfound.load_dataset`.

    Raises:
        DataError: no file fits, or a galaxy lacks a band.
    """
    root = pattern_root(source)
    if config not in (None, "default"):
        raise DataError(f"{source}: config '{config}' not found; a pattern of files has none")
    columns = galaxies_of_pattern(source, list_images(root, bad), bad)
    return _pick_split(_to_dataset(root, columns), Path(source), split)


def list_images(folder: Path, bad: BadInput) -> Names:
    """Paths of the images under a folder, relative to it, sorted; hidden ones are passed over.

    A link that leads back to a folder above it is not followed. A folder that cannot be read, or a
    name that is not UTF-8, is bad input.
    """

    def unreadable(error: OSError) -> None:
        reason = f"{error.filename}: cannot be read ({error.strerror})"
        bad.meet(str(error.filename), DataError(reason))

    found = _walk(folder, unreadable)
    return Names.packed(path for path in found if _is_utf8(path, folder, bad)).sorted()


def _walk(folder: Path, unreadable: Callable[[OSError], None]) -> Iterator[str]:
    above: dict[Path, tuple[tuple[int, int], ...]] = {}
    for place, subfolders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here, parents = _identity(Path(place)), above.pop(Path(place), ())
        subfolders[:] = [n for n in subfolders if n[0] != "." and here not in parents]
        above |= {Path(place, name): (*parents, here) for name in subfolders}
        inside = PurePath(place).relative_to(folder)
        for name in files if here not in parents else ():
            if name[0] != "." and name.lower().endswith(IMAGE_ENDINGS + FITS_ENDINGS):
                yield (inside / name).as_posix()


def _identity(place: Path) -> tuple[int, int]:
    """What a folder is, whatever it is called."""
    status = place.stat()
    return status.st_dev, status.st_ino


def _is_utf8(path: str, folder: Path, bad: BadInput) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        bad.meet(path, DataError(f"{folder / path}: the name is not UTF-8; rename the file"))
        return False
    return True


def _table_path(folder: Path, table: str | Path | None) -> Path | None:
    if table is None:
        return None
    if table == "auto":
        return find_table(folder)
    path = Path(table).expanduser()
    if not path.is_file():
        raise DataError(f"table '{table}': no such file")
    return path


def _without_table(images: Sequence[str], bad: BadInput) -> dict[str, Any]:
    first: dict[str, str] = {}
    for path in images:
        name = id_of(path)
        if name in first:
            reason = f"id_str '{name}' is shared by {first[name]} and {path}; rename one"
            bad.meet(name, DataError(reason))
            continue
        first[name] = path
    return {"image": list(first.values()), "id_str": list(first)}


def _with_table(
    folder: Path, images: Sequence[str], table: LabelTable, bad: BadInput, *, leave_out_others: bool
) -> dict[str, Any]:
    if table.parts:
        return _with_parts(folder, images, table, bad, leave_out_others=leave_out_others)
    matches = _match(folder, images, table, bad)
    if not leave_out_others:
        _check_unlisted(images, {path for _, path in matches}, table.path, bad)
    matches = _drop_repeats(matches, table, bad)
    ids = [table.ids[row] if table.ids else id_of(path) for row, path in matches]
    labels = _labels(table, [row for row, _ in matches])
    return {"image": [path for _, path in matches], "id_str": ids, **labels}


def _with_parts(
    folder: Path, images: Sequence[str], table: LabelTable, bad: BadInput, *, leave_out_others: bool
) -> dict[str, Any]:
    columns, rows = galaxies_of_table(folder, ImageIndex(images), table, bad)
    if not leave_out_others:
        root = folder.absolute()
        used = {Path(part["path"]) for parts in columns["fits_files"] for part in parts}
        listed = {path.relative_to(root).as_posix() for path in used}
        _check_unlisted(images, listed, table.path, bad)
    return {**columns, **_labels(table, rows)}


def _labels(table: LabelTable, rows: list[int]) -> dict[str, Any]:
    import pyarrow as pa

    columns = table.columns.take(pa.array(rows, pa.int64()))
    others = [name for name in columns.column_names if name not in ("image", "id_str")]
    return {name: columns.column(name) for name in others}


def _match(folder: Path, images: Sequence[str], table: LabelTable, bad: BadInput) -> list[Match]:
    """Row and image of each row whose image is there."""
    index = ImageIndex(images)
    matches, missing = [], []
    for row, name in enumerate(table.names):
        try:
            found = find_image(name, row, folder, index, table)
        except DataError as error:
            bad.meet(name, error)
            continue
        if found is None:
            missing.append((row, name))
        else:
            matches.append((row, found))
    if missing and not bad.skip:
        row, name = missing[0]
        raise DataError(
            f"{table.path}: {len(missing)} of {len(table.names)} rows name an image that is not in "
            f"{folder}, first '{name}' in row {row + 1}; on_error='skip' leaves them out"
        )
    for row, name in missing:
        bad.meet(name, DataError(f"{table.path}: row {row + 1} names a missing image '{name}'"))
    return matches


def _check_unlisted(images: Sequence[str], used: set[str], table: Path, bad: BadInput) -> None:
    unlisted = [path for path in images if path not in used]
    if unlisted and not bad.skip:
        raise DataError(
            f"{table}: {len(unlisted)} of {len(images)} images have no row, first {unlisted[0]}; "
            f"load {table} itself for those with a row, or pass table=None for all without labels"
        )
    for path in unlisted:
        bad.meet(id_of(path), DataError(f"{table}: no row for the image {path}"))


def _drop_repeats(matches: list[Match], table: LabelTable, bad: BadInput) -> list[Match]:
    first: dict[str, int] = {}
    kept = []
    for row, path in matches:
        name = table.ids[row] if table.ids else id_of(path)
        if name in first:
            reason = f"id_str '{name}' is repeated in rows {first[name] + 1} and {row + 1}"
            bad.meet(name, DataError(f"{table.path}: {reason}; keep one row an image"))
            continue
        first[name] = row
        kept.append((row, path))
    return kept


def _to_dataset(folder: Path, columns: dict[str, Any]) -> Dataset:
    import datasets
    import pyarrow as pa

    root = folder.absolute()
    paths = pa.array([str(root / path) for path in columns["image"]], pa.string())
    ids = pa.array(columns["id_str"], pa.string())
    table = pa.table({**columns, "image": paths, "id_str": ids})
    features = datasets.Features.from_arrow_schema(table.schema.remove_metadata())
    features["image"] = datasets.Image()
    arrays = {name: table.column(name) for name in table.column_names}
    return datasets.Dataset.from_dict(arrays, features, split=datasets.Split.TRAIN)


def _pick_split(dataset: Any, source: Path, split: str | None) -> Dataset | DatasetDict:
    from datasets import DatasetDict, ReadInstruction

    if split is None:
        return DatasetDict({"train": dataset})
    try:
        (part,) = ReadInstruction.from_spec(split).to_absolute({"train": len(dataset)})
    except (AssertionError, ValueError) as error:
        raise DataError(
            f"{source}: split '{split}' not found; a folder has one, train (or train[:100])"
        ) from error
    return dataset.select(range(part.from_, part.to))
