"""The galaxies of a run: several sources, each with its crop, and a source named twice."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from gzfound.data import split_by_id
from gzfound.errors import ConfigError, DataError
from gzfound.models import EncoderTransform
from gzfound.training.augment import Augment
from gzfound.training.galaxies import Galaxies, crop_of_each, load_galaxies
from gzfound.training.vote_counts import read_votes
from gzfound.trees import DecisionTree
from gzfound.views import ViewConfig
from gzfound.votes import votes_from_columns


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Three black images of 40 px whose central half is white, grey and dark."""
    (tmp_path / "squares").mkdir()
    for number, level in enumerate((255, 128, 64)):
        pixels = np.zeros((40, 40, 3), dtype=np.uint8)
        pixels[10:30, 10:30] = level
        Image.fromarray(pixels).save(tmp_path / "squares" / f"s{number}.png")
    return str(tmp_path / "squares")


def load(*sources: str, crop: float | tuple[float, ...] = 1.0) -> Galaxies:
    return load_galaxies(sources, config=None, split="train", size=8, crop=crop)


def test_each_source_has_its_crop(folder: str) -> None:
    """The central half is all of one level; the whole image holds a quarter of that light."""
    found = load(folder, folder, crop=(0.5, 1.0))
    light = found.images.reshape(6, -1).mean(axis=1)
    assert (found.images[:3] == np.array([255, 128, 64])[:, None, None, None]).all()
    np.testing.assert_allclose(light[3:], light[:3] / 4, rtol=0.02)


def test_one_crop_is_that_of_every_source(folder: str) -> None:
    found = load(folder, folder, crop=0.5)
    np.testing.assert_array_equal(found.images[:3], found.images[3:])
    assert crop_of_each(1, ["a", "b"]) == (1, 1)


def test_a_galaxy_of_two_sources_is_an_error(folder: str, tmp_path: Path) -> None:
    """As for a union; the same source named twice is not two."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "s1.png").write_bytes((Path(folder) / "s0.png").read_bytes())
    with pytest.raises(DataError, match=f"id_str 's1' is in {folder} and in {other}"):
        load(folder, folder, str(other))
    assert len(load(folder, folder)) == 6


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ((0.5, 0.2), "crop: 2 numbers for 1 datasets; allowed: one number, or one for each"),
        ((), "crop: 0 numbers for 1 datasets"),
        ((1.5,), r"crop: 1.5 must be above 0 and at most 1"),
        (0.0, r"crop: 0.0 must be above 0 and at most 1"),
    ],
)
def test_a_crop_that_does_not_fit_is_named(
    folder: str, crop: float | tuple[float, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(folder, crop=crop)


def test_votes_take_the_memory_of_arrays(simulated_galaxies: Path, tmp_path: Path) -> None:
    """60,000 rows of votes on 40 answers: as lists they took 826 bytes a galaxy at the peak."""
    few = datasets.load_dataset(str(simulated_galaxies), split="train")
    many = few.select(np.arange(60_000) % len(few))
    tree = DecisionTree.from_columns(many.column_names).tree
    rows = np.arange(len(many))
    tracemalloc.start()
    votes = read_votes(many, rows, tree, "many")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one = votes_from_columns({name: few[name][:] for name in tree.columns}, tree)
    np.testing.assert_array_equal(votes, one[rows % len(few)])
    assert peak < 3 * 4 * len(tree.columns) * len(many)


def test_votes_that_are_missing_are_named(simulated_galaxies: Path) -> None:
    few = datasets.load_dataset(str(simulated_galaxies), split="train")
    tree = DecisionTree.from_columns(few.column_names).tree
    column = tree.columns[3]
    holes = [None if row == 5 else count for row, count in enumerate(few[column][:])]
    spoilt = few.remove_columns(column).add_column(column, holes)
    with pytest.raises(DataError, match=f"here: row 5, column '{column}': None is missing"):
        read_votes(spoilt, np.arange(len(few)), tree, "here")
    kept = np.array([1, 3])
    np.testing.assert_array_equal(
        read_votes(few, kept, tree, "here"),
        read_votes(few, np.arange(len(few)), tree, "here")[kept],
    )


@pytest.mark.parametrize("kept", ["in memory", "in a file"])
def test_a_source_named_twice_counts_twice(
    simulated_galaxies: Path, folder: str, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """Both copies have the images and votes, and fall on the same side of a split."""
    if kept == "in a file":
        monkeypatch.setattr("gzfound.data.cache.IN_MEMORY", 0)
    simulated = str(simulated_galaxies)
    found = load(simulated, folder, simulated)
    count = (len(found) - 3) // 2
    first, second = slice(count), slice(count + 3, None)
    assert found.ids[first] == found.ids[second]
    assert found.votes is not None
    for values in (found.images, found.votes):
        np.testing.assert_array_equal(values[first], values[second])
        assert values[first].any()
    assert not found.votes[count : count + 3].any()
    parts = split_by_id(found.ids, {"train": 0.5, "validation": 0.5})
    train, validation = ({found.ids[row] for row in rows} for rows in parts.values())
    assert train
    assert validation
    assert not train & validation


def test_two_copies_of_a_galaxy_get_views_of_their_own(folder: str) -> None:
    found = load(folder, folder)
    augment = Augment(ViewConfig(size=8, blur=1.0), EncoderTransform(8), seed=0, views=2)
    rows = torch.tensor([0, 3])
    batch = {"images": torch.from_numpy(found.images[rows.numpy()]), "rows": rows}
    views = augment(batch, epoch=0)["pixels"]
    assert len(views) == 4
    assert not any(torch.equal(views[i], views[j]) for i in range(4) for j in range(i))
