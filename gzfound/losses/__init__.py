"""Likelihoods of volunteer votes."""

from __future__ import annotations

from gzfound.losses.dirichlet_multinomial import (
    DirichletMultinomialLoss,
    log_likelihood,
    log_likelihood_per_vote,
)
from gzfound.losses.dirichlet_summaries import (
    credible_interval,
    cumulative_votes,
    expected_fractions,
    fraction_variance,
    sample,
    total_concentration,
)

__all__ = [
    "DirichletMultinomialLoss",
    "credible_interval",
    "cumulative_votes",
    "expected_fractions",
    "fraction_variance",
    "log_likelihood",
    "log_likelihood_per_vote",
    "sample",
    "total_concentration",
]
