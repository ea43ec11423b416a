"""Sky, shot and correlated noise, each galaxy's from its own generator on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gzfound.draws import hash_words, stream_key
from gzfound.simulation.psf import gaussian_blur
from gzfound.simulation.telescope import Telescope

NOISE_MARGIN = 6
"""Pixels of noise beyond each edge, so that its correlation does not fade there."""
_SHARED = 0.55
"""Share of the noise variance that the bands have in common, as chroma-subsampled JPEGs do."""


def white_noise(
    ids: np.ndarray,
    seed: int,
    side: int,
    device: torch.device,
) -> Tensor:
    """Standard normal noise, ``(B, 4, side, side)``: one plane shared by the bands, then theirs."""
    words = hash_words(stream_key(seed, "render", "noise"), ids, 1)[:, 0]
    noise = torch.empty(len(words), 4, side, side)
    generator = torch.Generator()
    for row, word in enumerate(words):
        generator.manual_seed(int(word >> np.uint64(1)))
        torch.randn(4, side, side, generator=generator, out=noise[row])
    return noise.to(device)


def add_noise(
    bands: Tensor, white: Tensor, sky: Tensor, pixel: Tensor, telescope: Telescope
) -> Tensor:
    """``bands (B, 3, H, W)`` of surface brightness as a detector would record them.

    ``white`` is wider by ``NOISE_MARGIN`` on each side.

    ``sky (B, 1, 1)`` is one sigma of the flux in a square arcsecond, ``pixel (B, 1, 1)`` the
    arcseconds a pixel. Resampled mosaics correlate the noise, without changing its variance.
    """
    mixed = _SHARED**0.5 * white[:, :1] + (1.0 - _SHARED) ** 0.5 * white[:, 1:]
    sigma = telescope.noise_correlation * telescope.pixel_scale / pixel
    sigma = torch.clamp(sigma, 0.3, 1.5)
    smooth = gaussian_blur(mixed, sigma) * _restored_variance(sigma)[:, None]
    smooth = smooth[..., NOISE_MARGIN:-NOISE_MARGIN, NOISE_MARGIN:-NOISE_MARGIN]
    relative = torch.tensor(telescope.band_noise, device=bands.device)[:, None, None]
    shot = torch.clamp(bands, min=0.0) / telescope.photons
    amplitude = torch.sqrt((sky * sky)[:, None] * relative * relative + shot) / pixel[:, None]
    return bands + amplitude * smooth


def _restored_variance(sigma: Tensor) -> Tensor:
    """The factor that undoes the loss of variance in ``gaussian_blur``."""
    steps = torch.arange(-6, 7, device=sigma.device)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = torch.where(torch.abs(steps) <= torch.ceil(3.5 * sigma), weights, 0.0)
    total = squares = torch.zeros_like(sigma)
    for tap in range(len(steps)):
        weight = weights[..., tap : tap + 1]
        total, squares = total + weight, squares + weight * weight
    return total * total / squares
