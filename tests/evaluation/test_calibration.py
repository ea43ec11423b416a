"""Calibration against votes drawn from known Dirichlet concentrations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from gzfound.errors import ConfigError
from gzfound.evaluation import calibration, coverage_at_levels, reliability
from gzfound.evaluation.calibration import LEVELS
from gzfound.losses import cumulative_votes, sample
from gzfound.trees import DecisionTree, Question

TREE = DecisionTree("t", (Question("q", ("a", "b")), Question("r", ("x", "y", "z"))))


def drawn(galaxies: int, volunteers: int, seed: int = 0) -> tuple[Any, Any]:
    """Concentrations ``(N, A)``, and votes that follow them."""
    draw = np.random.default_rng(seed)
    alpha = draw.gamma(2.0, 2.0, (galaxies, len(TREE.columns))) + 0.05
    totals = torch.full((galaxies, 2), volunteers)
    return alpha, sample(torch.from_numpy(alpha), TREE, 1, draw, totals)[0].numpy()


def test_cumulative_votes_are_beta_binomial() -> None:
    """Against scipy, for totals of 1 to 40 in one call; a question without votes is NaN."""
    alpha, _ = drawn(30, 1)
    draw = np.random.default_rng(1)
    votes = np.stack([draw.multinomial(n, np.full(2, 0.5)) for n in range(1, 31)])
    votes = np.concatenate([votes, np.zeros((30, 3), int)], axis=1)
    fewer, no_more = cumulative_votes(torch.from_numpy(alpha), torch.from_numpy(votes), TREE)
    n, a, b = votes.sum(axis=1), alpha[:, 0], alpha[:, 1]
    np.testing.assert_allclose(fewer[:, 0], betabinom.cdf(votes[:, 0] - 1, n, a, b), atol=1e-9)
    np.testing.assert_allclose(no_more[:, 1], betabinom.cdf(votes[:, 1], n, b, a), atol=1e-9)
    assert np.isnan(fewer[:, 2:]).all()
    lonely = DecisionTree("l", (Question("q", ("only",)),))
    ends = cumulative_votes(torch.ones(1, 1), torch.full((1, 1), 7), lonely)
    assert [float(end[0, 0]) for end in ends] == [0, 1]


def test_expected_coverage_is_the_level_for_any_total() -> None:
    """Summed over all counts of 3 volunteers, weighted by their probability: exactly the level.

    With concentrations (1, 1), all 4 counts have the probability 1/4.
    """
    tree = DecisionTree("t", (Question("q", ("a", "b")),))
    votes = np.array([[k, 3 - k] for k in range(4)])
    found = coverage_at_levels(np.ones((4, 2)), votes, tree, min_votes=1)
    np.testing.assert_allclose(found, np.tile(np.array(LEVELS)[:, None], 2), atol=1e-12)


@pytest.mark.parametrize("volunteers", [1, 4, 30])
def test_coverage_of_a_perfect_model(volunteers: int) -> None:
    """Within 4 binomial deviations of the level; the share inside has at most that variance."""
    galaxies = 4000
    alpha, votes = drawn(galaxies, volunteers)
    found = coverage_at_levels(alpha, votes, TREE, min_votes=1)
    for level, shares in zip(LEVELS, found, strict=True):
        tolerance = 4 * np.sqrt(level * (1 - level) / galaxies)
        np.testing.assert_allclose(shares, level, atol=tolerance)


def test_coverage_tells_too_sure_from_too_unsure() -> None:
    alpha, votes = drawn(2000, 30)
    sure, unsure = (coverage_at_levels(alpha * by, votes, TREE) for by in (20, 0.05))
    for level, low, high in zip(LEVELS, sure, unsure, strict=True):
        assert (low < level - 0.03).all()
        assert (high > level + 0.02).all()
    with pytest.raises(ConfigError, match=r"level is 90; allowed: numbers between 0 and 1"):
        coverage_at_levels(alpha, votes, TREE, (90,))


def test_reliability_by_hand() -> None:
    """Question q: predicted 0.1 and 0.9 of 4 galaxies, 1 in 4 and 3 in 4 of the votes."""
    predicted = np.tile([0.1, 0.9, 0.2, 0.3, 0.5], (4, 1))
    votes = np.tile([10, 30, 4, 0, 0], (4, 1))
    found = reliability(predicted, votes, TREE, bins=5, min_votes=20)
    assert found["q"] == [
        {"predicted": pytest.approx(0.1), "observed": pytest.approx(0.25), "galaxies": 4},
        {"predicted": pytest.approx(0.9), "observed": pytest.approx(0.75), "galaxies": 4},
    ]
    assert found["r"] == []
    assert found[""] == found["q"]
    assert reliability(np.ones((4, 5)), votes, TREE)["q"][0]["predicted"] == 1


def test_reliability_of_a_perfect_model() -> None:
    """Bins of many galaxies lie on the diagonal, but for 4 deviations of a vote fraction."""
    alpha, votes = drawn(5000, 25)
    predicted = alpha.copy()
    for part in TREE.slices.values():
        predicted[:, part] /= alpha[:, part].sum(axis=1, keepdims=True)
    bins = list(itertools.chain(*reliability(predicted, votes, TREE).values()))
    many = [each for each in bins if each["galaxies"] > 200]
    assert len(many) > 15
    for each in many:
        assert each["observed"] == pytest.approx(
            each["predicted"], abs=4 * 0.3 / np.sqrt(each["galaxies"])
        )


def test_means_are_weighted_by_galaxies() -> None:
    """300 galaxies answer q, 100 of them r: overall is (2 * 300 q + 3 * 100 r) / 900."""
    alpha, votes = drawn(300, 25)
    votes[100:, 2:] = 0
    found = calibration(alpha, votes, TREE)["coverage"]
    answers = np.array(list(found["answers"].values()))
    q, r = (np.array(values) for values in found["questions"].values())
    np.testing.assert_allclose(q, answers[:2].mean(axis=0))
    np.testing.assert_allclose(r, answers[2:].mean(axis=0))
    np.testing.assert_allclose(found["overall"], (600 * q + 300 * r) / 900)
    votes[:, 2:] = 0
    silent = calibration(alpha, votes, TREE)["coverage"]["questions"]["r"]
    assert silent == [None] * len(LEVELS)
