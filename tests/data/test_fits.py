"""FITS files of every kind to arrays of flux, and what is wrong with the others in one line."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from gzfound.data import Bands, FitsConfig, Stretch, decode_bands
from gzfound.data.astro import load_astropy
from gzfound.data.fits import FitsFile, is_fits, read_fits
from gzfound.errors import ConfigError, ImageError

CUBE = np.arange(3 * 6 * 8, dtype=np.float32).reshape(3, 6, 8)
LINEAR = Stretch("linear", maximum=255)


def written(*hdus: fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU) -> bytes:
    out = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(out, output_verify="silentfix")
    return out.getvalue()


def file(data: bytes | np.ndarray, **header: object) -> FitsFile:
    if isinstance(data, bytes):
        return FitsFile(data, "g.fits")
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(header)
    return FitsFile(written(hdu), "g.fits")


def read(
    data: bytes | np.ndarray, config: FitsConfig | None = None, **header: object
) -> np.ndarray:
    return read_fits([file(data, **header)], config or FitsConfig())


def test_a_cube_has_its_bands_last_in_the_order_asked_for() -> None:
    assert np.array_equal(read(CUBE), np.moveaxis(CUBE, 0, 2))
    some = read(CUBE, FitsConfig(bands=("2", "0")))
    assert np.array_equal(some, np.moveaxis(CUBE[[2, 0]], 0, 2))
    assert read(CUBE[0]).shape == (6, 8, 1)
    assert read(CUBE[None]).shape == (6, 8, 3), "a leading axis of one is dropped"


def test_bands_have_the_names_of_the_header() -> None:
    named = {"BAND0": "g", "BAND1": "r", "BAND2": "z"}
    found = read(CUBE, FitsConfig(bands=("z", "g")), **named)
    assert np.array_equal(found, np.moveaxis(CUBE[[2, 0]], 0, 2))
    with pytest.raises(ImageError, match=r"image g\.fits: no band 'i'; it has g, r, z"):
        read(CUBE, FitsConfig(bands=("i",)), **named)
    with pytest.raises(ImageError, match="no band '3'"):
        read(CUBE, FitsConfig(bands=("3",)))


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: data], ids=["gz", "plain"])
@pytest.mark.parametrize("tiles", [False, True], ids=["", "fz"])
def test_compression_changes_nothing(pack: Callable[[bytes], bytes], tiles: bool) -> None:
    whole = np.round(CUBE).astype(np.int16)
    data = (
        written(fits.PrimaryHDU(), fits.CompImageHDU(whole, compression_type="RICE_1"))
        if tiles
        else written(fits.PrimaryHDU(whole))
    )
    assert is_fits(pack(data))
    assert np.array_equal(read(pack(data)), np.moveaxis(CUBE, 0, 2))


def test_an_image_may_be_larger_than_its_compressed_file() -> None:
    flat = np.full((300, 300), 7, np.int16)
    data = written(fits.PrimaryHDU(), fits.CompImageHDU(flat, compression_type="RICE_1"))
    assert len(data) < flat.nbytes / 4
    assert np.array_equal(read(data)[..., 0], flat)


def test_scaled_whole_numbers_and_blanks_are_what_the_header_says() -> None:
    hdu = fits.PrimaryHDU(np.array([[1, 2], [-99, 4]], np.int16))
    hdu.header.update({"BSCALE": 0.5, "BZERO": 10.0, "BLANK": -99})
    raw = written(hdu)
    found = read(raw)[..., 0]
    expected = [[10.5, 11.0], [np.nan, 12.0]]
    assert np.array_equal(found, np.array(expected, np.float32), equal_nan=True)


def test_several_hdus_are_bands_and_one_is_never_guessed() -> None:
    data = written(
        fits.PrimaryHDU(),
        fits.ImageHDU(CUBE[0], name="SCI"),
        fits.ImageHDU(CUBE[1], name="WHT"),
        fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])], name="CAT"),
    )
    assert np.array_equal(read(data, FitsConfig(hdu=("sci",)))[..., 0], CUBE[0])
    assert np.array_equal(read(data, FitsConfig(hdu=("2",)))[..., 0], CUBE[1])
    both = read(data, FitsConfig(hdu=("WHT", "SCI")))
    assert np.array_equal(both, np.moveaxis(CUBE[[1, 0]], 0, 2))
    swapped = read(data, FitsConfig(hdu=("WHT", "SCI"), bands=("SCI", "WHT")))
    assert np.array_equal(swapped, np.moveaxis(CUBE[:2], 0, 2))
    with pytest.raises(ImageError, match=r"2 HDUs hold images \(1 SCI, 2 WHT\); choose with"):
        read(data)
    for which in ("CAT", "ERR", "7", "0"):
        with pytest.raises(ImageError, match=rf"no HDU '{which}' with an image; there are 1 SCI"):
            read(data, FitsConfig(hdu=(which,)))


def test_a_file_for_each_band() -> None:
    parts = [
        FitsFile(written(fits.PrimaryHDU(plane)), f"{band}.fits", band)
        for band, plane in zip("gri", CUBE, strict=True)
    ]
    assert np.array_equal(read_fits(parts, FitsConfig()), np.moveaxis(CUBE, 0, 2))
    red = read_fits(parts, FitsConfig(bands=("i", "g")))
    assert np.array_equal(red, np.moveaxis(CUBE[[2, 0]], 0, 2))
    wide = FitsFile(written(fits.PrimaryHDU(np.ones((9, 8)))), "z.fits", "z")
    with pytest.raises(ImageError, match="differ in size, 8 by 6 and 8 by 9 pixels"):
        read_fits([parts[0], wide], FitsConfig())
    cube = FitsFile(written(fits.PrimaryHDU(CUBE)), "c.fits", "z")
    with pytest.raises(ImageError, match=r"image c\.fits: 3 bands where one, z, is expected"):
        read_fits([cube], FitsConfig())


def test_units_and_scales() -> None:
    """A nanomaggy is 10^-9 of the flux of AB magnitude 0, 3630.78 Jy: 3.63078 microjansky."""
    found = read(CUBE, FitsConfig(unit="uJy"), BUNIT="nanomaggy")
    assert np.allclose(found, np.moveaxis(CUBE, 0, 2) * 3.63078, rtol=1e-5)
    scaled = read(CUBE, FitsConfig(bands=("1", "0"), scale=(2.0, 0.5)))
    assert np.array_equal(scaled, np.moveaxis(CUBE[[1, 0]], 0, 2) * np.float32([2.0, 0.5]))
    with pytest.raises(ImageError, match="no BUNIT in its header"):
        read(CUBE, FitsConfig(unit="nJy"))
    with pytest.raises(ImageError, match="unit 'm' cannot be converted to nJy"):
        read(CUBE, FitsConfig(unit="nJy"), BUNIT="m")
    with pytest.raises(ImageError, match="BUNIT: unit 'furlongs': none that astropy knows"):
        read(CUBE, FitsConfig(unit="nJy"), BUNIT="furlongs")
    with pytest.raises(ImageError, match=r"3 bands, where fits\.scale has 2 factors"):
        read(CUBE, FitsConfig(scale=(1.0, 2.0)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unit": "furlong"}, "fits.unit: unit 'furlong': none that astropy knows"),
        ({"bands": ("g", "r"), "scale": (1.0,)}, "fits.scale: 1 factors for 2 bands"),
        ({"scale": (0.0,)}, "must be finite and not 0"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FitsConfig(**options)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_infinities_are_no_measurements_and_an_image_needs_one() -> None:
    holed = CUBE.copy()
    holed[0, 0, 0], holed[1, 1, 1], holed[2, 2, 2] = np.nan, np.inf, -np.inf
    found = read(holed)
    assert np.isnan(found[[0, 1, 2], [0, 1, 2], [0, 1, 2]]).all()
    assert np.isnan(found).sum() == 3
    with pytest.raises(ImageError, match=r"image g\.fits: no pixel is finite"):
        read(np.full((4, 4), np.nan))


def test_broken_files_are_one_line(recwarn: pytest.WarningsRecorder) -> None:
    load_astropy.cache_clear()  # pytest forgets the filters of warnings that an earlier test set
    whole = written(fits.PrimaryHDU(np.ones((200, 200), np.float32)))
    tiled = written(fits.PrimaryHDU(), fits.CompImageHDU(np.random.rand(200, 200)))
    broken = {
        "truncated data": whole[:9000],
        "truncated header": whole[:1000],
        "truncated tiles": tiled[: len(tiled) // 2],
        "truncated gzip": gzip.compress(whole)[:-200],
        "damaged gzip": gzip.compress(whole)[:20] + b"\xff" * 50,
        "no image": written(fits.PrimaryHDU()),
        "a spectrum": written(fits.PrimaryHDU(np.ones(50))),
        "four axes": written(fits.PrimaryHDU(np.ones((2, 2, 4, 4)))),
        "rubbish": b"SIMPLE  =" + bytes(range(256)) * 20,
    }
    for case, data in broken.items():
        with pytest.raises(ImageError) as caught:
            read(data)
        said = str(caught.value)
        assert said.startswith("image g.fits: "), case
        assert "\n" not in said, case
    assert not [w for w in recwarn if "truncated" in str(w.message)]


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_header_that_claims_too_much_is_refused_before_memory_is() -> None:
    header = fits.PrimaryHDU(np.ones((4, 4), np.float32)).header
    header["NAXIS1"] = header["NAXIS2"] = 2**20
    data = header.tostring().encode() + bytes(2880)
    with pytest.raises(ImageError, match="1099511627776 numbers; allowed: 1 to"):
        read(data)


def test_channels_of_the_encoder() -> None:
    """A single band is repeated for three channels; any other number has to be right."""
    grey = FitsFile(written(fits.PrimaryHDU(CUBE[0])), "g.fits")
    cube = FitsFile(written(fits.PrimaryHDU(CUBE)), "c.fits")
    config = FitsConfig(stretch=LINEAR)
    expected = CUBE[0].astype(np.uint8)
    assert np.array_equal(decode_bands([grey], Bands(1, config))[..., 0], expected)
    three = decode_bands([grey], Bands(3, config))
    assert all(np.array_equal(three[..., channel], expected) for channel in range(3))
    for files, channels in (([cube], 1), ([cube], 5), ([grey], 5)):
        with pytest.raises(ImageError, match=rf"bands where the encoder takes {channels}; choose"):
            decode_bands(files, Bands(channels, config))


def test_jpeg_for_one_channel_is_grey_and_for_five_is_refused(jpeg: Callable[..., bytes]) -> None:
    file = FitsFile(jpeg(0), "g.jpg")
    colours = decode_bands([file]).astype(float)
    grey = decode_bands([file], Bands(1))
    assert grey.shape == (60, 60, 1)
    assert np.abs(colours @ [0.299, 0.587, 0.114] - grey[..., 0]).max() <= 1
    with pytest.raises(ImageError, match="3 bands where the encoder takes 5"):
        decode_bands([file], Bands(5))


def test_fits_without_a_stretch_is_refused_with_what_to_do(jpeg: Callable[..., bytes]) -> None:
    cube = FitsFile(written(fits.PrimaryHDU(CUBE)), "c.fits")
    with pytest.raises(ImageError, match=r"c\.fits: FITS holds fluxes.*choose fits\.stretch\.kind"):
        decode_bands([cube])
    with pytest.raises(ImageError, match=r"image g\.jpg: no FITS; several files to one galaxy"):
        decode_bands([cube, FitsFile(jpeg(0), "g.jpg")], Bands(3, FitsConfig(stretch=LINEAR)))


def test_options_go_over_those_of_the_weights() -> None:
    held = FitsConfig(hdu=("SCI",), bands=("g", "r"), stretch=Stretch("asinh", q=3))
    assert FitsConfig().over(held) == held
    chosen = FitsConfig(bands=("1", "0")).over(held)
    assert chosen == FitsConfig(hdu=("SCI",), bands=("1", "0"), stretch=Stretch("asinh", q=3))
    assert FitsConfig(stretch=Stretch("linear")).over(held).stretch == Stretch("linear")


def test_real_files(real_data: Path) -> None:
    folder = real_data / "fits"
    decals = FitsFile((folder / "example_b.fits").read_bytes(), "example_b.fits")
    flux = read_fits([decals], FitsConfig(bands=("z", "r", "g")))
    assert flux.shape == (162, 162, 3)
    own = fits.getdata(folder / "example_b.fits")
    assert np.array_equal(flux[..., 0], own[2])
    stamps = FitsFile(
        (folder / "galsim_AEGIS_F606w_images_01.fits").read_bytes(), "stamps.fits", hdu="1"
    )
    assert read_fits([stamps], FitsConfig()).shape == (156, 142, 1)
    with pytest.raises(ImageError, match="3 HDUs hold images"):
        read_fits([FitsFile(stamps.data, "stamps.fits")], FitsConfig())
    with pytest.raises(ImageError, match="no HDU holds an image"):
        catalogue = (folder / "galsim_test_catalog.fits").read_bytes()
        read_fits([FitsFile(catalogue, "catalogue.fits")], FitsConfig())
