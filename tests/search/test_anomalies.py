"""Planted anomalies are found, and each score is what its definition says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from gzfound import Embeddings, GzfoundError, build_index, rank_anomalies
from gzfound.embedding import embed_arrays
from gzfound.models import load_encoder
from gzfound.neighbours import nearest, unit_vectors
from gzfound.search import anomalies
from gzfound.search.anomalies import METHODS, Method
from gzfound.simulation import sample_population, telescope_for
from gzfound.simulation.latents import ARTIFACT, GALAXY
from gzfound.simulation.render import render

ODD = [100, 700, 1_500, 2_900]


@pytest.fixture
def vectors(vectors: np.ndarray) -> np.ndarray:
    """Clusters around one direction, and four vectors that point anywhere."""
    units = unit_vectors(vectors) + 0.7
    units[ODD] = np.random.default_rng(9).normal(size=(4, vectors.shape[1]))
    return units


@pytest.fixture
def planted(table: Path, vectors: np.ndarray) -> Path:
    Embeddings([f"g{n}" for n in range(3_000)], vectors).write(table)
    return table


def by_row(found: anomalies.Anomalies) -> np.ndarray:
    scores = np.empty(len(found.ids))
    scores[[int(name[1:]) for name in found.ids]] = found.scores
    return scores


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sample", [3_000, 500])
def test_planted_vectors_come_first(
    planted: Path, method: Method, sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted to all, and to a sixth that holds none or few of them; k is below a cluster's size."""
    monkeypatch.setattr(anomalies, "_SAMPLE", sample)
    k = 20 if sample == 3_000 else 5
    found = rank_anomalies(planted, method, k=k, exact=True)
    assert sorted(found.ids) == sorted(f"g{n}" for n in range(3_000))
    assert (np.diff(found.scores) <= 0).all()
    odd = np.isin(np.arange(3_000), ODD)
    assert roc_auc_score(odd, by_row(found)) > 0.99
    again = rank_anomalies(planted, method, k=k, exact=True, top=5)
    assert again.ids == found.ids[:5]
    np.testing.assert_array_equal(again.scores, found.scores[:5])


def test_neighbour_distance_is_the_mean_distance_to_the_others(
    planted: Path, vectors: np.ndarray
) -> None:
    """Also through the index, which may miss a neighbour: within 0.01, and 0.001 nearly always."""
    names = np.arange(3_000).astype(str)
    _, similarities = nearest(vectors, vectors, 7, ids=names, query_ids=names)
    expected = 1 - similarities.mean(axis=1)
    exact = by_row(rank_anomalies(planted, "neighbour_distance", k=7, exact=True))
    np.testing.assert_allclose(exact, expected, atol=1e-5)
    build_index(planted)
    indexed = np.abs(by_row(rank_anomalies(planted, "neighbour_distance", k=7)) - expected)
    assert indexed.max() < 0.01
    assert np.quantile(indexed, 0.95) < 0.001
    assert indexed.max() > 0, "it is the index that answered"


def test_the_outlier_factor_is_that_of_scikit_learn(planted: Path, vectors: np.ndarray) -> None:
    peer = LocalOutlierFactor(n_neighbors=30, algorithm="brute").fit(unit_vectors(vectors))
    found = by_row(rank_anomalies(planted, "local_outlier_factor", k=30))
    np.testing.assert_allclose(found, -peer.negative_outlier_factor_, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_lengths_do_not_matter(planted: Path, vectors: np.ndarray, method: Method) -> None:
    """Powers of two leave every unit vector as it is, bit by bit."""
    before = by_row(rank_anomalies(planted, method, exact=True))
    lengths = 2.0 ** np.random.default_rng(1).integers(-5, 6, size=(3_000, 1))
    scaled = (vectors * lengths).astype(np.float32)
    Embeddings([f"g{n}" for n in range(3_000)], scaled).write(planted)
    np.testing.assert_allclose(by_row(rank_anomalies(planted, method, exact=True)), before)


def test_another_seed_is_another_forest(planted: Path) -> None:
    first, second, third = (by_row(rank_anomalies(planted, seed=s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_written_with_ranks(planted: Path, tmp_path: Path) -> None:
    found = rank_anomalies(planted, top=3)
    found.write(tmp_path / "a.parquet")
    written = pq.read_table(tmp_path / "a.parquet")
    assert written.column_names == ["id_str", "score", "rank"]
    assert written["rank"].to_pylist() == [1, 2, 3]
    assert written["id_str"].to_pylist() == found.ids
    np.testing.assert_array_equal(written["score"].to_numpy(), found.scores)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "forest"}, "method 'forest': not one of isolation_forest, local_outlier"),
        ({"top": 0}, "top 0: must be at least 1"),
        ({"k": 0}, "k is 0: allowed is 1 to 2999"),
        ({"k": 3_000}, "k is 3000: allowed is 1 to 2999"),
    ],
)
def test_bad_options_are_one_line(planted: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(GzfoundError, match=words) as caught:
        rank_anomalies(planted, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_few_galaxies_are_compared_with_half_of_them(tmp_path: Path, method: Method) -> None:
    vectors = np.array([[1, 0.1 * n] for n in range(-4, 5)] + [[-1, 5]], dtype=np.float32)
    Embeddings(list("abcdefghij"), vectors).write(tmp_path / "e.parquet")
    found = rank_anomalies(tmp_path / "e.parquet", method)
    assert found.ids[0] == "j"
    if method != "isolation_forest":
        assert rank_anomalies(tmp_path / "e.parquet", method, k=5).scores[0] == found.scores[0]
    Embeddings(["a"], vectors[:1]).write(tmp_path / "one.parquet")
    with pytest.raises(GzfoundError, match="holds 1; an anomaly needs others"):
        rank_anomalies(tmp_path / "one.parquet", method)


def test_artifacts_among_simulated_galaxies(tmp_path: Path) -> None:
    """Six of them among 300 galaxies, by the packaged weights; with seeds 6 and 7 the areas are
    0.94, 0.98 to 0.99 and 0.99, in the order of the methods."""
    population = sample_population(np.arange(1_500), seed=5)
    galaxies = np.flatnonzero(population.kind == GALAXY)[:300]
    artifacts = np.flatnonzero(population.kind == ARTIFACT)[:6]
    latents = population[np.concatenate([galaxies, artifacts])]
    images = render(latents, 96, telescope_for("gz_hubble"), 5).numpy()
    vectors = embed_arrays(load_encoder(), images[:, 24:72, 24:72])
    Embeddings([str(number) for number in range(306)], vectors).write(tmp_path / "e.parquet")
    least = {"isolation_forest": 0.8, "local_outlier_factor": 0.9, "neighbour_distance": 0.95}
    for method in METHODS:
        found = rank_anomalies(tmp_path / "e.parquet", method)
        odd = [int(name) >= 300 for name in found.ids]
        assert roc_auc_score(odd, found.scores) > least[method], method
