"""Fluxes to grey levels, beside astropy and beside numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from astropy.visualization import make_lupton_rgb

from gzfound.data import FitsConfig, Stretch
from gzfound.data.fits import FitsFile, read_fits
from gzfound.errors import ConfigError


def galaxy(bands: int, seed: int = 0) -> np.ndarray:
    """A bright blob on noise, float32 ``(40, 50, bands)``."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :50]
    light = 30 * np.exp(-np.hypot(y - 20, x - 25) / 4)[..., None] * draw.uniform(0.3, 1.5, bands)
    return (light + draw.normal(0, 0.3, (40, 50, bands))).astype(np.float32)


@pytest.mark.parametrize(
    ("softening", "q", "minimum"), [(5.0, 8.0, 0.0), (0.5, 8.0, 0.1), (20.0, 1.0, -1.0)]
)
def test_asinh_is_that_of_lupton_as_astropy_has_it(
    softening: float, q: float, minimum: float
) -> None:
    """Astropy cuts the fraction of a level off where this rounds."""
    flux = galaxy(3)
    found = Stretch("asinh", softening=softening, q=q, minimum=minimum)(flux)
    parts = (flux[..., band].astype(float) for band in range(3))
    theirs = make_lupton_rgb(*parts, minimum=minimum, stretch=softening, Q=q)
    difference = found.astype(int) - theirs
    assert {0, 1} == set(np.unique(difference))
    assert len(np.unique(found)) > 100


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_asinh_of_any_number_of_bands_keeps_their_ratios(bands: int) -> None:
    """A pixel of flux x in every band gives asinh(q x / softening) / asinh(q / 10) / 10."""
    flux = np.full((2, 2, bands), 3.0, np.float32)
    level = 255 * math.asinh(8 * 3 / 5) / math.asinh(0.8) / 10
    assert Stretch("asinh")(flux).tolist() == np.full(flux.shape, round(level)).tolist()
    if bands > 1:
        flux[..., 0] = 1.5
        levels = Stretch("asinh")(flux).astype(float)
        assert np.allclose(levels[..., 1] / levels[..., 0], 2, atol=0.05)


def test_linear_and_percentile_by_hand() -> None:
    flux = np.array([[[-1.0], [0.0], [0.5], [1.0], [9.0]]], np.float32)
    assert Stretch("linear")(flux)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert Stretch("linear", minimum=-1, maximum=1)(flux)[0, :, 0].tolist() == [
        *(0, 128, 191, 255, 255)
    ]
    ramp = np.arange(101, dtype=np.float32)[None, :, None]
    levels = Stretch("percentile", percentiles=(10, 90))(ramp)[0, :, 0]
    assert (levels[10], levels[50], levels[90]) == (0, 128, 255)
    assert levels[30] == round(255 * 20 / 80)


def test_percentiles_are_of_all_bands_together_so_that_colours_are_kept() -> None:
    flux = galaxy(2)
    flux[..., 1] = 0.5 * flux[..., 0]
    levels = Stretch("percentile", percentiles=(0, 100))(np.maximum(flux, 0)).astype(int)
    assert np.abs(levels[..., 0] - 2 * levels[..., 1]).max() <= 1


@pytest.mark.parametrize("kind", ["asinh", "percentile", "linear"])
def test_what_is_not_finite_is_black_and_moves_nothing_else(kind: str) -> None:
    """The percentiles are of finite pixels; the mean of the bands is that of the known ones."""
    flux = galaxy(3)
    stretch = Stretch(kind)  # type: ignore[arg-type]
    holed = flux.copy()
    holed[5, 5], holed[6, 6], holed[7, 7], holed[8, 8, 1] = np.nan, np.inf, -np.inf, np.nan
    levels = stretch(holed)
    assert not levels[5, 5].any()
    assert not levels[6, 6].any()
    assert not levels[7, 7].any()
    assert levels[8, 8, 1] == 0
    elsewhere = np.ones((40, 50), bool)
    elsewhere[[5, 6, 7, 8], [5, 6, 7, 8]] = False
    difference = levels[elsewhere].astype(int) - stretch(flux)[elsewhere]
    assert np.abs(difference).max() <= (1 if kind == "percentile" else 0)
    assert levels.max() > 0


@pytest.mark.parametrize("kind", ["asinh", "percentile", "linear"])
def test_a_flat_image_is_one_level(kind: str) -> None:
    levels = Stretch(kind)(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]
    assert not levels.any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "sqrt"}, "stretch.kind: 'sqrt'; allowed: asinh, percentile or linear"),
        ({"q": 3.0}, "stretch: its settings need a stretch.kind"),
        ({"kind": "asinh", "q": 0.0}, "stretch.q: 0.0 must be above 0"),
        ({"kind": "asinh", "softening": -1.0}, "stretch.softening: -1.0 must be above 0"),
        ({"kind": "linear", "maximum": 0.0}, "stretch.maximum: 0.0 must be above the minimum"),
        ({"kind": "percentile", "percentiles": (90, 10)}, "stretch.percentiles: (90, 10) must be"),
        ({"kind": "linear", "minimum": math.nan}, "must all be finite"),
    ],
)
def test_settings_that_make_no_sense_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Stretch(**options)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_none_stretches_nothing() -> None:
    with pytest.raises(ConfigError, match="choose asinh, percentile or linear"):
        Stretch()(np.zeros((2, 2, 1), np.float32))


def test_real_fluxes_agree_with_astropy(real_data: Path) -> None:
    """Both DECaLS cubes, zrg as red, green and blue, as the viewer of that survey shows them."""
    for name in ("example_a.fits", "example_b.fits"):
        file = FitsFile((real_data / "fits" / name).read_bytes(), name)
        flux = read_fits([file], FitsConfig(bands=("z", "r", "g")))
        found = Stretch("asinh", softening=0.5)(flux)
        theirs = make_lupton_rgb(*np.moveaxis(flux.astype(float), 2, 0), stretch=0.5, Q=8)
        assert set(np.unique(found.astype(int) - theirs)) <= {0, 1}
        assert found.max() > 150
