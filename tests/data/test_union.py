"""Several datasets as one: all columns, zero votes where nobody was asked, names of campaigns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from datasets import Image, concatenate_datasets

from gzfound import ConfigError, DataError, load_dataset, load_tree
from gzfound.data import Bands, FitsConfig, Stretch, decoded_images
from gzfound.data.identity import dataset_key
from gzfound.data.read import image_files
from gzfound.data.union import campaigns_in, dataset_names, questions_of

BAR = {"bar-gz2_yes": [3, 0, 1], "bar-gz2_no": [2, 5, 0]}
CLUMPS = {"clumpy-appearance-candels_yes": [7, 8], "clumpy-appearance-candels_no": [1, 0]}


@pytest.fixture
def sources(hub_directory: Callable[..., Path], tmp_path: Path) -> list[str]:
    """Three galaxies of GZ2 with a redshift, two of CANDELS with a field; one of each is test."""
    first = hub_directory(tmp_path / "one", ("a", "b", "c"), z=[1, 2, 3], **BAR)
    second = hub_directory(tmp_path / "two", ("d", "e"), z=[0.5, 1.5], field=["x", "y"], **CLUMPS)
    return [str(first), str(second)]


def test_the_union_has_all_columns_and_zero_votes(sources: list[str]) -> None:
    """3 + 2 galaxies: votes keep their place, what was not asked is 0, what is unknown is None."""
    united = load_dataset(sources, split="train")
    rows = united.with_format(None).remove_columns("image").to_dict()
    assert rows == {
        "id_str": ["a", "b", "c", "d", "e"],
        "dataset_name": ["gz2"] * 3 + ["gz_candels"] * 2,
        "z": [1.0, 2.0, 3.0, 0.5, 1.5],
        "bar-gz2_yes": [3, 0, 1, 0, 0],
        "bar-gz2_no": [2, 5, 0, 0, 0],
        "field": [None, None, None, "x", "y"],
        "clumpy-appearance-candels_yes": [0, 0, 0, 7, 8],
        "clumpy-appearance-candels_no": [0, 0, 0, 1, 0],
    }
    assert united.features["bar-gz2_yes"].dtype == "int32"


def test_the_images_are_those_of_the_sources(sources: list[str]) -> None:
    def contents(dataset: Any) -> list[bytes]:
        plain = dataset.cast_column("image", Image(decode=False))
        return [row["image"]["bytes"] for row in plain]

    parts = [load_dataset(source, split="train") for source in sources]
    assert contents(load_dataset(sources, split="train")) == contents(
        concatenate_datasets([part.select_columns("image") for part in parts])
    )


def test_splits_and_configs_are_united_by_name(sources: list[str]) -> None:
    united = load_dataset(sources, "tiny")
    assert {name: len(part) for name, part in united.items()} == {"train": 5, "test": 2}
    assert len(load_dataset(sources, split="train[:1]")) == 2


def test_one_source_in_a_list_gets_its_name(sources: list[str]) -> None:
    assert set(load_dataset(sources[:1], split="train")["dataset_name"]) == {"gz2"}


def test_a_galaxy_in_two_sources_is_an_error(
    sources: list[str], hub_directory: Callable[..., Path], tmp_path: Path
) -> None:
    other = hub_directory(tmp_path / "three", ("x", "b"))
    with pytest.raises(DataError, match=rf"id_str 'b' is in {sources[0]} and in {other}"):
        load_dataset([*sources, other], split="train")
    with pytest.raises(DataError, match="name at least one dataset"):
        load_dataset([])


def test_the_name_is_of_the_row_the_votes_or_the_source(
    sources: list[str], hub_directory: Callable[..., Path], tmp_path: Path
) -> None:
    named = load_dataset(
        hub_directory(tmp_path / "a", ("p", "q"), dataset_name=["gz2", "gz_desi"]), split="train"
    )
    assert dataset_names(named, "anything") == ["gz2", "gz_desi"]
    plain = load_dataset(hub_directory(tmp_path / "mine", ("r",)), split="train")
    assert dataset_names(plain, tmp_path / "mine") == ["mine"]
    assert dataset_names(load_dataset(sources[1], split="train"), "x") == ["gz_candels"] * 2


def test_zeros_of_many_rows_share_one_buffer() -> None:
    """A million zeros, of several chunks and a rest, are not a million numbers in memory."""
    from gzfound.data.union import _zeros

    zeros = _zeros(1_000_003)
    assert len(zeros) == 1_000_003
    assert not np.asarray(zeros).any()
    assert len({chunk.buffers()[1].address for chunk in zeros.chunks}) == 1


def test_campaigns_of_a_union_tree() -> None:
    """GZ DESI is three campaigns; its questions are theirs, and so are their rows."""
    evo = load_tree("gz_evo")
    asked = questions_of(evo, "gz_desi")
    assert {name.rsplit("-", 1)[1] for name in asked} == {"dr12", "dr5", "dr8"}
    assert campaigns_in(["gz2", "gz_desi_dr5"], "gz_desi") == {"gz_desi_dr5"}
    assert questions_of(evo, "elsewhere") == ()
    with pytest.raises(ConfigError, match="'gz3' is not in the data; allowed: gz2, gz_hubble"):
        campaigns_in(["gz_hubble", "gz2"], "gz3")


def test_fits_of_several_files_beside_jpeg(
    folder: Path, tmp_path: Path, hub_directory: Callable[..., Path]
) -> None:
    """Galaxies without FITS files have None there; the cache and the key of the data take them."""
    for band in "gr":
        fits.writeto(tmp_path / f"f_{band}.fits", np.full((8, 8), 50, np.float32))
    pattern = str(tmp_path / "{id}_{band}.fits")
    united = load_dataset([pattern, hub_directory(tmp_path / "hub"), folder], split="train")
    assert [bool(files) for files in united["fits_files"]] == [True] + 7 * [False]
    assert united["dataset_name"] == [tmp_path.name] + 3 * ["hub"] + 4 * ["cutouts"]
    bands = Bands(3, FitsConfig(bands=("g", "r", "g"), stretch=Stretch("linear", maximum=255)))
    kept = decoded_images(united, 8, directory=tmp_path / "cache", bands=bands)
    assert len(kept.images) == 8
    assert (kept.images[0] == 50).all()
    before = dataset_key(image_files(united))
    assert before == dataset_key(image_files(united))
    (tmp_path / "f_r.fits").unlink()
    fits.writeto(tmp_path / "f_r.fits", np.full((9, 9), 50.0))
    assert dataset_key(image_files(united)) != before


@pytest.mark.parametrize(
    ("first", "second", "column"),
    [
        ({"bar-gz2_yes": [0.5, 1, 2], "bar-gz2_no": [1, 1, 1]}, {"z": [1, 2]}, "bar-gz2_yes"),
        ({"z": [2**53 + 1, 1, 2]}, {"z": [0.5, 1.5]}, "z"),
    ],
)
def test_numbers_that_would_change_are_an_error(
    hub_directory: Callable[..., Path],
    tmp_path: Path,
    first: dict[str, Any],
    second: dict[str, Any],
    column: str,
) -> None:
    one = hub_directory(tmp_path / "one", ("a", "b", "c"), **first)
    two = hub_directory(tmp_path / "two", ("d", "e"), **second)
    with pytest.raises(DataError, match=f"{one}: column '{column}' cannot be "):
        load_dataset([one, two], split="train")


def test_truths_beside_numbers_are_numbers(
    hub_directory: Callable[..., Path], tmp_path: Path
) -> None:
    one = hub_directory(tmp_path / "one", ("a", "b"), spiral=[True, False])
    two = hub_directory(tmp_path / "two", ("c",), spiral=[2])
    assert load_dataset([one, two], split="train")["spiral"] == [1.0, 0.0, 2.0]


def test_tables_and_patterns_are_named_by_their_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(folder, split="train")
    (tmp_path / "a" / "g").mkdir(parents=True)
    for source, name in {
        folder / "labels.csv": "cutouts",
        f"{tmp_path}/a/{{id}}_{{band}}.fits": "a",
        f"{tmp_path}/a/{{band}}/{{id}}.fits": "a",
        "mwalmsley/gz_other": "gz_other",
    }.items():
        assert set(dataset_names(dataset, source)) == {name}
    monkeypatch.chdir(tmp_path / "a")
    assert set(dataset_names(dataset, "{id}_{band}.fits")) == {"a"}
