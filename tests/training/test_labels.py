"""Galaxies of several sources: their labels, and a share of them."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from gzfound.errors import DataError
from gzfound.training.galaxies import Galaxies, labelled_rows, load_galaxies


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Three galaxies with a ClassLabel and a number, the second without both, and two without."""
    image = Image.new("RGB", (8, 8))
    kinds = datasets.ClassLabel(names=["disk", "ball"])
    features = {"image": datasets.Image(), "id_str": datasets.Value("string"), "kind": kinds}
    features |= {"mass": datasets.Value("float64")}
    columns = {"image": [image] * 3, "id_str": ["a", "b", "c"], "kind": [1, -1, 0]}
    one = datasets.Dataset.from_dict(
        {**columns, "mass": [1.5, None, 2.5]}, datasets.Features(features)
    )
    other = datasets.Dataset.from_dict(
        {"image": [image] * 2, "id_str": ["d", "e"]},
        datasets.Features({name: features[name] for name in ("image", "id_str")}),
    )
    for name, source in (("one", one), ("other", other)):
        (tmp_path / name / "data").mkdir(parents=True)
        source.to_parquet(tmp_path / name / "data" / "train-00000-of-00001.parquet")
    return [str(tmp_path / "one"), str(tmp_path / "other")]


def loaded(sources: list[str], *columns: str) -> Galaxies:
    return load_galaxies(sources, config=None, split="train", size=8, crop=1.0, columns=columns)


def test_labels_are_names_and_none_where_there_are_none(sources: list[str]) -> None:
    galaxies = loaded(sources, "kind", "mass")
    assert galaxies.labels["kind"] == ["ball", None, "disk", None, None]
    assert galaxies.labels["mass"] == [1.5, None, 2.5, None, None]
    some = galaxies.only(np.array([4, 2]))
    assert (some.ids, some.labels["kind"]) == (["e", "c"], [None, "disk"])
    assert (len(some), some.images.shape, some.votes) == (2, (2, 8, 8, 3), None)


def test_a_column_that_no_source_has_is_named(sources: list[str]) -> None:
    with pytest.raises(DataError, match="no column 'mas' in split 'train'; did you mean 'mass'"):
        loaded(sources, "mas")


def test_a_share_holds_every_smaller_one_and_nothing_but_names_decides() -> None:
    ids = [f"galaxy-{number}" for number in range(2000)]
    small, large = (set(labelled_rows(ids, share, seed=3)) for share in (0.01, 0.3))
    assert small < large
    assert len(small) == pytest.approx(20, abs=14), "three standard deviations"
    assert len(large) == pytest.approx(600, abs=62)
    reverse = {1999 - row for row in labelled_rows(ids[::-1], 0.01, seed=3)}
    assert reverse == small
    assert labelled_rows(ids, 1.0, seed=3).tolist() == list(range(2000))
