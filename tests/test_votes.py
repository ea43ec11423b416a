"""Columns to counts and back, and every way in which a count can be wrong."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gzfound import DecisionTree, load_tree
from gzfound.errors import DataError
from gzfound.trees import Question
from gzfound.votes import (
    VoteProblem,
    check_votes,
    total_votes,
    vote_fractions,
    votes_from_columns,
    votes_to_columns,
)

HUBBLE = load_tree("gz_hubble")
TREE = DecisionTree(
    "small",
    (
        Question("root", ("yes", "no")),
        Question("left", ("a", "b", "c"), ("root_yes",)),
        Question("right", ("d", "e"), ("root_no", "left_a", "left_b", "left_c")),
    ),
)


def table(**columns: Any) -> dict[str, Any]:
    return {**{column: [0, 0, 0] for column in TREE.columns}, **columns}


@given(arrays(np.int32, (5, 40), elements=st.integers(0, 2**31 - 1)))
def test_there_and_back(votes: npt.NDArray[np.int32]) -> None:
    columns = votes_to_columns(votes, HUBBLE)
    assert tuple(columns) == HUBBLE.columns
    assert all(values.dtype == np.int32 for values in columns.values())
    back = votes_from_columns(columns, HUBBLE)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, votes)


@pytest.mark.parametrize(
    "values",
    [
        [1, 0, 7],
        (1.0, 0.0, 7.0),
        np.array([1, 0, 7], np.uint8),
        np.array([1, 0, 7], object),
        np.ma.array([1, 0, 7]),
        pd.Series([1, 0, 7], dtype="Int64"),
        pa.chunked_array([[1], [0, 7]]),
    ],
)
def test_whole_numbers_are_taken_however_stored(values: Any) -> None:
    votes = votes_from_columns(table(left_b=values), TREE)
    assert votes[:, TREE.columns.index("left_b")].tolist() == [1, 0, 7]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, -1, 0], "row 1, column 'left_b': -1 is negative"),
        ([0, 0, 2.5], "row 2, column 'left_b': 2.5 is fractional"),
        ([float("nan"), 0, 0], "row 0, column 'left_b': nan is missing"),
        ([0, None, 0], "row 1, column 'left_b': None is missing"),
        (pd.Series([1, None, 0], dtype="Int64"), "row 1, column 'left_b': nan is missing"),
        ([1, pd.NA, 0], "row 1, column 'left_b': <NA> is missing"),
        (np.ma.array([0, 9, 0], mask=[0, 1, 0]), "row 1, column 'left_b': None is missing"),
        ([0, 0, float("inf")], "row 2, column 'left_b': inf is too large"),
        ([0, 2**31, 0], f"row 1, column 'left_b': {2**31} is too large"),
        (["3", "4", "5"], r"row 0, column 'left_b': '3' is not a number \(and 2 more\)"),
        ([True, False, True], r"row 0, column 'left_b': True is not a number \(and 2 more\)"),
        ([1, Decimal(2), 3], r"row 1, column 'left_b': Decimal\('2'\) is not a number"),
        ([-1, -2, 0], r"row 0, column 'left_b': -1 is negative \(and 1 more\)"),
    ],
)
def test_unusable_counts_are_named_by_row_and_column(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"{message}.*; vote counts are whole numbers from 0 to"):
        votes_from_columns(table(left_b=values), TREE)


def test_unusable_counts_are_counted_over_all_columns() -> None:
    with pytest.raises(DataError, match=r"row 2, column 'root_no': -5 .*\(and 3 more\)"):
        votes_from_columns(table(root_no=[0, 0, -5], left_a=[-1, -1, -1]), TREE)


def test_missing_columns_and_lengths_are_named() -> None:
    columns = table()
    del columns["left_a"], columns["right_e"]
    with pytest.raises(DataError, match=r"2 of the 7 vote columns .* missing: left_a, right_e"):
        votes_from_columns(columns, TREE)
    with pytest.raises(DataError, match="'left_c' has 2 rows, but 'root_yes' has 3"):
        votes_from_columns(table(left_c=[1, 2]), TREE)
    with pytest.raises(DataError, match=r"'left_c' has shape \(3, 1\)"):
        votes_from_columns(table(left_c=[[1], [2], [3]]), TREE)


def test_check_reports_every_problem_by_row() -> None:
    """Row 1: three 'left' votes after two 'yes'. Row 2: 'right' has 4 after no 1 + left 2."""
    votes = np.array(
        [
            [2, 1, 1, 1, 0, 1, 2],
            [2, 0, 1, 1, 1, 0, 0],
            [2, 1, 1, 1, 0, 2, 2],
            [2, 1, -1, 0.5, np.nan, 9, 0],
        ]
    )
    more = "more than the {} votes of the answers that lead to this question"
    problems = check_votes(votes, TREE)
    assert problems[:2] == [
        VoteProblem(1, "left", 3, more.format(2)),
        VoteProblem(2, "right", 4, more.format(3)),
    ]
    assert [(p.row, p.column, p.reason) for p in problems[2:]] == [
        (3, "left_a", "negative"),
        (3, "left_b", "fractional"),
        (3, "left_c", "missing"),
    ]
    assert str(problems[0]) == f"row 1, column 'left': 3 is {more.format(2)}"
    assert check_votes(votes[:1], TREE) == []


def test_writing_unusable_counts_is_refused() -> None:
    votes = np.zeros((2, 7))
    votes[1, 3] = 0.5
    with pytest.raises(DataError, match=r"row 1, column 'left_b': 0\.5 is fractional"):
        votes_to_columns(votes, TREE)


def test_totals_and_fractions() -> None:
    votes = np.array([[3, 1, 1, 2, 0, 0, 0]], np.int32)
    assert total_votes(votes, TREE).tolist() == [[4, 3, 0]]
    assert total_votes(votes, TREE).dtype == np.int64
    expected = [0.75, 0.25, 1 / 3, 2 / 3, 0, np.nan, np.nan]
    np.testing.assert_allclose(vote_fractions(votes, TREE), [expected])


def test_totals_do_not_overflow() -> None:
    votes = np.full((1, 7), 2**31 - 1, np.int32)
    assert total_votes(votes, TREE)[0, 1] == 3 * (2**31 - 1)


@pytest.mark.parametrize("function", [check_votes, total_votes, vote_fractions, votes_to_columns])
def test_a_wrong_shape_is_named(function: Any) -> None:
    with pytest.raises(DataError, match=r"shape \(2, 6\), but tree small needs \(galaxies, 7\)"):
        function(np.zeros((2, 6)), TREE)


def test_no_galaxies_are_fine() -> None:
    votes = votes_from_columns({column: [] for column in TREE.columns}, TREE)
    assert votes.shape == (0, 7)
    assert check_votes(votes, TREE) == []
    assert total_votes(votes, TREE).shape == (0, 3)


def test_a_hundred_thousand_galaxies_in_well_under_a_second() -> None:
    votes = np.zeros((100_000, 40), np.int32)
    columns = votes_to_columns(votes, HUBBLE)
    start = time.process_time()
    assert check_votes(votes_from_columns(columns, HUBBLE), HUBBLE) == []
    assert time.process_time() - start < 1
