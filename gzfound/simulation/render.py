"""Latents to pictures: paint the light, blur it, add noise, stretch it to RGB."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gzfound.errors import ConfigError
from gzfound.simulation.artifacts import paint_stars, paint_trails, spoil
from gzfound.simulation.canvas import Canvas, GalaxyDraws, column, make_canvas
from gzfound.simulation.colour import lupton_rgb
from gzfound.simulation.galaxy import paint_galaxy
from gzfound.simulation.latents import GALAXY, Latents
from gzfound.simulation.noise import NOISE_MARGIN, add_noise, white_noise
from gzfound.simulation.psf import telescope_blur
from gzfound.simulation.surroundings import paint_companion, paint_neighbours
from gzfound.simulation.telescope import Telescope

_MICRO_BATCH = 8
"""Galaxies painted at once: few enough for the planes to stay in a processor's cache."""


@torch.inference_mode()
def render(
    latents: Latents,
    image_size: int,
    telescope: Telescope,
    seed: int,
    device: str | torch.device = "cpu",
) -> Tensor:
    """RGB pictures of ``latents`` as uint8 ``(B, image_size, image_size, 3)``, on ``device``.

    A galaxy's picture depends on its latents, its id and ``seed``, not on the batch.

    Raises:
        ConfigError: ``image_size`` is below 16 pixels.
    """
    if image_size < 16:
        raise ConfigError(f"image_size: {image_size} is too small; allowed: 16 pixels or more")
    device = torch.device(device)
    pictures = [
        _render_few(latents[start : start + _MICRO_BATCH], image_size, telescope, seed, device)
        for start in range(0, len(latents), _MICRO_BATCH)
    ]
    if not pictures:
        return torch.empty(0, image_size, image_size, 3, dtype=torch.uint8, device=device)
    return torch.cat(pictures)


def _render_few(
    latents: Latents, image_size: int, telescope: Telescope, seed: int, device: torch.device
) -> Tensor:
    draws = GalaxyDraws(seed, latents.galaxy_id, device)
    canvas = make_canvas(latents, image_size, telescope, device)
    light = _paint(latents, telescope, canvas, draws)
    blurred = telescope_blur(
        light,
        telescope.psf_fwhm,
        telescope.psf_wing_fraction,
        telescope.psf_wing_scale,
        canvas.pixel,
    )
    image = canvas.crop(blurred)
    white = white_noise(latents.galaxy_id, seed, image_size + 2 * NOISE_MARGIN, device)
    final_pixel = canvas.pixel * canvas.oversampling
    noisy = add_noise(image, white, _sky_noise(latents, telescope, device), final_pixel, telescope)
    return lupton_rgb(spoil(latents, noisy, white, draws))


def _paint(latents: Latents, telescope: Telescope, canvas: Canvas, draws: GalaxyDraws) -> Tensor:
    """Surface brightness ``(B, 3, H, W)``, in sky sigmas of a square arcsecond."""
    flux = column(10.0 ** (0.4 * (telescope.depth - latents.magnitude)), draws.device)
    galaxy_flux = flux * (column(latents.kind, draws.device) == GALAXY)
    light = paint_galaxy(latents, galaxy_flux, canvas, draws)
    light = light + paint_companion(latents, galaxy_flux, canvas, draws)
    light = light + paint_neighbours(telescope, canvas, draws)
    light = light + paint_stars(latents, flux, telescope, canvas, draws)
    return light + paint_trails(latents, canvas, draws)


def _sky_noise(latents: Latents, telescope: Telescope, device: torch.device) -> Tensor:
    """How much deeper or shallower than usual the picture is, from its signal to noise."""
    radius = np.where(latents.kind == GALAXY, latents.effective_radius, telescope.psf_fwhm)
    usual = telescope.signal_to_noise(latents.magnitude, radius)
    return column(usual / latents.signal_to_noise, device)
