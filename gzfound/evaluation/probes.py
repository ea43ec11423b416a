"""Linear probes: what a straight line through the embeddings can say about the votes.

The probes are fitted to counts (soft labels weighted by votes). The penalty of each question is
chosen on galaxies held back from those given, which are the training galaxies: the test
galaxies are seen by nothing in this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gzfound.draws import permutation, stream_key
from gzfound.errors import DataError
from gzfound.evaluation.metrics import vote_log_likelihoods
from gzfound.evaluation.softmax_regression import SoftmaxRegression, log_softmax
from gzfound.trees import DecisionTree

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

PENALTIES: tuple[float, ...] = tuple(float(10.0**power) for power in np.arange(0.5, -5.1, -0.5))
"""From strong to weak, per vote and for standardised features."""

MANY = 2000
"""With fewer galaxies, one in five is too few to choose by: all take their turn (five folds)."""

FEWEST = 5
"""Fewest galaxies that a probe can be fitted to: one a fold."""

_PATIENCE = 2


@dataclass(frozen=True)
class Standardiser:
    """Shifts and scales features ``(N, F)`` to the mean 0 and variance 1 of the galaxies fitted."""

    mean: Floats
    scale: Floats

    @classmethod
    def fit(cls, embeddings: npt.NDArray[np.floating]) -> Standardiser:
        """Measure ``(N, F)``; a feature that does not vary is set to 0."""
        check_embeddings(embeddings)
        values = embeddings.astype(np.float64)
        mean, spread = values.mean(axis=0), values.std(axis=0)
        flat = spread <= 1e-9 * np.maximum(np.abs(mean), 1e-30)
        return cls(mean, np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, spread)))

    def __call__(self, embeddings: npt.NDArray[np.floating]) -> Floats:
        """Standardised features, float64 ``(N, F)``."""
        result: Floats = (embeddings.astype(np.float64) - self.mean) * self.scale
        return result


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    ``weights`` are ``(F, A)`` on standardised features and ``offsets`` ``(A,)``, of logits;
    ``penalties`` has the chosen penalty of each question.
    """

    tree: DecisionTree
    standardiser: Standardiser
    weights: Floats
    offsets: Floats
    penalties: dict[str, float]

    def predict(self, embeddings: npt.NDArray[np.floating]) -> Floats:
        """Vote fractions of embeddings ``(N, F)``: ``(N, A)``, each question sums to 1."""
        check_embeddings(embeddings)
        logits = self.standardiser(embeddings) @ self.weights + self.offsets
        return _fractions(logits, self.tree)


def fit_linear_probe(
    embeddings: npt.NDArray[np.floating],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    *,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
) -> LinearProbe:
    """Fit one probe for each question, all in one solve.

    Args:
        embeddings: of the training galaxies, ``(N, F)``.
        votes: their counts, ``(N, A)``; a galaxy without votes on a question has no say in it.
        tree: the questions.
        penalties: to choose from, for each question; the one that gives the highest likelihood
            to the galaxies held back (one in five) is used to fit all N.
        seed: of the choice of galaxies held back.

    Raises:
        DataError: shapes that do not match, embeddings that are not finite, or a question
            without votes.
    """
    check_embeddings(embeddings)
    wanted = (len(embeddings), len(tree.columns))
    if votes.shape != wanted:
        raise DataError(
            f"votes have shape {votes.shape}; {len(embeddings)} embeddings and the "
            f"{len(tree.columns)} answers of {tree.name} need {wanted}"
        )
    path = sorted(penalties, reverse=True)
    scores = np.zeros((len(path), len(tree.questions)))
    for fit_rows, held_rows in validation_splits(len(embeddings), seed):
        scores += _path_scores(embeddings, votes, tree, path, fit_rows, held_rows)
    chosen = np.array(path)[np.argmax(scores, axis=0)]
    standardiser = Standardiser.fit(embeddings)
    regression = SoftmaxRegression(standardiser(embeddings), votes, tree)
    weights, offsets = regression.solve(chosen)
    names = [question.name for question in tree.questions]
    kept = dict(zip(names, chosen.tolist(), strict=True))
    return LinearProbe(tree, standardiser, weights, offsets, kept)


def validation_splits(galaxies: int, seed: int) -> list[tuple[Rows, Rows]]:
    """(rows to fit, rows held back): one split of many galaxies, five folds of few."""
    order = permutation(stream_key(seed, "probe-validation"), galaxies)
    folds = np.array_split(order, FEWEST)
    if galaxies < FEWEST:
        raise DataError(f"a probe needs at least {FEWEST} galaxies to fit, there are {galaxies}")
    used = folds[:1] if galaxies >= MANY else folds
    return [(np.sort(np.setdiff1d(order, fold)), np.sort(fold)) for fold in used]


def check_embeddings(embeddings: npt.NDArray[np.floating]) -> None:
    """Raise ``DataError`` unless embeddings are ``(N, F)`` with N and F positive, and finite."""
    if embeddings.ndim != 2 or not embeddings.size:
        raise DataError(f"embeddings have shape {embeddings.shape}; (galaxies, features) is needed")
    if not np.isfinite(embeddings).all():
        row = int(np.argwhere(~np.isfinite(embeddings))[0, 0])
        raise DataError(f"embedding of row {row} is not finite; leave that galaxy out")


def _path_scores(
    embeddings: npt.NDArray[np.floating],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    path: Sequence[float],
    fit_rows: Rows,
    held_rows: Rows,
) -> Floats:
    """Log likelihood of the held galaxies, a row a penalty, strong to weak, a column a question.

    Each solve starts from the one before. The path ends once every question is past its best.
    """
    asked = _asked(votes[fit_rows], tree)
    standardiser = Standardiser.fit(embeddings[fit_rows])
    smoothed = votes[fit_rows].astype(np.float64)
    smoothed[:, ~asked] = 1.0  # never asked in this fold: any fit will do, it scores nothing
    regression = SoftmaxRegression(standardiser(embeddings[fit_rows]), smoothed, tree)
    held = standardiser(embeddings[held_rows])
    scores = np.full((len(path), len(tree.questions)), -np.inf)
    solution = None
    for step, penalty in enumerate(path):
        solution = regression.solve(penalty, start=solution, tolerance=1e-6)
        fractions = _fractions(held @ solution[0] + solution[1], tree)
        scores[step] = vote_log_likelihoods(fractions, votes[held_rows], tree).sum(axis=0)
        if (step - np.argmax(scores[: step + 1], axis=0) >= _PATIENCE).all():
            break
    return scores


def _asked(votes: npt.NDArray[Any], tree: DecisionTree) -> npt.NDArray[np.bool_]:
    totals = np.bincount(tree.question_index, weights=votes.sum(axis=0).astype(np.float64))
    return np.asarray(totals > 0)[tree.question_index]


def _fractions(logits: Floats, tree: DecisionTree) -> Floats:
    index = torch.tensor(tree.question_index)
    log_p = log_softmax(torch.from_numpy(logits), index, len(tree.questions))
    result: Floats = log_p.exp().numpy()
    return result
