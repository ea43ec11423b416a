from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from gzfound.errors import DataError
from gzfound.evaluation import constant_fractions, pixel_pca
from gzfound.trees import DecisionTree, Question

TREE = DecisionTree(
    "two", (Question("bar", ("yes", "no")), Question("arms", ("1", "2"), ("bar_no",)))
)


def smooth_images(count: int) -> np.ndarray:
    """Images of 24 pixels that mix six patterns, so that six components tell all."""
    draw = np.random.default_rng(0)
    patterns = draw.normal(size=(6, 24, 24, 3))
    mixed = np.einsum("nk,khwc->nhwc", draw.normal(size=(count, 6)) * [6, 5, 4, 3, 2, 1], patterns)
    return np.clip(128 + 5 * mixed, 0, 255).astype(np.uint8)


def test_constant_is_the_mean_of_galaxies_with_enough_votes() -> None:
    """bar: rows 0 and 1 have 20 votes, (0.75 + 0.5) / 2. arms: none has, so all that were asked."""
    votes = np.array([[30, 10, 5, 5], [10, 10, 0, 0], [19, 0, 1, 0]])
    np.testing.assert_allclose(constant_fractions(votes, TREE), [0.625, 0.375, 0.75, 0.25])
    with pytest.raises(DataError, match="question 'arms' has no votes"):
        constant_fractions(votes[1:2], TREE)


def test_components_are_those_of_scikit_learn() -> None:
    images = smooth_images(80)
    train = np.arange(60)
    found = pixel_pca(images, train, components=5, size=24)
    pixels = images.transpose(0, 3, 1, 2).reshape(80, -1) / 255
    expected = PCA(5, svd_solver="full").fit(pixels[train]).transform(pixels)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-3 * np.abs(expected).max())


def test_test_images_do_not_enter_the_components() -> None:
    images = smooth_images(80)
    train = np.arange(60)
    before = pixel_pca(images, train, components=8)
    images[60:] = 255 - images[60:]
    np.testing.assert_array_equal(pixel_pca(images, train, components=8)[train], before[train])


def test_few_images_give_few_components() -> None:
    assert pixel_pca(smooth_images(10), np.arange(4), components=64).shape == (10, 3)
    with pytest.raises(DataError, match="at least 2 training images, there are 1"):
        pixel_pca(smooth_images(10), np.arange(1))
