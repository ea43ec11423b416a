"""Embeddings in Parquet: one file, or a directory of files of a chosen length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gzfound.embedding import Embeddings, write_embeddings, writing
from gzfound.embedding.store import read_batches
from gzfound.errors import ConfigError, DataError

IDS = [f"g{number}" for number in range(23)]
VECTORS = np.random.default_rng(0).normal(size=(23, 5)).astype(np.float32)


def batches(together: int) -> list[tuple[list[str], np.ndarray]]:
    starts = range(0, 23, together)
    return [(IDS[k : k + together], VECTORS[k : k + together]) for k in starts]


@pytest.mark.parametrize("together", [1, 4, 23])
@pytest.mark.parametrize("group", [1, 3, 100])
def test_files_of_the_length_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int, group: int
) -> None:
    monkeypatch.setattr(writing, "_GROUP_NUMBERS", group * 5)
    assert write_embeddings(iter(batches(together)), 5, tmp_path / "new", 10) == 23
    files = sorted((tmp_path / "new").iterdir())
    assert [file.name for file in files] == [f"part-0000{number}.parquet" for number in range(3)]
    assert [pq.read_metadata(file).num_rows for file in files] == [10, 10, 3]
    found = Embeddings.read(tmp_path / "new")
    assert found.ids == IDS
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert max(len(ids) for ids, _ in read_batches(tmp_path / "new")) == min(group, 10)


def test_no_rows_in_a_directory(tmp_path: Path) -> None:
    assert write_embeddings(iter([]), 5, tmp_path / "none", 10) == 0
    assert Embeddings.read(tmp_path / "none").vectors.shape == (0, 5)


def test_a_directory_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds other files \(thesis.tex\); name a new"):
        write_embeddings(iter([]), 5, tmp_path, 10)
    with pytest.raises(ConfigError, match="is a file; with rows_per_file name a directory"):
        write_embeddings(iter([]), 5, tmp_path / "thesis.tex", 10)
    with pytest.raises(ConfigError, match="rows_per_file: 0 must be at least 1"):
        write_embeddings(iter([]), 5, tmp_path / "new", 0)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_second_run_takes_the_place_of_the_first(tmp_path: Path) -> None:
    write_embeddings(iter(batches(4)), 5, tmp_path / "new", 4)
    write_embeddings(iter(batches(4)[:1]), 5, tmp_path / "new", 4)
    assert Embeddings.read(tmp_path / "new").ids == IDS[:4]


def test_an_empty_directory_holds_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no embeddings: no"):
        Embeddings.read(tmp_path)
