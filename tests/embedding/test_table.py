"""A table of embeddings by row, by name and in blocks, without holding it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gzfound.embedding import table, write_embeddings, writing
from gzfound.embedding.table import EmbeddingTable
from gzfound.errors import DataError

IDS = [f"g{number}" for number in range(22)] + ["g3"]
VECTORS = np.random.default_rng(0).normal(size=(23, 5)).astype(np.float32)


@pytest.fixture(params=["one file", "files of 10", "groups of 3"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "groups of 3":
        monkeypatch.setattr(writing, "_GROUP_NUMBERS", 15)
    rows = 10 if request.param == "files of 10" else None
    write_embeddings(iter([(IDS, VECTORS)]), 5, tmp_path / "e.parquet", rows)
    return tmp_path / "e.parquet"


def test_rows_by_number_and_by_name(path: Path) -> None:
    found = EmbeddingTable(path)
    assert (found.rows, found.features, found.encoder) == (23, 5, None)
    wanted = [21, 0, 3, 0, 12]
    np.testing.assert_array_equal(found.vectors(wanted), VECTORS[wanted])
    assert found.names(wanted) == [IDS[row] for row in wanted]
    rows = found.find(["g3", "g12", "nobody"])
    assert {name: each.tolist() for name, each in rows.items()} == {
        "g3": [3, 22],
        "g12": [12],
        "nobody": [],
    }
    assert found.names([]) == []


@pytest.mark.parametrize("block", [1, 4, 100])
def test_blocks_are_the_whole_in_order(
    path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "BLOCK", block)
    blocks = list(EmbeddingTable(path).blocks())
    assert max(len(each) for each in blocks) <= block
    np.testing.assert_array_equal(np.concatenate(blocks), VECTORS)
    assert [i for ids in EmbeddingTable(path).ids() for i in ids.to_pylist()] == IDS


def test_a_sample_is_different_rows_and_repeats_with_its_seed(path: Path) -> None:
    found = EmbeddingTable(path)
    rows, vectors = found.sample(9, seed=4)
    assert sorted(set(rows.tolist())) == rows.tolist()
    assert len(rows) == 9
    np.testing.assert_array_equal(vectors, VECTORS[rows])
    np.testing.assert_array_equal(found.sample(9, seed=4)[0], rows)
    assert found.sample(9, seed=5)[0].tolist() != rows.tolist()


def test_reading_holds_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 MB in blocks of 0.5 MB: what pyarrow holds stays below 3 MB all along."""
    monkeypatch.setattr(writing, "_GROUP_NUMBERS", 2**16)
    monkeypatch.setattr(table, "BLOCK", 2_000)
    vectors = np.random.default_rng(1).normal(size=(80_000, 64)).astype(np.float32)
    write_embeddings(iter([([str(n) for n in range(80_000)], vectors)]), 64, tmp_path / "e.parquet")
    found = EmbeddingTable(tmp_path / "e.parquet")
    before, rows, most = pa.total_allocated_bytes(), 0, 0
    for block in found.blocks():
        rows += len(block)
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 80_000
    assert most < 3e6


def written(path: Path, **columns: pa.Array) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    fixed = pa.list_(pa.float32(), 2)
    ids = pa.array(["a", "b"])
    good = pa.array([[1.0, 2.0], [3.0, 4.0]], fixed)
    cases = {
        "one column 'id_str' is needed; found embedding": written(
            tmp_path / "1.parquet", embedding=good
        ),
        "must hold lists of one size, not list<element: float>": written(
            tmp_path / "2.parquet", id_str=ids, embedding=good.cast(pa.list_(pa.float32()))
        ),
        "no embeddings: ": tmp_path / "nowhere.parquet",
        "no *.parquet in it": tmp_path / "empty",
    }
    (tmp_path / "empty").mkdir()
    for words, path in cases.items():
        with pytest.raises(DataError) as caught:
            EmbeddingTable(path)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_rows_without_a_value_are_named(tmp_path: Path) -> None:
    holes = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    path = written(tmp_path / "holes.parquet", id_str=pa.array(["a", "b"]), embedding=holes)
    with pytest.raises(DataError, match=r"holes.parquet has rows without an embedding"):
        list(EmbeddingTable(path).blocks())


def test_files_of_different_lengths_do_not_make_a_table(tmp_path: Path) -> None:
    for width in (2, 3):
        written(
            tmp_path / "d" / f"{width}.parquet",
            id_str=pa.array(["a"]),
            embedding=pa.array([[1.0] * width], pa.list_(pa.float32(), width)),
        )
    with pytest.raises(DataError, match=r"3.parquet holds 3 numbers a galaxy, but .*2.parquet"):
        EmbeddingTable(tmp_path / "d")
