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
from gzfound.simulation.latents import GALAXY, Integers, Latents
from gzfound.simulation.noise import NOISE_MARGIN, add_noise, white_noise
from gzfound.simulation.psf import telescope_blur
from gzfound.simulation.surroundings import paint_companion, paint_neighbours
from gzfound.simulation.telescope import Telescope

_CPU_BATCH, _GPU_BATCH = 4, 64
"""Galaxies painted at once; on a CPU, few enough for the planes to stay in its cache."""


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
    batch = _CPU_BATCH if device.type == "cpu" else _GPU_BATCH
    shape = (len(latents), image_size, image_size, 3)
    pictures = torch.empty(shape, dtype=torch.uint8, device=device)
    alike = np.argsort(_complexity(latents), kind="stable")
    for start in range(0, len(latents), batch):
        rows = alike[start : start + batch]
        few = _render_few(latents[rows], image_size, telescope, seed, device)
        pictures[torch.from_numpy(rows).to(device)] = few
    return pictures


def _complexity(latents: Latents) -> Integers:
    """What parts an object needs: alike objects are painted together, and need fewer parts."""
    clumpy, disturbed = latents.clump_strength > 0, latents.disturbance > 0
    foreign = latents.kind != GALAXY
    order: Integers = 8 * foreign + 4 * latents.is_disk + 2 * clumpy + disturbed
    return order


def _render_few(
    latents: Latents, image_size: int, telescope: Telescope, seed: int, device: torch.device
) -> Tensor:
    draws = GalaxyDraws(seed, latents.galaxy_id, device)
    canvas = make_canvas(latents, image_size, telescope, device)
    flux = column(10.0 ** (0.4 * (telescope.depth - latents.magnitude)), device)
    light = _paint(latents, flux, telescope, canvas, draws)
    blurred = telescope_blur(
        light,
        telescope.psf_fwhm,
        telescope.psf_wing_fraction,
        telescope.psf_wing_scale,
        canvas.pixel,
    )
    if (latents.kind != GALAXY).any():
        blurred = blurred.add_(paint_stars(latents, flux, telescope, canvas, draws))
        blurred = blurred.add_(paint_trails(latents, telescope, canvas, draws))
    image = canvas.crop(blurred)
    white = white_noise(latents.galaxy_id, seed, image_size + 2 * NOISE_MARGIN, device)
    final_pixel = canvas.pixel * canvas.oversampling
    noisy = add_noise(image, white, _sky_noise(latents, telescope, device), final_pixel, telescope)
    return lupton_rgb(spoil(latents, noisy, white, telescope, draws), telescope.stretch)


def _paint(
    latents: Latents, flux: Tensor, telescope: Telescope, canvas: Canvas, draws: GalaxyDraws
) -> Tensor:
    """Galaxies' light ``(B, 3, H, W)``: flux, in sky sigmas, a square arcsecond."""
    galaxy_flux = flux * (column(latents.kind, draws.device) == GALAXY)
    light = paint_galaxy(latents, galaxy_flux, canvas, draws)
    light = light.add_(paint_neighbours(telescope, canvas, draws))
    if latents.companion_flux.any():
        light = light.add_(paint_companion(latents, galaxy_flux, canvas, draws))
    return light


def _sky_noise(latents: Latents, telescope: Telescope, device: torch.device) -> Tensor:
    """How much deeper or shallower than usual the picture is, from its signal to noise."""
    radius = np.where(latents.kind == GALAXY, latents.effective_radius, telescope.psf_fwhm)
    usual = telescope.signal_to_noise(latents.magnitude, radius)
    return column(usual / latents.signal_to_noise, device)
