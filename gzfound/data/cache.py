"""Decode once: the images of a dataset as one uint8 array, in memory or mapped from a file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from gzfound.data.bands import RGB, Bands
from gzfound.data.decode import Pixels, check_geometry
from gzfound.data.names import Names
from gzfound.data.read import FILES_COLUMN, Rows, image_files, read_images
from gzfound.data.skipped import BadInput
from gzfound.errors import DataError, GzfoundError, ImageError

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = 1
"""Part of every key; a change in how images are decoded or resized must raise it."""

IN_MEMORY = 256 * 2**20
"""Without a directory, images of up to this many bytes stay in memory (5,461 at 128 pixels)."""

_SAMPLES = 1024
_STALE_SECONDS = 2 * 24 * 3600

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DecodedImages:
    """Images that were read, in the order of the dataset.

    Attributes:
        images: uint8 ``(N, size, size, channels)``; mapped from a file, its pages are private
            copies.
        ids: ``id_str`` of each, where the dataset holds it.
        rows: row of each in the dataset, ascending; all rows unless some were left out.
    """

    images: Pixels
    ids: Names
    rows: Rows


def decoded_images(
    dataset: Dataset,
    size: int,
    *,
    crop: float = 1.0,
    directory: str | Path | None = None,
    threads: int = 2,
    on_error: str = "raise",
    errors_path: str | Path | None = None,
    progress: Progress | None = None,
    bands: Bands = RGB,
) -> DecodedImages:
    """Every image of a dataset, decoded, cropped and resized, once.

    The file is keyed by what the images are (ids, sizes, times of files, samples of bytes), by
    ``size``, ``crop`` and ``bands``, so runs and processes that mean the same images share it.

    Args:
        dataset: columns ``image`` and ``id_str``.
        size: side of the images in pixels.
        crop: linear fraction kept around the centre.
        directory: where to keep the file; by default ``default_directory()``, or memory for
            images of up to ``IN_MEMORY`` bytes in all.
        threads: threads that decode.
        on_error: ``raise``, or ``skip`` to leave out images that cannot be read.
        errors_path: JSON-lines file that gains ``id_str`` and ``reason`` of each one left out.
        progress: called with the rows done and the rows in all.
        bands: what to make of the bands of each image.

    Raises:
        ImageError: an image cannot be read and ``on_error`` is ``raise``.
        ConfigError: an option is out of range.
        DataError: the dataset lacks a column, or the disk is too small for the file.
    """
    check_geometry(size, crop)
    bad = BadInput(on_error, errors_path)
    files = image_files(dataset)
    names = Names.of(files)
    shape = (len(names), size, size, bands.channels)
    total = math.prod(shape)

    def batches(errors: str | Path | None) -> Iterator[tuple[Rows, Pixels]]:
        reader = read_images(
            dataset,
            size,
            crop=crop,
            threads=threads,
            on_error=on_error,
            errors_path=errors,
            bands=bands,
        )
        return _reporting(reader, len(names), progress)

    if directory is None and total <= IN_MEMORY:
        images = np.empty(shape, dtype=np.uint8)
        kept = _fill(images, batches(errors_path))
        return DecodedImages(images[: len(kept)], names.only(kept), kept)
    home = default_directory() if directory is None else Path(directory).expanduser()
    target = home / f"images-{size}-{_key(files, names, size, crop, bands)}"
    if not target.is_dir():
        _build(target, total, shape, batches)
    try:
        return _open(target, names, bad)
    except GzfoundError:
        raise
    except (EOFError, OSError, ValueError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"directory {target}: damaged ({reason}); remove it") from error


def default_directory() -> Path:
    """``$GZFOUND_CACHE``, or ``gzfound`` in the user's cache (``~/.cache``)."""
    if chosen := os.environ.get("GZFOUND_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gzfound"


def _reporting(
    batches: Iterator[tuple[Rows, Pixels]], total: int, progress: Progress | None
) -> Iterator[tuple[Rows, Pixels]]:
    for rows, images in batches:
        yield rows, images
        if progress is not None:
            progress(int(rows[-1]) + 1, total)


def _fill(images: Pixels, batches: Iterator[tuple[Rows, Pixels]]) -> Rows:
    kept: list[Rows] = []
    count = 0
    for rows, batch in batches:
        images[count : count + len(rows)] = batch
        count += len(rows)
        kept.append(rows)
    return np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)


def _key(files: Dataset, names: Names, size: int, crop: float, bands: Bands) -> str:
    """A hash of what the images are; it does not read them all.

    Of files: size and time of change. Of bytes in the dataset: their lengths, and 3 x 64 bytes of
    1,024 images spread over it.
    """
    key = hashlib.blake2b(f"{FORMAT} {size} {crop!r} {len(names)}\0".encode(), digest_size=12)
    for number, some in enumerate(names.pieces()):
        key.update(("\0" * (number > 0) + "\0".join(some)).encode())
    if bands != RGB:
        key.update(repr(bands).encode())
    sampled = {round(place) for place in np.linspace(0, max(len(names) - 1, 0), _SAMPLES)}
    row = 0
    for chunk in _image_chunks(files):
        data, paths = chunk.field("bytes"), chunk.field("path").to_pylist()
        for number, path in enumerate(paths):
            buffer = data[number].as_buffer() if data[number].is_valid else None
            key.update(image_trace(buffer, path, whole=row in sampled))
            row += 1
    if FILES_COLUMN in files.column_names:
        for several in files[FILES_COLUMN]:
            key.update(files_trace(several))
    return key.hexdigest()


def _image_chunks(files: Dataset) -> Iterator[Any]:
    for batch in files.with_format("arrow").iter(1000):
        yield from batch.column("image").chunks


def files_trace(several: Sequence[Mapping[str, Any]] | None) -> bytes:
    """The same of the FITS files of a galaxy; of a union, some galaxies have none."""
    return b"".join(
        f"{part['band']} {part['hdu']} ".encode() + image_trace(None, part["path"], whole=False)
        for part in several or ()
    )


def image_trace(buffer: Any, path: str | None, *, whole: bool) -> bytes:
    """Bytes that tell an undecoded image from others, or with ``whole`` from one of its length."""
    if buffer is None:
        try:
            status = Path(path).stat() if path is not None else None
        except OSError:
            status = None
        return b"-" if status is None else b"%d %d;" % (status.st_size, status.st_mtime_ns)
    if not whole:
        return b"%d;" % buffer.size
    view, middle = memoryview(buffer), buffer.size // 2
    return b"%d;" % buffer.size + view[:64] + view[middle : middle + 64] + view[-64:]


def _build(
    target: Path,
    total: int,
    shape: tuple[int, int, int, int],
    batches: Callable[[Path], Iterator[tuple[Rows, Pixels]]],
) -> None:
    """Write the directory ``target`` whole; when another process was first, keep its work."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target.parent)
    free = shutil.disk_usage(target.parent).free
    if total > free:
        raise DataError(
            f"directory {target.parent}: decoded images need {total / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free; choose another directory or a smaller size"
        )
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        with (temporary / "images.npy").open("wb") as file:
            kept = _write(file, shape, batches(temporary / "skipped.jsonl"))
        np.save(temporary / "rows.npy", kept)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(
    file: BinaryIO, shape: tuple[int, int, int, int], batches: Iterator[tuple[Rows, Pixels]]
) -> Rows:
    """Write an npy file front to back, then correct the number of images in its header."""
    _write_header(file, shape)
    kept: list[Rows] = []
    for rows, images in batches:
        file.write(images.data)
        kept.append(rows)
    found = np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
    file.seek(0)
    _write_header(file, (len(found), *shape[1:]))
    return found


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _remove_stale(home: Path) -> None:
    """Remove what killed processes left behind days ago."""
    for path in home.glob(".images-*.tmp"):
        part = path / "images.npy"
        if part.exists() and time.time() - part.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _open(target: Path, names: Names, bad: BadInput) -> DecodedImages:
    rows: Rows = _mapped(target / "rows.npy")
    skipped = target / "skipped.jsonl"
    if skipped.exists():
        for line in skipped.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            bad.meet(item["id_str"], ImageError(item["reason"]))
    return DecodedImages(_mapped(target / "images.npy"), names.only(rows), rows)


def _mapped(path: Path) -> npt.NDArray[Any]:
    """An array mapped from its file, if there is anything in it."""
    array: npt.NDArray[Any]
    try:
        array = np.load(path, mmap_mode="c")
    except ValueError:  # nothing cannot be mapped
        array = np.load(path)
    return array
