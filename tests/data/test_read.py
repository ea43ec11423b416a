"""Batches of decoded images, in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest

from gzfound.data import decode_image, load_dataset, read_images, square_resize
from gzfound.errors import ConfigError, DataError, ImageError


@pytest.fixture(scope="module")
def galaxies(jpeg: Callable[..., bytes]) -> datasets.Dataset:
    """Twenty galaxies of different shapes, with their files inside the dataset."""
    files = [{"bytes": jpeg(k, 40 + k, 60), "path": None} for k in range(20)]
    features = datasets.Features({"image": datasets.Image(), "id_str": datasets.Value("string")})
    columns = {"image": files, "id_str": [f"g{k}" for k in range(20)]}
    return datasets.Dataset.from_dict(columns, features)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_every_row_once_in_order(
    galaxies: datasets.Dataset, jpeg: Callable[..., bytes], threads: int, batch_size: int
) -> None:
    found = list(read_images(galaxies, 24, crop=0.8, threads=threads, batch_size=batch_size))
    assert [len(rows) for rows, _ in found][:-1] == [batch_size] * (len(found) - 1)
    assert np.concatenate([rows for rows, _ in found]).tolist() == list(range(20))
    images = np.concatenate([images for _, images in found])
    for k in range(20):
        expected = square_resize(decode_image(jpeg(k, 40 + k, 60), "x"), 24, 0.8)
        np.testing.assert_array_equal(images[k], expected)


def test_chosen_rows(galaxies: datasets.Dataset) -> None:
    everything = np.concatenate([images for _, images in read_images(galaxies, 16)])
    ((rows, images),) = read_images(galaxies, 16, rows=[7, 3, 7])
    assert rows.tolist() == [7, 3, 7]
    np.testing.assert_array_equal(images, everything[[7, 3, 7]])
    assert list(read_images(galaxies, 16, rows=[])) == []


def test_any_format_and_selection_of_the_dataset(galaxies: datasets.Dataset) -> None:
    ((_, expected),) = read_images(galaxies, 16, rows=[5, 2])
    ((_, found),) = read_images(galaxies.with_format("numpy").select([5, 2]), 16)
    np.testing.assert_array_equal(found, expected)


def test_bad_images_stop_the_reading(folder: Path) -> None:
    (folder / "g1.jpg").write_bytes(b"")
    train = load_dataset(folder, split="train")
    with pytest.raises(ImageError) as caught:
        list(read_images(train, 16))
    assert str(caught.value) == f"image {folder}/g1.jpg: the file is empty"


def test_bad_images_are_recorded_and_left_out(folder: Path, tmp_path: Path) -> None:
    """Rows in order: deep/g3, g0, g1, g2; g0 is cut short and g2 vanished since the loading."""
    train = load_dataset(folder, split="train")
    (folder / "g0.jpg").write_bytes((folder / "g0.jpg").read_bytes()[:-200])
    (folder / "g2.jpg").unlink()
    errors = tmp_path / "made" / "errors.jsonl"
    found = list(read_images(train, 16, batch_size=1, on_error="skip", errors_path=errors))
    assert [rows.tolist() for rows, _ in found] == [[0], [2]]
    records = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [record["id_str"] for record in records] == ["g0", "g2"]
    assert records[0]["reason"].startswith(f"image {folder}/g0.jpg: truncated")
    assert records[1]["reason"].endswith("g2.jpg: cannot be read (No such file or directory)")


def test_rows_without_an_image() -> None:
    features = datasets.Features({"image": datasets.Image(), "id_str": datasets.Value("string")})
    dataset = datasets.Dataset.from_dict({"image": [None], "id_str": ["g"]}, features)
    with pytest.raises(ImageError, match="image g: the row has no image"):
        list(read_images(dataset, 16))


def test_a_slow_consumer_does_not_fill_memory(
    galaxies: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first of 20 batches in hand, at most three more have been started."""
    started: list[str] = []
    real = decode_image

    def counting(data: bytes, name: str) -> np.ndarray:
        started.append(name)
        return real(data, name)

    monkeypatch.setattr("gzfound.data.bands.decode_image", counting)
    reader = read_images(galaxies, 16, batch_size=1, threads=4)
    next(reader)
    reader.close()
    assert len(started) <= 4


def test_threads_end_with_the_reader(galaxies: datasets.Dataset) -> None:
    reader = read_images(galaxies, 16, batch_size=2)
    next(reader)
    reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("gzfound-decode")]


def test_options_are_checked_at_once(galaxies: datasets.Dataset) -> None:
    with pytest.raises(ConfigError, match="threads 0, batch_size 64: must both be at least 1"):
        read_images(galaxies, 16, threads=0)
    with pytest.raises(ConfigError, match="size 0: must be at least 1 pixel"):
        read_images(galaxies, 0)
    with pytest.raises(ConfigError, match="on_error 'maybe': not one of raise, skip"):
        read_images(galaxies, 16, on_error="maybe")
    with pytest.raises(DataError, match="rows: must lie between 0 and 19"):
        read_images(galaxies, 16, rows=[20])
    with pytest.raises(DataError, match="column 'id_str' is missing; found image"):
        read_images(galaxies.remove_columns("id_str"), 16)
    with pytest.raises(DataError, match=r"several splits \(a, b\); choose one"):
        read_images(datasets.DatasetDict({"a": galaxies, "b": galaxies}), 16)
