"""One galaxy's light in three bands, before the telescope: bulge, disk, clumps, dust."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gzfound.simulation import profiles
from gzfound.simulation.canvas import Canvas, Columns, GalaxyDraws
from gzfound.simulation.clumps import MOST_CLUMPS, clump_fluxes, clump_positions, paint_clumps
from gzfound.simulation.colour import band_weights
from gzfound.simulation.disk import Arms, Frame, arms_of, dust_of, paint_disk
from gzfound.simulation.latents import Latents
from gzfound.simulation.spirals import rise

_DUST_LAW = (0.7, 1.0, 1.4)
"""Extinction in red, green, blue over that in green."""


@dataclass
class _Stars:
    """Unit-flux light in old, middling and young stars, ``(B, H, W)``."""

    old: Tensor
    middle: Tensor
    young: Tensor


def paint_galaxy(latents: Latents, flux: Tensor, canvas: Canvas, draws: GalaxyDraws) -> Tensor:
    """Surface brightness ``(B, 3, H, W)`` of galaxies with total ``flux (B, 1, 1)``."""
    latent = Columns(latents, draws.device)
    frame = _frame(latents, latent, canvas, draws)
    old_colour, middle_colour, young_colour = _colours(latent, draws)
    bulge = _paint_bulge(latent, frame, draws)
    clumpy = bool((latents.clump_strength > 0).any())
    if not latents.is_disk.any() and not clumpy:
        return (flux * bulge)[:, None] * old_colour
    arms = arms_of(latent, frame, draws)
    share = latent.is_disk * (1.0 - latent.bulge_fraction)
    middle, young, bars = paint_disk(latent, frame, arms, draws)
    stars = _Stars((1.0 - share) * bulge + share * bars, share * middle, share * young)
    if clumpy:
        _add_clumps(stars, latent, frame, arms, draws)
    bands = (flux * stars.old)[:, None] * old_colour
    bands.addcmul_((flux * stars.middle)[:, None], middle_colour)
    bands.addcmul_((flux * stars.young)[:, None], young_colour)
    law = torch.tensor(_DUST_LAW, device=draws.device)[:, None, None]
    return bands.mul_(torch.exp(-law * dust_of(latent, frame, arms, draws)[:, None]))


def _colours(latent: Columns, draws: GalaxyDraws) -> tuple[Tensor, Tensor, Tensor]:
    """Band weights of old, middling and young stars: a disk reddens towards its middle."""
    tint = draws.normal("tint", 3)
    gradient = torch.where(latent.is_disk > 0.5, 1.0, 0.25)
    bend = 0.09 * latent.colour - 0.06 + 0.07 * tint[2]
    return (
        band_weights(latent.colour + gradient * (0.4 + 0.15 * tint[0]), bend),
        band_weights(latent.colour, bend),
        band_weights(latent.colour - gradient * (0.8 + 0.25 * tint[1]), bend - 0.08),
    )


def _frame(latents: Latents, latent: Columns, canvas: Canvas, draws: GalaxyDraws) -> Frame:
    cosine, sine = torch.cos(latent.position_angle), torch.sin(latent.position_angle)
    x = canvas.x * cosine + canvas.y * sine
    y = canvas.y * cosine - canvas.x * sine
    radius = torch.clamp(latent.effective_radius, min=1e-3)
    if latents.disturbance.any():
        bend = 0.4 * latent.disturbance * radius
        start = 2.0 * math.pi * draws.uniform("disturbance", 2)
        x = x + bend * torch.sin(1.4 * y / radius + start[0])
        y = y + bend * torch.sin(1.4 * x / radius + start[1])
    tilt = torch.cos(latent.inclination)
    flattening = torch.sqrt(0.0225 + 0.9775 * tilt * tilt)
    return Frame(
        x=x,
        y=y,
        plane_y=y / flattening,
        flattening=flattening,
        edge_on=rise(latent.inclination, math.radians(75.0), math.radians(82.0)),
        radius=radius,
        scale=radius * (1.0 + 0.4 * latent.bulge_fraction) / 1.67835,
        softening=0.35 * canvas.pixel,
    )


def _paint_bulge(latent: Columns, frame: Frame, draws: GalaxyDraws) -> Tensor:
    """The bulge of a disk, or the whole of an elliptical."""
    disk = latent.is_disk > 0.5
    compact = (0.25 + 0.35 * draws.uniform("bulge size")[0]) * (0.5 + latent.bulge_fraction)
    radius = frame.radius * torch.where(disk, compact, 1.0)
    tilt = torch.cos(latent.inclination)
    ratio = torch.where(disk, torch.sqrt(0.36 + 0.64 * tilt * tilt), latent.axis_ratio)
    boxiness = latent.bulge_boxiness * frame.edge_on
    r = profiles.boxy_radius(frame.x, frame.y, ratio, boxiness, frame.softening)
    return profiles.sersic(r, radius, latent.bulge_sersic, ratio)


def _add_clumps(
    stars: _Stars, latent: Columns, frame: Frame, arms: Arms, draws: GalaxyDraws
) -> None:
    """Move the clumps' share of the light from where it was into clumps."""
    symmetric = latent.clump_symmetric > 0.5
    x, y = clump_positions(
        latent.clump_count,
        latent.clump_arrangement,
        symmetric,
        (latent.arm_count, arms.pitch, arms.start),
        draws,
    )
    flattening = torch.where(latent.is_disk > 0.5, frame.flattening, latent.axis_ratio)
    places = (x * frame.radius, y * frame.radius * torch.clamp(flattening, min=0.35))
    few = 1.0 + 1.2 / latent.clump_count
    sizes = frame.radius * few * (0.04 + 0.14 * draws.uniform("clump size", MOST_CLUMPS) ** 2)
    fluxes = clump_fluxes(latent.clump_count, symmetric, draws)
    clumps = paint_clumps(frame.x, frame.y, places, fluxes, sizes)
    bare = 0.45 + 0.45 * latent.clump_strength
    share = torch.where(latent.clump_embedded > 0.5, latent.clump_strength, bare)
    share = torch.where(latent.clump_strength > 0, share, 0.0)
    stars.old = (1.0 - share) * stars.old
    stars.middle = (1.0 - share) * stars.middle
    stars.young = (1.0 - share) * stars.young + share * clumps
