"""What to read of FITS files: options that are saved with the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gzfound.data.stretch import Stretch
from gzfound.errors import ConfigError


@dataclass(frozen=True)
class FitsConfig:
    """What to read of FITS files, and how fluxes become pixels; what is empty is not chosen.

    Attributes:
        hdu: names or numbers of the HDUs to read, one after the other; by default the only one
            that holds an image.
        bands: names or numbers of the bands, in the order of the encoder's channels; by default
            all of them, in the order of the files.
        unit: that of the pixels, converted from BUNIT of each file, such as nJy.
        scale: factor on each band, in the order of the bands, such as to a common zero point.
        stretch: fluxes to grey levels.
    """

    hdu: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    unit: str = ""
    scale: tuple[float, ...] = ()
    stretch: Stretch = field(default_factory=Stretch)

    def __post_init__(self) -> None:
        if self.unit:
            from gzfound.data.astro import unit_named

            try:
                unit_named(self.unit)
            except ConfigError as error:
                raise ConfigError(f"fits.unit: {error}") from error
        if self.bands and self.scale and len(self.bands) != len(self.scale):
            raise ConfigError(
                f"fits.scale: {len(self.scale)} factors for {len(self.bands)} bands; allowed: one "
                "for each"
            )
        if not all(math.isfinite(factor) and factor != 0 for factor in self.scale):
            raise ConfigError(f"fits.scale: {self.scale} must be finite and not 0")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FitsConfig:
        """The inverse of ``dataclasses.asdict``, from JSON too.

        Raises:
            ConfigError: an unknown key, or a value out of range.
        """
        try:
            plain = {name: _tupled(value) for name, value in values.items()}
            held = {name: _tupled(value) for name, value in plain.pop("stretch", {}).items()}
            return cls(**plain, stretch=Stretch(**held))
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"fits: {error}") from error

    def over(self, other: FitsConfig) -> FitsConfig:
        """These choices, and those of ``other`` where these are empty; a stretch goes as a whole.

        Raises:
            ConfigError: the two do not go together, such as a scale for two of three bands.
        """
        kept = {f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)}
        chosen = self.stretch if self.stretch.kind != "none" else other.stretch
        return FitsConfig(**{**kept, "stretch": chosen})


NO_FITS = FitsConfig()
"""Chooses nothing: FITS is refused where the weights say nothing of it either."""


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
