"""What is drawn for each view, in the numbers that both routes work with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gzfound.draws import stream_key, uniforms
from gzfound.views.config import ViewConfig

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COLUMNS = (
    *("angle", "flip", "zoom", "aspect", "shift_x", "shift_y", "blur_on", "blur"),
    *("noise", "row", "column", "brightness", "contrast"),
)
"""The bands follow, one column each."""

ANTIALIAS = 1.5
"""Source pixels per view pixel above which a view is taken from a copy of half the size."""

DARKEST = 1e-4
"""The brightness curve starts here: it has no slope at zero."""

_BANK = 1024


@dataclass(frozen=True)
class Draws:
    """The changes of B views.

    Attributes:
        affine: ``(B, 2, 3)``, from places in the view to places in the image; both run from -1 to
            1 between the outer edges of the outer pixels (``align_corners=False``).
        halvings: how often the image is halved before the resample, ``(B,)``.
        radius: of the blur, in pixels, ``(B,)``; 0 without blur.
        kernels: weights of the blur, ``(B, 2 R + 1)``, zero beyond each radius.
        gains: factor on each band, ``(B, C)``.
        power: exponent of the brightness curve, ``(B,)``.
        sigma: standard deviation of the noise, ``(B,)``.
        corner: row and column of the noise in the bank, ``(B, 2)``.
    """

    affine: Floats
    halvings: Ints
    radius: Ints
    kernels: Floats
    gains: Floats
    power: Floats
    sigma: Floats
    corner: Ints


def draw(
    galaxies: npt.ArrayLike,
    shape: tuple[int, int, int],
    c: ViewConfig,
    *,
    seed: int,
    epoch: int,
    view: int,
) -> Draws:
    """The changes of one view of each galaxy, whose images have the ``shape`` ``(H, W, C)``."""
    height, width, channels = shape
    draws = uniforms(stream_key(seed, "views", epoch, view), galaxies, len(COLUMNS) + channels)
    u = {name: draws[:, i] for i, name in enumerate(COLUMNS)}
    zoom = _between(u["zoom"], *c.zoom)
    radius, kernels = _blur(u, c)
    gain = _factor(u["brightness"], c.brightness)
    places = bank_side(c.side) - c.side + 1
    return Draws(
        affine=_affine(u, zoom, c),
        halvings=_halvings(zoom * max(height, width) / c.side),
        radius=radius,
        kernels=kernels,
        gains=gain[:, None] * _factor(draws[:, len(COLUMNS) :], c.colour),
        power=_factor(u["contrast"], c.contrast),
        sigma=u["noise"] * c.noise,
        corner=(np.stack([u["row"], u["column"]], axis=1) * places).astype(np.int64),
    )


def _affine(u: dict[str, Floats], zoom: Floats, c: ViewConfig) -> Floats:
    stretch = np.sqrt(_factor(u["aspect"], c.aspect))
    angle = np.deg2rad(c.rotation) * _symmetric(u["angle"])
    mirror = np.where(u["flip"] < 0.5, -1.0, 1.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    across, along = zoom * stretch * mirror, zoom / stretch
    right, down = (2 * c.shift * _symmetric(u[name]) for name in ("shift_x", "shift_y"))
    rows = [[cosine * across, -sine * along, right], [sine * across, cosine * along, down]]
    return np.moveaxis(np.array(rows), 2, 0)


def _halvings(pixels: Floats) -> Ints:
    """Halvings that leave at most ``ANTIALIAS`` source pixels per view pixel."""
    return np.maximum(np.ceil(np.log2(pixels / ANTIALIAS)), 0).astype(np.int64)


def _blur(u: dict[str, Floats], c: ViewConfig) -> tuple[Ints, Floats]:
    """Radius, 2.5 standard deviations rounded up, and weights; both zero without blur."""
    sigma = np.where(u["blur_on"] < c.blur_probability, u["blur"] * c.blur, 0.0)
    radius = np.ceil(2.5 * sigma).astype(np.int64)
    offsets = np.arange(-math.ceil(2.5 * c.blur), math.ceil(2.5 * c.blur) + 1)
    width = np.maximum(sigma, 0.05)[:, None]
    kernels = np.exp(-0.5 * (offsets / width) ** 2) * (np.abs(offsets) <= radius[:, None])
    return radius, kernels / kernels.sum(axis=1, keepdims=True)


def bank_side(size: int) -> int:
    """Side of the noise bank for views of ``size`` pixels."""
    return max(_BANK, 2 * size)


@lru_cache(maxsize=4)
def noise_bank(side: int, channels: int) -> npt.NDArray[np.float32]:
    """Normal noise ``(side, side, C)``; each view takes a window of it at random."""
    generator = np.random.Generator(np.random.Philox(key=int(stream_key("noise bank"))))
    return generator.standard_normal((side, side, channels), dtype=np.float32)


def _symmetric(u: Floats) -> Floats:
    return 2.0 * u - 1.0


def _between(u: Floats, low: float, high: float) -> Floats:
    """From ``low`` to ``high``, uniform in the logarithm."""
    found: Floats = low * np.power(high / low, u)
    return found


def _factor(u: Floats, largest: float) -> Floats:
    """From the inverse of ``largest`` to ``largest``, uniform in the logarithm."""
    return _between(u, 1 / largest, largest)
