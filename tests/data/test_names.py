"""Names as Arrow holds them are those of a list, without its memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest

from gzfound.data.load import checked_ids
from gzfound.data.names import Names, joined, repeated
from gzfound.errors import DataError

TEXT = [f"g{n}" for n in (3, 1, 2)] + ["z", "é", "Ω", "😀", "a/b", "a-b", ""]


@pytest.mark.parametrize("count", [0, 10, 25_000])
def test_names_are_those_of_a_list(count: int) -> None:
    """Above 10,000 they come in several pieces."""
    names = [f"{TEXT[n % len(TEXT)]}{n}" for n in range(count)]
    held = Names.packed(iter(names))
    assert len(held) == count
    assert list(held) == names
    assert held == names
    assert held == Names.packed(names)
    assert held != [*names, "more"]
    assert held != [*names[:-1], "other"]
    assert held[3:7] == names[3:7]
    assert held[::-3] == names[::-3]
    assert held.sorted() == sorted(names)
    if count:
        assert held[np.int64(count - 1)] == held[-1] == names[-1]
        assert held.only(np.array([1, 4])) == [names[1], names[4]]
        with pytest.raises(IndexError):
            held[count]
    assert held.only(np.arange(count)) is held
    assert joined([held, Names(held.column.cast(pa.large_string()))]) == names + names


def test_a_name_that_is_repeated_takes_no_memory() -> None:
    column = repeated(pa.array(["gz_hubble"]), 200_000)
    assert Names(column) == ["gz_hubble"] * 200_000
    assert len({chunk.buffers()[2].address for chunk in column.chunks}) == 1


def test_names_of_a_dataset_are_not_copied(simulated_galaxies: Path) -> None:
    dataset = datasets.load_dataset(str(simulated_galaxies), split="train")
    before = pa.total_allocated_bytes()
    names = Names.of(dataset)
    assert pa.total_allocated_bytes() == before
    assert names == dataset["id_str"][:]
    assert Names.of(dataset.select([4, 2])) == [names[4], names[2]]


def many(count: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"id_str": [f"galaxy-{n:09d}" for n in range(count)]})


def test_checking_names_takes_a_hash_each() -> None:
    """8 bytes, and the texts of 10,000 names at a time; a list of all took 79 a galaxy."""
    peaks = []
    for count in (50_000, 100_000):
        dataset = many(count)
        tracemalloc.start()
        checked_ids(dataset, "here")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 7.9 < (peaks[1] - peaks[0]) / 50_000 < 20


def test_a_repeated_name_far_away_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where others have its hash; and names with one hash are not taken for one."""
    names = [f"galaxy-{n}" for n in range(30_000)]
    twice = datasets.Dataset.from_dict({"id_str": [*names, "galaxy-17"]})
    with pytest.raises(DataError, match="'galaxy-17' is repeated in rows 18 and 30001"):
        checked_ids(twice, "here")
    monkeypatch.setattr("gzfound.data.load.hash", lambda name: len(name), raising=False)
    with pytest.raises(DataError, match="'galaxy-17' is repeated in rows 18 and 30001"):
        checked_ids(twice, "here")
    whole = datasets.Dataset.from_dict({"id_str": names})
    assert checked_ids(whole, "here") is whole
