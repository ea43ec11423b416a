"""Vote counts: from columns to one array and back, checked on the way.

Shapes: N galaxies, Q questions, A answers of the tree. A question that nobody was asked has
zero votes, which means missing, not no: its fractions are NaN.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.errors import DataError
from gzfound.trees import DecisionTree

_MOST = int(np.iinfo(np.int32).max)
_ALLOWED = f"vote counts are whole numbers from 0 to {_MOST}"


@dataclass(frozen=True)
class VoteProblem:
    """What is wrong with one value: ``column`` is a vote column, or a question for its total."""

    row: int
    column: str
    value: object
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}: {self.value!r} is {self.reason}"


def votes_from_columns(
    table: Mapping[str, Sequence[Any] | npt.NDArray[Any]], tree: DecisionTree
) -> npt.NDArray[np.int32]:
    """Gather the tree's vote columns into one array; ``(N, A)`` int32, answers in tree order.

    Whole numbers stored as floats are taken. Raises ``DataError`` for columns that are missing
    or of different lengths, and for counts that are negative, fractional, missing (NaN, None),
    too large or not numbers: it names the first by row and column, and says how many more.
    """
    missing = [column for column in tree.columns if column not in table]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(tree.columns)} vote columns of {tree.name} are missing: "
            f"{', '.join(missing)}"
        )
    first, wrong, columns = None, 0, []
    for name in tree.columns:
        values = _one_column(table[name], name)
        bad = _unusable(values)
        if bad.any():
            wrong += int(bad.sum())
            first = first or _problem(values, int(np.argmax(bad)), name)
        columns.append(values)
    _check_lengths(tree, columns)
    if first is not None:
        more = f" (and {wrong - 1} more)" if wrong > 1 else ""
        raise DataError(f"{first}{more}; {_ALLOWED}")
    votes = np.empty((len(columns[0]), len(columns)), dtype=np.int32)
    for index, values in enumerate(columns):
        votes[:, index] = values
    return votes


def votes_to_columns(
    votes: npt.NDArray[Any], tree: DecisionTree
) -> dict[str, npt.NDArray[np.int32]]:
    """The inverse: vote column -> ``(N,)`` int32. Raises ``DataError`` for unusable counts."""
    array = _as_votes(votes, tree)
    if not _unusable(array).any():
        whole = np.ascontiguousarray(array.T, dtype=np.int32)
        return dict(zip(tree.columns, whole, strict=True))
    raise DataError(f"{_count_problems(array, tree)[0]}; {_ALLOWED}")


def check_votes(votes: npt.NDArray[Any], tree: DecisionTree, excess: int = 0) -> list[VoteProblem]:
    """Everything that is wrong with ``votes`` ``(N, A)``, by row; empty when all is well.

    Reports counts that are negative, fractional, missing, too large or not numbers, and, in
    rows without those, questions with more votes than the answers that lead to them: by more
    than ``excess``, since real tables have a few of them (see docs/trees.md). Raises
    ``DataError`` only for a shape that does not fit the tree.
    """
    array = _as_votes(votes, tree)
    problems = _count_problems(array, tree)
    usable = ~_unusable(array).any(axis=1)
    rows = np.flatnonzero(usable)
    problems += _excess_problems(array[usable].astype(np.int64), rows, tree, excess)
    return sorted(problems, key=lambda problem: problem.row)


def total_votes(votes: npt.NDArray[Any], tree: DecisionTree) -> npt.NDArray[np.int64]:
    """Votes a question: ``(N, A)`` -> ``(N, Q)`` int64."""
    starts = [where.start for where in tree.slices.values()]
    totals: npt.NDArray[np.int64] = np.add.reduceat(
        _as_votes(votes, tree), starts, axis=1, dtype=np.int64
    )
    return totals


def vote_fractions(votes: npt.NDArray[Any], tree: DecisionTree) -> npt.NDArray[np.float64]:
    """Votes over the total of their question: ``(N, A)`` float64, NaN where there are none."""
    totals = total_votes(votes, tree)[:, tree.question_index].astype(np.float64)
    totals[totals == 0] = np.nan
    fractions: npt.NDArray[np.float64] = np.asarray(votes) / totals
    return fractions


def _as_votes(votes: npt.NDArray[Any], tree: DecisionTree) -> npt.NDArray[Any]:
    array = np.asarray(votes)
    if array.ndim != 2 or array.shape[1] != len(tree.columns):
        raise DataError(
            f"votes have shape {array.shape}, but tree {tree.name} needs "
            f"(galaxies, {len(tree.columns)})"
        )
    return array


def _one_column(values: Sequence[Any] | npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if isinstance(values, np.ma.MaskedArray):
        array = array.astype(object)
        array[np.ma.getmaskarray(values)] = None
    if array.ndim != 1:
        raise DataError(f"column {name!r} has shape {array.shape}, one count a galaxy is needed")
    return array


def _check_lengths(tree: DecisionTree, columns: list[npt.NDArray[Any]]) -> None:
    for name, values in zip(tree.columns, columns, strict=True):
        if len(values) != len(columns[0]):
            raise DataError(
                f"column {name!r} has {len(values)} rows, but {tree.columns[0]!r} has "
                f"{len(columns[0])}"
            )


def _unusable(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where ``values``, of any shape and dtype, are not vote counts."""
    kind = values.dtype.kind
    if kind in "iu":
        return np.asarray((values < 0) | (values > _MOST))
    if kind == "f":
        return np.asarray(~((values >= 0) & (values <= _MOST)) | (values != np.floor(values)))
    flags = [_reason(value) is not None for value in values.ravel()]
    return np.array(flags, dtype=bool).reshape(values.shape)


def _reason(value: object) -> str | None:
    """Why a value is not a vote count, or None if it is one."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return "missing"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        return "not a number"
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond every float
        return "too large"
    except TypeError:  # numpy takes a duration for a real number
        return "not a number"
    if math.isnan(number):
        return "missing"
    if number < 0:
        return "negative"
    if number > _MOST:
        return "too large"
    return None if number.is_integer() else "fractional"


def _problem(values: npt.NDArray[Any], row: int, column: str) -> VoteProblem:
    value = values[row]
    plain = value.item() if isinstance(value, np.generic) else value
    return VoteProblem(row, column, plain, _reason(plain) or "unusable")


def _count_problems(votes: npt.NDArray[Any], tree: DecisionTree) -> list[VoteProblem]:
    rows, answers = np.nonzero(_unusable(votes))
    return [
        _problem(votes[:, answer], int(row), tree.columns[answer])
        for row, answer in zip(rows, answers, strict=True)
    ]


def _excess_problems(
    votes: npt.NDArray[np.int64], rows: npt.NDArray[np.intp], tree: DecisionTree, excess: int
) -> list[VoteProblem]:
    """Questions with more votes than their parent answers; ``rows`` numbers the galaxies."""
    position = {column: index for index, column in enumerate(tree.columns)}
    totals = total_votes(votes, tree)
    problems = []
    for number, question in enumerate(tree.questions):
        if not question.asked_after:
            continue
        arriving = votes[:, [position[column] for column in question.asked_after]].sum(axis=1)
        for row in np.flatnonzero(totals[:, number] > arriving + excess):
            total, limit = int(totals[row, number]), int(arriving[row])
            reason = f"more than the {limit} votes of the answers that lead to this question"
            problems.append(VoteProblem(int(rows[row]), question.name, total, reason))
    return problems
