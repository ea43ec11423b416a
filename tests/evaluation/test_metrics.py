from __future__ import annotations

import math

import numpy as np
import pytest

from gzfound.errors import DataError
from gzfound.evaluation import coverage, per_answer_errors, skill
from gzfound.evaluation.metrics import vote_log_likelihoods
from gzfound.trees import DecisionTree, Question

TREE = DecisionTree(
    "two", (Question("bar", ("yes", "no")), Question("arms", ("1", "2"), ("bar_no",)))
)
VOTES = np.array([[30, 10, 5, 5], [10, 10, 0, 0], [19, 0, 1, 0]])
PREDICTED = np.array([[0.65, 0.35, 0.5, 0.5], [0.8, 0.2, 0.5, 0.5], [0.0, 1.0, 0.5, 0.5]])


def test_errors_per_answer() -> None:
    """Rows 0 and 1 have 20 votes on bar: 0.65 - 0.75 = -0.1 and 0.8 - 0.5 = 0.3.

    RMSE = sqrt((0.01 + 0.09) / 2), MAD = 0.2, the same for both answers; row 2 has 19 votes.
    """
    errors = per_answer_errors(PREDICTED, VOTES, TREE)
    assert errors.galaxies.tolist() == [2, 2, 0, 0]
    np.testing.assert_allclose(errors.rmse[:2], math.sqrt(0.05))
    np.testing.assert_allclose(errors.mad[:2], 0.2)
    assert np.isnan(errors.rmse[2:]).all()
    assert errors.by_question()["bar"] == pytest.approx((math.sqrt(0.05), 0.2))
    assert errors.mean() == pytest.approx((math.sqrt(0.05), 0.2))


def test_skill() -> None:
    """1 at the floor, 0 at the constant; (0.09 - 0.01) / (0.25 - 0.01) = 1/3 is left at 0.3."""
    assert skill(0.1, 0.1, 0.5) == 1
    assert skill(0.5, 0.1, 0.5) == 0
    assert skill(0.3, 0.1, 0.5) == pytest.approx(2 / 3)
    assert np.isnan(skill(0.3, 0.5, 0.4))


def test_vote_log_likelihood() -> None:
    """Row 0, bar: 30 log 0.65 + 10 log 0.35; without votes 0; a sure miss counts log 1e-6."""
    found = vote_log_likelihoods(PREDICTED, VOTES, TREE)
    assert found[0, 0] == pytest.approx(30 * math.log(0.65) + 10 * math.log(0.35))
    assert found[1, 1] == 0
    assert found[2, 0] == pytest.approx(19 * math.log(1e-6))


def test_coverage_counts_galaxies_with_enough_votes() -> None:
    """Observed bar_yes: 0.75 and 0.5 (row 2 has too few votes); only 0.75 lies in [0.6, 0.8]."""
    low, high = np.full(VOTES.shape, 0.6), np.full(VOTES.shape, 0.8)
    found = coverage(low, high, VOTES, TREE)
    assert found[0] == 0.5
    assert found[1] == 0
    assert np.isnan(found[2:]).all()


def test_bad_predictions_are_named() -> None:
    with pytest.raises(DataError, match=r"predicted fractions have shape \(2, 4\)"):
        per_answer_errors(PREDICTED[:2], VOTES, TREE)
    broken = PREDICTED.copy()
    broken[1, 1] = np.nan
    with pytest.raises(DataError, match="'bar_no' in row 1 is nan"):
        per_answer_errors(broken, VOTES, TREE)
