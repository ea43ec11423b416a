"""What a telescope and its survey do to a galaxy: pixels, point spread, depth, field.

``telescopes.json`` has the numbers of every campaign, and the sources of those that are published.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.errors import ConfigError


@dataclass(frozen=True)
class Telescope:
    """A camera with three bands, ordered red, green, blue as they are displayed."""

    name: str
    bands: tuple[str, str, str]
    pixel_scale: float
    """Arcseconds a pixel of the survey's mosaics."""
    psf_fwhm: float
    """Arcseconds, core of the point spread function."""
    psf_wing_fraction: float
    """Share of the light in the wings, which are ``psf_wing_scale`` times wider."""
    psf_wing_scale: float
    depth: float
    """AB magnitude, in the middle band, of one sigma of sky noise in a square arcsecond."""
    band_noise: tuple[float, float, float]
    """Sky noise of each band relative to the middle one, at equal displayed colour."""
    noise_correlation: float
    """Gaussian sigma, in mosaic pixels, of the correlation that resampling leaves in the noise."""
    photons: float
    """Detected photons per unit of flux that equals one sigma of sky in a square arcsecond."""
    stretch: float
    """Surface brightness where pictures turn from linear to logarithmic: flux a square arcsecond,
    in sky sigmas of one."""
    field_radii: float
    """Side of a cutout in effective radii of its galaxy."""
    field_limits: tuple[float, float]
    """Smallest and largest side of a cutout, arcseconds."""
    neighbour_density: float
    """Other objects to be seen per square arcsecond."""
    sky: Telescope | None = None
    """Whose cutouts and neighbours these are, if not its own."""

    def signal_to_noise(
        self, magnitude: npt.NDArray[np.float64], effective_radius: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Signal to noise of a whole galaxy within two effective radii, shapes ``(N,)``."""
        flux = 10.0 ** (0.4 * (self.depth - magnitude))
        seen_radius = np.hypot(effective_radius, 0.5 * self.psf_fwhm)
        area = np.pi * (2.0 * seen_radius) ** 2
        return flux / np.sqrt(area + flux / self.photons)

    def field_of_view(self, effective_radius: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Side of the cutout in arcseconds, shapes ``(N,)``."""
        return np.clip(self.field_radii * effective_radius, *self.field_limits)


@dataclass(frozen=True)
class Selection:
    """Which objects a campaign shows to its volunteers."""

    faintest: float
    brightness_scale: float
    brightest: float
    typical_redshift: float
    star_share: float
    artifact_share: float


def telescope_for(campaign: str, population: str | None = None) -> Telescope:
    """The telescope behind a Galaxy Zoo campaign, such as ``"gz2"``.

    Args:
        campaign: the telescope's.
        population: campaign whose galaxies it looks at, if another: then cutouts and neighbours
            are those of that one.

    Raises:
        ConfigError: no telescope is described for a campaign.
    """
    content = _described(campaign)
    names = [each.name for each in fields(Telescope) if each.name != "sky"]
    values: dict[str, Any] = {name: content[name] for name in names}
    for name in ("bands", "band_noise", "field_limits"):
        values[name] = tuple(values[name])
    sky = None if population is None else telescope_for(population)
    return Telescope(**values, sky=sky)


def selection_of(campaign: str) -> Selection:
    """What a campaign selects; errors as those of :func:`telescope_for`."""
    return Selection(**_described(campaign)["selection"])


def sources_of(campaign: str) -> dict[str, str]:
    """Where the published numbers of a campaign come from, by the name of the number."""
    return dict(_described(campaign)["sources"])


def list_telescopes() -> tuple[str, ...]:
    """The campaigns that can be simulated."""
    return tuple(_read())


def _described(campaign: str) -> dict[str, Any]:
    known = _read()
    if campaign not in known:
        allowed = ", ".join(sorted(known))
        raise ConfigError(f"campaign: {campaign!r} cannot be simulated; allowed: {allowed}")
    content = known[campaign]
    return known[content["same_as"]] if "same_as" in content else content


@cache
def _read() -> dict[str, dict[str, Any]]:
    text = (files(__package__) / "telescopes.json").read_text(encoding="utf-8")
    content: dict[str, dict[str, Any]] = json.loads(text)
    return content
