"""A dataset in the layout of the hub, read row group by row group from where it lies.

Nothing is kept on the disk. Directories and addresses go through ``fsspec``; ``s3://`` through the
client that comes with pyarrow, which takes credentials, region and endpoint from the environment.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.data.card import matter_in
from gzfound.data.load import checked_ids
from gzfound.data.table import shorten
from gzfound.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from fsspec import AbstractFileSystem

IMAGES = ("image", "id_str")
THREADS = 8
"""Requests under way at a time; they wait for the network, not for a core."""
RETRIES = 4
FOOTERS = 256
KEPT = 8

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

    Raises:
        DataError: a file cannot be read, or lacks a column.
    """

    def __init__(
        self, files: AbstractFileSystem, source: str, split: str, paths: Sequence[str]
    ) -> None:
        self.files, self.source, self.split, self.paths = files, source, split, list(paths)
        self._lock = threading.Lock()
        self._footers: OrderedDict[str, pq.FileMetaData] = OrderedDict()
        self._pieces: OrderedDict[int, Future[pa.Table]] = OrderedDict()
        self._readers = ThreadPoolExecutor(THREADS, "gzfound-stream")
        found = list(self._readers.map(self._layout, self.paths))
        schema: pa.Schema = self._footer(self.paths[0]).schema.to_arrow_schema()
        self.column_names: list[str] = schema.names
        for column in IMAGES:
            if column not in schema.names:
                raise DataError(
                    f"{source}: split '{split}': column '{column}' is missing; found "
                    f"{shorten(schema.names)}"
                )
        self.places = [(path, g) for path, rows in zip(paths, found, strict=True) for g in rows]
        sizes = [rows for each in found for rows in each.values()]
        self.edges: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.edges[-1])

    def pieces(self, rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The number of the row group of each of some rows."""
        found: npt.NDArray[np.int64] = np.searchsorted(self.edges, rows, side="right") - 1
        return found

    def labels(self) -> Dataset:
        """All columns but the images, in memory; ``id_str`` holds unique strings."""
        from datasets import Dataset

        columns = [name for name in self.column_names if name != "image"]
        tables = list(self._readers.map(lambda path: self._columns(path, columns), self.paths))
        try:
            table = pa.concat_tables(tables)
        except pa.ArrowException as error:
            raise DataError(f"{self.source}: files do not go together ({_line(error)})") from error
        return checked_ids(Dataset(table), f"{self.source}: split '{self.split}'")

    def read(self, piece: int) -> pa.Table:
        """The columns ``image`` and ``id_str`` of a row group."""
        path, group = self.places[piece]

        def read() -> pa.Table:
            with self._open(path) as file:
                found = pq.ParquetFile(file, metadata=self._footer(path), pre_buffer=True)
                return found.read_row_group(group, columns=list(IMAGES))

        return self._trying(path, read)

    def rows_of(self, table: pa.Table, piece: int, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Some rows of a row group that was read, by column; an image must be in it, not a path."""
        part: dict[str, Any] = table.take(pa.array(rows - self.edges[piece])).to_pydict()
        for image in part["image"]:
            if image:
                image["path"] = None
        return part

    def __getitem__(self, rows: Sequence[int]) -> dict[str, Any]:
        """Some rows by column; the next row group is read ahead, and the last few are kept."""
        wanted = np.asarray(rows, np.int64)
        pieces = self.pieces(wanted)
        found: dict[str, list[Any]] = {name: [None] * len(wanted) for name in IMAGES}
        asked = {piece: self._asked(piece) for piece in np.unique(pieces).tolist()}
        if asked and max(asked) + 1 < len(self.places):
            self._asked(max(asked) + 1)
        for piece, table in asked.items():
            places = np.flatnonzero(pieces == piece)
            part = self.rows_of(table.result(), piece, wanted[places])
            for name, values in found.items():
                for place, value in zip(places, part[name], strict=True):
                    values[place] = value
        return found

    def _asked(self, piece: int) -> Future[pa.Table]:
        """A row group that is being read, or was lately."""
        with self._lock:
            if piece not in self._pieces:
                self._pieces[piece] = self._readers.submit(self.read, piece)
            self._pieces.move_to_end(piece)
            while len(self._pieces) > KEPT:
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

    def _layout(self, path: str) -> dict[int, int]:
        footer = self._footer(path)
        return {g: footer.row_group(g).num_rows for g in range(footer.num_row_groups)}

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
        """What ``read`` gives; a failure of the network is met by trying again, a little later."""
        for wait in [2.0**k for k in range(RETRIES - 1)]:
            try:
                return read()
            except (FileNotFoundError, PermissionError, pa.ArrowInvalid) as error:
                raise self._unreadable(path, error) from error
            except DataError:
                raise
            except Exception:  # whatever the client of the network raises
                time.sleep(wait)
        try:
            return read()
        except Exception as error:
            raise self._unreadable(path, error) from error

    def _unreadable(self, path: str, error: Exception) -> DataError:
        return DataError(f"{self.source}: {path} cannot be read ({_line(error)})")


def open_stream(
    source: str | Path, config: str | None = None, split: str | None = "train"
) -> Stream:
    """Find the files of a split.

    Args:
        source: a directory in the layout of the hub, a hub name, or an address of such a directory
            with ``https://``, ``s3://``, ``hf://datasets/`` or whatever fsspec knows. An ``http``
            server must list its directories and answer requests for ranges.
        config: one of its card, such as ``tiny``; without, the default.
        split: name of the split, not a slice; None for all of them, one after the other.

    Raises:
        DataError: it cannot be reached, or has no such config or split.
    """
    name = str(source)
    if split is not None and not split.isidentifier():
        raise DataError(f"split {split!r}: streaming takes the name of a split, not a slice")
    try:
        files, root = _filesystem(name)
        card = f"{root}/README.md"
        text = files.cat_file(card).decode("utf-8", "replace") if files.exists(card) else ""
        splits = _patterns(matter_in(text), config, split, name)
        patterns = [pattern for each in splits for pattern in each]
        found = [sorted({p for at in each for p in files.glob(f"{root}/{at}")}) for each in splits]
    except DataError:
        raise
    except Exception as error:  # whatever the client of the network raises
        raise DataError(f"{name}: cannot be listed ({_line(error)})") from error
    paths = [path for each in found for path in each if path.endswith(".parquet")]
    what = "all" if split is None else split
    if not paths:
        raise DataError(f"{name}: no Parquet file of split '{what}' at {', '.join(patterns)}")
    return Stream(files, name, what, paths)


def is_address(source: object) -> bool:
    """Whether a source is an address such as ``https://...``, which only streaming can read."""
    return isinstance(source, str) and "://" in source


def _filesystem(source: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    if source.startswith("s3://"):
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import S3FileSystem

        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        endpoint = next(filter(None, map(os.environ.get, names)), None)
        client = S3FileSystem(endpoint_override=endpoint)
        return ArrowFSWrapper(client), source.removeprefix("s3://").rstrip("/")
    local = not is_address(source) and Path(source).expanduser().is_dir()
    if not local and not is_address(source):
        if source.count("/") != 1:
            raise DataError(f"{source}: no such folder, nor a hub name such as owner/name")
        source = f"hf://datasets/{source}"
    files, root = url_to_fs(str(Path(source).expanduser().absolute()) if local else source)
    return files, root.rstrip("/")


def _patterns(
    matter: dict[str, Any], config: str | None, split: str | None, source: str
) -> list[list[str]]:
    """Where the card says that the files of each split are, or where they are without one."""
    listed = matter.get("configs")
    configs = {
        str(each.get("config_name", "default")): each.get("data_files")
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    } or {"default": [{"split": split, "path": f"data/{split or '*'}-*"}]}
    chosen = config or ("default" if "default" in configs else next(iter(configs)))
    if chosen not in configs:
        raise DataError(f"{source}: config '{chosen}' not found; it has {', '.join(configs)}")
    entries = configs[chosen]
    entries = entries if isinstance(entries, list) else [{"split": "train", "path": entries}]
    splits: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, dict):
            path = entry.get("path")
            paths = [str(each) for each in (path if isinstance(path, list) else [path])]
            splits.setdefault(str(entry.get("split")), []).extend(paths)
    if split is not None and split not in splits:
        raise DataError(f"{source}: split '{split}' not found; it has {', '.join(splits)}")
    wanted = list(splits.values()) if split is None else [splits[split]]
    for path in (path for each in wanted for path in each):
        if path.startswith("/") or ".." in PurePosixPath(path).parts or "://" in path:
            raise DataError(f"{source}: {path!r} in its README.md is not in this folder")
    return wanted


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
