"""The pixels a batch of objects is painted on, and the random numbers that each one owns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from gzfound.draws import stream_key, uniforms
from gzfound.simulation.latents import ARTIFACT, STAR, Floats, Latents
from gzfound.simulation.telescope import Telescope

_MARGIN = 8
"""Pixels painted beyond each edge, so that light is blurred into the image too."""
_FINEST = 96
"""Images smaller than this are painted finer and averaged."""


@dataclass(frozen=True)
class Canvas:
    """Coordinates of the painted pixels; ``x`` and ``y`` are ``(B, H, W)`` in arcseconds."""

    x: Tensor
    y: Tensor
    pixel: Tensor
    """Size of a painted pixel, ``(B, 1, 1)`` arcseconds."""
    field: Tensor
    """Side of the image, ``(B, 1, 1)`` arcseconds."""
    image_size: int
    oversampling: int

    def crop(self, painted: Tensor) -> Tensor:
        """The image within ``painted (B, C, H, W)``: margins cut, averaged to its final pixels."""
        inner = self.image_size * self.oversampling
        start = (painted.shape[-1] - inner) // 2
        window = painted[..., start : start + inner, start : start + inner]
        if self.oversampling == 1:
            return window
        return torch.nn.functional.avg_pool2d(window, self.oversampling)


def field_of_view(latents: Latents, telescope: Telescope) -> Floats:
    """Side of each cutout, ``(N,)`` arcseconds: a few radii; for stars, their glare."""
    own = telescope.sky or telescope
    glare = 3.0 * own.psf_fwhm * 10.0 ** (0.12 * (own.depth - 4.0 - latents.magnitude))
    extent = np.where(latents.kind == STAR, glare, latents.effective_radius)
    extent = np.where(latents.kind == ARTIFACT, 10.0 * own.psf_fwhm, extent)
    return np.clip(own.field_radii * extent, *own.field_limits)


def make_canvas(
    latents: Latents, image_size: int, telescope: Telescope, device: torch.device
) -> Canvas:
    """A canvas for ``latents``. Its side is a multiple of 16: vectors of any width fit a row."""
    oversampling = -(-_FINEST // image_size)
    inner = image_size * oversampling
    side = -(-(inner + 2 * _MARGIN) // 16) * 16
    start = (side - inner) // 2
    steps = torch.arange(side, dtype=torch.float32, device=device) - (start + 0.5 * (inner - 1))
    field = column(field_of_view(latents, telescope), device)
    pixel = field / inner
    return Canvas(
        x=(steps[None, None, :] * pixel).expand(-1, side, side).contiguous(),
        y=(steps[None, :, None] * pixel).expand(-1, side, side).contiguous(),
        pixel=pixel,
        field=field,
        image_size=image_size,
        oversampling=oversampling,
    )


def column(values: np.ndarray, device: torch.device) -> Tensor:
    """``values (N,)`` as a float32 tensor ``(N, 1, 1)`` that broadcasts over pixels."""
    return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(device)[:, None, None]


class Columns:
    """The latents as float32 columns: ``columns.redshift`` is a tensor ``(B, 1, 1)``."""

    def __init__(self, latents: Latents, device: torch.device) -> None:
        self._latents = latents
        self._device = device

    def __getattr__(self, name: str) -> Tensor:
        return column(getattr(self._latents, name), self._device)


@dataclass(frozen=True)
class GalaxyDraws:
    """Random numbers of the galaxies ``ids``: the same for a galaxy in any batch."""

    seed: int
    ids: np.ndarray
    device: torch.device

    def uniform(self, stream: str, count: int = 1) -> Tensor:
        """Uniform in [0, 1), shape ``(count, N, 1, 1)``."""
        values = uniforms(stream_key(self.seed, "render", stream), self.ids, count)
        return self._columns(values)

    def normal(self, stream: str, count: int = 1) -> Tensor:
        """Standard normal, shape ``(count, N, 1, 1)``."""
        values = uniforms(stream_key(self.seed, "render", stream), self.ids, count)
        return self._columns(ndtri(np.clip(values, 1e-9, 1.0 - 1e-9)))

    def _columns(self, values: Floats) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values.T, dtype=np.float32))
        return tensor.to(self.device)[:, :, None, None]
