"""One galaxy's light in three bands, before the telescope: bulge, disk, bar, arms, clumps, dust."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gzfound.simulation import profiles
from gzfound.simulation.canvas import Canvas, GalaxyDraws, column
from gzfound.simulation.clumps import MOST_CLUMPS, clump_fluxes, clump_positions, paint_clumps
from gzfound.simulation.colour import band_weights
from gzfound.simulation.latents import Latents
from gzfound.simulation.spirals import DiskPlane, arm_contrast, arm_phase, flocculence, rise

_DUST_LAW = (0.7, 1.0, 1.4)
"""Extinction in red, green, blue over that in green."""


class _Columns:
    """The latents as float32 columns ``(B, 1, 1)``."""

    def __init__(self, latents: Latents, device: torch.device) -> None:
        self._latents = latents
        self._device = device

    def __getattr__(self, name: str) -> Tensor:
        return column(getattr(self._latents, name), self._device)


@dataclass(frozen=True)
class _Frame:
    """Coordinates along the major axis, ``(B, H, W)`` arcseconds, and sizes ``(B, 1, 1)``."""

    x: Tensor
    y: Tensor
    plane_y: Tensor
    """Deprojected y: what it is in the disk's own plane."""
    flattening: Tensor
    edge_on: Tensor
    """0 for disks that we look down on, 1 for those seen from the side."""
    radius: Tensor
    scale: Tensor
    softening: Tensor


@dataclass(frozen=True)
class _Pattern:
    """What the arms do: all ``(B, H, W)``."""

    contrast: Tensor
    texture: Tensor
    dust: Tensor
    pitch: Tensor
    start: Tensor


def paint_galaxy(latents: Latents, flux: Tensor, canvas: Canvas, draws: GalaxyDraws) -> Tensor:
    """Surface brightness ``(B, 3, H, W)`` of galaxies with total ``flux (B, 1, 1)``."""
    latent = _Columns(latents, draws.device)
    frame = _frame(latent, canvas, draws)
    pattern = _pattern(latent, frame, draws)
    old, middle, young = _stars(latent, frame, pattern, draws)
    colour = latent.colour
    gradient = torch.where(latent.is_disk > 0.5, 1.0, 0.25)
    tint = draws.normal("tint", 2)
    bands = old[:, None] * band_weights(colour + gradient * (0.45 + 0.15 * tint[0]))
    bands = bands + middle[:, None] * band_weights(colour)
    bands = bands + young[:, None] * band_weights(colour - gradient * (0.65 + 0.2 * tint[1]))
    law = torch.tensor(_DUST_LAW, device=draws.device)[:, None, None]
    return flux[:, None] * bands * torch.exp(-law * pattern.dust[:, None])


def _frame(latent: _Columns, canvas: Canvas, draws: GalaxyDraws) -> _Frame:
    cosine, sine = torch.cos(latent.position_angle), torch.sin(latent.position_angle)
    x = canvas.x * cosine + canvas.y * sine
    y = canvas.y * cosine - canvas.x * sine
    radius = torch.clamp(latent.effective_radius, min=1e-3)
    bend = 0.4 * latent.disturbance * radius
    start = 2.0 * math.pi * draws.uniform("disturbance", 2)
    warped = x + bend * torch.sin(1.4 * y / radius + start[0])
    y = y + bend * torch.sin(1.4 * warped / radius + start[1])
    tilt = torch.cos(latent.inclination)
    flattening = torch.sqrt(0.0225 + 0.9775 * tilt * tilt)
    return _Frame(
        x=warped,
        y=y,
        plane_y=y / flattening,
        flattening=flattening,
        edge_on=rise(latent.inclination, math.radians(75.0), math.radians(82.0)),
        radius=radius,
        scale=radius * (1.0 + 0.5 * latent.bulge_fraction) / 1.67835,
        softening=0.35 * canvas.pixel,
    )


def _pattern(latent: _Columns, frame: _Frame, draws: GalaxyDraws) -> _Pattern:
    plane = DiskPlane.of(
        frame.x / frame.scale, frame.plane_y / frame.scale, frame.softening / frame.scale
    )
    barred = latent.bar_strength > 0
    inner = torch.where(barred, 0.9 * latent.bar_length, 0.35 + 0.4 * draws.uniform("arm start")[0])
    sense = torch.where(draws.uniform("sense")[0] < 0.5, 1.0, -1.0)
    pitch = sense * torch.deg2rad(latent.pitch_angle)
    from_bar = -latent.arm_count * torch.log(inner) / torch.tan(pitch)
    start = torch.where(barred, from_bar, 2.0 * math.pi * draws.uniform("arm phase")[0])
    texture = flocculence(plane, pitch, draws)
    phase = arm_phase(plane, latent.arm_count, pitch, start) + 0.35 * texture
    strength = latent.arm_strength
    outer = 3.0 + 2.5 * draws.uniform("arm end")[0]
    reach = rise(plane.radius, 0.6 * inner, 1.3 * inner)
    reach = reach * (1.0 - rise(plane.radius, 0.7 * outer, 1.3 * outer)) * (strength > 0)
    uneven = 0.5 * draws.uniform("uneven arms")[0]
    side = torch.cos(plane.angle - 2.0 * math.pi * draws.uniform("brighter side")[0])
    sharpness = 0.6 + 2.6 * strength
    contrast = 1.0 + reach * (arm_contrast(phase, sharpness) * (1.0 + uneven * side) - 1.0)
    patchy = latent.is_disk * (1.0 - latent.bulge_fraction) ** 2
    patchy = patchy * (0.15 + 0.35 * draws.uniform("patchy")[0] + 0.3 * strength)
    grain = torch.exp(patchy * texture - 0.5 * patchy * patchy)
    return _Pattern(contrast, grain, _dust(latent, frame, phase, reach, draws), pitch, start)


def _dust(
    latent: _Columns, frame: _Frame, phase: Tensor, reach: Tensor, draws: GalaxyDraws
) -> Tensor:
    """Optical depth in green: lanes inside the arms, and along the middle of edge-on disks."""
    amount = draws.uniform("dust", 2)
    arms = (
        0.5
        * amount[0]
        * latent.arm_strength
        * reach
        * torch.exp(3.0 * (torch.cos(phase + 0.9) - 1.0))
    )
    lane_y = (frame.y - 0.06 * frame.scale) / (0.09 * frame.scale)
    lane_x = frame.x / (1.6 * frame.scale)
    depth = 1.6 * frame.edge_on * torch.clamp(2.0 * amount[1] - 0.8, min=0.0)
    return latent.is_disk * (
        (1.0 - frame.edge_on) * arms + depth * torch.exp(-0.5 * lane_y * lane_y - lane_x * lane_x)
    )


def _stars(
    latent: _Columns, frame: _Frame, pattern: _Pattern, draws: GalaxyDraws
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit-flux light in old, middling and young stars."""
    bulge = _bulge(latent, frame, draws)
    disk = _disk(frame)
    bars, rings = _bar_and_ring(latent, frame, draws)
    share = latent.is_disk * (1.0 - latent.bulge_fraction)
    ring_share = 0.3 * latent.ring_strength
    young_share = latent.is_disk * (0.12 + 0.4 * latent.arm_strength)
    smooth = 1.0 - latent.bar_strength - ring_share
    arms = share * smooth * disk
    middle = (
        arms * (1.0 - young_share) * (1.0 + 0.5 * latent.arm_strength * (pattern.contrast - 1.0))
    )
    young = arms * young_share * pattern.contrast * pattern.texture
    young = young + share * ring_share * rings * pattern.texture
    old = (1.0 - share) * bulge + share * latent.bar_strength * bars
    clumps = _clumps(latent, frame, pattern, draws)
    left = 1.0 - torch.where(
        latent.clump_embedded > 0.5, latent.clump_strength, 0.6 + 0.6 * latent.clump_strength
    ) * (latent.clump_strength > 0)
    return old * left, middle * left, young * left + (1.0 - left) * clumps


def _bulge(latent: _Columns, frame: _Frame, draws: GalaxyDraws) -> Tensor:
    disk = latent.is_disk > 0.5
    compact = (0.12 + 0.2 * draws.uniform("bulge size")[0]) * (0.4 + latent.bulge_fraction)
    radius = frame.radius * torch.where(disk, 2.0 * compact, 1.0)
    tilt = torch.cos(latent.inclination)
    ratio = torch.where(disk, torch.sqrt(0.36 + 0.64 * tilt * tilt), latent.axis_ratio)
    r = profiles.boxy_radius(
        frame.x, frame.y, ratio, latent.bulge_boxiness * frame.edge_on, frame.softening
    )
    return profiles.sersic(r, radius, latent.bulge_sersic, ratio)


def _disk(frame: _Frame) -> Tensor:
    one = torch.ones_like(frame.radius)
    r = profiles.elliptical_radius(frame.x, frame.plane_y, one, frame.softening)
    inclined = profiles.exponential(r, frame.scale, frame.flattening)
    side = profiles.edge_on_disk(frame.x, frame.y, frame.scale, 0.22 * frame.scale)
    return inclined + frame.edge_on * (side - inclined)


def _bar_and_ring(latent: _Columns, frame: _Frame, draws: GalaxyDraws) -> tuple[Tensor, Tensor]:
    slim = 0.22 + 0.15 * draws.uniform("bar shape")[0]
    bars = profiles.bar(frame.x, frame.plane_y, latent.bar_length * frame.scale, slim)
    size = (1.4 + 1.2 * draws.uniform("ring radius")[0]) * frame.scale
    r = torch.sqrt(frame.x * frame.x + frame.plane_y * frame.plane_y)
    rings = profiles.ring(r, size, 0.15 * size, torch.ones_like(size))
    return bars / frame.flattening, rings / frame.flattening


def _clumps(latent: _Columns, frame: _Frame, pattern: _Pattern, draws: GalaxyDraws) -> Tensor:
    symmetric = latent.clump_symmetric > 0.5
    arms = (latent.arm_count, pattern.pitch, pattern.start)
    x, y = clump_positions(latent.clump_count, latent.clump_arrangement, symmetric, arms, draws)
    flatten = torch.where(latent.is_disk > 0.5, frame.flattening, latent.axis_ratio)
    sizes = frame.radius * (0.09 + 0.13 * draws.uniform("clump size", MOST_CLUMPS))
    fluxes = clump_fluxes(latent.clump_count, symmetric, draws)
    places = (x * frame.radius, y * frame.radius * torch.clamp(flatten, min=0.3))
    return paint_clumps(frame.x, frame.y, places, fluxes, sizes)
