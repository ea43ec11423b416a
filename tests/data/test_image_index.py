"""An index with one hash an image finds what one entry a name found."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import defaultdict
from pathlib import PurePath

import pytest

from gzfound.data.image_index import ImageIndex, id_of
from gzfound.data.names import Names

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


@pytest.mark.parametrize("images", [20_000, 40_000])
def test_an_image_takes_a_hash_and_a_place(images: int) -> None:
    """A dictionary of 4 names an image took 807 bytes beside the paths, one of one name 133."""
    paths = Names.packed(f"folder/image-{n:08d}.jpg" for n in range(images))
    tracemalloc.start()
    index = ImageIndex(paths)
    others = [tracemalloc.Filter(False, "*pathlib.py")]  # Python's table of the names in paths
    taken = tracemalloc.take_snapshot().filter_traces(others)
    tracemalloc.stop()
    held = sum(trace.size for trace in taken.traces)
    assert index.get(f"image-{images - 1:08d}") == [f"folder/image-{images - 1:08d}.jpg"]
    assert 16 * images <= held < 17 * images
    assert paths.column.nbytes < 30 * images


def test_names_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every name had the same hash."""
    monkeypatch.setattr("gzfound.data.image_index.hash", lambda _: 7, raising=False)
    index = ImageIndex(["a/g1.jpg", "b/g2.jpg", "c/g1.png"])
    assert index.get("g1") == ["a/g1.jpg", "c/g1.png"]
    assert index.get("g2.jpg") == ["b/g2.jpg"]
    assert index.get("g3") == []
