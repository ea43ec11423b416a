"""Linear probes of every question: gzfound's one solve, and a loop over scikit-learn.

Both minimise, for each question q, the mean negative log likelihood of a vote plus a ridge on the
weights, ``sum_ij -n_ij log p_ij / V_q + lambda |W_q|^2 / 2``, with the same lambda. scikit-learn's
``LogisticRegression`` has C times the sum instead of the mean, so ``C = 1 / (lambda V_q)``. Of two
answers it fits one difference u, where the softmax has -u / 2 and u / 2 and half the squared
weights: there C is twice that. Votes become rows: one a galaxy and answer that has votes, weighted
by their number. Shapes: N galaxies, F features, A answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from speed_tasks import CAMPAIGN, simulated_votes

from gzfound.evaluation.probes import Standardiser
from gzfound.evaluation.softmax_regression import SoftmaxRegression
from gzfound.trees import DecisionTree, load_tree

Floats = npt.NDArray[np.float64]
Solution = tuple[Floats, Floats]
"""Weights ``(F, A)`` on standardised features, and offsets ``(A,)``."""

PENALTY = 0.03
"""lambda: about what ``fit_linear_probe`` chooses for most questions of these data."""


def prepare(
    seed: int, galaxies: int = 20_000, features: int = 512
) -> tuple[Callable[[], Solution], Callable[[], Solution]]:
    """Two functions without arguments that fit the same probes: ours, and scikit-learn's.

    The features are mixtures of the votes with noise, standardised outside the functions.
    scikit-learn gets them in float32, in which it is faster, and keeps its tolerance.
    """
    values, votes, tree = example(seed, galaxies, features)
    single = values.astype(np.float32)

    def ours() -> Solution:
        return SoftmaxRegression(values, votes, tree).solve(PENALTY)

    def theirs() -> Solution:
        return with_scikit_learn(single, votes, tree, PENALTY)

    return ours, theirs


def example(seed: int, galaxies: int, features: int) -> tuple[Floats, Any, DecisionTree]:
    """Standardised features ``(N, F)``, votes ``(N, A)`` of simulated volunteers, their tree."""
    tree = load_tree(CAMPAIGN)
    votes = simulated_votes(tree, galaxies, seed)
    draw = np.random.default_rng(seed)
    mixed = np.log1p(votes) @ draw.normal(size=(votes.shape[1], features))
    values = mixed + mixed.std() * draw.normal(size=mixed.shape)
    return Standardiser.fit(values)(values), votes, tree


def with_scikit_learn(
    values: npt.NDArray[np.floating],
    votes: npt.NDArray[np.integer],
    tree: DecisionTree,
    penalty: float,
    tolerance: float = 1e-4,
) -> Solution:
    """One ``LogisticRegression`` a question, with its default solver (L-BFGS) and tolerance."""
    weights = np.zeros((values.shape[1], len(tree.columns)))
    offsets = np.zeros(len(tree.columns))
    for part in tree.slices.values():
        counts = votes[:, part]
        two = counts.shape[1] == 2
        rows, answers = np.nonzero(counts)
        strength = (2 if two else 1) / (penalty * counts.sum())
        model = LogisticRegression(C=strength, tol=tolerance, max_iter=1000)
        model.fit(values[rows], answers, counts[rows, answers].astype(values.dtype))
        slopes, starts = model.coef_.T, model.intercept_
        weights[:, part] = np.hstack([-slopes / 2, slopes / 2]) if two else slopes
        offsets[part] = np.concatenate([-starts / 2, starts / 2]) if two else starts
    return weights, offsets


def objective_of(
    solution: Solution,
    values: npt.NDArray[np.floating],
    votes: npt.NDArray[np.integer],
    tree: DecisionTree,
    penalty: float,
) -> Floats:
    """What both minimise, one number a question ``(Q,)``, in plain numpy and float64."""
    weights, offsets = solution
    found = []
    for part in tree.slices.values():
        logits = values.astype(np.float64) @ weights[:, part] + offsets[part]
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss = -(votes[:, part] * log_p).sum() / votes[:, part].sum()
        found.append(loss + penalty / 2 * (weights[:, part] ** 2).sum())
    return np.array(found)
