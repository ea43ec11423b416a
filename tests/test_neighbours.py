"""Nearest neighbours against brute force, ties, names and errors."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gzfound import neighbours
from gzfound.errors import ConfigError, DataError
from gzfound.neighbours import nearest, representatives


def brute_force(vectors, queries, k):
    """Every cosine in float64, ordered by (-similarity, row)."""
    units = [np.float64(v) / np.linalg.norm(np.float64(v)) for v in vectors]
    rows = []
    for query in queries:
        direction = np.float64(query) / np.linalg.norm(np.float64(query))
        scores = [float(direction @ unit) for unit in units]
        rows.append(sorted(range(len(units)), key=lambda row: (-scores[row], row))[:k])
    return np.array(rows)


@pytest.fixture(params=[(256, 16_384), (3, 7), (1, 1)])
def blocks(request, monkeypatch):
    monkeypatch.setattr(neighbours, "QUERY_BLOCK", request.param[0])
    monkeypatch.setattr(neighbours, "VECTOR_BLOCK", request.param[1])


def test_equals_brute_force(blocks):
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(50, 8)), 100 * rng.normal(size=(11, 8))
    rows, similarities = nearest(vectors, queries, 6)
    np.testing.assert_array_equal(rows, brute_force(vectors, queries, 6))
    expected = np.einsum("qf,qkf->qk", queries, vectors[rows]) / (
        np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(vectors[rows], axis=2)
    )
    np.testing.assert_allclose(similarities, expected, atol=1e-6)


def test_ties_go_to_the_lower_row(blocks):
    """Signs of 4 features have length 2, so that every cosine is exactly -1, -1/2, 0, 1/2 or 1."""
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(60, 4))
    rows, similarities = nearest(signs, signs[:5], 20)
    np.testing.assert_array_equal(rows, brute_force(signs, signs[:5], 20))
    assert set(np.unique(similarities)) <= {-1.0, -0.5, 0.0, 0.5, 1.0}


def test_a_query_is_left_out_by_its_name(blocks):
    """Row 2 has the name of row 0 too: both are left out for the query "a"."""
    vectors = np.array([[1, 0], [1, 0.1], [1, 0], [0, 1]], dtype=np.float32)
    names = ["a", "b", "a", "c"]
    rows, _ = nearest(vectors, vectors[:2], 2, ids=names, query_ids=["a", "b"])
    np.testing.assert_array_equal(rows, [[1, 3], [0, 2]])
    assert nearest(vectors, vectors[:1], 1)[0].item() == 0


def test_a_vector_of_zeros_is_similar_to_nothing():
    vectors = np.array([[0, 0], [-1, 0], [1, 0]], dtype=np.float32)
    rows, similarities = nearest(vectors, np.array([[2.0, 0.0]]), 3)
    np.testing.assert_array_equal(rows, [[2, 0, 1]])
    np.testing.assert_array_equal(similarities, [[1, 0, -1]])


def test_memory_does_not_grow_with_the_vectors(monkeypatch):
    """Ten times the vectors, in blocks of 500: the peak stays within half as much again."""
    monkeypatch.setattr(neighbours, "VECTOR_BLOCK", 500)
    vectors = np.random.default_rng(2).normal(size=(20_000, 16)).astype(np.float32)
    peaks = []
    for count in (2_000, 20_000):
        tracemalloc.start()
        nearest(vectors[:count], vectors[:100], 5)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("vectors", "queries", "options", "error", "words"),
    [
        (np.ones((3, 2)), np.ones((1, 2)), {"k": 4}, ConfigError, "k is 4: allowed is 1 to 3"),
        (np.ones((3, 2)), np.ones((1, 2)), {"k": 0}, ConfigError, "k is 0"),
        (np.ones((3, 2)), np.ones((1, 5)), {"k": 1}, DataError, "5 features, but vectors have 2"),
        (np.ones(3), np.ones((1, 3)), {"k": 1}, DataError, r"vectors has shape \(3,\)"),
        (np.array([[1.0], [np.nan]]), np.ones((1, 1)), {"k": 1}, DataError, "vectors: row 1"),
        (np.ones((1, 1)), np.array([[np.inf]]), {"k": 1}, DataError, "queries: row 0"),
        (np.ones((2, 1)), np.ones((1, 1)), {"k": 1, "ids": ["a", "b"]}, DataError, "missing"),
        (
            np.ones((2, 1)),
            np.ones((1, 1)),
            {"k": 1, "ids": ["a"], "query_ids": ["a"]},
            DataError,
            "1 and 1 names, but there are 2 vectors and 1 queries",
        ),
        (
            np.ones((2, 1)),
            np.ones((2, 1)),
            {"k": 2, "ids": ["a", "b"], "query_ids": ["x", "b"]},
            ConfigError,
            "k is 2, but query 1 may find fewer",
        ),
    ],
)
def test_bad_input_is_named(vectors, queries, options, error, words):
    with pytest.raises(error, match=words) as caught:
        nearest(vectors, queries, **options)
    assert "\n" not in str(caught.value)


def test_representatives_come_from_every_group():
    """Three tight groups of directions: one representative of each."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.eye(3), 10, axis=0)
    chosen = representatives(groups + 0.01 * rng.normal(size=groups.shape), 3)
    assert sorted(chosen // 10) == [0, 1, 2]


def test_representatives_differ_even_where_vectors_do_not():
    assert len(set(representatives(np.ones((5, 2)), 4))) == 4
    with pytest.raises(ConfigError, match="count is 6: allowed is 1 to 5"):
        representatives(np.ones((5, 2)), 6)
