"""How good the predictions of a fine-tuned model are, as numbers for ``metrics.json``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gzfound.errors import DataError
from gzfound.evaluation.baselines import constant_fractions
from gzfound.evaluation.benchmark import CONSTANT, only_questions
from gzfound.evaluation.bootstrap import RESAMPLES
from gzfound.evaluation.calibration import calibration
from gzfound.evaluation.metrics import MIN_VOTES, coverage
from gzfound.evaluation.scores import score_fractions
from gzfound.evaluation.table import ResultTable
from gzfound.losses import credible_interval, expected_fractions, log_likelihood
from gzfound.trees import DecisionTree
from gzfound.votes import total_votes

LEVEL = 0.9
LEAST_GALAXIES = 10


def evaluate_predictions(
    concentrations: npt.NDArray[np.floating],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    *,
    train_votes: npt.NDArray[Any] | None = None,
    min_votes: int = MIN_VOTES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Errors, floor, skill, likelihood and calibration of Dirichlet predictions.

    Args:
        concentrations: ``(N, A)``, positive.
        votes: counts, ``(N, A)``.
        tree: the questions and answers.
        train_votes: counts of the training galaxies, whose means are the constant predictor;
            by default those of ``votes``, which flatters the constant a little.
        min_votes: fewest votes on a question for a galaxy to count.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    A question is left out of the result if nobody was asked it in the training galaxies, or fewer
    than ``LEAST_GALAXIES`` of the galaxies have enough votes on it: an error over one or two
    galaxies says nothing, but weighs as much as others in the mean of answers.

    Returns:
        What ``json.dumps`` takes: ``rows`` of the result table (methods ``model`` and
        ``constant``), ``coverage``: answer to the share of galaxies within the 90 %
        interval of observed fractions, which holds at least as many, null where none has enough
        votes; and ``calibration``: exact coverage and reliability (:func:`calibration`).
    """
    reference = votes if train_votes is None else train_votes
    if not len(votes):
        raise DataError("predictions: there are no galaxies to score")
    asked = total_votes(reference, tree).sum(axis=0) > 0
    scored = (total_votes(votes, tree) >= max(min_votes, 1)).sum(axis=0) >= LEAST_GALAXIES
    names = [name for name, kept in zip(tree.slices, asked & scored, strict=True) if kept]
    if not names:
        raise DataError(
            f"predictions: no question of {tree.name} has {min_votes} votes on {LEAST_GALAXIES} "
            f"of the {len(votes)} galaxies"
        )
    kept = only_questions(tree, names)
    columns = [tree.columns.index(column) for column in kept.columns]
    alpha = torch.from_numpy(np.asarray(concentrations, np.float64)[:, columns])
    seen_votes = np.asarray(votes)[:, columns]
    constant = constant_fractions(np.asarray(reference)[:, columns], kept, min_votes)
    likelihoods = log_likelihood(alpha, torch.from_numpy(seen_votes), kept, ordered=True)
    flat = np.broadcast_to(constant, seen_votes.shape)
    predicted = {"model": expected_fractions(alpha, kept).numpy(), CONSTANT: flat}
    scores = score_fractions(
        predicted,
        seen_votes,
        kept,
        constant,
        log_likelihoods={"model": likelihoods.numpy()},
        min_votes=min_votes,
        resamples=resamples,
        seed=seed,
    )
    table = ResultTable("Predicted vote fractions", tuple(scores.rows()))
    totals = torch.from_numpy(total_votes(seen_votes, kept))
    low, high = credible_interval(alpha, kept, LEVEL, totals)
    shares = coverage(low.numpy(), high.numpy(), seen_votes, kept, min_votes)
    covered = {
        column: float(share) if np.isfinite(share) else None
        for column, share in zip(kept.columns, shares, strict=True)
    }
    return {
        **table.to_dict(),
        "coverage": covered,
        "coverage_level": LEVEL,
        "calibration": calibration(alpha.numpy(), seen_votes, kept, min_votes),
    }
