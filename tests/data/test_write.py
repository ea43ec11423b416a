"""Datasets written in the hub layout open with `datasets` alone, offline, and whole."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from gzfound.data import load_dataset, shards
from gzfound.data.card import GALAXY_ZOO_REQUEST, DatasetCard
from gzfound.data.read import image_files
from gzfound.data.write import write_dataset
from gzfound.errors import ConfigError, DataError

CARD = DatasetCard(name="gz_test", title="Test galaxies", licence="cc0-1.0", body="A test.")


def jpeg(value: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value % 256, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def rows(start: int, stop: int) -> dict[str, object]:
    numbers = range(start, stop)
    return {
        "image": [jpeg(n) for n in numbers],
        "id_str": [f"g{n:04d}" for n in numbers],
        "ra": np.asarray(numbers, float),
        "bar-test_yes": np.asarray(numbers, np.int32),
    }


def write(output: Path, train: int = 250, test: int = 30, step: int = 64) -> Path:
    cuts = [(i, min(i + step, train)) for i in range(0, train, step)]
    batches = {"train": [rows(*c) for c in cuts], "test": [rows(train, train + test)]}
    return write_dataset(output, batches, CARD)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a network connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_datasets_opens_both_configs_without_the_network(tmp_path: Path) -> None:
    """250 train rows keep rows 99 and 199 in tiny: fewer than 8, so the first 8 stand in."""
    output = write(tmp_path / "out")
    loaded = datasets.load_dataset(str(output))
    assert {split: len(part) for split, part in loaded.items()} == {"train": 250, "test": 30}
    assert loaded["train"]["id_str"][:2] == ["g0000", "g0001"]
    assert loaded["train"][249]["bar-test_yes"] == 249
    assert isinstance(loaded["train"].features["image"], datasets.Image)
    assert loaded["train"][3]["image"].size == (8, 8)
    tiny = datasets.load_dataset(str(output), "tiny", split="test")
    assert list(tiny["id_str"]) == [f"g{n:04d}" for n in range(250, 258)]
    assert set(tiny["dataset_name"]) == {"gz_test"}


def test_streaming_needs_no_preparation(tmp_path: Path) -> None:
    output = write(tmp_path / "out", 20, 5)
    stream = datasets.load_dataset(str(output), split="test", streaming=True)
    assert [row["ra"] for row in stream] == [20.0, 21.0, 22.0, 23.0, 24.0]


def test_tiny_keeps_every_hundredth_row(tmp_path: Path) -> None:
    """1,000 rows in batches of 64 leave rows 99, 199, ..., 999: 10 rows, one per cent."""
    output = write(tmp_path / "out", 1000, 5)
    (path,) = (output / "tiny").glob("train-*.parquet")
    assert pq.read_table(path)["ra"].to_pylist() == [float(n) for n in range(99, 1000, 100)]


def test_files_do_not_depend_on_the_batches(tmp_path: Path) -> None:
    outputs = [write(tmp_path / f"step{step}", 250, 30, step) for step in (7, 100, 250)]
    contents = [
        {p.relative_to(o): p.read_bytes() for p in o.rglob("*") if p.is_file()} for o in outputs
    ]
    assert len(contents[0]) == 5
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("limit", ["BYTES_PER_FILE", "GROUPS_PER_FILE"])
def test_big_splits_take_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """With files closed after one byte, or one group, 250 rows in groups of 100 make three files.

    Each file counts its groups anew: the first two hold 100 rows, the last one 50.
    """
    monkeypatch.setattr(shards, limit, 1)
    output = write(tmp_path / "out")
    names = sorted(path.name for path in (output / "data").glob("train-*"))
    assert names == [f"train-{n:05d}-of-00003.parquet" for n in range(3)]
    rows = [pq.read_metadata(output / "data" / name).num_rows for name in names]
    assert rows == [100, 100, 50]
    assert datasets.load_dataset(str(output), split="train")["ra"][:] == [
        float(n) for n in range(250)
    ]


def test_parquet_metadata_is_what_datasets_writes(tmp_path: Path) -> None:
    output = write(tmp_path / "out", 20, 5)
    schema = pq.read_schema(next((output / "data").glob("train-*")))
    features = datasets.Features.from_arrow_schema(schema)
    expected = datasets.Features(
        {
            "image": datasets.Image(),
            "id_str": datasets.Value("string"),
            "ra": datasets.Value("float64"),
            "bar-test_yes": datasets.Value("int32"),
        }
    )
    assert features == expected
    assert schema.metadata == expected.arrow_schema.metadata


def test_card_states_what_the_files_hold(tmp_path: Path) -> None:
    output = write(tmp_path / "out")
    text = (output / "README.md").read_text()
    matter = yaml.safe_load(text.split("---\n")[1])
    assert matter["configs"][0]["config_name"] == "default"
    assert matter["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*"},
        {"split": "test", "path": "data/test-*"},
    ]
    assert matter["configs"][1]["data_files"][1] == {"split": "test", "path": "tiny/test-*"}
    info = matter["dataset_info"][0]
    assert info["features"][0] == {"name": "image", "dtype": "image"}
    assert [split["num_examples"] for split in info["splits"]] == [250, 30]
    disk = sum(path.stat().st_size for path in (output / "data").iterdir())
    assert info["download_size"] == disk
    assert matter["size_categories"] == ["n<1K"]
    assert GALAXY_ZOO_REQUEST not in text


def test_card_carries_the_request_of_galaxy_zoo(tmp_path: Path) -> None:
    card = DatasetCard("a", "A", "cc-by-nc-sa-4.0", "Votes.", ("@misc{x}",), from_galaxy_zoo=True)
    output = write_dataset(tmp_path / "out", {"train": [rows(0, 3)]}, card)
    text = (output / "README.md").read_text()
    assert GALAXY_ZOO_REQUEST in text
    assert "@misc{x}" in text
    assert "`cc-by-nc-sa-4.0`" in text


def test_arrow_tables_pass_through(tmp_path: Path) -> None:
    """What `datasets` gives without decoding can be written again, images untouched."""
    first = write(tmp_path / "first", 20, 5)
    table = pq.read_table(next((first / "data").glob("train-*")))
    second = write_dataset(tmp_path / "second", {"train": [table]}, CARD)
    assert pq.read_table(next((second / "data").glob("train-*"))).equals(table)


def test_an_empty_split_is_left_out(tmp_path: Path) -> None:
    """`datasets` cannot open a split without rows, so there is none to open."""
    output = write_dataset(tmp_path / "out", {"train": [rows(0, 3)], "test": []}, CARD)
    assert list(datasets.load_dataset(str(output))) == ["train"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> Iterator[dict[str, object]]:
        yield rows(0, 150)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_dataset(tmp_path / "out", {"train": interrupted()}, CARD)
    assert list(tmp_path.iterdir()) == []


def test_output_in_use_is_refused_and_overwritten_only_if_asked(tmp_path: Path) -> None:
    output = write(tmp_path / "out", 20, 5)
    with pytest.raises(ConfigError, match="is not empty"):
        write_dataset(output, {"train": [rows(0, 3)]}, CARD)
    write_dataset(output, {"train": [rows(0, 3)]}, CARD, overwrite=True)
    assert len(datasets.load_dataset(str(output), split="train")) == 3
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["out"]


def test_only_a_dataset_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is not a dataset"):
        write_dataset(tmp_path / "home", {"train": [rows(0, 3)]}, CARD, overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_bad_batches_name_the_column(tmp_path: Path) -> None:
    good = rows(0, 3)
    without_id = {k: v for k, v in good.items() if k != "id_str"}
    with pytest.raises(DataError, match="column 'id_str' is missing"):
        write_dataset(tmp_path / "a", {"train": [without_id]}, CARD)
    with pytest.raises(DataError, match="column 'odd'"):
        write_dataset(tmp_path / "b", {"train": [good, {**good, "odd": [1, 2, 3]}]}, CARD)
    bad = {**good, "bar-test_yes": ["a", "b", "c"]}
    with pytest.raises(DataError, match="column 'bar-test_yes': not int32"):
        write_dataset(tmp_path / "c", {"train": [good, bad]}, CARD)
    with pytest.raises(DataError, match="no rows"):
        write_dataset(tmp_path / "d", {"train": []}, CARD)
    table = pa.table({"id_str": ["a"]})
    with pytest.raises(DataError, match="column 'image' is missing"):
        write_dataset(tmp_path / "e", {"train": [table]}, CARD)


def long_split(output: Path, galaxies: int, size: int, step: int) -> list[list[int]]:
    """The rows of the row groups of each file of a split whose images have ``size`` bytes."""

    def batches() -> Iterator[dict[str, object]]:
        for first in range(0, galaxies, step):
            names = [f"g{n:06d}" for n in range(first, min(first + step, galaxies))]
            images = [name.encode() + bytes(size - 7) for name in names]
            numbers = np.arange(first, first + len(names), dtype=np.int32)
            yield {"image": images, "id_str": names, "n": numbers}

    write_dataset(output, {"train": batches()}, CARD)
    files = [pq.ParquetFile(path).metadata for path in sorted((output / "data").iterdir())]
    return [[m.row_group(k).num_rows for k in range(m.num_row_groups)] for m in files]


def test_small_images_lie_in_longer_row_groups(tmp_path: Path) -> None:
    """A file of longer groups begins after 20 times 400 rows, and after 20 times 1,600.

    The others hold 4 MiB of images: 100 of 30 kB, and 139 that are not four times as many.
    """
    found = long_split(tmp_path / "small", 36_050, 50, 777)
    assert found == [80 * [100], 60 * [400], 2 * [1600] + [850]]
    assert found == long_split(tmp_path / "again", 36_050, 50, 5000)
    for path in (tmp_path / "small" / "data").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "data" / path.name).read_bytes()


def test_large_images_stay_in_groups_of_a_hundred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 images of 50 bytes fill a group of 5,000 bytes; of 10,000, a group is not four times."""
    for limit in (5_000, 10_000):
        monkeypatch.setattr(shards, "BYTES_PER_GROUP", limit)
        assert long_split(tmp_path / f"{limit}", 9_000, 50, 1000) == [90 * [100]]
    monkeypatch.setattr(shards, "BYTES_PER_GROUP", 20_000)
    assert long_split(tmp_path / "four", 9_000, 50, 1000) == [80 * [100], 2 * [400] + [200]]


def test_a_loaded_table_has_few_objects(tmp_path: Path) -> None:
    """One a column and row group: 36,050 rows have 143 batches, of 361 in groups of 100.

    An image is read by itself all the same.
    """
    output = tmp_path / "out"
    groups = long_split(output, 36_050, 50, 5000)
    loaded = load_dataset(output, split="train")
    assert len(loaded.data.column("id_str").chunks) == sum(map(len, groups)) == 143
    assert max(len(chunk) for chunk in loaded.data.column("id_str").chunks) == 1600
    files = image_files(loaded)
    before = pa.total_allocated_bytes()
    one = files[36_049]
    assert one["image"]["bytes"][:7] == b"g036049"
    assert pa.total_allocated_bytes() - before < 10_000
