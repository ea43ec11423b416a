"""The noise floor: the error a perfect predictor would still show, because volunteers are finite.

A predictor that knows the true fraction p of an answer is compared with the observed fraction
f = k / n of n volunteers, and k is binomial. Shapes: N galaxies, A answers.

* **RMSE**: E (f - p)^2 = p (1 - p) / n. Unknown p is no obstacle: f (1 - f) / (n - 1) has just
  that expectation, so its mean over galaxies is an unbiased estimate.
* **MAD**: E |f - p| = 2 m C(n, m) p^m (1 - p)^(n - m + 1) / n with m = floor(n p) + 1 (de Moivre
  1730; Diaconis & Zabell 1991, Statist. Sci. 6, 284, eq. 1.1). No function of k has this
  expectation for every p (it is no polynomial in p), and putting f in place of p is 3-50 % too
  low. So p is averaged over its posterior given k, the prior being the distribution of p over
  the galaxies, fitted to their votes (empirical Bayes); see the simulations in
  ``docs/evaluation.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from gzfound.trees import DecisionTree
from gzfound.votes import total_votes

Floats = npt.NDArray[np.float64]

_VALUES = 200
_STEPS = 500


@dataclass(frozen=True)
class NoiseFloor:
    """Expected errors of a perfect predictor at each galaxy and answer, ``(N, A)``.

    ``squared`` is the expected squared error (1e-2 means a floor of 0.1 in RMSE), ``absolute``
    the expected absolute error; both NaN where a question has too few votes.
    """

    squared: Floats
    absolute: Floats


def binomial_deviation(p: npt.ArrayLike, n: npt.ArrayLike) -> Floats:
    """E |k/n - p| for k ~ Binomial(n, p): de Moivre's closed form, elementwise; NaN for n = 0."""
    share, asked = np.broadcast_arrays(np.asarray(p, np.float64), np.asarray(n, np.float64))
    m = np.minimum(np.floor(asked * share) + 1, asked)
    log_choose = special.gammaln(asked + 1) - special.gammaln(m + 1)
    log_choose -= special.gammaln(asked - m + 1)
    powers = special.xlogy(m, share) + special.xlog1py(asked - m + 1, -share)
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Floats = np.where(asked > 0, 2 * m * np.exp(log_choose + powers) / asked, np.nan)
    return value


def known_noise_floor(
    probabilities: Floats, votes: npt.NDArray[Any], tree: DecisionTree
) -> NoiseFloor:
    """The floor where the true answer probabilities ``(N, A)`` are known, as in simulations.

    Only the totals of ``votes`` ``(N, A)`` are used. NaN where a question has no votes.
    """
    totals = total_votes(votes, tree)[:, tree.question_index].astype(np.float64)
    totals[totals == 0] = np.nan
    squared = probabilities * (1 - probabilities) / totals
    return NoiseFloor(squared, binomial_deviation(probabilities, np.nan_to_num(totals)))


def noise_floor(votes: npt.NDArray[Any], tree: DecisionTree, min_votes: int = 20) -> NoiseFloor:
    """The floor estimated from the votes alone.

    Args:
        votes: counts, ``(N, A)``.
        tree: the questions and answers.
        min_votes: galaxies with fewer votes on a question are left out (NaN); at least 2.
    """
    least = max(min_votes, 2)
    counts = np.asarray(votes).astype(np.int64)
    totals = total_votes(counts, tree)[:, tree.question_index]
    counted = totals >= least
    squared = np.full(counts.shape, np.nan)
    absolute = np.full(counts.shape, np.nan)
    for answer in range(counts.shape[1]):
        rows = counted[:, answer]
        if rows.any():
            k, n = counts[rows, answer], totals[rows, answer]
            squared[rows, answer] = k * (n - k) / (n * n * (n - 1.0))
            absolute[rows, answer] = _posterior_deviation(k, n)
    return NoiseFloor(squared, absolute)


def _posterior_deviation(k: npt.NDArray[np.int64], n: npt.NDArray[np.int64]) -> Floats:
    """E [deviation(p, n) | k], the prior being the distribution of p over these galaxies.

    That distribution is fitted by maximum likelihood, without a formula for its shape (Kiefer &
    Wolfowitz 1956, Ann. Math. Stat. 27, 887; the EM steps of Laird 1978, JASA 73, 805), as
    weights of fixed values of p, equally spaced in arcsin(sqrt(p)).
    """
    pairs, place, galaxies = np.unique(
        np.stack([k, n], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    asked, which = np.unique(pairs[:, 1], return_inverse=True)
    angle = (np.arange(_VALUES) + 0.5) * (np.pi / 2 / _VALUES)
    p = np.sin(angle) ** 2
    log_chance = pairs[:, :1] * np.log(p) + (pairs[:, 1] - pairs[:, 0])[:, None] * np.log1p(-p)
    chance = np.exp(log_chance - log_chance.max(axis=1, keepdims=True))
    weights = np.full(_VALUES, 1 / _VALUES)
    share = galaxies / galaxies.sum()
    for _ in range(_STEPS):
        weights = weights * ((share / (chance @ weights)) @ chance)
    deviation = binomial_deviation(p, asked[:, None])[which]
    values: Floats = (chance * deviation) @ weights / (chance @ weights)
    return values[place.ravel()]
