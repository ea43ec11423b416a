"""The ranges of the random changes."""

from __future__ import annotations

from dataclasses import dataclass

from gzfound.errors import ConfigError

DEFAULT_SIDE = 96
"""Side of a view in pixels where nothing says another."""

LARGEST = 8192
"""The most pixels that a side of a view may have: those of the largest image that is read."""


@dataclass(frozen=True)
class ViewConfig:
    """Ranges of the random changes.

    Attributes:
        size: side of a view in pixels; in a recipe, that of the weights by default, or 96 without
            any.
        rotation: largest angle of rotation, in degrees; 180 is any rotation.
        zoom: smallest and largest linear fraction of the image that a view shows.
        aspect: largest stretch of one axis over the other, 1 for none.
        shift: largest offset of the centre of a view, as a fraction of the image.
        blur: largest standard deviation of the Gaussian blur, in pixels of the view.
        blur_probability: share of the views that are blurred.
        noise: largest standard deviation of the pixel noise, on the scale 0 to 1.
        brightness: largest factor of brightness (and its inverse), 1 for none.
        contrast: largest exponent of the brightness curve (and its inverse), 1 for none.
        colour: largest factor of one band over another (and its inverse), 1 for none.
    """

    size: int | None = None
    rotation: float = 180.0
    zoom: tuple[float, float] = (0.5, 1.0)
    aspect: float = 1.1
    shift: float = 0.08
    blur: float = 1.5
    blur_probability: float = 0.5
    noise: float = 0.06
    brightness: float = 1.4
    contrast: float = 1.3
    colour: float = 1.1

    def __post_init__(self) -> None:
        low, high = self.zoom
        if not 0 < low <= high <= 1.5:
            raise ConfigError(f"views.zoom: {self.zoom} must be 0 < smallest <= largest <= 1.5")
        side = self.side
        if not 8 <= side <= LARGEST:
            raise ConfigError(f"views.size: {side} must be at least 8, at most {LARGEST}")
        for name in ("aspect", "brightness", "contrast", "colour"):
            if not 1 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"views.{name}: {getattr(self, name)} must be at least 1")
        if not self.blur <= side / 6:
            raise ConfigError(
                f"views.blur: {self.blur} must be at most {side / 6:.3g} for views of {side} pixels"
            )
        for name in ("rotation", "shift", "blur", "blur_probability", "noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"views.{name}: {getattr(self, name)} must be at least 0")

    @property
    def side(self) -> int:
        """The side of a view in pixels."""
        return DEFAULT_SIDE if self.size is None else self.size
