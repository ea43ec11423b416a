"""Sheets of what a search found: each image in its place, and a clear line where one is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from gzfound.data import Bands, FitsConfig, Stretch
from gzfound.errors import DataError, ImageError
from gzfound.reports.search_sheets import anomalies_sheet, neighbours_sheet
from gzfound.search import Anomalies, Neighbours

COLOURS = {f"a/galaxy-{n:02d}": (20 * n, 250 - 20 * n, 100) for n in range(12)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of twelve images, each of one colour with a white rim."""
    for name, colour in COLOURS.items():
        pixels = np.full((40, 40, 3), 255, dtype=np.uint8)
        pixels[10:30, 10:30] = colour
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def colours_at(path: Path, places: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    with Image.open(path) as opened:
        width = opened.width
        picture = np.asarray(opened.convert("RGB"))
    scale = 100 / 96
    assert width > 0
    return [tuple(picture[round(y * scale), round(x * scale)].tolist()) for x, y in places]


def test_anomalies_stand_in_their_order(images: Path, tmp_path: Path) -> None:
    """Ten to a row of 118 pixels each, the eleventh below the first, 26 pixels for captions."""
    names = list(COLOURS)[::-1]
    found = Anomalies("isolation_forest", names, np.arange(12, 0, -1, dtype=np.float32))
    sheet = anomalies_sheet(found, images, tmp_path / "new" / "sheet.png", crop=0.5)
    places = [(6 + 118 * (n % 10) + 56, 6 + 138 * (n // 10) + 56) for n in range(12)]
    assert colours_at(sheet, places) == [COLOURS[name] for name in names]
    corner = colours_at(sheet, [(10, 10)])
    assert corner == [COLOURS[names[0]]], "the rim is cropped off"


def test_fits_is_refused_in_one_line(tmp_path: Path) -> None:
    """A sheet knows no stretch."""
    (tmp_path / "images").mkdir()
    fits.writeto(tmp_path / "images" / "a.fits", np.ones((8, 8)))
    found = Anomalies("isolation_forest", ["a"], np.ones(1, dtype=np.float32))
    with pytest.raises(ImageError, match=r"a\.fits: FITS holds fluxes"):
        anomalies_sheet(found, tmp_path / "images", tmp_path / "sheet.png")


def test_a_row_a_query_and_queries_may_be_files(images: Path, tmp_path: Path) -> None:
    names = list(COLOURS)
    file = str(images / f"{names[5]}.png")
    scores = np.array([0.9, 0.8], dtype=np.float32)
    found = [
        Neighbours(names[0], False, [names[1], names[2]], scores),
        Neighbours(file, True, [names[5], names[7]], scores),
    ]
    sheet = neighbours_sheet(found, images, tmp_path / "sheet.png")
    across = [6 + 56, 6 + 118 + 18 + 56, 6 + 236 + 18 + 56]
    places = [(x, 28 + 138 * row + 56) for row in range(2) for x in across]
    order = [names[0], names[1], names[2], names[5], names[5], names[7]]
    assert colours_at(sheet, places) == [COLOURS[name] for name in order]


@pytest.mark.parametrize(
    ("channels", "expected"), [(5, (10, 20, 30)), (2, (10, 20, 20)), (1, (10, 10, 10))]
)
def test_the_first_bands_of_fits_are_the_colours(
    tmp_path: Path, channels: int, expected: tuple[int, ...]
) -> None:
    planes = [np.full((40, 40), 10 * (band + 1), np.float32) for band in range(channels)]
    folder = tmp_path / "images"
    folder.mkdir()
    fits.writeto(folder / "g.fits", np.stack(planes))
    found = Neighbours(str(folder / "g.fits"), True, ["g"], np.ones(1, np.float32))
    bands = Bands(channels, FitsConfig(stretch=Stretch("linear", maximum=255)))
    sheet = neighbours_sheet([found], folder, tmp_path / "sheet.png", bands=bands)
    places = [(6 + 56, 28 + 56), (6 + 118 + 18 + 56, 28 + 56)]
    assert colours_at(sheet, places) == [expected] * 2


def test_an_image_that_is_missing_is_one_line(images: Path, tmp_path: Path) -> None:
    found = Anomalies("isolation_forest", ["a/galaxy-00", "z", "y"], np.ones(3, np.float32))
    with pytest.raises(DataError, match=r"has no image of 'y' \(2 of 3 are missing\)") as caught:
        anomalies_sheet(found, images, tmp_path / "sheet.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sheet.png").exists()
