"""What a telescope and its survey do to a galaxy: pixels, point spread, depth, field."""

from __future__ import annotations

from dataclasses import dataclass

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


_TELESCOPES = {
    "gz_hubble": Telescope(
        name="HST/ACS",
        bands=("F850LP", "F775W", "F606W"),
        pixel_scale=0.03,
        psf_fwhm=0.1,
        psf_wing_fraction=0.25,
        psf_wing_scale=3.5,
        depth=28.8,
        band_noise=(1.15, 1.0, 0.8),
        noise_correlation=0.54,
        photons=600.0,
        stretch=270.0,
        field_radii=7.5,
        field_limits=(2.2, 30.0),
        neighbour_density=0.09,
    ),
    "gz2": Telescope(
        name="SDSS",
        bands=("i", "r", "g"),
        pixel_scale=0.396,
        psf_fwhm=1.3,
        psf_wing_fraction=0.2,
        psf_wing_scale=2.5,
        depth=25.4,
        band_noise=(1.4, 1.0, 0.9),
        noise_correlation=0.5,
        photons=2000.0,
        stretch=32.0,
        field_radii=10.0,
        field_limits=(25.0, 240.0),
        neighbour_density=0.0012,
    ),
}


def telescope_for(campaign: str) -> Telescope:
    """The telescope behind a Galaxy Zoo campaign, such as ``"gz_hubble"``.

    Raises:
        ConfigError: no telescope is described for ``campaign``.
    """
    try:
        return _TELESCOPES[campaign]
    except KeyError:
        allowed = ", ".join(sorted(_TELESCOPES))
        raise ConfigError(
            f"campaign: {campaign!r} cannot be simulated; allowed: {allowed}"
        ) from None
