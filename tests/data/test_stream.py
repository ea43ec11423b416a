"""Datasets that are read from where they lie: directories, HTTP and S3 servers on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import gzfound.data.stream as stream_module
from gzfound import load_dataset
from gzfound.data.stream import Stream, open_stream
from gzfound.errors import DataError

sys.path.insert(0, str(Path(__file__).parent.parent))
from range_server import serving


def same(stream: Stream, source: Path, split: str) -> None:
    """The stream has the names, votes and image files of the dataset that is loaded."""
    loaded = load_dataset(source, split=split).with_format(None)
    labels = stream.labels()
    assert labels.column_names == [name for name in loaded.column_names if name != "image"]
    for name in labels.column_names:
        assert labels[name][:] == loaded[name][:]
    rows = list(range(len(loaded)))[::-7]
    part = stream[rows]
    assert part["id_str"] == [loaded["id_str"][row] for row in rows]
    files = [
        image["bytes"]
        for path in sorted(source.glob(f"data/{split}-*"))
        for image in pq.read_table(path)["image"].to_pylist()
    ]
    assert [image["bytes"] for image in part["image"]] == [files[row] for row in rows]


@pytest.mark.parametrize("card", [True, False])
def test_a_directory(simulated_galaxies: Path, tmp_path: Path, card: bool) -> None:
    folder = tmp_path / "galaxies"
    shutil.copytree(simulated_galaxies, folder)
    if not card:
        (folder / "README.md").unlink()
    for split in ("train", "test"):
        same(open_stream(folder, split=split), folder, split)
    if card:
        tiny = open_stream(folder, "tiny")
        assert len(tiny) == len(load_dataset(folder, "tiny", "train"))


def test_a_server(simulated_galaxies: Path) -> None:
    with serving(simulated_galaxies.parent) as (server, address):
        stream = open_stream(f"{address}/{simulated_galaxies.name}/")
        same(stream, simulated_galaxies, "train")
        assert server.sent > 0


def test_a_failure_that_passes_is_waited_out(
    simulated_galaxies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(stream_module.time, "sleep", waits.append)
    with serving(simulated_galaxies) as (server, address):
        stream = open_stream(address)
        server.failing = 2
        assert len(stream[[0, 1]]["image"]) == 2
        assert waits == [1.0, 2.0]
        server.failing = 10**6
        with pytest.raises(DataError, match=r"train-00000-of-00001.parquet cannot be read"):
            open_stream(address)


def test_what_is_not_there_is_said_in_a_line(simulated_galaxies: Path, tmp_path: Path) -> None:
    with serving(simulated_galaxies) as (_, address):
        for split, config, message in (
            ("trian", None, r"split 'trian' not found; it has train, test"),
            ("train", "tyni", r"config 'tyni' not found; it has default, tiny"),
            ("train[:5]", None, "not a slice"),
        ):
            with pytest.raises(DataError, match=message):
                open_stream(address, config, split)
        with pytest.raises(DataError, match="no Parquet file of split 'train'"):
            open_stream(f"{address}/nothing-here")
    with pytest.raises(DataError, match="no such folder, nor a hub name"):
        open_stream("not/a/folder")
    with pytest.raises(DataError, match="cannot be listed"):
        open_stream(address)
    with pytest.raises(DataError, match="cannot be listed"):
        open_stream("nonsense://galaxies")


@pytest.mark.parametrize("path", ["../data/train-*", "/etc/*", "https://example.org/train-*"])
def test_a_card_names_files_of_its_folder_only(tmp_path: Path, path: str) -> None:
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        f"  - split: train\n    path: {path}\n---\n"
    )
    with pytest.raises(DataError, match="is not in this folder"):
        open_stream(tmp_path)


def test_an_image_is_in_the_file_or_it_is_none(simulated_galaxies: Path, tmp_path: Path) -> None:
    """A path in a dataset from elsewhere must not have files of this machine read."""
    secret = tmp_path / "secret.jpg"
    table = pq.read_table(next(simulated_galaxies.glob("data/train-*")))
    images = table.column("image").to_pylist()
    secret.write_bytes(images[0]["bytes"])
    images[0] = {"bytes": None, "path": str(secret)}
    import pyarrow as pa

    field = table.schema.field("image")
    place = table.column_names.index("image")
    (tmp_path / "g" / "data").mkdir(parents=True)
    changed = table.set_column(place, field, pa.array(images, field.type))
    pq.write_table(changed, tmp_path / "g" / "data" / "train-0.parquet")
    assert open_stream(tmp_path / "g")[[0]]["image"][0] == {"bytes": None, "path": None}


def test_a_column_that_is_missing_is_named(tmp_path: Path, simulated_galaxies: Path) -> None:
    table = pq.read_table(next(simulated_galaxies.glob("data/train-*")))
    (tmp_path / "data").mkdir()
    pq.write_table(table.drop_columns(["image"]), tmp_path / "data" / "train-0.parquet")
    with pytest.raises(DataError, match="column 'image' is missing"):
        open_stream(tmp_path)
    pq.write_table(table, tmp_path / "data" / "train-00.parquet")  # the first file is whole
    with pytest.raises(DataError, match="column 'image' is missing"):
        open_stream(tmp_path)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of moto's S3 server, which needs an environment of its own."""
    command = os.environ.get("GZFOUND_MOTO_SERVER") or shutil.which("moto_server")
    if not command:
        pytest.skip("no moto_server here; GZFOUND_MOTO_SERVER names one (docs/streaming.md)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [command, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_s3(s3_server: str, simulated_galaxies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow.fs import LocalFileSystem, S3FileSystem, copy_files

    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3 = S3FileSystem(endpoint_override=s3_server, allow_bucket_creation=True)
    s3.create_dir("survey")
    copy_files(str(simulated_galaxies), "survey/galaxies", LocalFileSystem(), s3)
    for split in ("train", "test"):
        same(open_stream("s3://survey/galaxies", split=split), simulated_galaxies, split)
    assert np.diff(open_stream("s3://survey/galaxies").edges).max() <= 100
    with pytest.raises(DataError, match="no Parquet file of split"):
        open_stream("s3://survey/nothing")
