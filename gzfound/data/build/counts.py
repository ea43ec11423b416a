"""Rows of a released table as vote counts, and what is wrong with those that are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gzfound.data.build.columns import Source, VoteColumns
from gzfound.votes import check_votes

Floats = npt.NDArray[np.float64]

WHOLE = 0.05
"""How far from a whole number a fraction times its total may be: releases round fractions."""

_OUTNUMBERED = "more than the votes of the answers that lead to this question"
_SHORT = "less than the votes of its answers"


@dataclass(frozen=True)
class Wrong:
    """One value that cannot be used; ``row`` counts from the start of the batch.

    ``kind`` is the reason without its numbers, where it has any: what summaries count.
    """

    row: int
    column: str
    value: object
    reason: str
    kind: str = ""


def read_votes(
    batch: pa.RecordBatch, columns: VoteColumns, excess: int = 0
) -> tuple[npt.NDArray[np.int32], list[Wrong]]:
    """The votes ``(N, A)`` of a batch of rows, and everything that is wrong with them.

    The votes of a row with something wrong are not meant to be used. Answers that are all empty
    are those of a question that nobody was asked.

    Args:
        batch: text or numbers.
        columns: where the votes are.
        excess: votes by which a question may outnumber the answers that lead to it.
    """
    numbers = _Numbers(batch)
    counts = np.zeros((batch.num_rows, len(columns.sources)))
    wrong: list[Wrong] = []
    for where in columns.tree.slices.values():
        sources = columns.sources[where]
        values = np.stack([numbers[source.column] for source in sources], axis=1)
        if sources[0].total is None:
            values[np.isnan(values).all(axis=1)] = 0.0
        else:
            values, found = _counts_of(values, sources, sources[0].total, numbers)
            wrong += found
        counts[:, where] = values
    wrong += numbers.wrong
    spoilt = {each.row for each in wrong}
    for problem in check_votes(counts, columns.tree, excess):
        if problem.row in spoilt:
            continue
        if problem.column in columns.tree.slices:
            wrong.append(
                Wrong(problem.row, problem.column, problem.value, problem.reason, _OUTNUMBERED)
            )
            continue
        source = columns.sources[columns.tree.columns.index(problem.column)]
        value = numbers.given(problem.row, source.column)
        wrong.append(Wrong(problem.row, source.column, value, problem.reason))
    good = np.ones(batch.num_rows, bool)
    good[[each.row for each in wrong]] = False
    votes = np.where(good[:, None], counts, 0.0).astype(np.int32)
    return votes, sorted(wrong, key=lambda each: each.row)


class _Numbers:
    """The columns of a batch as float64, NaN where empty; remembers what is no number."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._known: dict[str, Floats] = {}
        self.wrong: list[Wrong] = []

    def given(self, row: int, column: str) -> object:
        """A value as it stands in the table."""
        value: object = self._batch.column(column)[row].as_py()
        return value

    def __getitem__(self, column: str) -> Floats:
        if column not in self._known:
            self._known[column] = self._read(column)
        return self._known[column]

    def _read(self, column: str) -> Floats:
        values = self._batch.column(column)
        try:
            return np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # a value is no number:
            pass  # row by row, below, it becomes NaN and is refused by name
        numbers = np.full(len(values), np.nan)
        for row, value in enumerate(values.to_pylist()):
            try:
                numbers[row] = np.nan if value is None else float(value)
            except (TypeError, ValueError):
                self.wrong.append(Wrong(row, column, value, "not a number"))
        return numbers


def _counts_of(
    fractions: Floats, sources: tuple[Source, ...], name: str, numbers: _Numbers
) -> tuple[Floats, list[Wrong]]:
    """Counts ``(N, answers)`` of one question from fractions and their total, ``name``."""
    total = np.nan_to_num(numbers[name])[:, None]
    counts = np.where(total == 0, np.nan_to_num(fractions), fractions * total)
    whole = np.rint(counts)
    wrong = []

    def note(flags: npt.NDArray[np.bool_], reason: str) -> None:
        for row, answer in zip(*np.nonzero(flags), strict=True):
            column = sources[answer].column
            wrong.append(Wrong(int(row), column, numbers.given(int(row), column), reason))

    note(np.isnan(counts), "missing")
    note((fractions < 0) | (fractions > 1), "not a fraction between 0 and 1")
    note((total == 0) & (fractions > 0), "a fraction of no votes")
    near = np.abs(counts - whole) <= WHOLE
    note(~near & (counts > 0) & (total > 0), "not a whole number of votes, times its total")
    unusable = (total != np.rint(total)) | (total < 0)
    over = whole.sum(axis=1, keepdims=True) > total
    for row in _rows(unusable):
        wrong.append(Wrong(row, name, numbers.given(row, name), "not a number of votes"))
    for row in _rows(over & ~unusable & (total > 0)):
        reason = f"less than the {int(whole[row].sum())} votes of its answers"
        wrong.append(Wrong(row, name, numbers.given(row, name), reason, _SHORT))
    return whole, wrong


def _rows(flags: npt.NDArray[np.bool_]) -> Iterator[int]:
    return (int(row) for row in np.flatnonzero(flags))
