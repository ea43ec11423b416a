"""Fluxes to 8-bit levels. The settings are part of the weights, so training and use agree."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from gzfound.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Flux = npt.NDArray[np.float32]
    Pixels = npt.NDArray[np.uint8]

Kind = Literal["none", "asinh", "percentile", "linear"]

KINDS = "asinh, percentile or linear"
_ANCHOR = 0.1
"""The curve of asinh passes through this share of ``softening`` and of white, whatever ``q`` is."""


@dataclass(frozen=True)
class Stretch:
    """How the fluxes of an image become grey levels; what is not finite becomes black.

    Attributes:
        kind: asinh (Lupton et al. 2004: one curve for the mean of the bands, so that colours are
            kept), percentile (of the image, linear between two of them), linear, or none, which
            refuses FITS.
        minimum: of asinh and linear, the flux that is black.
        maximum: of linear, the flux that is white.
        softening: of asinh, the flux above minimum that scales the curve (stretch in astropy's
            make_lupton_rgb).
        q: of asinh, how far below it the curve bends from linear to logarithmic.
        percentiles: of percentile, what is black and what is white, of all bands together.
    """

    kind: Kind = "none"
    minimum: float = 0.0
    maximum: float = 1.0
    softening: float = 5.0
    q: float = 8.0
    percentiles: tuple[float, float] = (1.0, 99.5)

    def __post_init__(self) -> None:
        if self.kind not in ("none", "asinh", "percentile", "linear"):
            raise ConfigError(f"stretch.kind: {self.kind!r}; allowed: {KINDS}")
        if self.kind == "none" and any(getattr(self, f.name) != f.default for f in fields(self)):
            raise ConfigError(f"stretch: its settings need a stretch.kind: {KINDS}")
        numbers = (self.minimum, self.maximum, self.softening, self.q, *self.percentiles)
        if not all(map(math.isfinite, numbers)):
            raise ConfigError(f"stretch: {numbers} must all be finite")
        for name in ("softening", "q"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"stretch.{name}: {getattr(self, name)} must be above 0")
        if self.kind == "linear" and self.maximum <= self.minimum:
            raise ConfigError(
                f"stretch.maximum: {self.maximum} must be above the minimum, {self.minimum}"
            )
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(
                f"stretch.percentiles: {self.percentiles} must be 0 <= black < white <= 100"
            )

    def __call__(self, flux: Flux) -> Pixels:
        """Grey levels of an image.

        Args:
            flux: ``(H, W, C)`` with at least one finite value.

        Returns:
            uint8 ``(H, W, C)``.

        Raises:
            ConfigError: ``kind`` is none.
        """
        import numpy as np

        bands = np.ascontiguousarray(np.moveaxis(flux, 2, 0))
        finite = np.isfinite(bands)
        known: Flux = bands if finite.all() else np.where(finite, bands, np.float32("nan"))
        if self.kind == "asinh":
            levels = self._asinh(known)
        elif self.kind == "linear":
            levels = _between(known, self.minimum, self.maximum)
        elif self.kind == "percentile":
            low, high = np.percentile(known[finite], self.percentiles)
            levels = _between(known, float(low), float(high))
        else:
            raise ConfigError(f"stretch.kind: none; choose {KINDS}")
        if known is not bands:
            np.nan_to_num(levels, copy=False, nan=0.0)
        levels *= 255.0
        levels += 0.5
        return np.ascontiguousarray(np.moveaxis(levels.astype(np.uint8), 0, 2))

    def _asinh(self, bands: Flux) -> Flux:
        """Levels 0 to 1 by the equations of Lupton et al. 2004, PASP 116, 133, for any bands.

        With I the mean of the bands above ``minimum``, each band x becomes x f(I) / I, where
        f(I) = asinh(q I / softening) / asinh(0.1 q) / 10. Where the brightest band exceeds 1, all
        are divided by it.
        """
        import numpy as np

        above = bands - np.float32(self.minimum)
        intensity = _mean_of_known(above)
        slope = _ANCHOR / math.asinh(_ANCHOR * self.q)
        ratio = np.arcsinh(intensity * np.float32(self.q / self.softening))
        ratio *= np.float32(slope)
        bright = intensity > 0
        np.divide(ratio, intensity, out=ratio, where=bright)
        ratio *= bright
        above *= ratio
        np.maximum(above, 0.0, out=above)
        brightest: Flux = np.fmax.reduce(above, axis=0)
        if np.nanmax(brightest) > 1:
            above /= np.maximum(brightest, 1.0)
        return above


def _mean_of_known(bands: Flux) -> Flux:
    """The mean of the bands ``(C, H, W)`` that are not NaN at a pixel; NaN where none is."""
    import numpy as np

    total: Flux = bands.sum(axis=0)
    if not np.isnan(total).any():
        return total / np.float32(len(bands))
    known = ~np.isnan(bands)
    count = known.sum(axis=0, dtype=np.float32)
    total = np.where(known, bands, 0).sum(axis=0, dtype=np.float32)
    mean: Flux = np.full_like(total, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _between(bands: Flux, low: float, high: float) -> Flux:
    """Levels 0 to 1, linear from ``low`` to ``high``; a flat image is black."""
    import numpy as np

    width = high - low if high > low else math.inf
    levels: Flux = (bands - np.float32(low)) * np.float32(1 / width)
    return np.clip(levels, 0.0, 1.0, out=levels)
