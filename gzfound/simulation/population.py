"""Draw a population of galaxies, stars and artifacts as a Galaxy Zoo campaign would select it.

The scaling laws are round numbers from the literature: sizes fall as ``(1 + z)^-0.75`` for
disks and ``(1 + z)^-1.5`` for ellipticals at fixed luminosity (van der Wel et al. 2014, ApJ 788,
28); clumps grow commoner with redshift (Guo et al. 2015, ApJ 800, 39); a third of disks are
barred (Masters et al. 2011, MNRAS 411, 2026).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtri

from gzfound.draws import stream_key, uniforms
from gzfound.simulation.latents import ARTIFACT, GALAXY, STAR, Flags, Floats, Integers, Latents
from gzfound.simulation.telescope import Selection, Telescope, selection_of, telescope_for

__all__ = ["Latents", "sample_population", "seen_with"]

_HUBBLE_DISTANCE = 4283.0
"""Megaparsecs, for 70 km/s/Mpc."""
_REDSHIFTS = np.linspace(0.0, 6.0, 601)
_INVERSE_RATE = 1.0 / np.sqrt(0.3 * (1.0 + _REDSHIFTS) ** 3 + 0.7)
_COMOVING = _HUBBLE_DISTANCE * np.concatenate(
    ([0.0], np.cumsum(0.5 * (_INVERSE_RATE[1:] + _INVERSE_RATE[:-1]) * 0.01))
)


def sample_population(galaxy_ids: npt.ArrayLike, seed: int, campaign: str = "gz_hubble") -> Latents:
    """The latents of ``galaxy_ids``; each galaxy's depend only on its id, seed and campaign.

    Raises:
        ConfigError: ``campaign`` cannot be simulated.
    """
    ids = np.asarray(galaxy_ids, dtype=np.int64)
    telescope = telescope_for(campaign)

    def draw(stream: str) -> Floats:
        return uniforms(stream_key(seed, "population", campaign, stream), ids, 1)[:, 0]

    selection = selection_of(campaign)
    kind = _kinds(draw("kind"), selection)
    magnitude = selection.faintest + selection.brightness_scale * np.log1p(-draw("magnitude"))
    magnitude = np.maximum(magnitude, selection.brightest)
    centre = selection.faintest - 1.3 * selection.brightness_scale
    redshift = selection.typical_redshift * np.exp(
        0.2 * (magnitude - centre) + 0.42 * _normal(draw("redshift"))
    )
    redshift = np.clip(redshift, 0.01, 3.0)
    luminosity = _luminosity(magnitude, redshift)
    is_disk = draw("disk") < expit(0.95 - 0.8 * np.log10(luminosity))
    radius = _effective_radius(luminosity, redshift, is_disk, draw("size"))
    is_galaxy = kind == GALAXY
    radius = np.where(is_galaxy, np.clip(radius, 0.6 * telescope.psf_fwhm, None), 0.0)
    magnitude = np.where(kind == STAR, np.clip(magnitude, 18.0, None), magnitude)
    is_disk = is_disk & is_galaxy
    body = _body(draw, is_disk, is_galaxy, redshift)
    thin_radius = np.where(is_galaxy, radius, telescope.psf_fwhm)
    return Latents(
        galaxy_id=ids,
        kind=kind,
        redshift=np.where(is_galaxy, redshift, 0.0),
        magnitude=magnitude,
        signal_to_noise=telescope.signal_to_noise(magnitude, thin_radius),
        effective_radius=radius,
        is_disk=is_disk,
        **body,
        **_arms_and_bars(draw, is_disk, body["bulge_fraction"], redshift),
        **_clumps(draw, is_disk, is_galaxy, redshift, luminosity),
        **_surroundings(draw, is_disk, is_galaxy),
        colour=_colour(draw("colour"), kind, is_disk, redshift, body["bulge_fraction"]),
    )


def seen_with(latents: Latents, telescope: Telescope) -> Latents:
    """The same galaxies, as deep as ``telescope`` sees them."""
    radius = np.where(latents.kind == GALAXY, latents.effective_radius, telescope.psf_fwhm)
    depth = telescope.signal_to_noise(latents.magnitude, radius)
    return replace(latents, signal_to_noise=depth)


def _normal(uniform: Floats) -> Floats:
    return ndtri(np.clip(uniform, 1e-9, 1.0 - 1e-9))


def _kinds(uniform: Floats, selection: Selection) -> npt.NDArray[np.int8]:
    star = uniform < selection.star_share
    artifact = uniform > 1.0 - selection.artifact_share
    return np.where(star, STAR, np.where(artifact, ARTIFACT, GALAXY)).astype(np.int8)


def _luminosity(magnitude: Floats, redshift: Floats) -> Floats:
    """In units of a bright galaxy's (M = -21 in the rest frame, brighter in the past)."""
    distance = np.interp(redshift, _REDSHIFTS, _COMOVING) * (1.0 + redshift)
    absolute = magnitude - 25.0 - 5.0 * np.log10(distance) + 0.8 * redshift
    return 10.0 ** (-0.4 * (absolute + 21.0))


def _effective_radius(
    luminosity: Floats, redshift: Floats, is_disk: Flags, uniform: Floats
) -> Floats:
    disk = 5.4 * luminosity**0.27 * (1.0 + redshift) ** -0.75
    elliptical = 4.2 * luminosity**0.6 * (1.0 + redshift) ** -1.5
    kiloparsecs = np.where(is_disk, disk, elliptical) * 10.0 ** (0.15 * _normal(uniform))
    angular_distance = np.interp(redshift, _REDSHIFTS, _COMOVING) / (1.0 + redshift)
    return np.clip(206.265 * kiloparsecs / angular_distance, 0.0, 30.0)


def _body(
    draw: Callable[[str], Floats], is_disk: Flags, is_galaxy: Flags, redshift: Floats
) -> dict[str, Any]:
    """Bulge, orientation and the outline that follows from them."""
    disk_bulge = np.clip(0.16 * np.exp(0.8 * _normal(draw("bulge")) - 0.2 * redshift), 0.0, 0.7)
    disk_bulge = np.where(draw("no bulge") < 0.15, 0.0, disk_bulge)
    bulge = np.where(is_disk, disk_bulge, is_galaxy * 1.0)
    inclination = np.where(is_disk, np.arccos(draw("inclination")), 0.0)
    thickness = 0.1 + 0.12 * draw("thickness")
    disk_ratio = np.sqrt(thickness**2 + (1.0 - thickness**2) * np.cos(inclination) ** 2)
    round_ratio = np.clip(1.0 - 0.3 * np.abs(_normal(draw("ellipticity"))), 0.3, 1.0)
    bulge_ratio = np.sqrt(0.36 + 0.64 * np.cos(inclination) ** 2)
    ratio = np.where(is_disk, disk_ratio + bulge**1.5 * (bulge_ratio - disk_ratio), round_ratio)
    sersic = np.where(is_disk, 1.0 + 2.5 * draw("sersic"), 1.6 + 3.0 * draw("sersic"))
    boxy = np.where(draw("boxy") < 0.12, 0.5 + 0.5 * draw("boxiness"), 0.0)
    return {
        "axis_ratio": np.where(is_galaxy, ratio, 1.0),
        "position_angle": np.pi * draw("position angle"),
        "inclination": inclination,
        "bulge_fraction": bulge,
        "bulge_sersic": sersic,
        "bulge_boxiness": np.where(is_disk, boxy, 0.0),
    }


def _arms_and_bars(
    draw: Callable[[str], Floats], is_disk: Flags, bulge: Floats, redshift: Floats
) -> dict[str, Any]:
    barred = is_disk & (draw("bar") < 0.4 * np.exp(-0.25 * redshift))
    armed = is_disk & (draw("arms") < 0.85 * np.exp(-0.35 * redshift) * (1.0 - 0.7 * bulge))
    ringed = is_disk & (draw("ring") < 0.07)
    return {
        "bar_strength": np.where(barred, 0.08 + 0.22 * draw("bar strength"), 0.0),
        "bar_length": 0.7 + 0.9 * draw("bar length"),
        "arm_strength": np.where(armed, 0.25 + 0.75 * draw("arm strength"), 0.0),
        "arm_count": _choice(draw("arm count"), (0.07, 0.6, 0.14, 0.08, 0.07, 0.04)),
        "pitch_angle": np.clip(20.0 * np.exp(0.4 * _normal(draw("pitch"))), 8.0, 40.0),
        "ring_strength": np.where(ringed, 0.2 + 0.8 * draw("ring strength"), 0.0),
    }


def _clumps(
    draw: Callable[[str], Floats],
    is_disk: Flags,
    is_galaxy: Flags,
    redshift: Floats,
    luminosity: Floats,
) -> dict[str, Any]:
    chance = 0.5 * expit(2.2 * (redshift - 0.8) - 0.4 * np.log10(luminosity))
    clumpy = is_galaxy & (draw("clumpy") < np.where(is_disk, 0.06 + chance, 0.01))
    count = 1 + _choice(draw("clump count"), (0.3, 0.27, 0.2, 0.1, 0.07, 0.06))
    return {
        "clump_strength": np.where(clumpy, 0.12 + 0.36 * draw("clump strength"), 0.0),
        "clump_count": np.where(draw("single clump") < 0.08, 1, count),
        "clump_arrangement": _choice(draw("clump arrangement"), (0.5, 0.15, 0.2, 0.15)) - 1,
        "clump_symmetric": draw("clump symmetric") < 0.3,
        "clump_embedded": draw("clump embedded") < 0.6,
    }


def _surroundings(
    draw: Callable[[str], Floats], is_disk: Flags, is_galaxy: Flags
) -> dict[str, Any]:
    disturbed = is_galaxy & (draw("disturbed") < np.where(is_disk, 0.15, 0.05))
    paired = is_galaxy & (draw("companion") < 0.06)
    return {
        "disturbance": np.where(disturbed, 0.2 + 0.8 * draw("disturbance"), 0.0),
        "companion_flux": np.where(paired, 0.1 + 0.7 * draw("companion flux"), 0.0),
    }


def _colour(
    uniform: Floats, kind: npt.NDArray[np.int8], is_disk: Flags, redshift: Floats, bulge: Floats
) -> Floats:
    """Old stars redden with redshift as the 4000 A break moves through the bands."""
    scatter = _normal(uniform)
    old = 0.25 + 1.1 * np.clip(redshift, 0.0, 1.2) + 0.15 * scatter
    young = 0.1 + 0.65 * np.clip(redshift, 0.0, 0.8) + 0.9 * bulge + 0.35 * scatter
    colour = np.where(is_disk, young, old)
    star = np.clip(0.6 + 0.7 * scatter, -0.4, 2.0)
    return np.where(kind == GALAXY, colour, star)


def _choice(uniform: Floats, weights: tuple[float, ...]) -> Integers:
    """One plus the index drawn with the given weights."""
    return 1 + np.searchsorted(np.cumsum(weights[:-1]), uniform, side="right").astype(np.int64)
