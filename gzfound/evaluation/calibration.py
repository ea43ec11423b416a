"""Whether predictions are as sure as they should be: coverage, and predicted against observed.

Votes are whole numbers, so no interval of observed fractions holds exactly 90 %: with 5 volunteers
the smallest one that holds at least 90 % may hold 99 %. Coverage here is exact all the same, by the
probability integral transform of counts: with F the predicted distribution of an answer's votes,
a uniform draw between F(k - 1) and F(k) is uniform on [0, 1] if the prediction is right, whatever
the total. A galaxy counts with the share of [F(k - 1), F(k)] that lies in the central 90 % of
[0, 1], which is the mean over all such draws (Czado, Gneiting & Held 2009, Biometrics 65, 1254,
section 2.1). A perfect model has a coverage of 0.9 at the level 0.9; less is too sure of itself,
more too unsure. Shapes: N galaxies, A answers, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gzfound.errors import ConfigError
from gzfound.evaluation.metrics import MIN_VOTES, counted_galaxies
from gzfound.losses import cumulative_votes, expected_fractions
from gzfound.trees import DecisionTree
from gzfound.votes import vote_fractions

Floats = npt.NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95)
BINS = 10


def coverage_at_levels(
    concentrations: npt.NDArray[np.floating],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    levels: Sequence[float] = LEVELS,
    min_votes: int = MIN_VOTES,
) -> Floats:
    """Exact coverage of the central intervals of votes, ``(L, A)``; a perfect model has the level.

    The mean over the galaxies with at least ``min_votes`` votes on the question; NaN without any.

    Args:
        concentrations: of Dirichlet predictions, ``(N, A)``, positive.
        votes: counts, ``(N, A)``.
        tree: the questions and answers.
        levels: probabilities inside, between 0 and 1.
        min_votes: fewest votes on a question for a galaxy to count.

    Raises:
        ConfigError: a level that is not between 0 and 1.
    """
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong:
        raise ConfigError(f"level is {wrong[0]!r}; allowed: numbers between 0 and 1, such as 0.9")
    counted = counted_galaxies(votes, tree, min_votes)
    alpha = torch.from_numpy(np.asarray(concentrations, np.float64))
    below, upto = cumulative_votes(alpha, torch.from_numpy(np.asarray(votes)), tree)
    width = np.maximum(upto - below, np.finfo(np.float64).tiny)
    shares = []
    for level in levels:
        low, high = (1 - level) / 2, (1 + level) / 2
        inside = np.maximum(np.minimum(upto, high) - np.maximum(below, low), 0) / width
        shares.append(np.where(counted, inside, 0.0).sum(axis=0))
    with np.errstate(invalid="ignore"):
        result: Floats = np.stack(shares) / counted.sum(axis=0)
    return result


def reliability(
    predicted: npt.NDArray[np.floating],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    *,
    bins: int = BINS,
    min_votes: int = MIN_VOTES,
) -> dict[str, list[dict[str, float]]]:
    """Observed against predicted fractions, in bins of equal width of the predicted fraction.

    Every answer of every galaxy counted is one prediction. Under a perfect model the two means of
    a bin are equal but for the scatter of its galaxies.

    Args:
        predicted: fractions, ``(N, A)``.
        votes: counts, ``(N, A)``.
        tree: the questions and answers.
        bins: their number between 0 and 1.
        min_votes: fewest votes on a question for a galaxy to count.

    Returns:
        Question to its bins that have galaxies, in order, and the same of all answers under ``""``:
        mean ``predicted`` and mean ``observed`` fraction, and the number of ``galaxies``.
    """
    counted = counted_galaxies(votes, tree, min_votes)
    observed = vote_fractions(votes, tree)
    place = np.minimum((np.asarray(predicted) * bins).astype(np.int64), bins - 1)
    everything = {"": slice(0, len(tree.columns)), **tree.slices}
    curves: dict[str, list[dict[str, float]]] = {}
    for name, part in everything.items():
        curves[name] = []
        for number in range(bins):
            here = counted[:, part] & (place[:, part] == number)
            if here.any():
                means = {
                    "predicted": float(predicted[:, part][here].mean()),
                    "observed": float(observed[:, part][here].mean()),
                }
                curves[name].append({**means, "galaxies": int(here.any(axis=1).sum())})
    return curves


def calibration(
    concentrations: npt.NDArray[np.floating],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    min_votes: int = MIN_VOTES,
) -> dict[str, Any]:
    """Coverage at 50, 80, 90 and 95 %, and reliability, for ``metrics.json``.

    Args:
        concentrations: of Dirichlet predictions, ``(N, A)``, positive.
        votes: counts, ``(N, A)``.
        tree: the questions and answers.
        min_votes: fewest votes on a question for a galaxy to count.

    Returns:
        What ``json.dumps`` takes: ``levels``; ``coverage`` with one number a level (null without
        galaxies) for each of ``answers``, for each of ``questions`` and ``overall``, means over
        answers weighted by the galaxies counted; ``reliability`` with the bins of each of
        ``questions`` and ``overall``.
    """
    shares = coverage_at_levels(concentrations, votes, tree, LEVELS, min_votes)
    galaxies = counted_galaxies(votes, tree, min_votes).sum(axis=0)
    alpha = torch.from_numpy(np.asarray(concentrations, np.float64))
    curves = reliability(expected_fractions(alpha, tree).numpy(), votes, tree, min_votes=min_votes)
    overall = curves.pop("")
    answers = dict(zip(tree.columns, shares.T, strict=True))
    questions = {
        name: _weighted(shares[:, part], galaxies[part]) for name, part in tree.slices.items()
    }
    return {
        "levels": list(LEVELS),
        "coverage": {
            "answers": {name: _plain(values) for name, values in answers.items()},
            "questions": {name: _plain(values) for name, values in questions.items()},
            "overall": _plain(_weighted(shares, galaxies)),
        },
        "reliability": {"questions": curves, "overall": overall},
    }


def _weighted(shares: Floats, galaxies: npt.NDArray[np.integer]) -> Floats:
    """Mean over answers ``(L, K)`` to ``(L,)``, weighted by galaxies ``(K,)``."""
    with np.errstate(invalid="ignore"):
        mean: Floats = np.nan_to_num(shares) @ galaxies / galaxies.sum()
    return mean


def _plain(values: Floats) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
