"""What else is in the picture: a close companion, other galaxies of the field, stars."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gzfound.simulation import profiles
from gzfound.simulation.canvas import Canvas, GalaxyDraws, column
from gzfound.simulation.colour import band_weights
from gzfound.simulation.latents import Latents
from gzfound.simulation.telescope import Telescope

_MOST_NEIGHBOURS = 8


def paint_companion(latents: Latents, flux: Tensor, canvas: Canvas, draws: GalaxyDraws) -> Tensor:
    """Surface brightness ``(B, 3, H, W)`` of close companions, for galaxies of ``flux``."""
    device = draws.device
    ratio = column(latents.companion_flux, device)
    radius = torch.clamp(column(latents.effective_radius, device), min=1e-3)
    distance, angle, turn, flat, tint = draws.uniform("companion", 5)
    distance = radius * (1.6 + 1.8 * distance)
    angle, turn = 2.0 * math.pi * angle, math.pi * turn
    x = canvas.x - distance * torch.cos(angle)
    y = canvas.y - distance * torch.sin(angle)
    size = radius * 0.75 * torch.sqrt(ratio + 0.05)
    light = _blob(x, y, size, 0.35 + 0.65 * flat, turn, canvas)
    colour = column(latents.colour, device) + 1.2 * (tint - 0.5)
    return (flux * ratio * light)[:, None] * band_weights(colour)


def paint_neighbours(telescope: Telescope, canvas: Canvas, draws: GalaxyDraws) -> Tensor:
    """Surface brightness ``(B, 3, H, W)`` of the field's other objects, mostly faint."""
    names = ("present", "x", "y", "magnitude", "size", "ratio", "turn", "tint")
    draw = {name: draws.uniform(f"neighbour {name}", _MOST_NEIGHBOURS) for name in names}
    own = telescope.sky or telescope
    expected = own.neighbour_density * canvas.field * canvas.field / _MOST_NEIGHBOURS
    light = torch.zeros_like(canvas.x)[:, None].repeat(1, 3, 1, 1)
    unit = 10.0 ** (0.4 * (telescope.depth - own.depth))
    faintest = 3.3 * own.stretch * own.psf_fwhm**2 * unit
    for row in range(_MOST_NEIGHBOURS):
        x, y = (1.1 * (draw[axis][row] - 0.5) * canvas.field for axis in ("x", "y"))
        clear = torch.sqrt(x * x + y * y) > 0.2 * canvas.field
        if not bool(((draw["present"][row] < expected) & clear).any()):
            continue
        brighter = -1.5 * torch.log(1.0 - 0.98 * draw["magnitude"][row])
        flux = torch.where(
            (draw["present"][row] < expected) & clear, faintest * torch.exp(0.9 * brighter), 0.0
        )
        size = own.psf_fwhm * (0.4 + 2.4 * draw["size"][row] ** 2) * torch.exp(0.15 * brighter)
        blob = _blob(
            canvas.x - x,
            canvas.y - y,
            size,
            0.25 + 0.75 * draw["ratio"][row],
            math.pi * draw["turn"][row],
            canvas,
        )
        colour = -0.5 + 2.2 * draw["tint"][row] ** 1.5
        light.addcmul_(blob[:, None], flux[:, None] * band_weights(colour))
    return light


def _blob(
    x: Tensor, y: Tensor, size: Tensor, ratio: Tensor, turn: Tensor, canvas: Canvas
) -> Tensor:
    """An exponential blob of unit flux with effective radius ``size``."""
    along = x * torch.cos(turn) + y * torch.sin(turn)
    across = y * torch.cos(turn) - x * torch.sin(turn)
    r = profiles.elliptical_radius(along, across, ratio, 0.35 * canvas.pixel)
    return profiles.exponential(r, size / 1.67835, ratio)
