"""The index finds what exact search finds, and never answers for other embeddings."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gzfound
from gzfound import ConfigError, DataError, Embeddings, GzfoundError
from gzfound.neighbours import nearest
from gzfound.search import Searcher, build_index, index
from gzfound.search.content import Content


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float((truth[:, :, None] == found[:, None, :]).any(axis=2).mean())


def test_finds_what_exact_search_finds(table: Path, vectors: np.ndarray) -> None:
    """In 32 of 219 lists: 99 % of ten neighbours, with similarities good to half precision."""
    made = build_index(table)
    assert (made.rows, made.lists) == (3_000, 219)
    assert made.size == sum(f.stat().st_size for f in made.path.iterdir() if f.suffix != ".json")
    searcher = Searcher(table)
    assert searcher.index is not None
    truth, right = nearest(vectors, vectors[::10], 10)
    rows, similarities = searcher.nearest(vectors[::10], 10)
    assert recall(rows, truth) > 0.99
    np.testing.assert_array_equal(rows[:, 0], np.arange(0, 3_000, 10))
    same = rows == truth
    np.testing.assert_allclose(similarities[same], right[same], atol=1e-3)


def test_every_vector_stands_in_a_list(table: Path, vectors: np.ndarray) -> None:
    """Looking into all lists for all vectors finds each row once."""
    build_index(table)
    searcher = Searcher(table)
    assert searcher.index is not None
    searcher.index._index.nprobe = 219
    rows, similarities = searcher.nearest(vectors[:1], 3_000)
    assert sorted(rows[0].tolist()) == list(range(3_000))
    _, right = nearest(vectors, vectors[:1], 3_000)
    np.testing.assert_allclose(similarities, right, atol=1e-3)


def test_more_neighbours_than_the_lists_hold_are_found_exactly(
    table: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "PROBES", 1)
    build_index(table)
    rows, similarities = Searcher(table).nearest(vectors[:3], 1_000)
    truth, right = nearest(vectors, vectors[:3], 1_000)
    np.testing.assert_array_equal(rows, truth)
    np.testing.assert_array_equal(similarities, right)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_is_served_from_a_memory_map(table: Path) -> None:
    made = build_index(table)
    searcher = Searcher(table)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in maps if line.endswith(str(made.path / "vectors.ivfdata"))]
    assert line.split()[1].startswith("r--"), "nothing is written through it"
    assert searcher.index is not None


def test_two_builds_answer_alike(table: Path, vectors: np.ndarray) -> None:
    found = []
    for _ in range(2):
        build_index(table, seed=3)
        found.append(Searcher(table).nearest(vectors[::20], 10))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_a_directory_of_files_has_its_index_beside_it(
    tmp_path: Path, table: Path, vectors: np.ndarray
) -> None:
    many = tmp_path / "many"
    names = [f"g{n}" for n in range(3_000)]
    gzfound.embedding.write_embeddings(iter([(names, vectors)]), 16, many, 700)
    build_index(many)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.parquet", "many", "many.index"]
    np.testing.assert_array_equal(
        Searcher(many).nearest(vectors[::50], 5)[0], nearest(vectors, vectors[::50], 5)[0]
    )


def refused(table: Path, words: str) -> None:
    with pytest.raises(DataError) as caught:
        Searcher(table)
    assert words in str(caught.value)
    assert f"`gzfound index {table}` makes it anew" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Searcher(table, exact=True).index is None


def test_other_embeddings_are_never_answered_for(table: Path, vectors: np.ndarray) -> None:
    build_index(table)
    changed = Embeddings.read(table)
    changed.vectors[7] = -changed.vectors[7]
    changed.write(table)
    refused(table, "is of other embeddings")
    build_index(table)
    assert Searcher(table).nearest(-vectors[7:8], 1)[0].item() == 7


@pytest.mark.parametrize("settled", [True, False])
def test_a_change_that_keeps_size_and_time_is_seen(
    table: Path, settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit of one float, in place, and the old times put back."""
    monkeypatch.setattr("gzfound.search.content._SETTLED", -60.0 if settled else 60.0)
    build_index(table)
    before = table.stat()
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    with table.open("r+b") as file:
        file.write(data)
    os.utime(table, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = table.stat()
    assert (after.st_size, after.st_ino, after.st_mtime_ns) == (
        before.st_size,
        before.st_ino,
        before.st_mtime_ns,
    )
    refused(table, "is of other embeddings")


def test_embeddings_left_alone_are_not_read_again(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gzfound.search.content._SETTLED", -60.0)
    build_index(table)

    def read(files: Any) -> Content:
        raise AssertionError("read again")

    monkeypatch.setattr(Content, "of", read)
    assert Searcher(table).index is not None
    table.touch()
    with pytest.raises(AssertionError, match="read again"):
        Searcher(table)


def test_a_copy_of_both_is_as_good(table: Path, tmp_path: Path, vectors: np.ndarray) -> None:
    made = build_index(table)
    (tmp_path / "there").mkdir()
    shutil.move(made.path, tmp_path / "there" / made.path.name)
    shutil.copy(table, tmp_path / "there" / table.name)
    searcher = Searcher(tmp_path / "there" / table.name)
    assert searcher.index is not None
    assert searcher.nearest(vectors[:1], 1)[0].item() == 0


def test_embeddings_that_change_meanwhile_are_not_indexed(table: Path) -> None:
    with pytest.raises(DataError, match=r"e.parquet changed while it was indexed"):
        build_index(table, progress=lambda done, total: table.touch())
    assert sorted(path.name for path in table.parent.iterdir()) == ["e.parquet"]


def test_a_broken_build_leaves_the_index_that_was_there(table: Path, vectors: np.ndarray) -> None:
    build_index(table)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(table, progress=stop)
    assert sorted(p.name for p in table.parent.iterdir()) == ["e.parquet", "e.parquet.index"]
    assert Searcher(table).nearest(vectors[:1], 1)[0].item() == 0


@pytest.mark.parametrize("damage", ["shorter", "gone", "no JSON", "other centres", "no manifest"])
def test_a_damaged_index_is_one_line(table: Path, damage: str) -> None:
    place = build_index(table).path
    manifest = place / "index.json"
    if damage == "shorter":
        data = (place / "vectors.ivfdata").read_bytes()
        (place / "vectors.ivfdata").write_bytes(data[:-1])
    elif damage == "gone":
        (place / "centres.faiss").unlink()
    elif damage == "no JSON":
        manifest.write_text("{")
    elif damage == "no manifest":
        manifest.unlink()
    else:
        size = (place / "centres.faiss").stat().st_size
        (place / "centres.faiss").write_bytes(b"x" * size)
        assert json.loads(manifest.read_text())["lengths"]["centres.faiss"] == size
    refused(table, "is damaged")


def test_small_tables_have_no_index(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(table)
    monkeypatch.setattr(index, "LEAST_ROWS", 3_001)
    assert Searcher(table).index is None
    with pytest.raises(ConfigError, match=r"holds 3000 embeddings: below 3001 there is none"):
        build_index(table)


def test_a_large_table_without_an_index_says_so(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Searcher(table).index is None
    assert f"each search reads all 3000 embeddings; `gzfound index {table}`" in caplog.text


def test_without_faiss_one_line_says_what_to_install(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "faiss":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GzfoundError, match=r"pip install 'gzfound\[search\]'"):
        build_index(table)


def test_values_that_are_not_finite_are_named(table: Path, vectors: np.ndarray) -> None:
    vectors[1234, 5] = np.nan
    Embeddings([f"g{n}" for n in range(3_000)], vectors).write(table)
    with pytest.raises(DataError, match="vectors: row 1234 holds a value that is not finite"):
        build_index(table)
    assert not index.index_path(table).exists()
