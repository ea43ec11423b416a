from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from gzfound.errors import ConfigError, DataError
from gzfound.losses import (
    credible_interval,
    expected_fractions,
    fraction_variance,
    sample,
    total_concentration,
)
from gzfound.trees import DecisionTree, Question

TREE = DecisionTree(
    "small", (Question("shape", ("a", "b", "c")), Question("bar", ("yes", "no"), ("shape_b",)))
)
ALPHA = torch.tensor([[2.0, 5.0, 1.0, 3.0, 3.0], [0.4, 0.2, 0.1, 40.0, 8.0]], dtype=torch.float64)


def test_mean_and_total() -> None:
    """(2, 5, 1) / 8 and (3, 3) / 6."""
    np.testing.assert_allclose(expected_fractions(ALPHA, TREE)[0], [0.25, 0.625, 0.125, 0.5, 0.5])
    np.testing.assert_allclose(total_concentration(ALPHA, TREE), [[8, 6], [0.7, 48]])


def test_expected_fractions_are_differentiable() -> None:
    """d(alpha_0 / A) / d alpha = (A - alpha_0, -alpha_0, -alpha_0) / A^2 = (6, -2, -2) / 64."""
    alpha = ALPHA.clone().requires_grad_()
    expected_fractions(alpha, TREE)[0, 0].backward()
    assert alpha.grad is not None
    np.testing.assert_allclose(alpha.grad[0], np.array([6, -2, -2, 0, 0]) / 64, atol=1e-15)
    assert torch.autograd.gradcheck(lambda c: expected_fractions(c, TREE), (alpha,))


def test_variance_is_that_of_torch_distributions() -> None:
    variance = fraction_variance(ALPHA, TREE)
    for part in TREE.slices.values():
        expected = torch.distributions.Dirichlet(ALPHA[:, part]).variance
        torch.testing.assert_close(variance[:, part], expected)


def test_variance_of_an_observed_fraction_is_beta_binomial() -> None:
    totals = torch.tensor([[40, 7], [3, 0]])
    variance = fraction_variance(ALPHA, TREE, totals)
    assert variance[0, 1].item() == pytest.approx(stats.betabinom(40, 5, 3).var() / 40**2)
    assert variance[0, 3].item() == pytest.approx(stats.betabinom(7, 3, 3).var() / 7**2)
    assert variance[1, 2].item() == pytest.approx(stats.betabinom(3, 0.1, 0.6).var() / 3**2)
    assert torch.isnan(variance[1, 3:]).all()


def test_credible_interval_is_the_beta_quantile() -> None:
    low, high = credible_interval(ALPHA, TREE, level=0.8)
    for row, answer, b in ((0, 0, 6.0), (0, 3, 3.0), (1, 0, 0.3), (1, 4, 40.0)):
        beta = stats.beta(ALPHA[row, answer].item(), b)
        assert low[row, answer].item() == pytest.approx(beta.ppf(0.1), rel=1e-9)
        assert high[row, answer].item() == pytest.approx(beta.ppf(0.9), rel=1e-9)


def test_interval_of_observed_fractions_is_the_beta_binomial_quantile() -> None:
    totals = torch.tensor([[40, 7], [3, 0]])
    low, high = credible_interval(ALPHA, TREE, level=0.9, totals=totals)
    for row, answer, n, b in ((0, 0, 40, 6.0), (0, 3, 7, 3.0), (1, 1, 3, 0.5)):
        outcome = stats.betabinom(n, ALPHA[row, answer].item(), b)
        assert low[row, answer].item() * n == pytest.approx(outcome.ppf(0.05), abs=1e-9)
        assert high[row, answer].item() * n == pytest.approx(outcome.ppf(0.95), abs=1e-9)
    assert torch.isnan(low[1, 3:]).all()


def test_intervals_cover_draws_as_often_as_they_say() -> None:
    """40,000 draws: the Beta interval holds 0.9 within 4 sigma = 0.006; the other at least that."""
    alpha, totals = ALPHA[:1].expand(40_000, 5), torch.tensor([[40, 7]]).expand(40_000, 2)
    generator = np.random.default_rng(3)
    fractions = sample(alpha, TREE, 1, generator)[0]
    low, high = credible_interval(alpha[:1], TREE)
    inside = ((fractions >= low) & (fractions <= high)).double().mean(0)
    np.testing.assert_allclose(inside, 0.9, atol=0.006)
    votes = sample(alpha, TREE, 1, generator, totals)[0]
    observed = votes.double() / totals[:, [0, 0, 0, 1, 1]]
    low, high = credible_interval(alpha[:1], TREE, totals=totals[:1])
    inside = ((observed >= low - 1e-9) & (observed <= high + 1e-9)).double().mean(0)
    assert (inside > 0.9 - 0.006).all()


def test_samples_have_the_mean_and_variance_of_the_formulas() -> None:
    """40,000 draws: the standard error of a mean is 0.0025 at most, of a variance under 2 %."""
    fractions = sample(ALPHA, TREE, 40_000, np.random.default_rng(0))
    np.testing.assert_allclose(fractions.mean(0), expected_fractions(ALPHA, TREE), atol=0.01)
    np.testing.assert_allclose(fractions.var(0), fraction_variance(ALPHA, TREE), rtol=0.05)
    totals = torch.tensor([[40, 7], [3, 9]])
    votes = sample(ALPHA, TREE, 40_000, np.random.default_rng(0), totals)
    beside = totals[:, [0, 0, 0, 1, 1]]
    assert (votes[..., :3].sum(-1) == totals[:, 0]).all()
    assert (votes[..., 3:].sum(-1) == totals[:, 1]).all()
    expected = fraction_variance(ALPHA, TREE, totals)
    np.testing.assert_allclose((votes / beside).var(0), expected, rtol=0.05)


def test_tiny_concentrations_still_give_fractions() -> None:
    fractions = sample(torch.full((3, 5), 1e-6), TREE, 10, np.random.default_rng(0))
    np.testing.assert_allclose(fractions[..., :3].sum(-1), 1)


def test_bad_input_is_one_line() -> None:
    with pytest.raises(ConfigError, match="level is 90; allowed: a number between 0 and 1"):
        credible_interval(ALPHA, TREE, level=90)
    with pytest.raises(DataError, match=r"totals has shape \(2,\), but \(2, 2\) is needed"):
        fraction_variance(ALPHA, TREE, torch.tensor([3, 4]))
    with pytest.raises(DataError, match=r"needs \(galaxies, 5\)"):
        sample(ALPHA[:, :4], TREE, 1, np.random.default_rng(0))
