"""Hub names and directories in the layout of the hub."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.errors as hub_errors
import pytest
from datasets.exceptions import DatasetNotFoundError

from gzfound.data import load_dataset
from gzfound.errors import DataError

httpx: Any = importlib.import_module(hub_errors.HTTPError.__module__.split(".")[0])
"""The HTTP client of huggingface_hub, httpx or httpx2 by version."""

HubDirectory = Callable[..., Path]


def test_local_directory_like_the_hub(tmp_path: Path, hub_directory: HubDirectory) -> None:
    root = hub_directory(tmp_path / "gz", **{"bar-hubble_yes": [3, 0, 7]})
    both = load_dataset(root)
    assert isinstance(both, datasets.DatasetDict)
    assert {name: len(part) for name, part in both.items()} == {"train": 3, "test": 1}
    tiny = load_dataset(root, "tiny", "train[:2]")
    assert isinstance(tiny, datasets.Dataset)
    assert tiny["id_str"][:] == ["a", "b"]
    assert tiny["bar-hubble_yes"][:] == [3, 0]
    assert isinstance(tiny.features["image"], datasets.Image)
    assert tiny[0]["image"].size == (60, 60)


def test_nothing_is_written_beside_the_data(tmp_path: Path, hub_directory: HubDirectory) -> None:
    root = hub_directory(tmp_path / "gz")
    before = sorted(root.rglob("*"))
    load_dataset(root)
    assert sorted(root.rglob("*")) == before


def test_data_without_a_card(tmp_path: Path, hub_directory: HubDirectory) -> None:
    root = hub_directory(tmp_path / "gz")
    (root / "README.md").unlink()
    for file in (root / "tiny").iterdir():
        file.unlink()
    assert len(load_dataset(root, split="train")) == 3


def test_whole_number_ids_become_text(tmp_path: Path, hub_directory: HubDirectory) -> None:
    part = load_dataset(hub_directory(tmp_path / "gz", ids=(20002817, 7, 9)), split="train")
    assert part["id_str"][:] == ["20002817", "7", "9"]
    assert part.column_names == ["image", "id_str"]
    assert part[2]["image"].size == (60, 60)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("a", "b", "a"), "split 'train': id_str 'a' is repeated in rows 1 and 3"),
        (("a", None, "c"), "split 'train': column 'id_str' is empty in 1 rows"),
    ],
)
def test_ids_must_name_galaxies(
    tmp_path: Path, hub_directory: HubDirectory, ids: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(hub_directory(tmp_path / "gz", ids=ids))
    assert str(caught.value) == f"{tmp_path / 'gz'}: {message}"


def test_columns_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict({"id_str": ["a"], "ra": [1.0]}).to_parquet(
        tmp_path / "data" / "train-0.parquet"
    )
    with pytest.raises(DataError, match="column 'image' is missing; found id_str, ra"):
        load_dataset(tmp_path)


def test_images_must_be_images(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict({"id_str": ["a"], "image": [1.0]}).to_parquet(
        tmp_path / "data" / "train-0.parquet"
    )
    with pytest.raises(DataError, match="column 'image' must hold images; it holds double"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("config", "split", "message"),
    [
        ("huge", None, "config 'huge' not found; it has default, tiny"),
        (None, "validation", "split 'validation' not found; it has train, test"),
    ],
)
def test_choices_are_named(
    tmp_path: Path,
    hub_directory: HubDirectory,
    config: str | None,
    split: str | None,
    message: str,
) -> None:
    root = hub_directory(tmp_path / "gz")
    with pytest.raises(DataError) as caught:
        load_dataset(root, config, split)
    assert str(caught.value) == f"{root}: {message}"


def test_broken_parquet_is_one_line(tmp_path: Path, hub_directory: HubDirectory) -> None:
    root = hub_directory(tmp_path / "gz")
    (root / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(DataError, match=r"gz: cannot be loaded \(") as caught:
        load_dataset(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["/no/such/folder", "a/b/c", "galaxies", "./owner/name"])
def test_what_cannot_be_a_hub_name_is_not_asked_for(source: str) -> None:
    with pytest.raises(DataError, match="no such folder or table, nor a hub name"):
        load_dataset(source)


def _response(status: int) -> Any:
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/x"))


def _raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


GATED = "gated; request access at https://huggingface.co/datasets/a/b and log in with `hf auth log"
ABSENT = "no such folder here, and not on the hub or private; check the name, or log in with `hf au"
UNREACHABLE = "no such folder here, and the hub cannot be reached; connect (unset HF_HUB_OFFLINE), "


@pytest.mark.parametrize(
    ("error", "message"),
    [
        # datasets/load.py, dataset_module_factory, both branches of its gated message
        (DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. You must"), GATED),
        (
            _raised_from(
                datasets.exceptions.DatasetGenerationError("An error occurred"),
                hub_errors.GatedRepoError("403 Client Error", response=_response(403)),
            ),
            GATED,
        ),
        (DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub or cannot"), ABSENT),
        (hub_errors.RepositoryNotFoundError("401", response=_response(401)), ABSENT),
        (ConnectionError("Couldn't reach 'a/b' on the Hub (LocalEntryNotFound"), UNREACHABLE),
        (hub_errors.OfflineModeIsEnabled("Cannot reach: offline mode"), UNREACHABLE),
        (hub_errors.LocalEntryNotFoundError("not in the cache"), UNREACHABLE),
        (httpx.ConnectError("Name or service not known"), UNREACHABLE),
        (httpx.ReadTimeout("timed out"), UNREACHABLE),
        (
            hub_errors.HfHubHTTPError("500 Server Error\n\nbusy", response=_response(500)),
            "cannot be loaded (HfHubHTTPError: 500 Server Error busy)",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_hub_says(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError) as caught:
        load_dataset("a/b")
    assert str(caught.value).startswith(f"a/b: {message}")
    assert "\n" not in str(caught.value)


def test_gated_as_datasets_really_raises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub refuses the card with 401; datasets turns that into its own error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise hub_errors.GatedRepoError("401 Client Error", response=_response(401))

    monkeypatch.setattr("datasets.load._raise_if_offline_mode_is_enabled", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", refuse)
    with pytest.raises(DataError, match=r"^a/b: gated; request access at https://hugg"):
        load_dataset("a/b")


def test_offline(tmp_path: Path) -> None:
    """In a fresh process with HF_HUB_OFFLINE=1, as a user on a compute node meets it."""
    code = (
        "import gzfound\n"
        "try: gzfound.load_dataset('mwalmsley/gz_hubble')\n"
        "except gzfound.DataError as error: print(error)"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("mwalmsley/gz_hubble: no such folder here, and the hub cannot be")
    assert done.stderr == ""


def test_importing_is_light() -> None:
    code = (
        "import sys, gzfound.data, gzfound.data.splits\n"
        "print(sorted({'torch', 'datasets', 'pandas', 'pyarrow', 'cv2', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_progress_bars_for_local_data(
    tmp_path: Path, hub_directory: HubDirectory, capfd: pytest.CaptureFixture[str]
) -> None:
    enabled = not datasets.are_progress_bars_disabled()
    load_dataset(hub_directory(tmp_path / "gz"))
    assert capfd.readouterr() == ("", "")
    assert enabled is not datasets.are_progress_bars_disabled()
