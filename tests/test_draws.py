"""Draws depend on what they are for, and look random."""

from __future__ import annotations

import numpy as np

from gzfound.draws import permutation, stream_key, uniforms


def test_a_row_depends_only_on_its_id() -> None:
    key = stream_key(7, "views", 3)
    whole = uniforms(key, np.arange(100), 6)
    some = uniforms(key, [42, 3, 99], 6)
    np.testing.assert_array_equal(some, whole[[42, 3, 99]])


def test_streams_seeds_and_kinds_of_parts_differ() -> None:
    keys = {int(stream_key(*parts)) for parts in ((1, "a"), (2, "a"), (1, "b"), ("1", "a"), (1,))}
    assert len(keys) == 5


def test_columns_are_uniform_and_uncorrelated() -> None:
    """Of 200,000 uniforms the mean has deviation 0.2887/447 = 6.5e-4; correlations have 2.2e-3."""
    values = uniforms(stream_key(0, "test"), np.arange(200_000), 8)
    assert np.abs(values.mean(axis=0) - 0.5).max() < 5 * 6.5e-4
    assert np.abs(values.var(axis=0) - 1 / 12).max() < 1e-3
    correlations = np.corrcoef(values.T) - np.eye(8)
    assert np.abs(correlations).max() < 5 * 2.3e-3
    neighbours = np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]
    assert abs(neighbours) < 5 * 2.3e-3


def test_permutation_is_one_and_depends_on_the_key() -> None:
    first, second = (permutation(stream_key(seed), 1000) for seed in (0, 1))
    assert sorted(first) == list(range(1000))
    assert (first != second).sum() > 900
    np.testing.assert_array_equal(first, permutation(stream_key(0), 1000))
