"""Votes in a file are those in memory, and no memory of the process."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest

from gzfound.errors import DataError
from gzfound.training import vote_counts
from gzfound.training.galaxies import load_galaxies
from gzfound.training.vote_counts import read_votes, room_for_votes
from gzfound.trees import DecisionTree, load_tree

TREE = load_tree("gz_hubble")


def own_memory() -> int:
    """Resident bytes of this process that are no file's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def test_many_votes_take_no_memory_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """250,000 galaxies with 40 answers are 40 MB; the file has no name."""
    monkeypatch.setenv("GZFOUND_CACHE", str(tmp_path / "cache"))
    before = own_memory()
    votes = room_for_votes(250_000, TREE)
    votes[:] = np.arange(len(TREE.columns), dtype=np.int32)
    assert own_memory() - before < 5e6 < votes.nbytes
    assert isinstance(votes, np.memmap)
    assert votes[[249_999, 7]].sum() == 2 * sum(range(len(TREE.columns)))
    assert list((tmp_path / "cache").iterdir()) == []
    assert not isinstance(room_for_votes(1000, TREE), np.memmap)


def test_no_room_for_votes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("GZFOUND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"cache: votes need 38 MiB \(No space left on device\)$"):
        room_for_votes(250_000, TREE)


@pytest.fixture
def many(simulated_galaxies: Path) -> datasets.Dataset:
    """25,000 rows: more than are read at a time."""
    few = datasets.load_dataset(str(simulated_galaxies), split="train").remove_columns("image")
    table = few.data.table.combine_chunks()
    return datasets.Dataset(table.take(pa.array(np.arange(25_000) % len(table))))


def test_pieces_make_the_whole(many: datasets.Dataset) -> None:
    tree = DecisionTree.from_columns(many.column_names).tree
    rows = np.setdiff1d(np.arange(len(many)), [0, 9_999, 10_000, 24_999])
    expected = np.stack([many[name][:] for name in tree.columns], axis=1)
    np.testing.assert_array_equal(read_votes(many, rows, tree, "here"), expected[rows])
    into = np.full((len(rows) + 2, len(tree.columns)), -1, np.int32)
    read_votes(many, rows, tree, "here", into[1:-1])
    np.testing.assert_array_equal(into[1:-1], expected[rows])
    assert (into[[0, -1]] == -1).all()


def test_the_error_is_that_of_the_whole(many: datasets.Dataset) -> None:
    """The first wrong count by column, though another one comes in an earlier piece."""
    tree = DecisionTree.from_columns(many.column_names).tree
    first, last = tree.columns[0], tree.columns[-1]
    wrong = {first: 22_222, last: 11_111}
    table = many.data.table
    for name, row in wrong.items():
        values = table[name].to_numpy().copy()
        values[row] = -1
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    message = f"here: row 22222, column '{first}': -1 is negative \\(and 1 more\\)"
    with pytest.raises(DataError, match=message):
        read_votes(datasets.Dataset(table), np.arange(len(many)), tree, "here")


def test_votes_in_a_file_are_those_in_memory(
    simulated_galaxies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two sources, of which the second has its rows after those of the first."""
    options: dict[str, Any] = {"config": None, "split": "train", "size": 8, "crop": 1.0}
    source = str(simulated_galaxies)
    memory = load_galaxies([source, source], **options)
    monkeypatch.setattr(vote_counts, "IN_MEMORY", 0)
    mapped = load_galaxies([source, source], **options)
    assert isinstance(mapped.votes, np.memmap)
    assert memory.votes is not None
    assert memory.votes.any()
    np.testing.assert_array_equal(mapped.votes, memory.votes)
