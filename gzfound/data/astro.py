"""astropy, loaded when it is needed, and units of flux."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

from gzfound.errors import ConfigError, GzfoundError


@lru_cache(maxsize=1)
def load_astropy() -> Any:
    """The package, with the modules that are used of it.

    Raises:
        GzfoundError: it is not installed.
    """
    try:
        import astropy.io.fits
        import astropy.units.photometric
    except ImportError as error:
        raise GzfoundError(
            "FITS needs astropy, which is not installed: pip install 'gzfound[fits]'"
        ) from error
    # A truncated file has its own error here; astropy would add lines of warnings to it.
    warnings.filterwarnings("ignore", message="File may have been truncated")
    return astropy


@lru_cache(maxsize=64)
def unit_named(text: str) -> Any:
    """The unit of a name such as ``nJy`` or ``nanomaggy``.

    Raises:
        ConfigError: astropy knows none of this name.
    """
    units = load_astropy().units
    plain = text.strip().replace("nanomaggies", "nmgy").replace("nanomaggy", "nmgy")
    try:
        with units.add_enabled_units(units.photometric):
            return units.Unit(plain)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"unit {text!r}: none that astropy knows, such as nJy") from error


def conversion(held: str, wanted: str) -> float:
    """The factor from one unit of flux to another; maggies are relative to AB magnitude 0.

    Raises:
        ConfigError: a unit is not known, or the two measure different things.
    """
    units = load_astropy().units
    try:
        zero = units.zero_point_flux(units.AB)
        return float(unit_named(held).to(unit_named(wanted), equivalencies=zero))
    except units.UnitsError as error:
        raise ConfigError(f"unit {held!r} cannot be converted to {wanted}") from error
