from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from gzfound.evaluation import known_noise_floor, noise_floor, per_answer_errors
from gzfound.evaluation.noise_floor import binomial_deviation
from gzfound.trees import DecisionTree, Question

TREE = DecisionTree(
    "two", (Question("bar", ("yes", "no")), Question("arms", ("1", "2"), ("bar_no",)))
)
GALAXIES = 20_000


@pytest.mark.parametrize(("p", "n"), [(0.3, 20), (0.5, 7), (0.01, 40), (0.999, 40), (0.25, 4)])
def test_deviation_is_the_sum_over_outcomes(p: float, n: int) -> None:
    k = np.arange(n + 1)
    expected = (np.abs(k / n - p) * stats.binom(n, p).pmf(k)).sum()
    assert binomial_deviation(p, n) == pytest.approx(expected, rel=1e-12)


def test_deviation_at_the_edges() -> None:
    """One volunteer: |1 - p| p + p (1 - p) = 2 p (1 - p). Certain answers do not vary."""
    assert binomial_deviation(0.3, 1) == pytest.approx(2 * 0.3 * 0.7)
    np.testing.assert_array_equal(binomial_deviation([0.0, 1.0], 5), [0, 0])
    assert np.isnan(binomial_deviation(0.5, 0))


def truths(seed: int) -> dict[str, npt.NDArray[np.float64]]:
    draw = np.random.default_rng(seed)
    rare = draw.random(GALAXIES) < 0.2
    return {
        "broad": draw.uniform(size=GALAXIES),
        "skewed": draw.beta(0.3, 0.9, GALAXIES),
        "rare": draw.beta(0.1, 3, GALAXIES),
        "two kinds": np.where(rare, draw.beta(30, 6, GALAXIES), draw.beta(2, 40, GALAXIES)),
        "mostly absent": np.where(rare, draw.beta(3, 3, GALAXIES), 0.003),
        "all alike": np.full(GALAXIES, 0.2),
    }


@pytest.mark.parametrize("name", list(truths(0)))
@pytest.mark.parametrize("most", [45, 100])
def test_floor_from_votes_alone_is_that_of_the_known_truth(name: str, most: int) -> None:
    """20,000 galaxies of 20 to ``most`` votes: the RMSE floor within 1 %, the MAD floor within 2 %.

    Putting f for p instead would make the MAD floor 3 to 18 % too low.
    """
    p = truths(1)[name]
    draw = np.random.default_rng(2)
    total = draw.integers(20, most, GALAXIES)
    yes = draw.binomial(total, p)
    votes = np.stack([yes, total - yes, *np.zeros((2, GALAXIES), int)], axis=1)
    estimated = noise_floor(votes, TREE)
    known = known_noise_floor(np.stack([p, 1 - p, p, 1 - p], axis=1), votes, TREE)
    for answer in (0, 1):
        squared = estimated.squared[:, answer].mean(), known.squared[:, answer].mean()
        assert np.sqrt(squared[0] / squared[1]) == pytest.approx(1, abs=0.01)
        absolute = estimated.absolute[:, answer].mean(), known.absolute[:, answer].mean()
        assert absolute[0] / absolute[1] == pytest.approx(1, abs=0.02)


def test_perfect_predictor_reaches_the_floor() -> None:
    """A perfect predictor of 20,000 galaxies: both errors within 2 % of the known floor."""
    p = truths(3)["skewed"]
    draw = np.random.default_rng(4)
    total = draw.integers(20, 80, GALAXIES)
    yes = draw.binomial(total, p)
    votes = np.stack([yes, total - yes, yes, total - yes], axis=1)
    perfect = np.stack([p, 1 - p, p, 1 - p], axis=1)
    floor = known_noise_floor(perfect, votes, TREE)
    errors = per_answer_errors(perfect, votes, TREE)
    np.testing.assert_allclose(errors.rmse, np.sqrt(floor.squared.mean(0)), rtol=0.02)
    np.testing.assert_allclose(errors.mad, floor.absolute.mean(0), rtol=0.02)


def test_unbiased_for_every_truth() -> None:
    """Sum over k of binom(k; n, p) f (1 - f) / (n - 1) = p (1 - p) / n, here n = 20, p = 0.13."""
    k = np.arange(21)
    votes = np.stack([k, 20 - k, 0 * k, 0 * k], axis=1)
    expected = (stats.binom(20, 0.13).pmf(k) * noise_floor(votes, TREE).squared[:, 0]).sum()
    assert expected == pytest.approx(0.13 * 0.87 / 20)


def test_few_votes_are_left_out() -> None:
    votes = np.array([[10, 10, 0, 0], [10, 9, 3, 2]])
    floor = noise_floor(votes, TREE)
    assert np.isfinite(floor.squared[0, :2]).all()
    assert np.isnan(floor.squared[1]).all()
    assert np.isnan(floor.absolute[:, 2:]).all()
