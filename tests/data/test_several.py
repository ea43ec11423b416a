"""Galaxies of several FITS files: named by a table, or by a pattern of file names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from gzfound import load_dataset
from gzfound.data import Bands, FitsConfig, Stretch, decoded_images, read_images
from gzfound.errors import DataError, ImageError

LEVEL = {"g": 10, "r": 20, "z": 30}
BANDS = Bands(3, FitsConfig(stretch=Stretch("linear", maximum=255)))


def write(path: Path, value: float, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.writeto(path, np.full((size, size), value, np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Galaxies a and b_1 with a file for each of g, r, z; their levels tell galaxy and band."""
    root = tmp_path / "cutouts"
    for number, name in enumerate(("a", "b_1")):
        for band, level in LEVEL.items():
            write(root / f"{name}_{band}.fits", level + number)
    return root


def levels(dataset: object, bands: Bands = BANDS) -> list[list[int]]:
    """One pixel of each galaxy."""
    parts = [images[:, 0, 0] for _, images in read_images(dataset, 4, bands=bands)]  # type: ignore[arg-type]
    return np.concatenate(parts).tolist()


@pytest.mark.parametrize(
    "pattern", ["{id}_{band}.fits", "{band}/{id}.fits", "{id}/{id}-{band}.fits"]
)
def test_a_pattern_groups_files_by_galaxy_in_order_of_band(folder: Path, pattern: str) -> None:
    if pattern != "{id}_{band}.fits":
        for path in sorted(folder.glob("*.fits")):
            name, band = path.stem.rsplit("_", 1)
            target = folder / pattern.replace("{id}", name).replace("{band}", band)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
    dataset = load_dataset(f"{folder}/{pattern}", split="train")
    assert dataset["id_str"] == ["a", "b_1"]
    assert levels(dataset) == [[10, 20, 30], [11, 21, 31]]
    chosen = FitsConfig(bands=("z", "g"), stretch=BANDS.fits.stretch)
    assert levels(dataset, Bands(2, chosen)) == [[30, 10], [31, 11]]
    assert len(load_dataset(f"{folder}/{pattern}", split="train[:1]")) == 1


def test_a_galaxy_without_a_band_is_named_or_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "a_r.fits").unlink()
    source, errors = f"{folder}/{{id}}_{{band}}.fits", tmp_path / "errors.jsonl"
    with pytest.raises(DataError, match="galaxy 'a' has no file of band 'r', as others have"):
        load_dataset(source)
    kept = load_dataset(source, split="train", on_error="skip", errors_path=errors)
    assert kept["id_str"] == ["b_1"]
    assert [json.loads(line)["id_str"] for line in errors.read_text().splitlines()] == ["a"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{id}.fits", "needs both {id} and {band}"),
        ("{id}_{band}.fit", "no file in .* fits this pattern"),
        ("none/{id}_{band}.fits", "no such folder"),
    ],
)
def test_patterns_that_cannot_be_used(folder: Path, source: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_dataset(f"{folder}/{source}")
    with pytest.raises(DataError, match="config 'tiny' not found"):
        load_dataset(f"{folder}/{{id}}_{{band}}.fits", "tiny")


def test_a_table_with_a_column_for_each_band(folder: Path) -> None:
    """The order of the columns is that of the bands; a row may say which HDU."""
    table = folder / "catalogue.csv"
    table.write_text(
        "id_str,z,fits_z,fits_g\n007,0.1,a_z.fits,a_g.fits\n008,0.2,b_1_z,b_1_g.fits\n"
    )
    dataset = load_dataset(table, split="train")
    assert dataset["id_str"] == ["007", "008"]
    assert dataset["z"] == [0.1, 0.2]
    assert levels(dataset, Bands(2, BANDS.fits)) == [[30, 10], [31, 11]]
    with pytest.raises(DataError, match=r"2 of 6 images have no row, first a_r\.fits"):
        load_dataset(folder)


def test_a_table_that_names_the_hdu_of_each_galaxy(tmp_path: Path) -> None:
    stamps = [fits.PrimaryHDU(), *(fits.ImageHDU(np.full((8, 8), n, "f4")) for n in (5, 6, 7))]
    fits.HDUList(stamps).writeto(tmp_path / "stamps.fits")
    (tmp_path / "t.csv").write_text("file,hdu\nstamps.fits,3\nstamps.fits,1\n")
    dataset = load_dataset(tmp_path, split="train")
    assert dataset["id_str"] == ["stamps-3", "stamps-1"]
    assert [level[0] for level in levels(dataset)] == [7, 5]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1,a_g.fits,a_q.fits", "row 1 names 'a_q.fits', which is not in"),
        ("1,a_g.fits,a_r.fits\n1,b_1_g.fits,b_1_r.fits", "id_str '1' is repeated in rows 1 and 2"),
        ("1,a_g.fits,a_r.fits\n2,b_1_g.fits,", "column 'fits_r' is empty in row 2"),
    ],
)
def test_tables_that_cannot_be_used(folder: Path, rows: str, said: str) -> None:
    (folder / "t.csv").write_text(f"id_str,fits_g,fits_r\n{rows}\n")
    with pytest.raises(DataError, match=said):
        load_dataset(folder / "t.csv")
    if "empty" not in said:
        kept = load_dataset(folder / "t.csv", split="train", on_error="skip")
        assert len(kept) == said.startswith("id_str")


def test_a_folder_of_fits_is_read_as_one_of_jpeg_is(tmp_path: Path) -> None:
    """Names lose .fits.gz and .fits.fz; an image that is broken is recorded and left out."""
    fits.writeto(tmp_path / "a.fits.gz", np.full((8, 8), 5.0))
    tiles = fits.CompImageHDU(np.full((8, 8), 6, np.int16))
    fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(tmp_path / "b.fits.fz")
    (tmp_path / "c.fits").write_bytes((tmp_path / "a.fits.gz").read_bytes()[:40])
    dataset = load_dataset(tmp_path, split="train")
    assert dataset["id_str"] == ["a", "b", "c"]
    with pytest.raises(ImageError, match=r"c\.fits"):
        levels(dataset)
    errors = tmp_path / "errors.jsonl"
    reader = read_images(dataset, 4, bands=BANDS, on_error="skip", errors_path=errors)
    ((rows, images),) = reader
    assert rows.tolist() == [0, 1]
    assert images[:, 0, 0, 0].tolist() == [5, 6]
    assert json.loads(errors.read_text())["id_str"] == "c"


def test_the_cache_knows_bands_and_every_file(folder: Path, tmp_path: Path) -> None:
    dataset = load_dataset(f"{folder}/{{id}}_{{band}}.fits", split="train")
    home = tmp_path / "cache"

    def images(bands: Bands) -> list[list[int]]:
        found = decoded_images(dataset, 4, directory=home, bands=bands).images
        assert found.shape == (2, 4, 4, bands.channels)
        return found[:, 0, 0].tolist()

    assert images(BANDS) == [[10, 20, 30], [11, 21, 31]]
    two = Bands(2, FitsConfig(bands=("r", "g"), stretch=BANDS.fits.stretch))
    assert images(two) == [[20, 10], [21, 11]]
    assert len(list(home.iterdir())) == 2
    (folder / "a_z.fits").unlink()
    write(folder / "a_z.fits", 99, size=9)
    with pytest.raises(ImageError, match="differ in size"):
        images(BANDS)
    for band in LEVEL:
        (folder / f"a_{band}.fits").unlink(missing_ok=True)
        write(folder / f"a_{band}.fits", 99, size=9)
    assert images(BANDS) == [[99, 99, 99], [11, 21, 31]]


@pytest.mark.parametrize("values", [("good", "bad"), ("1", "2")])
def test_a_column_that_only_sounds_like_files_is_a_label(
    folder: Path, tmp_path: Path, values: tuple[str, str]
) -> None:
    """``fits_quality`` holds no names of FITS files, so ``id_str`` names the images."""
    (tmp_path / "c").mkdir()
    for path, name in (("a_g.fits", "a.fits"), ("b_1_g.fits", "b.fits")):
        (folder / path).rename(tmp_path / "c" / name)
    table = tmp_path / "c" / "t.csv"
    table.write_text(f"id_str,fits_quality\na,{values[0]}\nb,{values[1]}\n")
    dataset = load_dataset(table, split="train")
    assert dataset["id_str"] == ["a", "b"]
    assert [str(value) for value in dataset["fits_quality"]] == list(values)
    assert "fits_files" not in dataset.column_names
