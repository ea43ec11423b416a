"""How far predicted vote fractions are from the votes: the GZ Evo protocol, and skill.

Errors are taken answer by answer over the galaxies with at least 20 votes on the question, and
averaged over answers afterwards, so that rare answers count as much as common ones. Shapes:
N galaxies, Q questions, A answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.errors import DataError
from gzfound.trees import DecisionTree
from gzfound.votes import total_votes, vote_fractions

Floats = npt.NDArray[np.float64]
Votes = npt.NDArray[Any]

MIN_VOTES = 20


@dataclass(frozen=True)
class AnswerErrors:
    """Errors of each answer, ``(A,)``, NaN where no galaxy has enough votes.

    ``galaxies`` counts those that have; ``rmse`` is the root of the mean squared difference of
    predicted and observed fraction over them, ``mad`` the mean absolute difference.
    """

    tree: DecisionTree
    galaxies: npt.NDArray[np.int64]
    rmse: Floats
    mad: Floats

    def by_question(self) -> dict[str, tuple[float, float]]:
        """Question to (RMSE, MAD), each averaged over its answers."""
        return {
            name: (float(self.rmse[part].mean()), float(self.mad[part].mean()))
            for name, part in self.tree.slices.items()
        }

    def mean(self) -> tuple[float, float]:
        """(RMSE, MAD) averaged over all answers that have galaxies."""
        seen = self.galaxies > 0
        if not seen.any():
            return float("nan"), float("nan")
        return float(self.rmse[seen].mean()), float(self.mad[seen].mean())


def counted_galaxies(
    votes: Votes, tree: DecisionTree, min_votes: int = MIN_VOTES
) -> npt.NDArray[np.bool_]:
    """Which galaxies have enough votes on the question of each answer, ``(N, A)``."""
    enough: npt.NDArray[np.bool_] = total_votes(votes, tree) >= max(min_votes, 1)
    return enough[:, tree.question_index]


def fraction_residuals(
    predicted: npt.NDArray[np.floating], votes: Votes, tree: DecisionTree, min_votes: int
) -> Floats:
    """Predicted less observed fractions, ``(N, A)``; NaN where there are too few votes.

    Raises:
        DataError: ``predicted`` has another shape than ``votes``, or is not finite where counted.
    """
    if predicted.shape != votes.shape:
        raise DataError(
            f"predicted fractions have shape {predicted.shape}, but the votes {votes.shape}"
        )
    counted = counted_galaxies(votes, tree, min_votes)
    bad = counted & ~np.isfinite(predicted)
    if bad.any():
        row, answer = np.argwhere(bad)[0]
        raise DataError(
            f"predicted fraction of {tree.columns[answer]!r} in row {row} is "
            f"{predicted[row, answer]}; a finite number is needed"
        )
    residuals: Floats = np.where(counted, predicted - vote_fractions(votes, tree), np.nan)
    return residuals


def per_answer_errors(
    predicted: npt.NDArray[np.floating],
    votes: Votes,
    tree: DecisionTree,
    min_votes: int = MIN_VOTES,
) -> AnswerErrors:
    """RMSE and MAD of predicted fractions ``(N, A)`` against votes ``(N, A)``, per answer."""
    residuals = fraction_residuals(predicted, votes, tree, min_votes)
    galaxies = np.isfinite(residuals).sum(axis=0)
    with np.errstate(invalid="ignore"):
        squared = np.nansum(residuals**2, axis=0) / galaxies
        absolute = np.nansum(np.abs(residuals), axis=0) / galaxies
    return AnswerErrors(tree, galaxies, np.sqrt(squared), absolute)


def skill(
    error: npt.ArrayLike, floor: npt.ArrayLike, constant: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """``1 - (error^2 - floor^2) / (constant^2 - floor^2)``, elementwise, from RMSEs.

    0 is no better than the constant predictor, 1 as good as the volunteers allow; NaN where the
    constant predictor is already at or under the floor, so that there is nothing to explain.
    """
    error, floor, constant = (np.asarray(x, np.float64) for x in (error, floor, constant))
    room = constant**2 - floor**2
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Floats = np.where(room > 0, 1 - (error**2 - floor**2) / room, np.nan)
    return value


def vote_log_likelihoods(
    predicted: npt.NDArray[np.floating], votes: Votes, tree: DecisionTree
) -> Floats:
    """Sum over votes of log predicted fraction, ``(N, Q)`` in nats, for predictors of fractions.

    A predictor with concentrations is scored by ``gzfound.losses.log_likelihood`` (ordered);
    this is its limit for large concentrations. Fractions under 1e-6 count as 1e-6.
    """
    each = votes * np.log(np.maximum(predicted, 1e-6))
    starts = [part.start for part in tree.slices.values()]
    result: Floats = np.add.reduceat(np.where(votes > 0, each, 0.0), starts, axis=1)
    return result


def coverage(
    low: npt.NDArray[np.floating],
    high: npt.NDArray[np.floating],
    votes: Votes,
    tree: DecisionTree,
    min_votes: int = MIN_VOTES,
) -> Floats:
    """Share of galaxies whose observed fraction lies within ``[low, high]``, ``(A,)``.

    Compare it with the level of the intervals: those of observed fractions (``totals`` given to
    ``credible_interval``), since intervals of the true fraction leave out the volunteers' noise.
    """
    fractions = vote_fractions(votes, tree)
    counted = counted_galaxies(votes, tree, min_votes)
    inside = counted & (fractions >= low - 1e-6) & (fractions <= high + 1e-6)
    with np.errstate(invalid="ignore"):
        share: Floats = inside.sum(axis=0) / counted.sum(axis=0)
    return share
