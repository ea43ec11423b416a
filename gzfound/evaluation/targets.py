"""Probes of targets that are no votes: a number (ridge) or a class (softmax regression)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.errors import DataError
from gzfound.evaluation.probes import LinearProbe, Standardiser, check_embeddings, fit_linear_probe
from gzfound.trees import DecisionTree, Question

Floats = npt.NDArray[np.float64]

RIDGE_PENALTIES: tuple[float, ...] = tuple(float(10.0**p) for p in np.arange(2, -5.1, -0.25))
"""Per galaxy and for standardised features, from strong to weak."""


@dataclass(frozen=True)
class NumberProbe:
    """A fitted ridge regression: ``weights`` ``(F,)`` on standardised features."""

    standardiser: Standardiser
    weights: Floats
    offset: float
    penalty: float

    def predict(self, embeddings: npt.NDArray[np.floating]) -> Floats:
        """The number for each of the embeddings ``(N, F)``: ``(N,)``."""
        check_embeddings(embeddings)
        result: Floats = self.standardiser(embeddings) @ self.weights + self.offset
        return result


@dataclass(frozen=True)
class ClassProbe:
    """A fitted softmax regression; ``classes`` are in sorted order."""

    classes: tuple[str, ...]
    probe: LinearProbe

    def predict(self, embeddings: npt.NDArray[np.floating]) -> Floats:
        """Probability of each class for embeddings ``(N, F)``: ``(N, classes)``."""
        return self.probe.predict(embeddings)


def fit_number_probe(
    embeddings: npt.NDArray[np.floating],
    target: npt.NDArray[np.floating],
    penalties: Sequence[float] = RIDGE_PENALTIES,
) -> NumberProbe:
    """Ridge regression of a number ``(N,)`` on embeddings ``(N, F)``.

    The penalty is the one with the smallest leave-one-out error on these galaxies, each
    predicted from all others: the residual over 1 - h, with h the diagonal of the hat matrix
    (Golub, Heath & Wahba 1979, Technometrics 21, 215, eq. 1.3); one decomposition serves all.

    Raises:
        DataError: shapes that do not match, or values that are not finite.
    """
    check_embeddings(embeddings)
    y = np.asarray(target, np.float64)
    if y.shape != (len(embeddings),) or not np.isfinite(y).all():
        raise DataError(
            f"target has shape {y.shape} for {len(embeddings)} embeddings; one finite number "
            "a galaxy is needed"
        )
    standardiser = Standardiser.fit(embeddings)
    left, values, right = np.linalg.svd(standardiser(embeddings), full_matrices=False)
    squares = values**2
    along = left.T @ (y - y.mean())
    errors = []
    for penalty in penalties:
        shrink = squares / (squares + penalty * len(y))
        residual = y - y.mean() - left @ (shrink * along)
        leverage = 1 / len(y) + (left**2) @ shrink
        errors.append(np.mean((residual / np.maximum(1 - leverage, 1e-9)) ** 2))
    best = penalties[int(np.argmin(errors))]
    weights = right.T @ (values / (squares + best * len(y)) * along)
    return NumberProbe(standardiser, weights, float(y.mean()), float(best))


def fit_class_probe(
    embeddings: npt.NDArray[np.floating], labels: npt.NDArray[Any], *, seed: int = 0
) -> ClassProbe:
    """Softmax regression of classes ``(N,)``, as one question on which each galaxy has one vote.

    Raises:
        DataError: fewer than two classes, or shapes that do not match.
    """
    names, index = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"target has the classes {names.tolist()}; at least two are needed")
    classes = tuple(names.tolist())
    tree = DecisionTree("target", (Question("class", classes),))
    votes = (index[:, None] == np.arange(len(classes))).astype(np.int32)
    return ClassProbe(classes, fit_linear_probe(embeddings, votes, tree, seed=seed))
