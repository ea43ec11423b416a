"""Decoded, resized images of a dataset in order, made by threads ahead of the consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gzfound.data.decode import Pixels, check_geometry, decode_image, square_resize
from gzfound.data.skipped import BadInput
from gzfound.data.table import shorten
from gzfound.errors import ConfigError, DataError, ImageError

if TYPE_CHECKING:
    from datasets import Dataset

Rows = npt.NDArray[np.int64]

_AHEAD = 3
"""Batches in the making besides the one the consumer holds."""


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
) -> Iterator[tuple[Rows, Pixels]]:
    """Decode, crop and resize the images of a dataset, batch by batch, in row order.

    The result does not depend on ``threads``. At most four batches are held at a time.

    Args:
        dataset: columns ``image`` and ``id_str``, as :func:`gzfound.load_dataset` gives it.
        size: side of the images in pixels.
        crop: linear fraction kept around the centre, see :func:`square_resize`.
        threads: threads that decode.
        batch_size: images a batch; the last may have fewer, and with ``skip`` any may.
        on_error: ``raise``, or ``skip`` to leave out images that cannot be read.
        errors_path: JSON-lines file that gains ``id_str`` and ``reason`` of each one left out.
        rows: rows to read, in this order; all by default.

    Yields:
        Row numbers ``(b,)`` and uint8 images ``(b, size, size, 3)``; b is never 0.

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
    wanted = np.arange(len(files)) if rows is None else np.asarray(rows, dtype=np.int64)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(files):
        raise DataError(f"rows: must lie between 0 and {len(files) - 1}")
    return _batches(files, wanted, size, crop, threads, batch_size, bad)


def image_files(dataset: Dataset) -> Dataset:
    """The columns ``image`` (undecoded: ``bytes`` and ``path``) and ``id_str`` of a dataset.

    Raises:
        DataError: one of the columns is missing, or the dataset is a dictionary of splits.
    """
    from datasets import DatasetDict, Image

    if isinstance(dataset, DatasetDict):
        raise DataError(f"dataset: several splits ({', '.join(dataset)}); choose one")
    for column in ("image", "id_str"):
        if column not in dataset.column_names:
            found = shorten(dataset.column_names)
            raise DataError(f"column '{column}' is missing; found {found}")
    plain = dataset.with_format(None).select_columns(["image", "id_str"])
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
        return Path(path).read_bytes(), path
    except OSError as error:
        raise ImageError(f"image {path}: cannot be read ({error.strerror or error})") from error


def _decoded(file: dict[str, Any] | None, id_str: str, size: int, crop: float) -> Pixels:
    data, name = file_bytes(file, id_str)
    return square_resize(decode_image(data, name), size, crop)


def _batches(
    files: Dataset,
    rows: Rows,
    size: int,
    crop: float,
    threads: int,
    batch_size: int,
    bad: BadInput,
) -> Iterator[tuple[Rows, Pixels]]:
    pending: deque[tuple[Rows, list[str], list[Future[Pixels]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="gzfound-decode")
    try:
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            part = files[chosen.tolist()]
            ids = [str(name) for name in part["id_str"]]
            jobs = [
                pool.submit(_decoded, file, name, size, crop)
                for file, name in zip(part["image"], ids, strict=True)
            ]
            pending.append((chosen, ids, jobs))
            if len(pending) > _AHEAD:
                yield from _finish(*pending.popleft(), bad)
        while pending:
            yield from _finish(*pending.popleft(), bad)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finish(
    rows: Rows, ids: list[str], jobs: list[Future[Pixels]], bad: BadInput
) -> Iterator[tuple[Rows, Pixels]]:
    kept: list[int] = []
    images: list[Pixels] = []
    for place, job in enumerate(jobs):
        try:
            images.append(job.result())
        except ImageError as error:
            bad.meet(ids[place], error)
        else:
            kept.append(place)
    if images:
        yield rows[kept], np.stack(images)
