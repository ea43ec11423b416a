"""Rows of tables as votes, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gzfound.data.build.columns import VoteColumns, find_votes
from gzfound.data.build.counts import Wrong, read_votes

FRACTIONS = [
    "t01_smooth_or_features_a01_smooth_frac",
    "t01_smooth_or_features_a02_features_or_disk_frac",
    "t01_smooth_or_features_a03_star_or_artifact_frac",
    "t01_smooth_or_features_count",
]
COUNTS = [
    "smooth-or-featured_smooth",
    "smooth-or-featured_featured-or-disk",
    "smooth-or-featured_artifact",
    "disk-edge-on_yes",
    "disk-edge-on_no",
]


def table(names: list[str], *rows: list[Any]) -> tuple[pa.RecordBatch, VoteColumns]:
    """As CSV is read: text, empty where None."""
    columns = [[None if v is None else str(v) for v in c] for c in zip(*rows, strict=True)]
    arrays = [pa.array(values, pa.string()) for values in columns]
    return pa.record_batch(arrays, names=names), find_votes(names, "gz2")


def wrong(names: list[str], *row: Any) -> list[Wrong]:
    return read_votes(*table(names, list(row)))[1]


def test_fractions_times_totals() -> None:
    """0.55, 0.225 and 0.225 of 40 are 22, 9 and 9; rounded to 3 digits, thirds of 7 still fit."""
    batch, columns = table(
        FRACTIONS, [0.55, 0.225, 0.225, 40], [0.143, 0.286, 0.571, 7], [0, 0, 0, 0], [None] * 4
    )
    votes, found = read_votes(batch, columns)
    assert found == []
    assert votes.tolist() == [[22, 9, 9], [1, 2, 4], [0, 0, 0], [0, 0, 0]]
    assert votes.dtype == np.int32


def test_a_vote_without_an_answer_is_no_fault() -> None:
    """39 answers of 40 volunteers, as in one FERENGI galaxy."""
    batch, columns = table(FRACTIONS, [0.5, 0.475, 0, 40])
    votes, found = read_votes(batch, columns)
    assert (votes.tolist(), found) == ([[20, 19, 0]], [])


@pytest.mark.parametrize(
    ("row", "column", "value", "reason"),
    [
        ((0.31, 0.5, 0.19, 10), 0, "0.31", "not a whole number of votes, times its total"),
        ((1.2, 0, 0, 10), 0, "1.2", "not a fraction between 0 and 1"),
        ((-0.1, 0.5, 0.6, 10), 0, "-0.1", "not a fraction between 0 and 1"),
        ((0.5, 0.5, None, 10), 2, None, "missing"),
        ((0.5, 0.5, 0, 0), 0, "0.5", "a fraction of no votes"),
        ((0.5, 0.5, 0.5, 10), 3, "10", "less than the 15 votes of its answers"),
        ((0.5, 0.5, 0, 9.5), 3, "9.5", "not a number of votes"),
        ((0, 0, 0, -4), 3, "-4", "not a number of votes"),
        (("half", 0.5, 0, 10), 0, "half", "not a number"),
    ],
)
def test_fractions_that_are_refused(
    row: tuple[Any, ...], column: int, value: Any, reason: str
) -> None:
    found = [(each.column, each.value, each.reason) for each in wrong(FRACTIONS, *row)]
    assert (FRACTIONS[column], value, reason) in found


@pytest.mark.parametrize(
    ("row", "column", "value", "reason"),
    [
        ((5, 3, 0, 1.5, 1), "disk-edge-on_yes", "1.5", "fractional"),
        ((5, -3, 0, 1, 1), COUNTS[1], "-3", "negative"),
        ((5, None, 0, 1, 1), COUNTS[1], None, "missing"),
        ((5, 3, "x", 1, 1), COUNTS[2], "x", "not a number"),
        ((5, 3, 0, 1e12, 1), "disk-edge-on_yes", "1000000000000.0", "too large"),
        ((5, 3, 0, 2, 2), "disk-edge-on-gz2", 4, "more than the 3 votes of the answers that"),
    ],
)
def test_counts_that_are_refused(
    row: tuple[Any, ...], column: str, value: Any, reason: str
) -> None:
    (found,) = wrong(COUNTS, *row)
    assert (found.row, found.column, found.value) == (0, column, value)
    assert found.reason.startswith(reason)


def test_excess_is_allowed_up_to_a_limit() -> None:
    """4 votes after 3: one too many, which ``excess=1`` takes and counts as they stand."""
    batch, columns = table(COUNTS, [5, 3, 0, 2, 2], [5, 3, 0, 3, 2])
    votes, found = read_votes(batch, columns, excess=1)
    assert [each.row for each in found] == [1]
    assert votes[0].tolist() == [5, 3, 0, 2, 2]


def test_a_question_that_is_empty_throughout_was_not_asked() -> None:
    batch, columns = table(COUNTS, [5, 3, 0, None, None])
    votes, found = read_votes(batch, columns)
    assert (votes.tolist(), found) == ([[5, 3, 0, 0, 0]], [])


def test_numbers_of_parquet_are_taken_as_they_are() -> None:
    arrays = [pa.array([5, 7]), pa.array([3.0, 0.0]), *(pa.array([0, 0]) for _ in range(3))]
    batch = pa.record_batch(arrays, names=COUNTS)
    votes, found = read_votes(batch, find_votes(COUNTS, "gz2"))
    assert (votes[:, :2].tolist(), found) == ([[5, 3], [7, 0]], [])
