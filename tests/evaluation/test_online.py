"""What watches a pretraining run: effective rank and neighbours, against closed forms."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from gzfound import load_dataset, load_tree
from gzfound.data import decoded_images
from gzfound.embedding import embed_arrays
from gzfound.evaluation.online import LEAST_SPREAD, collapse, effective_rank, knn_score, spread
from gzfound.models import EncoderTransform, attach_transform, create_encoder
from gzfound.votes import vote_fractions

TREE = load_tree("gz_hubble")
ROOT = TREE.questions[0].name


@pytest.mark.parametrize("directions", [1, 2, 5, 16])
def test_equal_orthogonal_directions_count_each_once(directions: int) -> None:
    """Points at plus and minus each of k axes: k equal singular values, entropy log k."""
    axes = np.eye(16)[:directions] * 3.0
    assert effective_rank(np.concatenate([axes, -axes])) == pytest.approx(directions)


def test_unequal_directions_count_by_their_entropy() -> None:
    """Singular values 3 to 1: shares 3/4 and 1/4, entropy 0.5623, rank e^0.5623 = 1.7548."""
    axes = np.diag([3.0, 1.0])
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert expected == pytest.approx(1.7548, abs=1e-4)
    assert effective_rank(np.concatenate([axes, -axes])) == pytest.approx(expected)


def test_the_mean_of_the_embeddings_does_not_count() -> None:
    axes = np.eye(4)
    points = np.concatenate([axes, -axes])
    assert effective_rank(points + 100.0) == pytest.approx(effective_rank(points))


@pytest.mark.parametrize("noise", [0.0, 3e-8])
def test_a_collapsed_encoder_has_rank_one(noise: float) -> None:
    """Also if rounding in float32, a relative 6e-8 at most, scatters what should be equal."""
    scatter = np.random.default_rng(0).normal(scale=noise, size=(500, 32))
    embeddings = (0.7 * (1.0 + scatter)).astype(np.float32)
    assert effective_rank(embeddings) == pytest.approx(1.0)


def votes_on_root(count: int, volunteers: int = 40) -> np.ndarray:
    """Votes on the first question alone, with fractions spread over the simplex."""
    generator = np.random.default_rng(3)
    fractions = generator.dirichlet(np.ones(3), size=count)
    votes = np.zeros((count, len(TREE.columns)), dtype=np.int32)
    votes[:, TREE.slices[ROOT]] = [generator.multinomial(volunteers, p) for p in fractions]
    return votes


def test_embeddings_that_are_the_fractions_tell_them_and_noise_does_not() -> None:
    """15 neighbours of 600 on a triangle lie close; noise predicts worse than the mean:

    the mean of 15 random galaxies adds a fifteenth of the variance, so R^2 is near -1/15.
    """
    votes = votes_on_root(600)
    fractions = vote_fractions(votes, TREE)[:, TREE.slices[ROOT]]
    noise = np.random.default_rng(0).normal(size=(600, 8))
    assert knn_score(fractions, votes, TREE) > 0.9
    assert knn_score(noise, votes, TREE) == pytest.approx(-1 / 15, abs=0.05)


def test_the_length_of_an_embedding_does_not_matter() -> None:
    votes = votes_on_root(200)
    embeddings = np.random.default_rng(1).normal(size=(200, 6))
    lengths = np.random.default_rng(2).uniform(0.1, 10.0, size=(200, 1))
    expected = knn_score(embeddings, votes, TREE)
    assert knn_score(embeddings * lengths, votes, TREE) == pytest.approx(expected, abs=1e-6)


def test_an_answer_that_nobody_varies_on_is_left_out_without_a_warning() -> None:
    """All volunteers say artifact or features in turn; smooth has spread 0 and no R^2."""
    votes = np.zeros((200, len(TREE.columns)), dtype=np.int32)
    where = TREE.slices[ROOT]
    votes[::2, where.start + 1] = 20
    votes[1::2, where.start + 2] = 20
    embeddings = vote_fractions(votes, TREE)[:, where]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert knn_score(embeddings, votes, TREE) == pytest.approx(1.0)


@pytest.mark.parametrize(("count", "volunteers"), [(59, 40), (200, 9)])
def test_too_few_galaxies_or_votes_give_no_score(count: int, volunteers: int) -> None:
    """Fewer than 4 x 15 galaxies, or fewer than 10 votes on each."""
    votes = votes_on_root(count, volunteers)
    embeddings = np.random.default_rng(1).normal(size=(count, 6))
    assert math.isnan(knn_score(embeddings, votes, TREE))


def test_the_spread_of_opposite_and_of_equal_directions() -> None:
    """Points at plus and minus an axis lie 1 from their mean; lengths do not count."""
    axis = np.eye(4)[:1]
    assert spread(np.concatenate([axis, -5 * axis])) == pytest.approx(1.0)
    assert spread(np.concatenate([axis, 5 * axis])) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("embeddings", "collapsed"),
    [
        (np.ones((50, 16)), True),
        (np.zeros((50, 16)), True),
        (1 + 1e-4 * np.random.default_rng(0).normal(size=(50, 16)), True),
        (np.random.default_rng(0).normal(size=(50, 1)) * np.ones((1, 16)), True),
        (np.random.default_rng(0).normal(size=(50, 16)), False),
        (1 + 0.1 * np.random.default_rng(0).normal(size=(50, 16)), False),
        (np.ones((3, 16)), False),
        (np.full((50, 16), np.nan), True),
    ],
    ids=["point", "zeros", "near a point", "line", "ball", "small ball", "too few", "NaN"],
)
def test_a_collapse_is_one_line_with_the_remedy(embeddings: np.ndarray, collapsed: bool) -> None:
    said = collapse(embeddings)
    assert bool(said) == collapsed
    assert "\n" not in said
    assert collapsed == ("lower optim.learning_rate" in said)


def test_an_untrained_encoder_has_not_collapsed(simulated_galaxies: Path) -> None:
    """Its embeddings are alike, but far more different than the limit."""
    torch.manual_seed(0)
    encoder = create_encoder("resnet10t")
    attach_transform(encoder, EncoderTransform(24))
    found = decoded_images(load_dataset(str(simulated_galaxies), split="train"), 24)
    embeddings = embed_arrays(encoder, found.images)
    assert collapse(embeddings) == ""
    assert spread(embeddings) > 3 * LEAST_SPREAD
