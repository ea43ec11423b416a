"""A galaxy's disk: its smooth light, arms, bar, ring and dust."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gzfound.simulation import profiles
from gzfound.simulation.canvas import Columns, GalaxyDraws
from gzfound.simulation.spirals import DiskPlane, arm_contrast, arm_phase, flocculence, rise


@dataclass(frozen=True)
class Frame:
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
class Arms:
    """What the pattern in the disk does: ``(B, H, W)``, and ``(B, 1, 1)`` numbers of the arms."""

    contrast: Tensor
    """Brightness over the mean at its radius."""
    texture: Tensor
    """Brightness of patches of young stars over their mean."""
    phase: Tensor
    reach: Tensor
    """1 where there are arms, 0 inside and outside."""
    pitch: Tensor
    start: Tensor


def arms_of(latent: Columns, frame: Frame, draws: GalaxyDraws) -> Arms:
    """Arms that start at the ends of the bar, if there is one, and break into patches."""
    plane = DiskPlane.of(
        frame.x / frame.scale, frame.plane_y / frame.scale, frame.softening / frame.scale
    )
    barred = latent.bar_strength > 0
    inner = torch.where(barred, 0.9 * latent.bar_length, 0.5 + 0.5 * draws.uniform("arm start")[0])
    sense = torch.where(draws.uniform("sense")[0] < 0.5, 1.0, -1.0)
    pitch = sense * torch.deg2rad(latent.pitch_angle)
    from_bar = -latent.arm_count * torch.log(inner) / torch.tan(pitch)
    start = torch.where(barred, from_bar, 2.0 * math.pi * draws.uniform("arm phase")[0])
    texture = flocculence(plane, pitch, draws)
    wobble = torch.sin(plane.angle + 4.0 * plane.log_radius + start)
    phase = arm_phase(plane, latent.arm_count, pitch, start).add_(0.5 * texture + 0.6 * wobble)
    strength = latent.arm_strength
    outer = 2.3 + 2.2 * draws.uniform("arm end")[0]
    reach = rise(plane.radius, 0.6 * inner, 1.3 * inner)
    reach = reach * (1.0 - rise(plane.radius, 0.7 * outer, 1.3 * outer)) * (strength > 0)
    uneven = 0.4 * draws.uniform("uneven arms")[0]
    side = torch.cos(plane.angle - 2.0 * math.pi * draws.uniform("brighter side")[0])
    sharpness = 0.4 + 1.7 * strength
    contrast = 1.0 + reach * (arm_contrast(phase, sharpness) * (1.0 + uneven * side) - 1.0)
    patchy = 0.2 + 0.5 * draws.uniform("patchy")[0] + 0.4 * strength + latent.clump_strength
    patchy = latent.is_disk * (1.0 - latent.bulge_fraction) ** 2 * patchy
    grain = torch.exp(patchy * texture - 0.5 * patchy * patchy)
    return Arms(contrast, grain, phase, reach, pitch, start)


def dust_of(latent: Columns, frame: Frame, arms: Arms, draws: GalaxyDraws) -> Tensor:
    """Optical depth in green: lanes inside the arms, and along the middle of edge-on disks."""
    amount = draws.uniform("dust", 2)
    in_arms = torch.exp(3.0 * torch.cos(arms.phase + 0.9) - 3.0) * arms.reach
    in_arms = in_arms * (0.6 * amount[0] * latent.arm_strength * (1.0 - frame.edge_on))
    lane_y = (frame.y - 0.06 * frame.scale) / (0.09 * frame.scale)
    lane_x = frame.x / (1.6 * frame.scale)
    depth = 1.6 * frame.edge_on * torch.clamp(2.0 * amount[1] - 0.8, min=0.0)
    lane = torch.exp(-0.5 * lane_y * lane_y - lane_x * lane_x)
    return latent.is_disk * torch.addcmul(in_arms, depth, lane)


def paint_disk(
    latent: Columns, frame: Frame, arms: Arms, draws: GalaxyDraws
) -> tuple[Tensor, Tensor, Tensor]:
    """Surface brightness ``(B, H, W)`` of middling stars, young stars and bar; total flux 1."""
    disk = _smooth_disk(frame)
    strength, texture = latent.arm_strength, arms.texture
    ring_share = 0.3 * latent.ring_strength
    young_share = 0.2 + 0.45 * strength
    smooth = 1.0 - latent.bar_strength - ring_share
    middle = disk * (smooth * (1.0 - young_share))
    middle = middle * (1.0 + 0.4 * strength * (arms.contrast - 1.0)) * torch.sqrt(texture)
    young = disk * (smooth * young_share) * arms.contrast
    size = (1.4 + 1.2 * draws.uniform("ring radius")[0]) * frame.scale
    r = torch.sqrt(frame.x * frame.x + frame.plane_y * frame.plane_y)
    young = torch.addcmul(young, ring_share, profiles.ring(r, size, 0.15 * size, frame.flattening))
    slim = 0.25 + 0.15 * draws.uniform("bar shape")[0]
    length = latent.bar_length * frame.scale
    bars = profiles.bar(frame.x, frame.plane_y, length, slim) / frame.flattening
    return middle, young * texture, latent.bar_strength * bars


def _smooth_disk(frame: Frame) -> Tensor:
    r = torch.sqrt(frame.x * frame.x + frame.plane_y * frame.plane_y + frame.softening**2)
    inclined = profiles.exponential(r, frame.scale, frame.flattening)
    side = profiles.edge_on_disk(frame.x, frame.y, frame.scale, 0.22 * frame.scale)
    return torch.lerp(inclined, side, frame.edge_on)
