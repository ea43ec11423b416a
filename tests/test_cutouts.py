"""Cutouts of a mosaic whose galaxies are known: where they are, what they hold, where they end."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from gzfound import load_dataset
from gzfound.cli import main
from gzfound.cutouts import CutoutConfig, make_cutouts
from gzfound.data import Bands, FitsConfig, Stretch, read_images
from gzfound.errors import ConfigError, DataError
from gzfound.simulation import simulate_mosaic

SEED = 3
PIXEL = 0.396  # arcseconds, of SDSS
Truth = dict[str, list]


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """Nine galaxies in three bands, 288 pixels wide, and the truth about them."""
    image = tmp_path_factory.mktemp("sky") / "sky.fits"
    catalogue = simulate_mosaic(image, galaxies=9, cell=96, seed=SEED)
    return image, table(catalogue)


def table(path: Path) -> Truth:
    return pyarrow.csv.read_csv(path).to_pydict()


def positions(path: Path, **columns: list) -> Path:
    pyarrow.csv.write_csv(pa.table(columns), path)
    return path


def on_sky(ra: float, dec: float) -> SkyCoord:
    return SkyCoord(ra, dec, unit="deg")


def test_the_truth_agrees_with_the_wcs_of_the_file(mosaic: tuple[Path, Truth]) -> None:
    image, truth = mosaic
    with fits.open(image) as hdus:
        header, data = hdus[0].header, hdus[0].data
    assert data.shape == (3, 288, 288)
    assert [header[f"BAND{n}"] for n in range(3)] == ["i", "r", "g"]
    x, y = WCS(header, naxis=2).all_world2pix(truth["ra"], truth["dec"], 0)
    assert np.allclose(x, truth["x"], atol=1e-6)
    assert np.allclose(y, truth["y"], atol=1e-6)
    assert header["BUNIT"] == "nmgy"
    measured = []
    for x, y, magnitude in zip(truth["x"], truth["y"], truth["magnitude"], strict=True):
        near = data[1, max(0, y - 3) : y + 4, max(0, x - 3) : x + 4]
        assert near.mean() > 10 * np.abs(np.median(data[1])), "light where a galaxy is"
        light = data[1, max(0, y - 45) : y + 46, max(0, x - 45) : x + 46].sum()
        measured.append(22.5 - 2.5 * np.log10(light) - magnitude)
    assert abs(np.median(measured)) < 0.1, "of nanomaggies; some wings end, some neighbours intrude"


def test_the_same_seed_gives_the_same_sky(mosaic: tuple[Path, Truth], tmp_path: Path) -> None:
    simulate_mosaic(tmp_path / "again.fits", galaxies=9, cell=96, seed=SEED)
    assert (tmp_path / "again.fits").read_bytes() == mosaic[0].read_bytes()


@pytest.mark.parametrize(("size", "unit", "side"), [(31, "pixels", 31), (12.0, "arcsec", 30)])
def test_cutouts_are_centred_on_the_catalogue(
    mosaic: tuple[Path, Truth], tmp_path: Path, size: float, unit: str, side: int
) -> None:
    """Half a pixel is what a cutout of an even number of pixels has to be off, or a rounding."""
    image, truth = mosaic
    config = CutoutConfig(size=size, unit=unit)  # type: ignore[arg-type]
    made = make_cutouts(image, tmp_path / "c", catalogue=image.with_suffix(".csv"), config=config)
    assert made == (9, 0)
    whole = fits.getdata(image)
    checksum = hashlib.sha256(image.read_bytes()).hexdigest()
    for name, ra, dec, x, y in zip(
        *(truth[column] for column in ("id_str", "ra", "dec", "x", "y")), strict=True
    ):
        with fits.open(tmp_path / "c" / f"{name}.fits") as hdus:
            header, data = hdus[0].header, hdus[0].data
        assert data.shape == (3, side, side)
        centre = WCS(header, naxis=2).pixel_to_world((side - 1) / 2, (side - 1) / 2)
        assert centre.separation(on_sky(ra, dec)).arcsec < 0.75 * PIXEL
        near = data[1, side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1]
        assert whole[1, y, x] in (near if side % 2 == 0 else near[-1:, -1:]), "the pixel asked for"
        known = {"SRCFILE": "sky.fits", "SRCSHA": checksum, "SRCHDU": 0, "OBJECT": name}
        assert {key: header[key] for key in known} == known
        assert (header["OBJ_RA"], header["OBJ_DEC"]) == (ra, dec)
        assert (header["SRC_X"], header["SRC_Y"]) == pytest.approx((x + 1, y + 1), abs=1e-6)
        assert header["CREATOR"].startswith("gzfound ")
        assert (header["BAND0"], header["BUNIT"]) == ("i", "nmgy")
    listed = table(tmp_path / "c" / "cutouts.csv")
    assert listed["magnitude"] == truth["magnitude"]
    assert not (tmp_path / "c" / "left_out.jsonl").exists()


def test_detection_finds_the_galaxies_where_they_are(
    mosaic: tuple[Path, Truth], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All nine and nothing else, within a pixel; clumps and tides move the centre of the light."""
    image, truth = mosaic
    main(["cutouts", str(image), "--detect", "--size", "48", "--output", str(tmp_path / "c")])
    found = table(tmp_path / "c" / "cutouts.csv")
    assert capsys.readouterr().out == f"{len(found['file'])} cutouts: {tmp_path / 'c'}\n"
    true, seen = (on_sky(np.array(one["ra"]), np.array(one["dec"])) for one in (truth, found))
    distance = true[:, None].separation(seen[None]).arcsec / PIXEL
    assert (distance.min(axis=1) < 1).all()
    assert np.median(distance.min(axis=1)) < 0.25
    assert len(found["file"]) == 9
    assert found["flux"] == sorted(found["flux"], reverse=True)
    for nearest, name in zip(distance.argmin(axis=1), truth["id_str"], strict=True):
        with fits.open(tmp_path / "c" / found["file"][nearest]) as hdus:
            header = hdus[0].header
        centre = WCS(header, naxis=2).pixel_to_world(23.5, 23.5)
        at = on_sky(found["ra"][nearest], found["dec"][nearest])
        assert centre.separation(at).arcsec < PIXEL, name


def test_what_is_beyond_the_mosaic_is_filled_or_skipped_and_always_recorded(
    mosaic: tuple[Path, Truth], tmp_path: Path
) -> None:
    """On the corner pixel (0, 0), columns -5 to -1 of ten are beyond: three quarters of it."""
    image, _ = mosaic
    wcs = WCS(fits.getheader(image), naxis=2)
    inside, corner, outside = (wcs.pixel_to_world(x, x) for x in (100, 0, -40))
    sky = [inside, corner, outside]
    catalogue = positions(
        tmp_path / "p.csv",
        id_str=["in", "corner", "out", "nowhere", "far side"],
        ra=[*(s.ra.deg for s in sky), 150.0, 330.0],
        dec=[*(s.dec.deg for s in sky), 95.0, -2.0],
    )
    config = CutoutConfig(size=10)
    assert make_cutouts(image, tmp_path / "f", catalogue=catalogue, config=config) == (2, 3)
    listed = table(tmp_path / "f" / "cutouts.csv")
    assert listed["id_str"] == ["in", "corner"]
    assert listed["blank"] == [0.0, 0.75]
    data = fits.getdata(tmp_path / "f" / "corner.fits")
    assert np.isnan(data[:, :5]).all()
    assert np.isnan(data[:, :, :5]).all()
    assert np.array_equal(data[:, 5:, 5:], fits.getdata(image)[:, :5, :5])

    def left_out(folder: Path) -> dict[str, str]:
        lines = (folder / "left_out.jsonl").read_text().splitlines()
        return {item["id_str"]: item["reason"] for item in map(json.loads, lines)}

    told = left_out(tmp_path / "f")
    assert list(told) == ["out", "nowhere", "far side"]
    assert told["out"].endswith("outside the mosaic")
    assert "no position on the sky" in told["nowhere"]
    assert "no position on the sky" in told["far side"]
    config = CutoutConfig(size=10, edges="skip")
    assert make_cutouts(image, tmp_path / "s", catalogue=catalogue, config=config) == (1, 4)
    assert "reaches beyond" in left_out(tmp_path / "s")["corner"]


def test_cutouts_are_a_dataset(mosaic: tuple[Path, Truth], tmp_path: Path) -> None:
    """The table names every file, NaN is black, and the columns of the catalogue are labels."""
    image, truth = mosaic
    make_cutouts(image, tmp_path / "c", catalogue=image.with_suffix(".csv"))
    dataset = load_dataset(tmp_path / "c", split="train")
    assert dataset["id_str"] == truth["id_str"]
    assert dataset["effective_radius"] == truth["effective_radius"]
    config = FitsConfig(bands=("i", "r", "g"), stretch=Stretch("asinh", softening=0.5))
    ((_, images),) = read_images(dataset, 32, bands=Bands(3, config))
    assert images.shape == (9, 32, 32, 3)
    assert (images[:, 14:18, 14:18].mean((1, 2, 3)) > images.mean((1, 2, 3))).all()


def test_whole_numbers_other_frames_and_catalogues_of_fits(tmp_path: Path) -> None:
    """A mosaic of 16-bit counts in galactic coordinates; ra and dec stay ICRS."""
    header = fits.Header()
    header.update({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 120.0, "CRVAL2": 0.0})
    header.update({"CRPIX1": 50.5, "CRPIX2": 50.5, "CDELT1": -0.01, "CDELT2": 0.01})
    counts = np.arange(100 * 100, dtype=np.int16).reshape(100, 100)
    image = tmp_path / "m.fits"
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(counts, header, name="SCI")]
    fits.HDUList(hdus).writeto(image)
    at = WCS(header).pixel_to_world(70, 20).icrs
    Table({"ID": [5], "RA": [at.ra.deg], "DEC": [at.dec.deg]}).write(tmp_path / "t.fits")
    config = CutoutConfig(size=5, hdu="SCI")
    made = make_cutouts(image, tmp_path / "c", catalogue=tmp_path / "t.fits", config=config)
    assert made == (1, 0)
    data, cut = fits.getdata(tmp_path / "c" / "t-000000.fits", header=True)
    assert np.array_equal(data[0], counts[18:23, 68:73])
    assert cut["SRCHDU"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "size: 0 must be above 0"),
        ({"unit": "feet"}, "unit: 'feet'; allowed: pixels, arcsec"),
        ({"edges": "wrap"}, "edges: 'wrap'; allowed: fill, skip"),
        ({"threshold": -1.0}, "threshold: -1.0 must be above 0"),
        ({"min_pixels": 0}, "min_pixels: 0 must be at least 1"),
    ],
)
def test_options_out_of_range(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CutoutConfig(**options)  # type: ignore[arg-type]


def test_bad_input_is_one_line(
    mosaic: tuple[Path, Truth], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, _ = mosaic
    plain, text = tmp_path / "plain.fits", tmp_path / "text.fits"
    fits.writeto(plain, np.ones((20, 20)))
    text.write_text("no FITS")
    good = image.with_suffix(".csv")
    no_dec = positions(tmp_path / "a.csv", ra=[1.0])
    words = positions(tmp_path / "b.csv", ra=["x"], dec=[1.0])
    twice = positions(tmp_path / "c.csv", id=[7, 7], ra=[1.0, 2.0], dec=[1.0, 2.0])
    alike = positions(tmp_path / "d.csv", id=["a/1", "a_1"], ra=[150.0] * 2, dec=[2.0] * 2)
    far = positions(tmp_path / "e.csv", ra=[10.0], dec=[2.0])
    cases = [
        ([image], "pass either --catalogue TABLE or --detect"),
        ([image, "--detect", "--catalogue", good], "pass either --catalogue TABLE or --detect"),
        ([image, "--catalogue", no_dec], "column 'dec' is missing; found ra"),
        ([image, "--catalogue", words], "column 'ra' must hold degrees; it holds string"),
        ([image, "--catalogue", twice], "id '7' is repeated"),
        ([image, "--catalogue", alike], "id_str 'a_1' gives a_1.fits, as another does"),
        ([image, "--catalogue", far], "none of 1 is on"),
        ([image, "--catalogue", good, "--size", "0.5"], "size: 0.5 pixels; allowed: whole pixels"),
        ([image, "--catalogue", good, "--hdu", "3"], "no HDU '3' with an image"),
        ([plain, "--catalogue", good], "has no celestial WCS"),
        ([text, "--catalogue", good], "cannot be read"),
        ([tmp_path / "none.fits", "--detect"], "cannot be read"),
        ([plain, "--detect", "--output", tmp_path], "is in use; name a new folder"),
    ]
    for arguments, said in cases:
        with pytest.raises(SystemExit) as caught:
            main(["cutouts", "--output", str(tmp_path / "out"), *map(str, arguments)])
        assert caught.value.code == 2
        line = capsys.readouterr().err
        assert line.startswith("error: "), said
        assert line.count("\n") == 1, line
        assert said in line
        assert not (tmp_path / "out").exists(), "nothing is left behind"


def test_a_mosaic_that_cannot_be_simulated(tmp_path: Path) -> None:
    for options, said in (
        ({"galaxies": 0}, "galaxies 0 is out of range"),
        ({"cell": 8}, "cell 8 is out of range"),
        ({"dec": 90.0}, "dec 90.0: out of range"),
        ({"campaign": "gz_evo"}, "cannot be simulated"),
    ):
        with pytest.raises(ConfigError, match=said):
            simulate_mosaic(tmp_path / "m.fits", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_blank_part_of_the_mosaic_gives_no_cutout(
    mosaic: tuple[Path, Truth], tmp_path: Path
) -> None:
    data, header = fits.getdata(mosaic[0], header=True)
    data[:, :60, :60] = np.nan
    holed = tmp_path / "holed.fits"
    fits.writeto(holed, data, header)
    at = WCS(header, naxis=2).pixel_to_world(30, 30)
    catalogue = positions(tmp_path / "p.csv", ra=[at.ra.deg], dec=[at.dec.deg])
    with pytest.raises(DataError, match="none of 1 is on"):
        make_cutouts(holed, tmp_path / "c", catalogue=catalogue, config=CutoutConfig(size=20))
    made, _ = make_cutouts(holed, tmp_path / "d")
    assert made >= 6, "NaN does not stop the detection"
