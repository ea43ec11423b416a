"""Decoded, resized images of a dataset in order, made by threads ahead of the consumer."""

from __future__ import annotations

import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from gzfound.data.bands import RGB, Bands, decode_bands
from gzfound.data.decode import Pixels, check_geometry, square_resize
from gzfound.data.fits import FitsFile
from gzfound.data.ordered import ordered_map
from gzfound.data.skipped import BadInput
from gzfound.data.table import shorten
from gzfound.errors import ConfigError, DataError, ImageError

if TYPE_CHECKING:
    from datasets import Dataset

    from gzfound.data.stream import Stream

FILES_COLUMN = "fits_files"
"""The column of a dataset with the FITS files of a galaxy: their band, path and HDU."""

MAX_BYTES = 2**30
"""Files of more bytes than this are not read: no image is that large."""

Rows = npt.NDArray[np.int64]
Images = TypeVar("Images")


def read_images(
    dataset: Dataset,
    size: int,
    *,
    crop: float = 1.0,
    threads: int = 2,
    batch_size: int = 64,
    on_error: str = "raise",
    errors_path: str | Path | None = None,
    rows: Sequence[int] | Rows | None = None,
    bands: Bands = RGB,
) -> Iterator[tuple[Rows, Pixels]]:
    """Decode, crop and resize the images of a dataset, batch by batch, in row order.

    The result does not depend on ``threads``. At most ``max(4, threads)`` batches
    are held at a time.

    Args:
        dataset: columns ``image`` and ``id_str``, as :func:`gzfound.load_dataset` gives it.
        size: side of the images in pixels.
        crop: linear fraction kept around the centre, see :func:`square_resize`.
        threads: threads that decode.
        batch_size: images a batch; the last may have fewer, and with ``skip`` any may.
        on_error: ``raise``, or ``skip`` to leave out images that cannot be read.
        errors_path: JSON-lines file that gains ``id_str`` and ``reason`` of each one left out.
        rows: rows to read, in this order; all by default.
        bands: what to make of the bands of each image.

    Yields:
        Row numbers ``(b,)`` and uint8 images ``(b, size, size, channels)``; b is never 0.

    Raises:
        ImageError: an image cannot be read and ``on_error`` is ``raise``.
        ConfigError: an option is out of range.
        DataError: the dataset lacks a column, or a row is out of range.
    """
    check_geometry(size, crop)
    if threads < 1 or batch_size < 1:
        raise ConfigError(f"threads {threads}, batch_size {batch_size}: must both be at least 1")
    bad = BadInput(on_error, errors_path)
    files = image_files(dataset)
    batches = batches_of_rows(files, rows, batch_size)
    parts = ordered_map(lambda some: read_part(files, some, size, crop, bands), batches, threads)
    return _batches(parts, bad)


def image_files(dataset: Dataset | Stream) -> Dataset:
    """The columns ``image`` (undecoded: ``bytes`` and ``path``) and ``id_str`` of a dataset.

    Beside them ``fits_files``, where several files, or HDUs of a file, make a galaxy. A
    stream gives these as it is.

    Raises:
        DataError: one of the columns is missing, or the dataset is a dictionary of splits.
    """
    from datasets import DatasetDict, Image

    from gzfound.data.stream import Stream

    if isinstance(dataset, Stream):
        return dataset
    if isinstance(dataset, DatasetDict):
        raise DataError(f"dataset: several splits ({', '.join(dataset)}); choose one")
    for column in ("image", "id_str"):
        if column not in dataset.column_names:
            found = shorten(dataset.column_names)
            raise DataError(f"column '{column}' is missing; found {found}")
    several = [FILES_COLUMN] if FILES_COLUMN in dataset.column_names else []
    plain = dataset.with_format(None).select_columns(["image", "id_str", *several])
    return plain.cast_column("image", Image(decode=False))


def file_bytes(file: dict[str, Any] | None, id_str: str) -> tuple[bytes, str]:
    """The bytes of an undecoded image and the name to use in errors.

    Raises:
        ImageError: there is no image, or its file cannot be read.
    """
    path = file.get("path") if file else None
    data = file.get("bytes") if file else None
    if data is not None:
        return data, id_str
    if path is None:
        raise ImageError(f"image {id_str}: the row has no image")
    try:
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
            return Path(path).read_bytes(), path
    except (OSError, ValueError) as error:  # a null in the name is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"image {path}: cannot be read ({reason})") from error
    raise ImageError(f"image {path}: not a file of at most {MAX_BYTES} bytes")


def galaxy_files(files: dict[str, Any], place: int) -> list[FitsFile]:
    """The file or files of one galaxy.

    Args:
        files: some rows of what :func:`image_files` gives.
        place: of the galaxy among them.

    Raises:
        ImageError: there is no image, or one of its files cannot be read.
    """
    several = files[FILES_COLUMN][place] if FILES_COLUMN in files else None
    if not several:
        return [FitsFile(*file_bytes(files["image"][place], str(files["id_str"][place])))]
    return [
        FitsFile(*file_bytes({"path": part["path"]}, part["path"]), part["band"], part["hdu"])
        for part in several
    ]


@dataclass(frozen=True)
class Part(Generic[Images]):
    """Some images of a dataset.

    Attributes:
        rows: of those that could be read, ``(b,)``.
        ids: ``id_str`` of each of them.
        images: uint8 ``(b, size, size, channels)``, an array or a tensor.
        failures: ``id_str`` and error of those that could not.
    """

    rows: Rows
    ids: list[str]
    images: Images
    failures: list[tuple[str, ImageError]]


def read_part(
    files: Dataset, rows: Rows, size: int, crop: float, bands: Bands = RGB
) -> Part[Pixels]:
    """Decode, crop and resize some images, in the order of ``rows``, in this thread.

    Args:
        files: what :func:`image_files` gives.
        rows: the rows to read.
        size: side of the images in pixels.
        crop: linear fraction kept around the centre.
        bands: what to make of the bands of each image.
    """
    return decode_part(files[rows.tolist()], rows, size, crop, bands)


def decode_part(
    part: dict[str, Any], rows: Rows, size: int, crop: float, bands: Bands = RGB
) -> Part[Pixels]:
    """:func:`read_part` of rows whose files are at hand, by column."""
    images = np.empty((len(rows), size, size, bands.channels), dtype=np.uint8)
    kept: list[int] = []
    failures: list[tuple[str, ImageError]] = []
    for place, name in enumerate(part["id_str"]):
        try:
            pixels = decode_bands(galaxy_files(part, place), bands)
            images[len(kept)] = square_resize(pixels, size, crop)
        except ImageError as error:
            failures.append((str(name), error))
        else:
            kept.append(place)
    ids = [str(part["id_str"][place]) for place in kept]
    return Part(rows[kept], ids, images[: len(kept)], failures)


def batches_of_rows(
    files: Dataset, rows: Sequence[int] | Rows | None, batch_size: int
) -> Iterator[Rows]:
    """Row numbers, ``batch_size`` at a time; all rows by default.

    Raises:
        DataError: a row is out of range.
    """
    wanted = np.arange(len(files)) if rows is None else np.asarray(rows, dtype=np.int64)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(files):
        raise DataError(f"rows: must lie between 0 and {len(files) - 1}")
    return (wanted[start : start + batch_size] for start in range(0, len(wanted), batch_size))


def _batches(
    parts: Generator[Part[Pixels], None, None], bad: BadInput
) -> Iterator[tuple[Rows, Pixels]]:
    with closing(parts):
        for part in parts:
            bad.meet_all(part.failures)
            if part.ids:
                yield part.rows, part.images
