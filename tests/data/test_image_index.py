"""An index with one entry an image finds what one entry a name found."""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from pathlib import PurePath

import pytest

from gzfound.data.image_index import ImageIndex, id_of

FOLDERS = ("", "a/", "b/", "a/b/")
NAMES = ("g1.jpg", "g1.png", "g1", "g.1.jpg", "g", "b", "b.jpg", "g1.fits.gz", "g1.fits", "g.1")


def every_name(images: list[str]) -> dict[str, list[str]]:
    """What a table may call each image, written out."""
    index: dict[str, list[str]] = defaultdict(list)
    for path in images:
        for key in {id_of(path), PurePath(path).name, PurePath(id_of(path)).name} - {path}:
            index[key].append(path)
    index.update({path: [path] for path in images})
    return index


def test_every_name_finds_the_same_images() -> None:
    """All 40 names that can be made of 4 folders and 10 names, some of which are no image's."""
    endings = (".jpg", ".png", ".gz", ".fits")
    every = ["".join(parts) for parts in itertools.product(FOLDERS, NAMES)]
    images = sorted(name for name in every if name.endswith(endings))
    index, expected = ImageIndex(images), every_name(images)
    assert sum(len(expected.get(name, [])) > 1 for name in every) > 5
    for name in [*every, "", "/", "a/", "none", "none.jpg", "./g1.jpg"]:
        assert index.get(name) == expected.get(name, []), name


def test_a_path_without_its_folder_does_not_fit() -> None:
    index = ImageIndex(["a/g1.jpg"])
    assert index.get("b/g1.jpg") == index.get("b/g1") == []
    assert index.get("a/g1") == index.get("g1") == index.get("g1.jpg") == ["a/g1.jpg"]


@pytest.mark.parametrize("images", [2_000, 4_000])
def test_an_image_takes_one_entry(images: int) -> None:
    """A dictionary of 4 names an image took 807 bytes beside the paths."""
    index = ImageIndex([f"folder/image-{n:08d}.jpg" for n in range(images)])
    held = index._named
    size = sys.getsizeof(held) + sum(map(sys.getsizeof, held))
    assert len(held) == images
    assert all(type(path) is str for path in held.values())
    assert size < 200 * images
