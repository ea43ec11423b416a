"""Datasets that are read from where they lie: directories, HTTP and S3 servers on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from aiohttp import ClientPayloadError, ServerDisconnectedError
from fsspec.exceptions import FSTimeoutError
from pyarrow import ArrowInvalid

import gzfound.data.stream as stream_module
from gzfound import load_dataset
from gzfound.data.address import trying
from gzfound.data.stream import Stream, open_stream
from gzfound.errors import DataError
from gzfound.training.run import RunConfig

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
    monkeypatch.setattr("gzfound.data.address.time.sleep", waits.append)
    with serving(simulated_galaxies) as (server, address):
        stream = open_stream(address)
        server.failing = 2
        assert len(stream[[0, 1]]["image"]) == 2
        assert waits == [1.0, 2.0]
        server.failing = 10**6
        with pytest.raises(DataError, match=r"train-00000-of-00001.parquet cannot be read"):
            open_stream(address)


@pytest.mark.parametrize("broken", ["README.md", "data/"])
def test_a_card_or_a_folder_that_cannot_be_read_is_not_one_that_is_not_there(
    simulated_galaxies: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("gzfound.data.address.time.sleep", waits.append)
    with serving(simulated_galaxies) as (server, address):
        server.broken = broken
        with pytest.raises(DataError, match=r"cannot be listed .*503"):
            open_stream(address)
        assert waits == [1.0, 2.0, 4.0]
        server.broken = None
        assert len(open_stream(address)) > 0


def test_a_listing_that_lasts_too_long_is_not_an_empty_folder(
    simulated_galaxies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def late(*args: object, **kwargs: object) -> None:
        raise TimeoutError("too late")

    monkeypatch.setattr("gzfound.data.address.time.sleep", lambda seconds: None)
    monkeypatch.setattr(LocalFileSystem, "ls", late)
    with pytest.raises(DataError, match=r"cannot be listed \(TimeoutError: too late"):
        open_stream(simulated_galaxies)


@pytest.mark.parametrize(
    "error",
    [
        OSError("input/output error"),
        ConnectionResetError(),
        TimeoutError(),
        FSTimeoutError(),
        ServerDisconnectedError(),
        ClientPayloadError(),
        IncompleteRead(b""),
    ],
)
def test_a_failure_of_the_network_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("gzfound.data.address.time.sleep", waits.append)
    ends = iter([error, error, None])

    def fail() -> str:
        if end := next(ends):
            raise end
        return "read"

    assert trying(fail) == "read"
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("full"),
        DataError("damaged"),
        FileNotFoundError(),
        PermissionError(),
        ArrowInvalid("no Parquet"),
        TypeError("ours"),
        AttributeError("ours"),
        AssertionError("ours"),
        KeyError("ours"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("gzfound.data.address.time.sleep", waits.append)

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        trying(fail)
    assert waits == []


def card(folder: Path, configs: str, simulated: Path) -> Path:
    """A dataset of four files of five galaxies, and what its card says of them."""
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    table = pq.read_table(next(simulated.glob("data/train-*")))
    for number, name in enumerate(("a-0", "a-1", "b-0", "b-1")):
        pq.write_table(table.slice(5 * number, 5), folder / "data" / f"{name}.parquet")
    return folder


ONE, TWO = "data_files: data/a-*", "data_files: data/b-*"


@pytest.mark.parametrize(
    "configs",
    [
        f"[{{config_name: one, {ONE}}}, {{config_name: two, {TWO}, default: true}}]",
        f"[{{config_name: one, {ONE}}}, {{config_name: default, {TWO}}}]",
        f"[{{config_name: one, {ONE}}}]",
        "[{config_name: one, data_files: [{split: train, path: [data/b-*, data/a-*]}]}]",
        "[{config_name: one, data_files: [data/b-1.parquet, data/a-0.parquet]}]",
        "[{config_name: one, data_files: data/a-0.parquet}]",
        "[{config_name: one, data_files: [{split: train, path: '**/a-*'}]}]",
    ],
)
def test_a_card_means_what_it_means_to_datasets(
    simulated_galaxies: Path, tmp_path: Path, configs: str
) -> None:
    """The default configuration, and the order of the files; in a folder with a bracket too."""
    folder = card(tmp_path / "g", configs, simulated_galaxies)
    expected = load_dataset(folder, split="train")["id_str"][:]
    folder = folder.rename(tmp_path / "g[1]*")
    assert open_stream(folder).labels()["id_str"][:] == expected
    with serving(tmp_path) as (_, address):
        served = open_stream(f"{address}/g%5B1%5D%2A")
        assert served.labels()["id_str"][:] == expected


def test_a_file_that_two_patterns_name_comes_once(simulated_galaxies: Path, tmp_path: Path) -> None:
    both = "[{config_name: one, data_files: [{split: train, path: [data/*-1*, data/*]}]}]"
    paths = open_stream(card(tmp_path / "g", both, simulated_galaxies)).paths
    assert [Path(path).stem for path in paths] == ["a-1", "b-1", "a-0", "b-0"]


@pytest.mark.parametrize("default", ["", ", default: true"])
def test_no_default_configuration_is_made_up(
    simulated_galaxies: Path, tmp_path: Path, default: str
) -> None:
    each = [f"{{config_name: {n}, {w}{default}}}" for n, w in (("one", ONE), ("two", TWO))]
    folder = card(tmp_path / "g", f"[{', '.join(each)}]", simulated_galaxies)
    with pytest.raises(DataError, match=r"which config\? It has one, two"):
        open_stream(folder)
    assert len(open_stream(folder, "two")) == 10


def test_a_user_in_an_address_is_refused_and_not_repeated() -> None:
    address = "https://someone:hf_secret@example.org/galaxies"
    for reads in (open_stream, load_dataset, lambda source: RunConfig(data=(source,))):
        with pytest.raises(DataError, match="go into the environment") as refused:
            reads(address)
        assert "secret" not in str(refused.value)
    assert RunConfig(data=("hf://datasets/owner/name@main/x", "https://example.org/a@b")).data


def test_footers_are_read_once_however_many_files(
    simulated_galaxies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = card(tmp_path / "g", f"[{{{ONE}}}]", simulated_galaxies)
    monkeypatch.setattr(stream_module, "FOOTERS", 1)
    opened: list[str] = []
    real = Stream._open
    monkeypatch.setattr(Stream, "_open", lambda self, path: opened.append(path) or real(self, path))
    assert len(open_stream(folder).paths) == 2
    assert len(opened) == len(set(opened)) == 2


def test_what_is_not_there_is_said_in_a_line(
    simulated_galaxies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gzfound.data.address.time.sleep", lambda seconds: None)
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


@pytest.mark.parametrize(
    "path",
    [
        "../data/train-*",
        "/etc/*",
        "https://example.org/train-*",
        "%2e%2e/data/train-*",
        "%252e%252E/data/train-*",
        "data%2f..%2f../train-*",
    ],
)
def test_a_card_names_files_of_its_folder_only(tmp_path: Path, path: str) -> None:
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        f"  - split: train\n    path: '{path}'\n---\n"
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
