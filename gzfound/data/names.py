"""Names of galaxies where Arrow holds them: those that are mapped from a file take no memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from datasets import Dataset

_TOGETHER = 10_000
_CHUNK = 2**16


class Names(Sequence[str]):
    """A column of text as a sequence: a list would take some 80 bytes for each name.

    Args:
        column: text; it is not copied.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column

    @classmethod
    def of(cls, dataset: Dataset, column: str = "id_str") -> Names:
        """A column of a dataset, which is copied only where rows of the dataset were selected."""
        return cls(dataset.select_columns([column]).with_format("arrow")[:].column(column))

    @classmethod
    def packed(cls, names: Iterable[str]) -> Names:
        """Copies of some names: their bytes, and 4 more for each."""
        parts, some = [], []
        for name in names:
            some.append(name)
            if len(some) == _TOGETHER:
                parts.append(pa.array(some, pa.string()))
                some = []
        return cls(pa.chunked_array([*parts, pa.array(some, pa.string())]))

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step == 1:
                some: list[str] = self.column.slice(start, max(0, stop - start)).to_pylist()
                return some
            return [self[row] for row in range(start, stop, step)]
        name: str = self.column[int(place)].as_py()
        return name

    def __iter__(self) -> Iterator[str]:
        for some in self.pieces():
            yield from some

    def pieces(self) -> Iterator[list[str]]:
        """All names in order, some thousands at a time."""
        for start in range(0, len(self), _TOGETHER):
            yield self.column.slice(start, _TOGETHER).to_pylist()

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same names in the same order."""
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(one == each for one, each in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as lists have none; typeshed wants a method

    def sorted(self) -> Names:
        """All of them, as Python sorts text: UTF-8 has the order of its characters."""
        import pyarrow.compute as pc

        return Names(self.column.take(pc.sort_indices(self.column)))

    def only(self, rows: npt.NDArray[np.integer[Any]]) -> Names:
        """Those of some rows, each at most once and in order; of all rows without a copy."""
        return self if len(rows) == len(self) else Names(self.column.take(pa.array(rows)))


def joined(parts: Sequence[Names]) -> Names:
    """One after the other, without a copy."""
    chunks = [chunk for part in parts for chunk in part.column.cast(pa.string()).chunks]
    return Names(pa.chunked_array(chunks, pa.string()))


def repeated(value: pa.Array, length: int) -> pa.ChunkedArray:
    """An array of one value as long as asked for, on one buffer."""
    chunk = pa.concat_arrays([value] * min(length, _CHUNK)) if length else value.slice(0, 0)
    whole, rest = divmod(length, max(len(chunk), 1))
    return pa.chunked_array([chunk] * whole + [chunk.slice(0, rest)], value.type)
