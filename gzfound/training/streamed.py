"""Images that are read and decoded as the batches ask for them, and the batches of them."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.distributed import get_world_size, is_initialized

from gzfound.data.bands import Bands
from gzfound.data.decode import Pixels, check_geometry
from gzfound.data.ordered import ordered_map
from gzfound.data.read import decode_part
from gzfound.data.skipped import BadInput, left_out
from gzfound.data.stream import THREADS, Group, Stream
from gzfound.errors import DataError, ImageError
from gzfound.models.precision import local_processes, usable_cores
from gzfound.training.batches import ArrayBatches, Batch, Make
from gzfound.training.order import BatchOrder

Rows = npt.NDArray[np.int64]
_TOGETHER = 64
MOST_THREADS = 8
"""Threads that decode: each holds the row groups and the images of a batch."""
READ_AHEAD = 4
"""Row groups that are being read beyond those that the next batches need."""


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Decoded images of one or more streams, as an array would give them, but never held at once.

    An image that cannot be read ends the run, or is recorded and replaced by the next one of its
    batch that can be, so that batches stay whole and the order is the same for all epochs.

    Attributes:
        streams: where the images come from.
        crops: linear fraction kept around the centre, of each stream.
        sources: the number of the stream of each image, ``(N,)``.
        places: its row there, ``(N,)``.
        size: side of the decoded images in pixels.
        bands: what to make of the bands of each image.
        bad: what to do with images that cannot be read.
        window: row groups that are mixed.
    """

    streams: Sequence[Stream]
    crops: Sequence[float]
    sources: Rows
    places: Rows
    size: int
    bands: Bands
    bad: BadInput
    window: int
    _met: set[str] = field(default_factory=set)
    _lock: Any = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for crop in self.crops:
            check_geometry(self.size, crop)
        path = self.bad.errors_path
        if path is not None and Path(path).is_file():
            self._met.update(left_out(Path(path)))

    @classmethod
    def of(
        cls, streams: Sequence[Stream], places: Sequence[Rows], crops: Sequence[float], **how: Any
    ) -> StreamedImages:
        """The images at some rows of each stream; ``how`` are the other attributes."""
        sources = np.repeat(np.arange(len(streams)), [len(rows) for rows in places])
        return cls(streams, crops, sources, np.concatenate(places), **how)

    def __len__(self) -> int:
        return len(self.places)

    def only(self, rows: Rows) -> StreamedImages:
        """Some of the images, streamed as they are."""
        return replace(self, sources=self.sources[rows], places=self.places[rows])

    def pieces(self) -> Rows:
        """The number of the row group of each image, over all streams, ``(N,)``."""
        found = np.empty(len(self), np.int64)
        for number, first in enumerate(self._first_pieces()):
            own = self.sources == number
            found[own] = first + self.streams[number].pieces(self.places[own])
        return found

    def __getitem__(self, rows: Rows | slice) -> Pixels:
        """The images of some rows ``(b, size, size, channels)``, in memory."""
        return self._gathered(np.arange(len(self))[rows])[0]

    def readable(self, rows: Rows) -> tuple[Pixels, Rows]:
        """The images of those of some rows that can be read, in memory, and these rows."""
        images, whose = self._gathered(rows)
        good = whose == rows
        return (images, rows) if good.all() else (images[good], rows[good])

    def _gathered(self, rows: Rows) -> tuple[Pixels, Rows]:
        """The images of some rows, and whose they are."""
        images = np.empty((len(rows), self.size, self.size, self.bands.channels), np.uint8)
        whose = rows.copy()
        start = 0
        with closing(self.in_order(_steps(rows, _TOGETHER))) as found:
            for part, own in found:
                images[start : start + len(part)] = part
                whose[start : start + len(part)] = own
                start += len(part)
        return images, whose

    def in_parts(self, count: int) -> Generator[Pixels, None, None]:
        """All images in order, ``count`` at a time."""
        with closing(self.in_order(_steps(np.arange(len(self)), count))) as found:
            for images, _ in found:
                yield images

    def in_order(self, steps: Sequence[Rows] | Rows) -> Generator[tuple[Pixels, Rows], None, None]:
        """The images of each of some lists of rows, and whose they are, made by threads ahead.

        Only the row groups of which there are such rows are read, each once, and let go after the
        last of them.
        """
        sharing = local_processes(get_world_size() if is_initialized() else 1)
        threads = min(MOST_THREADS, max(1, usable_cores() // sharing))
        with ThreadPoolExecutor(THREADS, "gzfound-stream") as readers:
            work = self._with_pieces(steps, readers)
            try:
                with closing(ordered_map(self._decoded, work, threads)) as done:
                    yield from done
            finally:
                readers.shutdown(wait=True, cancel_futures=True)

    def _with_pieces(
        self, steps: Sequence[Rows] | Rows, readers: ThreadPoolExecutor
    ) -> Iterator[tuple[Rows, dict[int, Future[Group]]]]:
        """The rows of each step, and the row groups that are read for it."""
        pieces = self.pieces()
        needed = [np.unique(pieces[rows]).tolist() for rows in steps]
        last = {piece: step for step, own in enumerate(needed) for piece in own}
        coming = list(dict.fromkeys(piece for own in needed for piece in own))
        turn = {piece: number for number, piece in enumerate(coming)}
        reading: dict[int, Future[Group]] = {}
        asked = 0
        for step, rows in enumerate(steps):
            upto = max([turn[piece] + 1 for piece in needed[step]], default=0) + READ_AHEAD
            for piece in coming[asked:upto]:
                reading[piece] = readers.submit(self._read, piece)
            asked = max(asked, min(upto, len(coming)))
            yield rows, {piece: reading[piece] for piece in needed[step]}
            for piece in needed[step]:
                if last[piece] == step:
                    del reading[piece]

    def _read(self, piece: int) -> Group:
        number = int(np.searchsorted(self._first_pieces(), piece, side="right")) - 1
        return self.streams[number].read(piece - self._first_pieces()[number])

    def _decoded(self, work: tuple[Rows, dict[int, Future[Group]]]) -> tuple[Pixels, Rows]:
        rows, reading = work
        images = np.empty((len(rows), self.size, self.size, self.bands.channels), np.uint8)
        good = np.zeros(len(rows), bool)
        groups = {piece: group.result() for piece, group in reading.items()}
        for number in np.unique(self.sources[rows]).tolist():
            own = np.flatnonzero(self.sources[rows] == number)
            first = self._first_pieces()[number]
            here = {piece - first: group for piece, group in groups.items()}
            part = self.streams[number].pick(here, self.places[rows[own]])
            found = decode_part(part, own, self.size, self.crops[number], self.bands)
            images[found.rows] = found.images
            good[found.rows] = True
            self._meet(found.failures)
        if not len(rows) or good.all():
            return images, rows
        return self._stand_in(images, rows, good)

    def _stand_in(
        self, images: Pixels, rows: Rows, good: npt.NDArray[np.bool_]
    ) -> tuple[Pixels, Rows]:
        able = np.flatnonzero(good)
        if not len(able):
            raise DataError(f"data: none of the {len(rows)} images of a batch can be read")
        bad = np.flatnonzero(~good)
        stand = able[np.searchsorted(able, bad) % len(able)]
        images[bad] = images[stand]
        whose = rows.copy()
        whose[bad] = rows[stand]
        return images, whose

    def _meet(self, failures: Iterable[tuple[str, ImageError]]) -> None:
        with self._lock:
            for name, error in failures:
                if name not in self._met:
                    self.bad.meet(name, error)
                    self._met.add(name)

    def _first_pieces(self) -> list[int]:
        counts = [len(stream.places) for stream in self.streams]
        return [sum(counts[:number]) for number in range(len(counts))]


def _steps(rows: Rows, count: int) -> list[Rows]:
    return [rows[start : start + count] for start in range(0, len(rows), count)]


class StreamedBatches(ArrayBatches):
    """Batches whose images are streamed; the other arrays are in memory.

    Args:
        images: of all galaxies.
        arrays: one row a galaxy each, such as ``votes`` ``(N, A)``.

    The others are those of :class:`ArrayBatches`.
    """

    def __init__(
        self,
        images: StreamedImages,
        arrays: Mapping[str, npt.NDArray[Any]],
        order: BatchOrder,
        device: torch.device,
        make: Make | None = None,
    ) -> None:
        super().__init__(arrays, order, device, make)
        self.images = images

    def _gathered(self, steps: npt.NDArray[np.int64]) -> Generator[Batch, None, None]:
        with closing(self.images.in_order(steps)) as found:
            for images, whose in found:
                arrays = {
                    name: torch.from_numpy(array[whose]) for name, array in self.arrays.items()
                }
                yield {"images": torch.from_numpy(images), **arrays}
