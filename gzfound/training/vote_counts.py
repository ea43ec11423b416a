"""The votes of datasets as one array: in memory, or in a file if there are many."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gzfound.data.cache import default_directory
from gzfound.errors import DataError
from gzfound.trees import DecisionTree
from gzfound.votes import votes_from_columns

if TYPE_CHECKING:
    from datasets import Dataset

IN_MEMORY = 16 * 2**20
"""Votes of up to this many bytes stay in memory (104,857 galaxies with 40 answers)."""
_TOGETHER = 10_000

Votes = npt.NDArray[np.int32]


def room_for_votes(galaxies: int, tree: DecisionTree) -> Votes:
    """An array ``(galaxies, answers)``; a large one is mapped from a file.

    The file lies in :func:`gzfound.data.cache.default_directory`. It has no name, so it is gone
    when this process is.

    Raises:
        DataError: there is no room for the file.
    """
    shape = (galaxies, len(tree.columns))
    size = 4 * galaxies * len(tree.columns)
    if size <= IN_MEMORY:
        return np.empty(shape, np.int32)
    home = default_directory()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            if hasattr(os, "posix_fallocate"):  # a full disk is met now, not as a signal later
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.int32, "r+", shape=shape)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise DataError(f"directory {home}: votes need {size / 2**20:,.0f} MiB ({reason})") from (
            error
        )


def read_votes(
    dataset: Dataset,
    rows: npt.NDArray[np.int64],
    tree: DecisionTree,
    source: str,
    into: Votes | None = None,
) -> Votes:
    """The votes ``(len(rows), answers)`` of some rows of a dataset; zero for columns it lacks.

    Args:
        dataset: all of its rows are checked.
        rows: ascending.
        tree: says which columns.
        source: what to call the dataset in errors.
        into: where they go; a new array by default.

    Raises:
        DataError: a count cannot be used; the message begins with ``source``.
    """
    votes = np.empty((len(rows), len(tree.columns)), np.int32) if into is None else into
    present = [name for name in tree.columns if name in dataset.column_names]
    if not present:  # a dataset without columns has no rows either
        votes[:] = 0
        return votes
    columns = dataset.select_columns(present).with_format("arrow")
    try:
        for start in range(0, len(dataset), _TOGETHER):
            low, high = np.searchsorted(rows, [start, start + _TOGETHER])
            some = _votes(columns[start : start + _TOGETHER], tree)
            votes[low:high] = some[rows[low:high] - start]
    except DataError:
        try:
            _votes(columns[:], tree)  # names the first of all
        except DataError as error:
            raise DataError(f"{source}: {error}") from error
        raise
    return votes


def _votes(columns: Any, tree: DecisionTree) -> Votes:
    nothing = np.zeros(len(columns), np.int32)
    present = set(columns.column_names)
    table = {n: _values(columns.column(n)) if n in present else nothing for n in tree.columns}
    return votes_from_columns(table, tree)


def _values(column: Any) -> Any:
    """A column; of numbers, none of them missing, as an array: a list takes far more."""
    import pyarrow as pa

    numbers = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    return column.to_numpy() if numbers and not column.null_count else column.to_pylist()
