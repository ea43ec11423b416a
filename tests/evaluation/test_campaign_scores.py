"""Where a tree has several campaigns, each has a mean of its own beside that of all."""

from __future__ import annotations

import numpy as np
import pytest

from gzfound.evaluation.scores import mean_of, score_fractions
from gzfound.evaluation.table import MEAN
from gzfound.trees import DecisionTree, load_tree

PAIR = ("how-rounded-gz2", "bar-gz2", "bar-hubble", "how-rounded-hubble")


def test_means_of_each_campaign_and_of_all() -> None:
    """One galaxy a campaign with 10 votes to the first answer; every prediction is off by what it
    is off by: 0.1 and 0.2 in GZ2, 0.3 and 0.4 in Hubble, in the first two answers."""
    questions = {q.name: q for name in ("gz2", "gz_hubble") for q in load_tree(name).questions}
    flat = [type(q)(q.name, q.answers) for q in (questions[name] for name in PAIR)]
    tree = DecisionTree("pair", tuple(flat))
    votes = np.zeros((2, len(tree.columns)), int)
    predicted = np.zeros((2, len(tree.columns)))
    for number, (name, error) in enumerate(zip(PAIR, (0.1, 0.2, 0.3, 0.4), strict=True)):
        start = tree.slices[name].start
        votes[number // 2, start] = 10
        predicted[:, start], predicted[:, start + 1] = 1 - error, error
    scores = score_fractions(
        {"model": predicted}, votes, tree, np.full(len(tree.columns), 0.5), min_votes=1, resamples=5
    )
    assert list(scores.galaxies) == [*PAIR, mean_of("gz2"), mean_of("gz_hubble"), MEAN]
    assert scores.galaxies[mean_of("gz2")] == scores.galaxies[mean_of("gz_hubble")] == 1
    assert scores.galaxies[MEAN] == 2

    def rmse(target: str) -> float:
        return scores.interval(target, "model", "RMSE").value

    # Answers: 3 and 2 of GZ2, 2 and 3 of Hubble; the third answer is right.
    assert rmse(mean_of("gz2")) == pytest.approx((2 * 0.1 + 2 * 0.2) / 5)
    assert rmse(mean_of("gz_hubble")) == pytest.approx((2 * 0.3 + 2 * 0.4) / 5)
    assert rmse(MEAN) == pytest.approx(2 * (0.1 + 0.2 + 0.3 + 0.4) / 10)


def test_one_campaign_has_one_mean() -> None:
    tree = load_tree("gz2")
    votes = np.full((3, len(tree.columns)), 5)
    flat = {"model": np.full(votes.shape, 0.5)}
    scores = score_fractions(flat, votes, tree, np.full(len(tree.columns), 0.5), resamples=5)
    assert list(scores.galaxies) == [*tree.slices, MEAN]
