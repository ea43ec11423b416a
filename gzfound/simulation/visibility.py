"""What of a galaxy can be seen through a telescope: each feature after blur and noise.

A feature of relative strength ``s`` and angular size ``r`` appears with strength

    s / (1 + (fwhm / r)^2) * (1 - exp(-(snr * share * s / 5)^2))

where ``share`` is about how much of the galaxy's light the feature holds at full strength, so
one smaller than the point spread function, or with a signal to noise of its own below five or
so, fades.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gzfound.simulation.latents import GALAXY, Floats, Latents
from gzfound.simulation.telescope import Telescope

DETECTION = 5.0
"""Signal to noise of a feature that appears at 63 % of its strength."""
CLEAR = 20.0
"""Signal to noise of a galaxy that appears 63 % sharp."""


@dataclass(frozen=True)
class Visibility:
    """How strongly each feature of N galaxies appears; arrays of shape ``(N,)``, 0 to 1."""

    sharpness: Floats
    """Of the galaxy as a whole: 0 a point or noise, 1 well resolved and bright."""
    axis_ratio: Floats
    """Of the outline, rounder than the truth when blurred."""
    disk: Floats
    edge_on: Floats
    bulge: Floats
    """Apparent bulge fraction; unresolved galaxies tend to 0.35."""
    boxiness: Floats
    bar: Floats
    arms: Floats
    clumps: Floats
    ring: Floats
    disturbance: Floats
    companion: Floats


def visible(latents: Latents, telescope: Telescope) -> Visibility:
    """The apparent strengths of ``latents`` seen by ``telescope``."""
    fwhm = max(telescope.psf_fwhm, 2.0 * telescope.pixel_scale)
    radius = np.maximum(latents.effective_radius, 1e-6)
    snr = latents.signal_to_noise

    is_galaxy = (latents.kind == GALAXY).astype(np.float64)

    def seen(strength: Floats, size: Floats, share: float) -> Floats:
        strength = is_galaxy * np.clip(strength, 0.0, 1.0)
        resolved = 1.0 / (1.0 + (fwhm / np.maximum(size, 1e-6)) ** 2)
        return strength * resolved * -np.expm1(-((snr * share * strength / DETECTION) ** 2))

    face_on = 0.15 + 0.85 * np.cos(latents.inclination)
    disk_light = np.where(latents.is_disk, 1.0 - latents.bulge_fraction, 0.0)
    clear = -np.expm1(-((snr / CLEAR) ** 2))
    sharpness = is_galaxy * clear / (1.0 + (fwhm / (0.7 * radius)) ** 2)
    ratio = _apparent_ratio(latents.axis_ratio, radius, fwhm)
    thin = np.clip((0.55 - ratio) / 0.3, 0.0, 1.0)
    bulge = np.sqrt(np.clip(latents.bulge_fraction, 0.0, 1.0))
    bar = latents.bar_strength / 0.3 * disk_light * face_on
    return Visibility(
        sharpness=sharpness,
        axis_ratio=ratio,
        disk=seen(disk_light, 0.7 * radius, 1.0),
        edge_on=seen(thin * disk_light, 0.7 * radius, 1.0),
        bulge=0.35 + sharpness * (bulge - 0.35),
        boxiness=seen(latents.bulge_boxiness, 0.5 * radius, 0.3),
        bar=seen(bar, latents.bar_length * radius / 1.68, 0.3),
        arms=seen(latents.arm_strength * disk_light * face_on, radius, 0.35),
        clumps=seen(1.6 * latents.clump_strength, 0.5 * radius, 0.6),
        ring=seen(latents.ring_strength * disk_light * face_on, radius, 0.3),
        disturbance=seen(latents.disturbance, radius, 0.4),
        companion=seen(1.5 * latents.companion_flux, 1.5 * radius, 0.7),
    )


def _apparent_ratio(axis_ratio: Floats, radius: Floats, fwhm: float) -> Floats:
    blur = (0.5 * fwhm / radius) ** 2
    return np.sqrt((axis_ratio**2 + blur) / (1.0 + blur))
