"""Patterns in a disk: logarithmic spiral arms, the flocculence between them, and dust."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gzfound.simulation.canvas import GalaxyDraws

_WAVES = 10


@dataclass(frozen=True)
class DiskPlane:
    """Polar coordinates in the plane of a disk, ``(B, H, W)``."""

    radius: Tensor
    """In disk scale lengths."""
    log_radius: Tensor
    angle: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, softening: Tensor) -> DiskPlane:
        """From deprojected coordinates in scale lengths."""
        radius = torch.sqrt(x * x + y * y + softening * softening)
        return cls(radius=radius, log_radius=torch.log(radius), angle=torch.atan2(y, x))


def arm_phase(plane: DiskPlane, count: Tensor, pitch: Tensor, start: Tensor) -> Tensor:
    """Phase of the spiral ``r = exp(tan(pitch) * angle)``, 0 on the ridge of an arm.

    ``pitch`` is in radians and signed: its sign is the sense of winding.
    """
    return count * (plane.angle - plane.log_radius / torch.tan(pitch)) - start


def arm_contrast(phase: Tensor, sharpness: Tensor) -> Tensor:
    """Brightness over the azimuthal mean, ``exp(k cos(phase)) / I_0(k)``: mean 1 at any radius."""
    scaled_bessel = torch.special.i0e(sharpness)
    contrast: Tensor = torch.exp(sharpness * (torch.cos(phase) - 1.0)) / scaled_bessel
    return contrast


def rise(value: Tensor, start: Tensor | float, end: Tensor | float) -> Tensor:
    """0 below ``start``, 1 above ``end``, smooth between."""
    t = torch.clamp((value - start) / (end - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def flocculence(plane: DiskPlane, pitch: Tensor, draws: GalaxyDraws) -> Tensor:
    """Random spiral-like texture of mean 0 and variance 1: waves in (angle, log radius).

    Angular wave numbers are whole, so that the pattern closes; half of the waves trail at
    about the arms' pitch, the others cross them and break them into knots.
    """
    kind, angular, shear, radial, start = (
        draws.uniform(f"flocculence {name}", _WAVES)
        for name in ("kind", "angular", "shear", "radial", "start")
    )
    number = torch.floor(2.0 + 12.0 * angular)
    trailing = torch.clamp(-number / torch.tan(pitch) * (0.5 + 0.7 * shear), -13.0, 13.0)
    crossing = (radial - 0.5) * 24.0
    slope = torch.where(kind < 0.55, trailing, crossing)
    texture = torch.zeros_like(plane.radius)
    for wave in range(_WAVES):
        argument = torch.addcmul(start[wave] * 2.0 * math.pi, slope[wave], plane.log_radius)
        texture.add_(torch.sin(argument.addcmul_(number[wave], plane.angle)))
    return texture.mul_(math.sqrt(2.0 / _WAVES))
