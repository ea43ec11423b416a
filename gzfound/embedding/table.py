"""Parquet embeddings read a piece at a time: by row, by name, or in blocks from first to last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.store import (
    checked_ids,
    checked_vectors,
    embedding_files,
    encoder_of,
    opened,
    vector_length,
)
from gzfound.embedding.writing import Vectors
from gzfound.errors import DataError

Integers = npt.NDArray[np.int64]

BLOCK = 16_384
"""Rows of a block of vectors: 32 MiB at 512 numbers each."""


@dataclass(frozen=True)
class _Group:
    """A row group of a file, and where its rows stand in the table."""

    file: Path
    number: int
    first: int
    rows: int


class EmbeddingTable:
    """A Parquet file of embeddings, or a directory of them, of which nothing is held in memory.

    Attributes:
        path: of the file or directory.
        rows: number of embeddings.
        features: numbers in each.
        encoder: what made them, where the files say.

    Raises:
        DataError: there is no Parquet file of embeddings, or files that do not belong together.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.files = embedding_files(path)
        self.encoder: EncoderIdentity | None = encoder_of(path)
        self._groups: list[_Group] = []
        self.rows = 0
        widths = []
        for file in self.files:
            with opened(file) as parquet:
                widths.append(vector_length(parquet.schema_arrow, file))
                for number in range(parquet.num_row_groups):
                    rows = parquet.metadata.row_group(number).num_rows
                    self._groups.append(_Group(file, number, self.rows, rows))
                    self.rows += rows
            if widths[-1] != widths[0]:
                raise DataError(
                    f"embeddings: {file} holds {widths[-1]} numbers a galaxy, but "
                    f"{self.files[0]} holds {widths[0]}"
                )
        self.features = widths[0]

    def blocks(self) -> Iterator[Vectors]:
        """The embeddings ``(b, features)`` in order, at most ``BLOCK`` at a time."""
        held: list[Vectors] = []
        rows = 0
        for vectors in self._pieces("embedding"):
            if rows + len(vectors) > BLOCK and held:
                yield np.concatenate(held)
                held, rows = [], 0
            held.append(vectors)
            rows += len(vectors)
        if held:
            yield np.concatenate(held)

    def ids(self) -> Iterator[pa.Array]:
        """The ``id_str`` of all rows in order, some at a time."""
        return self._pieces("id_str")

    def _pieces(self, column: str) -> Iterator[Any]:
        """A column in order, checked, at most ``BLOCK`` rows at a time.

        A row group after the other: what pyarrow reads beyond one, it holds until the end.
        """
        for group in self._groups:
            with opened(group.file) as parquet:
                rows = 0
                for batch in parquet.iter_batches(
                    BLOCK, row_groups=[group.number], columns=[column], use_threads=False
                ):
                    rows += len(batch)
                    yield self._checked(batch.column(column), column, group.file)
            _check_rows(rows, group)

    def find(self, names: Sequence[str]) -> dict[str, Integers]:
        """The rows of each name: none where the table lacks it, several where it is repeated."""
        wanted = pa.array(sorted(set(names)), pa.string())
        found: dict[str, list[int]] = {name: [] for name in names}
        first = 0
        for ids in self.ids():
            for place in pc.indices_nonzero(pc.is_in(ids, wanted)).to_pylist():
                found[ids[place].as_py()].append(first + place)
            first += len(ids)
        return {name: np.array(rows, dtype=np.int64) for name, rows in found.items()}

    def names(self, rows: npt.ArrayLike) -> list[str]:
        """The ``id_str`` of some rows, in the order of ``rows``."""
        wanted = np.asarray(rows, dtype=np.int64)
        found: list[str] = [""] * len(wanted)
        for places, inside, ids in self._some(wanted, "id_str"):
            for place, name in zip(places, ids.take(pa.array(inside)).to_pylist(), strict=True):
                found[place] = name
        return found

    def vectors(self, rows: npt.ArrayLike) -> Vectors:
        """The embeddings ``(len(rows), features)`` of some rows, in the order of ``rows``."""
        wanted = np.asarray(rows, dtype=np.int64)
        found = np.empty((len(wanted), self.features), dtype=np.float32)
        for places, inside, vectors in self._some(wanted, "embedding"):
            found[places] = vectors[inside]
        return found

    def sample(self, count: int, seed: int) -> tuple[Integers, Vectors]:
        """``count`` different rows drawn at random, rising, and their embeddings."""
        rows = np.sort(np.random.default_rng(seed).choice(self.rows, count, replace=False))
        found = np.empty((count, self.features), dtype=np.float32)
        first = 0
        for block in self.blocks():
            low, high = np.searchsorted(rows, [first, first + len(block)])
            found[low:high] = block[rows[low:high] - first]
            first += len(block)
        return rows.astype(np.int64), found

    def _some(self, rows: Integers, column: str) -> Iterator[tuple[Integers, Integers, Any]]:
        """The row groups that hold ``rows``: places in ``rows``, rows in the group, its column."""
        starts = np.array([group.first for group in self._groups])
        at = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(at).tolist():
            group = self._groups[number]
            places = np.flatnonzero(at == number)
            with opened(group.file) as parquet:
                read = parquet.read_row_group(group.number, columns=[column]).column(column)
                held = self._checked(read.combine_chunks(), column, group.file)
            _check_rows(len(held), group)
            yield places, rows[places] - group.first, held

    def _checked(self, values: Any, column: str, file: Path) -> Any:
        if column == "id_str":
            return checked_ids(values, file)
        return checked_vectors(values, self.features, file)


def _check_rows(found: int, group: _Group) -> None:
    if found != group.rows:
        raise DataError(f"embeddings: {group.file} is damaged: {found} rows, not {group.rows}")
