"""A simulated mosaic of the sky: FITS with a WCS, and the true catalogue beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv

from gzfound.data.astro import load_astropy
from gzfound.draws import stream_key, uniforms
from gzfound.errors import ConfigError
from gzfound.files import atomic_file, check_file
from gzfound.simulation.canvas import GalaxyDraws, column, make_canvas
from gzfound.simulation.galaxy import paint_galaxy
from gzfound.simulation.latents import GALAXY, Integers, Latents
from gzfound.simulation.noise import NOISE_MARGIN, add_noise, white_noise
from gzfound.simulation.population import sample_population
from gzfound.simulation.psf import telescope_blur
from gzfound.simulation.telescope import Telescope, telescope_for

_ZERO = 22.5
"""AB magnitude of a nanomaggy."""
_JITTER = 0.3
"""Largest offset of a galaxy from the middle of its cell, in cells."""


@torch.inference_mode()
def simulate_mosaic(
    image: str | Path,
    *,
    galaxies: int = 25,
    cell: int = 160,
    seed: int = 0,
    campaign: str = "gz2",
    ra: float = 150.0,
    dec: float = 2.0,
) -> Path:
    """Write a mosaic of galaxies, each in a cell of its own but not in its middle.

    Args:
        image: FITS file to write: nanomaggies, one plane a band, named in ``BAND0`` ...
        galaxies: how many; the mosaic is the smallest square of cells that holds them.
        cell: side of a cell in pixels of the telescope.
        seed: of every random draw.
        campaign: whose telescope to imitate.
        ra: degrees, of the middle.
        dec: degrees, of the middle.

    Returns:
        The true catalogue, a CSV file beside ``image``: ``id_str``, ``ra``, ``dec``, ``x`` and
        ``y`` (pixels from 0 at the centre of the first), ``magnitude``, ``effective_radius``
        (arcseconds) and ``signal_to_noise``.

    Raises:
        ConfigError: an option is out of range, or the campaign cannot be simulated.
        GzfoundError: astropy is not installed.
    """
    telescope = telescope_for(campaign)
    for option, value, least in (("galaxies", galaxies, 1), ("cell", cell, 32), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{option} {value} is out of range: at least {least}")
    if not (0 <= ra < 360 and abs(dec) < 89):
        raise ConfigError(f"ra {ra}, dec {dec}: out of range; allowed: 0 to 360, -89 to 89 degrees")
    check_file(image)
    latents = _galaxies(galaxies, seed, campaign)
    across = math.ceil(math.sqrt(galaxies))
    number = np.arange(galaxies)
    offsets = _JITTER * (2.0 * uniforms(stream_key(seed, "mosaic"), latents.galaxy_id, 2) - 1.0)
    x = cell * (number % across + 0.5 + offsets[:, 0]) - 0.5
    y = cell * (number // across + 0.5 + offsets[:, 1]) - 0.5
    light = torch.zeros(1, 3, cell * across, cell * across)
    for row in range(galaxies):
        _add(light, latents[np.array([row])], round(x[row]), round(y[row]), telescope, seed)
    x, y = np.round(x), np.round(y)
    noisy = _noisy(light, telescope, seed)[0].numpy()
    nanomaggies = 10.0 ** (-0.4 * (telescope.depth - _ZERO)) * telescope.pixel_scale**2
    header = _header(telescope, noisy.shape[-1], ra, dec)
    fits, wcs = load_astropy().io.fits, _wcs(header)
    sky = wcs.pixel_to_world(x, y)
    with atomic_file(image) as temporary:
        fits.writeto(temporary, (noisy * nanomaggies).astype(np.float32), header)
    truth = {
        "id_str": [f"{campaign}-{seed}-{number:08d}" for number in latents.galaxy_id.tolist()],
        "ra": sky.ra.deg,
        "dec": sky.dec.deg,
        "x": x,
        "y": y,
    }
    for name in ("magnitude", "effective_radius", "signal_to_noise"):
        truth[name] = getattr(latents, name)
    catalogue = Path(image).with_suffix(".csv")
    with atomic_file(catalogue) as temporary:
        csv.write_csv(pa.table(truth), temporary)
    return catalogue


def _galaxies(count: int, seed: int, campaign: str) -> Latents:
    """The first so many of the population that are galaxies, without companions."""
    numbers: Integers = np.arange(2 * count + 20)
    latents = sample_population(numbers, seed, campaign)
    return latents[np.flatnonzero(latents.kind == GALAXY)[:count]]


def _add(
    light: torch.Tensor, latents: Latents, x: int, y: int, telescope: Telescope, seed: int
) -> None:
    """Paint a galaxy, centred on a pixel, into surface brightness ``(1, 3, H, W)``."""
    canvas = make_canvas(latents, 16, telescope, torch.device("cpu"))
    side = 2 * math.ceil(float(canvas.field) / telescope.pixel_scale / 2) + 1
    canvas = make_canvas(latents, side, telescope, torch.device("cpu"))
    draws = GalaxyDraws(seed, latents.galaxy_id, torch.device("cpu"))
    flux = column(10.0 ** (0.4 * (telescope.depth - latents.magnitude)), torch.device("cpu"))
    painted = paint_galaxy(latents, flux, canvas, draws)
    blurred = telescope_blur(
        painted,
        telescope.psf_fwhm,
        telescope.psf_wing_fraction,
        telescope.psf_wing_scale,
        canvas.pixel,
    )
    stamp = canvas.crop(blurred)
    left, low, height = x - side // 2, y - side // 2, light.shape[-1]
    rows = slice(max(0, low), min(height, low + side))
    columns = slice(max(0, left), min(height, left + side))
    part = stamp[
        ..., rows.start - low : rows.stop - low, columns.start - left : columns.stop - left
    ]
    light[..., rows, columns] += part


def _noisy(light: torch.Tensor, telescope: Telescope, seed: int) -> torch.Tensor:
    device = light.device
    white = white_noise(np.array([0]), seed, light.shape[-1] + 2 * NOISE_MARGIN, device)
    sky, pixel = (column(np.array([value]), device) for value in (1.0, telescope.pixel_scale))
    return add_noise(light, white, sky, pixel, telescope)


def _header(telescope: Telescope, side: int, ra: float, dec: float) -> Any:
    header = load_astropy().io.fits.Header()
    degrees = telescope.pixel_scale / 3600.0
    cards = {
        **{"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg"},
        **{"CRVAL1": ra, "CRVAL2": dec, "CRPIX1": (side + 1) / 2, "CRPIX2": (side + 1) / 2},
        **{"CDELT1": -degrees, "CDELT2": degrees, "RADESYS": "ICRS", "BUNIT": "nmgy"},
        **{f"BAND{number}": band for number, band in enumerate(telescope.bands)},
        **{"TELESCOP": telescope.name, "ORIGIN": "gzfound, simulated"},
    }
    header.update(cards)
    return header


def _wcs(header: Any) -> Any:
    from astropy.wcs import WCS

    return WCS(header, naxis=2)
