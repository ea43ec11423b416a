"""A dataset in the layout of the hub, read row group by row group from where it lies.

Nothing is kept on the disk. Directories and addresses go through ``fsspec``; ``s3://`` through the
client that comes with pyarrow, which takes credentials, region and endpoint from the environment.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.data.address import in_a_line, parquet_files, trying
from gzfound.data.load import checked_ids
from gzfound.data.table import shorten
from gzfound.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from fsspec import AbstractFileSystem

IMAGES = ("image", "id_str")
THREADS = 8
"""Requests under way at a time; they wait for the network, not for a core."""
FOOTERS = 256
KEPT_BYTES = 2**28
"""Row groups that were read lately are kept up to this size, and four whatever their size."""

Group = dict[str, list[Any]]
"""Rows by column: ``image``, a dictionary with ``bytes`` or None, and ``id_str``."""

Result = TypeVar("Result")


class Stream:
    """One split of a dataset, or all of them, read without room on the disk.

    It gives images as the datasets do that :func:`gzfound.data.read.image_files` makes: rows by
    column, undecoded.

    Args:
        files: where the Parquet files are.
        source: what to call it in errors.
        split: the same.
        paths: of the files, in order.
        licence: that its card names.

    Raises:
        DataError: a file cannot be read, or lacks a column.
    """

    def __init__(
        self,
        files: AbstractFileSystem,
        source: str,
        split: str,
        paths: Sequence[str],
        licence: str = "unknown",
    ) -> None:
        self.licence = licence
        self.files, self.source, self.paths = files, source, list(paths)
        self._lock = threading.Lock()
        self._footers: OrderedDict[str, pq.FileMetaData] = OrderedDict()
        self._pieces: OrderedDict[int, Future[Group]] = OrderedDict()
        self._readers = ThreadPoolExecutor(THREADS, "gzfound-stream")
        self.where = f"{source}: split '{split}'"
        self.column_names: list[str] = []
        groups: list[tuple[str, int, int, int]] = []
        layouts = self._readers.map(self._layout, self.paths)
        for path, (names, own) in zip(self.paths, layouts, strict=True):
            self.column_names = self.column_names or names
            groups += [(path, *group) for group in own]
        self.places = [(path, number) for path, number, _, _ in groups]
        self.sizes = [size for *_, size in groups]
        rows = [0, *(rows for _, _, rows, _ in groups)]
        self.edges: npt.NDArray[np.int64] = np.cumsum(rows)

    def __len__(self) -> int:
        return int(self.edges[-1])

    def pieces(self, rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The number of the row group of each of some rows."""
        found: npt.NDArray[np.int64] = np.searchsorted(self.edges, rows, side="right") - 1
        return found

    def labels(self, columns: Sequence[str] = ()) -> Dataset:
        """Some columns, or all but the images, in memory; ``id_str``, one of them, is unique."""
        from datasets import Dataset

        wanted = list(columns) or [name for name in self.column_names if name != "image"]
        tables = list(self._readers.map(lambda path: self._columns(path, wanted), self.paths))
        try:
            labels = Dataset(pa.concat_tables(tables))
        except Exception as error:  # whatever datasets raises of a schema it does not like
            reason = in_a_line(error)
            raise DataError(f"{self.where}: its files do not go together ({reason})") from error
        return checked_ids(labels, self.where)

    def read(self, piece: int) -> Group:
        """The images and names of a row group; an image is in it, whatever path it names."""
        path, number = self.places[piece]

        def read() -> pa.Table:
            with self._open(path) as file:
                found = pq.ParquetFile(file, metadata=self._footer(path), pre_buffer=True)
                return found.read_row_group(number, columns=list(IMAGES))

        group: Group = self._trying(path, read).to_pydict()
        if None in group["id_str"]:
            raise DataError(f"{self.where}: column 'id_str' is empty in a row of {path}")
        for image in group["image"]:
            if image:
                image["path"] = None
        return group

    def pick(self, groups: Mapping[int, Group], rows: npt.NDArray[np.int64]) -> Group:
        """Some rows, by column, of row groups that were read, by their number."""
        pieces = self.pieces(rows)
        places = list(zip(pieces.tolist(), (rows - self.edges[pieces]).tolist(), strict=True))
        return {name: [groups[piece][name][row] for piece, row in places] for name in IMAGES}

    def __getitem__(self, rows: Sequence[int]) -> Group:
        """Some rows by column; the next row group is read ahead, and the last few are kept."""
        wanted = np.asarray(rows, np.int64)
        asked = {piece: self._asked(piece) for piece in np.unique(self.pieces(wanted)).tolist()}
        if asked and max(asked) + 1 < len(self.places):
            self._asked(max(asked) + 1)
        return self.pick({piece: group.result() for piece, group in asked.items()}, wanted)

    def _asked(self, piece: int) -> Future[Group]:
        """A row group that is being read, or was lately."""
        with self._lock:
            if piece not in self._pieces:
                self._pieces[piece] = self._readers.submit(self.read, piece)
            self._pieces.move_to_end(piece)
            while len(self._pieces) > 4 and sum(self.sizes[k] for k in self._pieces) > KEPT_BYTES:
                self._pieces.popitem(last=False)
            return self._pieces[piece]

    def names(self) -> Iterator[tuple[list[str], int]]:
        """The ``id_str`` of the galaxies of each file, and the number of its bytes in memory."""
        for path in self.paths:
            footer = self._footer(path)
            size = sum(footer.row_group(k).total_byte_size for k in range(footer.num_row_groups))
            yield list(map(str, self._columns(path, ["id_str"])["id_str"].to_pylist())), size

    def _columns(self, path: str, columns: list[str]) -> pa.Table:
        def read() -> pa.Table:
            with self._open(path) as file:
                found = pq.ParquetFile(file, metadata=self._footer(path), pre_buffer=True)
                return found.read(columns=columns)

        return self._trying(path, read)

    def _columns_of(self, footer: pq.FileMetaData, path: str) -> list[str]:
        """The names of the columns of a file, which holds images and their names."""
        try:
            schema: pa.Schema = footer.schema.to_arrow_schema()
            names = list(schema.names)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise self._unreadable(path, error) from error
        for column in IMAGES:
            if names.count(column) != 1:
                what = "there twice" if column in names else "missing"
                raise DataError(
                    f"{self.where}: column '{column}' is {what}; found {shorten(names)}"
                )
        kind = schema.field("image").type
        if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise DataError(f"{self.where}: column 'image' must hold images; it holds {kind}")
        return names

    def _layout(self, path: str) -> tuple[list[str], list[tuple[int, int, int]]]:
        """The columns of a file, and the number, rows and bytes in memory of its row groups."""
        footer = self._footer(path)
        groups = map(footer.row_group, range(footer.num_row_groups))
        sizes = [(k, each.num_rows, each.total_byte_size) for k, each in enumerate(groups)]
        return self._columns_of(footer, path), sizes

    def _footer(self, path: str) -> pq.FileMetaData:
        with self._lock:
            if path in self._footers:
                self._footers.move_to_end(path)
                return self._footers[path]

        def read() -> pq.FileMetaData:
            with self._open(path) as file:
                return pq.ParquetFile(file).metadata

        footer = self._trying(path, read)
        with self._lock:
            self._footers[path] = footer
            while len(self._footers) > FOOTERS:
                self._footers.popitem(last=False)
        return footer

    def _open(self, path: str) -> Any:
        return self.files.open(path, "rb", cache_type="none")

    def _trying(self, path: str, read: Callable[[], Result]) -> Result:
        """What :func:`trying` gives for a file; what lasts is a ``DataError``."""
        try:
            return trying(read)
        except DataError:
            raise
        except Exception as error:  # whatever the client of the network raises
            raise self._unreadable(path, error) from error

    def _unreadable(self, path: str, error: Exception) -> DataError:
        return DataError(f"{self.source}: {path} cannot be read ({in_a_line(error)})")


def open_stream(
    source: str | Path, config: str | None = None, split: str | None = "train"
) -> Stream:
    """A stream of one split, or of all of them one after the other if it is None.

    The arguments and the errors are those of :func:`gzfound.data.address.parquet_files`.
    """
    files, paths, licence = parquet_files(source, config, split)
    return Stream(files, str(source), split or "all", paths, licence)
