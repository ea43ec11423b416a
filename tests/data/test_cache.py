"""Images decoded once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest

from gzfound.data import cache, decoded_images, load_dataset, read_images
from gzfound.errors import DataError, ImageError


def expected_images(dataset: datasets.Dataset, size: int) -> np.ndarray:
    return np.concatenate([images for _, images in read_images(dataset, size)])


def entries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_small_data_stay_in_memory(folder: Path) -> None:
    train = load_dataset(folder, split="train")
    found = decoded_images(train, 24)
    assert found.ids == ["deep/g3", "g0", "g1", "g2"]
    assert found.rows.tolist() == [0, 1, 2, 3]
    assert not isinstance(found.images, np.memmap)
    np.testing.assert_array_equal(found.images, expected_images(train, 24))
    assert not cache.default_directory().exists()


def test_large_data_go_to_the_default_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "IN_MEMORY", 4 * 24 * 24 * 3 - 1)
    found = decoded_images(load_dataset(folder, split="train"), 24)
    assert isinstance(found.images, np.memmap)
    assert len(entries(cache.default_directory())) == 1


def test_default_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GZFOUND_CACHE", str(tmp_path / "here"))
    assert cache.default_directory() == tmp_path / "here"
    monkeypatch.delenv("GZFOUND_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_directory() == tmp_path / "gzfound"


def test_built_once_and_found_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset loaded anew has a new fingerprint, but the same images."""
    seen: list[tuple[int, int]] = []
    first = load_dataset(folder, split="train")
    decoded_images(first, 24, directory=tmp_path / "c", progress=lambda *done: seen.append(done))
    assert seen == [(4, 4)]
    monkeypatch.setattr(cache, "read_images", None)
    again = load_dataset(folder, split="train")
    found = decoded_images(again, 24, directory=tmp_path / "c")
    monkeypatch.undo()
    np.testing.assert_array_equal(found.images, expected_images(first, 24))
    np.testing.assert_array_equal(
        np.load(next((tmp_path / "c").glob("*/images.npy"))), found.images
    )


def test_writing_to_the_images_leaves_the_file_alone(folder: Path, tmp_path: Path) -> None:
    train = load_dataset(folder, split="train")
    decoded_images(train, 24, directory=tmp_path / "c").images[:] = 0
    found = decoded_images(train, 24, directory=tmp_path / "c")
    assert found.images.max() > 100


def test_whatever_changes_the_images_changes_the_key(
    folder: Path, tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    directory = tmp_path / "c"
    train = load_dataset(folder, split="train")
    decoded_images(train, 24, directory=directory)
    decoded_images(train, 25, directory=directory)
    decoded_images(train, 24, crop=0.9, directory=directory)
    decoded_images(train.select([0, 1, 2]), 24, directory=directory)
    decoded_images(train.select([1, 0, 2, 3]), 24, directory=directory)
    assert len(entries(directory)) == 5
    (folder / "g2.jpg").write_bytes(jpeg(77))
    os.utime(folder / "g2.jpg", (1, 1))
    found = decoded_images(train, 24, directory=directory)
    assert len(entries(directory)) == 6
    np.testing.assert_array_equal(found.images, expected_images(train, 24))


def test_key_of_images_inside_the_dataset(
    tmp_path: Path, hub_directory: Callable[..., Path], galaxy: Callable[..., np.ndarray]
) -> None:
    """Two images of the same length and name differ in a byte of the part that is sampled."""
    train = load_dataset(hub_directory(tmp_path / "gz"), split="train")
    decoded_images(train, 24, directory=tmp_path / "c")
    decoded_images(load_dataset(tmp_path / "gz", split="train"), 24, directory=tmp_path / "c")
    assert len(entries(tmp_path / "c")) == 1
    plain = train.cast_column("image", datasets.Image(decode=False))
    row = dict(plain[1])
    row["image"] = {"bytes": row["image"]["bytes"][:-10] + b"0" + row["image"]["bytes"][-9:]}
    rows = [plain[0], row, plain[2]]
    changed = datasets.Dataset.from_list(rows, features=train.features)
    decoded_images(changed, 24, directory=tmp_path / "c")
    assert len(entries(tmp_path / "c")) == 2


def test_bad_images(folder: Path, tmp_path: Path) -> None:
    """Skipped ones are recorded again on every use, and an error for who did not ask to skip."""
    (folder / "g0.jpg").write_bytes(b"no image")
    train = load_dataset(folder, split="train")
    with pytest.raises(ImageError, match="g0"):
        decoded_images(train, 24, directory=tmp_path / "c")
    assert entries(tmp_path / "c") == []
    for use in ("built", "found"):
        errors = tmp_path / f"{use}.jsonl"
        found = decoded_images(
            train, 24, directory=tmp_path / "c", on_error="skip", errors_path=errors
        )
        assert found.ids == ["deep/g3", "g1", "g2"]
        assert found.rows.tolist() == [0, 2, 3]
        assert found.images.shape == (3, 24, 24, 3)
        assert [json.loads(line)["id_str"] for line in errors.read_text().splitlines()] == ["g0"]
    memory = decoded_images(train, 24, on_error="skip")
    np.testing.assert_array_equal(memory.images, found.images)
    with pytest.raises(ImageError, match="g0"):
        decoded_images(train, 24, directory=tmp_path / "c")


def test_no_image_at_all(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"")
    train = load_dataset(folder, split="train")
    for directory in (None, tmp_path / "c"):
        found = decoded_images(train, 24, directory=directory, on_error="skip")
        assert found.images.shape == (0, 24, 24, 3)
        assert found.ids == []


def test_two_processes_at_once(folder: Path, tmp_path: Path) -> None:
    """Both build, one renames first, both read the same whole file."""
    code = (
        "import sys, time, zlib\n"
        "from gzfound.data import decoded_images, load_dataset, read_images\n"
        "from gzfound.data import cache\n"
        "real = cache._write\n"
        "def slow(*args):\n"
        "    open(sys.argv[2] + '/ready' + sys.argv[3], 'w').close()\n"
        "    import pathlib\n"
        "    while len(list(pathlib.Path(sys.argv[2]).glob('ready*'))) < 2: time.sleep(0.01)\n"
        "    return real(*args)\n"
        "cache._write = slow\n"
        "train = load_dataset(sys.argv[1], split='train')\n"
        "found = decoded_images(train, 24, directory=sys.argv[2] + '/c')\n"
        "print(zlib.crc32(found.images.tobytes()), found.images.shape)\n"
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(tmp_path), str(k)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    said = [job.communicate(timeout=100)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert said[0] == said[1] != ""
    assert len(entries(tmp_path / "c")) == 1


def test_leftovers_of_killed_processes(folder: Path, tmp_path: Path) -> None:
    """A half-written cache of last week goes, one of a process still at work stays."""
    for name, age in (("old", 7 * 24 * 3600), ("new", 0)):
        part = tmp_path / "c" / f".images-24-{name}.tmp"
        part.mkdir(parents=True)
        (part / "images.npy").write_bytes(b"half")
        when = time.time() - age
        os.utime(part / "images.npy", (when, when))
    decoded_images(load_dataset(folder, split="train"), 24, directory=tmp_path / "c")
    found = entries(tmp_path / "c")
    assert found[0] == ".images-24-new.tmp"
    assert len(found) == 2


def test_disk_too_small(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(DataError, match=r"c: decoded images need 0\.0 GiB, 0\.0 GiB are free; "):
        decoded_images(load_dataset(folder, split="train"), 24, directory=tmp_path / "c")
