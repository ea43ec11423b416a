"""Decoding, resizing and the encoder side by side: embeddings at the speed of the encoder.

On a CPU every thread has a core and does all the work on a batch of its own, from the file to the
embedding: nothing waits for anything, and no core is shared. On a GPU, threads decode ahead and
this thread queues the forward passes. ``docs/performance.md`` has the measurements.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gzfound.allocator import keep_freed_memory
from gzfound.data.bands import RGB
from gzfound.data.decode import Pixels
from gzfound.data.ordered import Item, ordered_map
from gzfound.data.read import Part, Rows, batches_of_rows, image_files, read_part
from gzfound.data.skipped import BadInput
from gzfound.embedding.forward import Forward
from gzfound.embedding.writing import Batch, Vectors
from gzfound.errors import ConfigError, DataError, ImageError
from gzfound.models.precision import Precision, pick_device, usable_cores

if TYPE_CHECKING:
    from datasets import Dataset

Decode = Literal["cpu", "device"]
Found = Part[Pixels] | Part[torch.Tensor]
Reader = Callable[[Rows], Found]


@dataclass(frozen=True, eq=False)
class Embedded:
    """What became of some rows.

    Attributes:
        wanted: the rows asked for.
        rows: those whose image could be read, ``(b,)``.
        ids: ``id_str`` of each of them.
        vectors: embeddings ``(b, num_features)``; None if b is 0.
        failures: ``id_str`` and error of the other rows, in order.
    """

    wanted: Rows
    rows: Rows
    ids: list[str]
    vectors: Vectors | None
    failures: list[tuple[str, ImageError]]


_CACHED_PIXELS = 2**20
_GPU_BATCH = 256


def default_batch_size(size: int, galaxies: int, device: torch.device) -> int:
    """Images a forward pass.

    On a CPU, a power of two between 4 and 64 that keeps what a layer writes near the caches: 16 at
    224 pixels; and small enough that a few galaxies are shared by all cores. 256 on a GPU.

    Args:
        size: side of the images in pixels.
        galaxies: how many there are in all.
        device: where the encoder runs.
    """
    if device.type != "cpu":
        return _GPU_BATCH
    most = min(_CACHED_PIXELS // size**2, galaxies // 8)
    return 1 << (min(max(most, 4), 64).bit_length() - 1)


def embed_batches(
    dataset: Dataset,
    encoder: nn.Module,
    *,
    rows: Sequence[int] | npt.NDArray[np.int64] | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    decode: Decode = "cpu",
    on_error: str = "raise",
    errors_path: Path | None = None,
    waited: Callable[[float], None] | None = None,
) -> Iterator[Batch]:
    """Ids and embeddings ``(b, num_features)`` of a dataset, batch by batch, in order.

    Memory does not grow with the number of galaxies, and the embeddings do not depend on
    ``threads``.

    Args:
        rows: the rows to embed, all by default.
        errors_path: where images that were left out are recorded.
        waited: is told the seconds that each batch kept the encoder from working.

    The other arguments are those of :func:`gzfound.embed`.
    """
    forward = Forward(encoder, pick_device(device), precision)
    bad = BadInput(on_error, errors_path)
    files = image_files(dataset)
    count = len(files) if rows is None else len(rows)
    size = forward.transform.size
    together = default_batch_size(size, count, forward.device) if batch_size is None else batch_size
    workers = usable_cores() if threads is None else threads
    check_sizes(workers, together)
    batches = batches_of_rows(files, rows, together)
    found = embed_rows(files, forward, batches, threads=workers, decode=decode, waited=waited)
    return _readable(found, bad)


def check_sizes(threads: int, batch_size: int) -> None:
    """Raise ``ConfigError`` unless there is at least one of each."""
    if threads < 1 or batch_size < 1:
        raise ConfigError(f"threads {threads}, batch_size {batch_size}: must both be at least 1")


def embed_rows(
    files: Dataset,
    forward: Forward,
    batches: Iterable[Rows],
    *,
    threads: int,
    decode: Decode,
    waited: Callable[[float], None] | None = None,
) -> Generator[Embedded, None, None]:
    """Embeddings of batches of rows, in order, with what could not be read.

    Args:
        files: what :func:`gzfound.data.read.image_files` gives.
        forward: the encoder on its device.
        batches: the rows of each forward pass.

    The other arguments are those of :func:`embed_batches`.
    """
    keep_freed_memory()
    read = reader(files, forward, decode)
    engine = _on_cpu if forward.device.type == "cpu" else _on_device
    return engine(read, forward, iter(batches), threads, waited or _ignore)


def _readable(found: Generator[Embedded, None, None], bad: BadInput) -> Iterator[Batch]:
    with closing(found):
        for part in found:
            bad.meet_all(part.failures)
            if part.vectors is not None:
                yield part.ids, part.vectors


def reader(files: Dataset, forward: Forward, decode: Decode) -> Reader:
    """What reads the images of some rows, on the CPU or on the device of the encoder.

    FITS, and whatever encoders of other than three channels take, are decoded on the CPU.

    Raises:
        ConfigError: ``decode`` is something else.
    """
    size, crop, bands = forward.transform.size, forward.transform.crop, forward.transform.bands
    if decode not in ("cpu", "device"):
        raise ConfigError(f"decode {decode!r}: not one of cpu, device")
    if decode == "device" and bands == RGB:
        from gzfound.data.device_read import read_part_on

        return partial(read_part_on, forward.device, files, size=size, crop=crop)
    return partial(read_part, files, size=size, crop=crop, bands=bands)


def _on_cpu(
    read: Reader,
    forward: Forward,
    batches: Iterator[Rows],
    threads: int,
    waited: Callable[[float], None],
) -> Generator[Embedded, None, None]:
    def work(rows: Rows) -> tuple[Embedded, float]:
        began = time.perf_counter()
        part = read(rows)
        ready = time.perf_counter()
        vectors = forward(part.images) if part.ids else None
        vectors = _finite(part.ids, vectors)
        return Embedded(rows, part.rows, part.ids, vectors, part.failures), ready - began

    with closing(ordered_map(work, batches, threads)) as done:
        for found, reading in done:
            waited(reading / threads)
            yield found


def _on_device(
    read: Reader,
    forward: Forward,
    batches: Iterator[Rows],
    threads: int,
    waited: Callable[[float], None],
) -> Generator[Embedded, None, None]:
    """One batch is on its way through the encoder while the next is handed over."""

    def work(rows: Rows) -> tuple[Rows, Found]:
        return rows, read(rows)

    queued: list[tuple[Rows, Found, Callable[[], Vectors] | None]] = []

    def finish() -> Embedded:
        rows, part, vectors = queued.pop(0)
        found = _finite(part.ids, vectors() if vectors else None)
        return Embedded(rows, part.rows, part.ids, found, part.failures)

    with closing(ordered_map(work, batches, threads)) as parts:
        for rows, part in _timed(parts, waited):
            queued.append((rows, part, forward.start(part.images) if part.ids else None))
            if len(queued) > 1:
                yield finish()
    while queued:
        yield finish()


def _finite(ids: list[str], vectors: Vectors | None) -> Vectors | None:
    """The embeddings; raises ``DataError`` if one overflowed."""
    if vectors is None:
        return None
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        first = ids[int(np.argmin(finite))]
        raise DataError(f"embeddings: that of {first} is not finite; pass precision no (float32)")
    return vectors


def _timed(parts: Iterable[Item], waited: Callable[[float], None]) -> Iterator[Item]:
    began = time.perf_counter()
    for part in parts:
        waited(time.perf_counter() - began)
        yield part
        began = time.perf_counter()


def _ignore(seconds: float) -> None:
    """Nobody asked."""
