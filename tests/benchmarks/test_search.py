"""What docs/search.md claims stands in the committed results, and is measured as it says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PAGE = (RESULTS.parents[1] / "docs" / "search.md").read_text(encoding="utf-8")


@pytest.fixture
def results() -> dict[str, Any]:
    found = json.loads((RESULTS / "search.json").read_text())
    return {name: found[name]["found"] for name in ("made_vectors", "galaxies", "anomalies")}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(RESULTS.parent)
    return importlib.import_module("search")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(RESULTS.parent)
    return importlib.import_module("search_parts")


def test_the_page_holds_the_tables(benchmark: ModuleType, results: dict[str, Any]) -> None:
    everything = [*results["made_vectors"], results["galaxies"]]
    libraries = importlib.import_module("search_libraries")
    found = json.loads((RESULTS / "search_libraries.json").read_text())
    assert benchmark.scale_table(everything) in PAGE
    assert benchmark.command_table(everything) in PAGE
    assert benchmark.anomaly_table(results["anomalies"]) in PAGE
    assert libraries.markdown(found["libraries"]) in PAGE


def test_the_index_finds_what_it_should(results: dict[str, Any]) -> None:
    sizes = [row["rows"] for row in results["made_vectors"]]
    assert sizes == [10_000, 100_000, 1_000_000]
    for row in [*results["made_vectors"], results["galaxies"]]:
        assert row["index"]["recall_at_10"] > 0.98, row["rows"]
        assert row["index"]["largest_error_of_similarity"] < 1e-3
    largest = results["made_vectors"][-1]
    assert largest["build"]["bytes"] < 0.55 * largest["table_bytes"]
    assert largest["index"]["queries_per_second"] > 10 * largest["exact"]["queries_per_second"]
    assert largest["index"]["command_seconds"] < 0.2 * largest["exact"]["command_seconds"]


def test_memory_is_that_of_a_block_or_of_the_sample(results: dict[str, Any]) -> None:
    """Ten times the vectors: searching takes no more, building twice as much."""
    _, middle, largest = results["made_vectors"]

    def peak(row: dict[str, Any], what: str) -> float:
        return float(row[what]["memory_peak"] - row[what]["memory_before"])

    assert peak(largest, "exact") < 1.1 * peak(middle, "exact")
    assert peak(largest, "index") < 50
    assert peak(largest, "build") < 2.2 * peak(middle, "build")
    assert peak(largest, "build") * 2**20 < largest["table_bytes"] / 3


def test_rare_objects_are_found_and_common_ones_are_not(results: dict[str, Any]) -> None:
    rare, common = results["anomalies"]["rare"], results["anomalies"]["common"]
    for kind in ("artifacts", "stars"):
        for method in ("isolation_forest", "neighbour_distance"):
            assert min(rare[kind][method]["area"]) > 0.99
        assert min(rare[kind]["local_outlier_factor"]["area"]) > 0.97
    assert common["artifacts"]["isolation_forest"]["area"] > 0.9
    assert common["stars"]["neighbour_distance"]["area"] < 0.2
    for method in rare["torn galaxies"].values():
        assert 0.5 < np.mean(method["area"]) < 0.65


def test_made_vectors_are_clustered_and_repeat(parts: ModuleType) -> None:
    """The nearest is far nearer than most are; queries are apart from the table."""
    first = np.concatenate([v for _, v in parts.made_vectors(3_000, 64, seed=1)])
    kept, queries = parts.split(parts.made_vectors(3_000, 64, seed=1), 2_900)
    table = np.concatenate([v for _, v in kept])
    np.testing.assert_array_equal(np.concatenate([table, *queries]), first)
    units = first / np.linalg.norm(first, axis=1, keepdims=True)
    cosines = np.sort(units[:100] @ units.T, axis=1)
    assert np.median(cosines[:, -2]) > np.median(cosines) + 0.2


def test_a_table_is_measured(parts: ModuleType, tmp_path: Path) -> None:
    from gzfound.embedding import write_embeddings

    kept, queries = parts.split(parts.made_vectors(450, 16, seed=0), 400)
    write_embeddings(kept, 16, tmp_path / "e.parquet")
    found = parts.measured(tmp_path / "e.parquet", np.concatenate(queries))
    assert (found["rows"], found["build"]["lists"]) == (400, 80)
    assert found["index"]["recall_at_10"] > 0.8
    for process in (found["build"], found["exact"], found["index"]):
        assert process["memory_peak"] >= process["memory_before"] > 10
    assert 0 < found["index"]["one_query_seconds"] < 5
