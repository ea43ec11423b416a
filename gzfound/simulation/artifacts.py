"""Stars with diffraction spikes, satellite trails and the junk at the edges of mosaics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gzfound.simulation import profiles
from gzfound.simulation.canvas import Canvas, GalaxyDraws, column
from gzfound.simulation.colour import band_weights
from gzfound.simulation.latents import ARTIFACT, STAR, Latents
from gzfound.simulation.psf import FWHM, gaussian_blur
from gzfound.simulation.telescope import Telescope

TRAIL, GLARE, EDGE, JUNK = 0, 1, 2, 3
_RAY_INTEGRAL = 3.52
"""The integral along half a ray of ``exp(-s / reach) / s``."""
_SPIKE_SHARE = 0.02
_HALO_SHARE = 0.04


def artifact_type(draws: GalaxyDraws) -> Tensor:
    """``(B, 1, 1)``: 0 a trail, 1 a saturated star, 2 the edge of a mosaic, 3 noise and pixels."""
    return torch.floor(4.0 * draws.uniform("artifact type")[0])


def paint_stars(
    latents: Latents, flux: Tensor, telescope: Telescope, canvas: Canvas, draws: GalaxyDraws
) -> Tensor:
    """Surface brightness ``(B, 3, H, W)`` of stars as the telescope spreads them, with spikes."""
    kind = column(latents.kind, draws.device)
    glaring = (kind == ARTIFACT) & (artifact_type(draws) == GLARE)
    place = draws.uniform("glare", 3)
    offset = torch.where(glaring, 0.5 * canvas.field, 0.0) * (place[:2] - 0.5)
    x, y = canvas.x - offset[0], canvas.y - offset[1]
    glare = torch.where(
        glaring, 7e3 * telescope.stretch * telescope.psf_fwhm**2 * torch.exp(4.0 * place[2]), 0.0
    )
    brightness = torch.where(kind == STAR, flux, glare)
    narrow = torch.sqrt((telescope.psf_fwhm / FWHM) ** 2 + (0.3 * canvas.pixel) ** 2)
    wide = telescope.psf_wing_scale * telescope.psf_fwhm / FWHM
    core = profiles.gaussian(x, y, narrow)
    wings = profiles.gaussian(x, y, torch.full_like(narrow, wide))
    light = torch.lerp(core, wings, telescope.psf_wing_fraction)
    light = light * (1.0 - _SPIKE_SHARE - _HALO_SHARE)
    light = light + _SPIKE_SHARE * _spikes(x, y, narrow, draws) + _HALO_SHARE * _halo(x, y, wide)
    return (brightness * light)[:, None] * band_weights(column(latents.colour, draws.device))


def _halo(x: Tensor, y: Tensor, wide: float) -> Tensor:
    """A Moffat halo of unit flux, falling as the cube of the radius."""
    width = 3.0 * wide
    squared = 1.0 + (x * x + y * y) / (width * width)
    return torch.exp(-1.5 * torch.log(squared)) / (2.0 * math.pi * width * width)


def _spikes(x: Tensor, y: Tensor, narrow: Tensor, draws: GalaxyDraws) -> Tensor:
    """Four rays, or eight where two rolls of the telescope were added; unit flux together."""
    turn, rolls = draws.uniform("spikes", 2)
    turn = 0.5 * math.pi * turn
    cross, crossed = (_cross(x, y, narrow, turn + roll) for roll in (0.0, 0.25 * math.pi))
    return cross + torch.where(rolls < 0.5, 0.5, 0.0) * (crossed - cross)


def _cross(x: Tensor, y: Tensor, narrow: Tensor, turn: Tensor) -> Tensor:
    """Two crossing lines, each Gaussian across and falling as ``exp(-s / reach) / s`` along."""
    u = x * torch.cos(turn) + y * torch.sin(turn)
    v = y * torch.cos(turn) - x * torch.sin(turn)
    thin, reach = 0.6 * narrow, 30.0 * narrow
    rays = torch.zeros_like(u)
    for along, across in ((u, v), (v, u)):
        length = torch.sqrt(along * along + narrow * narrow)
        rays = rays + torch.exp(-0.5 * (across / thin) ** 2 - length / reach) / length
    light: Tensor = rays / (thin * (4.0 * _RAY_INTEGRAL * math.sqrt(2.0 * math.pi)))
    return light


def paint_trails(
    latents: Latents, telescope: Telescope, canvas: Canvas, draws: GalaxyDraws
) -> Tensor:
    """Surface brightness ``(B, 3, H, W)`` of satellite trails, each in one exposure's band."""
    trail = (column(latents.kind, draws.device) == ARTIFACT) & (artifact_type(draws) == TRAIL)
    place, turn, band, bright = draws.uniform("trail", 4)
    turn = math.pi * turn
    distance = canvas.y * torch.cos(turn) - canvas.x * torch.sin(turn)
    distance = (distance - 0.3 * (place - 0.5) * canvas.field) / (0.007 * canvas.field)
    peak = telescope.stretch * (0.8 + 5.0 * bright) * trail
    light: Tensor = peak * torch.exp(-0.5 * distance * distance)
    bands = torch.arange(3, device=draws.device)[:, None, None]
    return light[:, None] * torch.where(bands == torch.floor(3.0 * band)[:, None], 1.0, 0.4)


def spoil(
    latents: Latents, bands: Tensor, white: Tensor, telescope: Telescope, draws: GalaxyDraws
) -> Tensor:
    """Mosaic edges: beyond them no data, near them few exposures and so hot pixels.

    ``bands (B, 3, H, W)`` and ``white (B, 4, H, W)`` normal noise; an edge crosses the pictures
    of artifacts and of a few galaxies.
    """
    artifact = column(latents.kind, draws.device) == ARTIFACT
    chance, turn, place, hot = draws.uniform("edge", 4)
    near = (artifact & (artifact_type(draws) >= EDGE)) | (chance < 0.02)
    if not bool(near.any()):
        return bands
    side = bands.shape[-1]
    white = white[..., :side, :side]
    steps = torch.linspace(-0.5, 0.5, side, device=bands.device)
    turn = 2.0 * math.pi * turn
    depth = steps[:, None] * torch.sin(turn) + steps * torch.cos(turn)
    edge = torch.where(artifact, 0.5 * (place - 0.3), 0.3 + 0.3 * place)
    beyond = near & (depth > edge)
    speckle = near & (white[:, 0] > 1.9 + hot) & (depth > edge - 0.6)
    which = torch.where(white[:, 1] > -0.6, 1, torch.where(white[:, 2] > 0, 2, 0))
    colours = torch.arange(3, device=bands.device)[:, None, None]
    hits = ((which[:, None] == colours) & speckle[:, None]) * torch.abs(white[:, 3:4])
    bands = bands + 15.0 * telescope.stretch * gaussian_blur(hits, torch.full_like(edge, 0.6))
    return torch.where(beyond[:, None], -1e3 * telescope.stretch, bands)
