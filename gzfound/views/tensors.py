"""Views on any device, as one batch of floats: the route of GPUs, and the plain one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from gzfound.views.config import ViewConfig
from gzfound.views.draws import DARKEST, Draws, bank_side, noise_bank


def fill(
    out: Tensor,
    images: Tensor,
    draws: Draws,
    config: ViewConfig,
    standardise: tuple[Sequence[float], Sequence[float]] | None,
) -> None:
    """Write a view of each image to ``out``, see :func:`gzfound.views.make_views`."""
    pixels = _resample(images, draws, config.side)
    pixels = _tone(pixels, draws, config)
    if draws.radius.any():
        pixels = _blur(pixels, draws)
    if config.noise > 0:
        pixels = _add_noise(pixels, draws)
    if standardise is None:
        torch.clamp(pixels, 0.0, 1.0, out=out)
        return
    mean, std = (torch.tensor(x, device=out.device)[:, None, None] for x in standardise)
    torch.div(pixels.clamp_(0.0, 1.0).sub_(mean), std, out=out)


def _resample(images: Tensor, draws: Draws, size: int) -> Tensor:
    """The whole geometry in one resample, from images halved as often as each view needs."""
    pixels = images.permute(0, 3, 1, 2).float().div_(255.0)
    views = torch.empty(
        (*pixels.shape[:2], size, size), device=pixels.device, memory_format=torch.channels_last
    )
    for halvings in range(int(draws.halvings.max(initial=-1)) + 1):
        if halvings:
            pixels = halve(pixels)
        chosen = np.flatnonzero(draws.halvings == halvings)
        if not len(chosen):
            continue
        rows = torch.from_numpy(chosen).to(pixels.device)
        affine = torch.from_numpy(draws.affine[chosen]).to(pixels)
        shape = [len(chosen), views.shape[1], size, size]
        grid = functional.affine_grid(affine, shape, align_corners=False)
        views[rows] = functional.grid_sample(
            pixels[rows], grid, padding_mode="reflection", align_corners=False
        )
    return views


def halve(pixels: Tensor) -> Tensor:
    """Images ``(B, C, H, W)`` at half the size, each pixel the mean over the area it covers.

    The means are rounded to 255 levels, halves upwards, as OpenCV does.
    """
    down, across = (torch.from_numpy(_shares(side)).to(pixels) for side in pixels.shape[2:])
    return ((down @ pixels) @ across.T).mul_(255.0).add_(0.5).floor_().div_(255.0)


def _shares(side: int) -> npt.NDArray[np.float64]:
    """Share of each of ``side`` pixels in each of half as many, ``(side // 2, side)``."""
    half = max(side // 2, 1)
    edges = np.arange(half + 1) * side / half
    pixel = np.arange(side)
    first = np.maximum(edges[:-1, None], pixel)
    last = np.minimum(edges[1:, None], pixel + 1)
    shares: npt.NDArray[np.float64] = np.maximum(last - first, 0.0) * half / side
    return shares


def _blur(pixels: Tensor, draws: Draws) -> Tensor:
    """Convolve each blurred view with a Gaussian of its own width, one axis at a time."""
    chosen = np.flatnonzero(draws.radius)
    rows = torch.from_numpy(chosen).to(pixels.device)
    views = pixels[rows]
    count, channels, height, width = views.shape
    radius = draws.kernels.shape[1] // 2
    flat = views.reshape(1, count * channels, height, width)
    weight = torch.from_numpy(draws.kernels[chosen]).to(flat).repeat_interleave(channels, dim=0)
    for shape, pad in (((1, -1), (radius, radius, 0, 0)), ((-1, 1), (0, 0, radius, radius))):
        kernel = weight.view(count * channels, 1, *shape)
        flat = functional.conv2d(
            functional.pad(flat, pad, mode="reflect"), kernel, groups=count * channels
        )
    return pixels.index_copy(0, rows, flat.view(count, channels, height, width))


def _tone(pixels: Tensor, draws: Draws, c: ViewConfig) -> Tensor:
    scaled = pixels.mul_(torch.from_numpy(draws.gains[:, :, None, None]).to(pixels))
    if c.contrast == 1:
        return scaled
    power = torch.from_numpy(draws.power[:, None, None, None]).to(pixels)
    return scaled.clamp_min_(DARKEST).pow_(power)


def _add_noise(pixels: Tensor, draws: Draws) -> Tensor:
    size, channels = pixels.shape[-1], pixels.shape[1]
    bank = _bank_on(bank_side(size), channels, pixels.device)
    windows = bank.unfold(0, size, 1).unfold(1, size, 1)
    corner = torch.from_numpy(draws.corner).to(pixels.device)
    sigma = torch.from_numpy(draws.sigma[:, None, None, None]).to(pixels)
    return pixels.addcmul_(windows[corner[:, 0], corner[:, 1]], sigma)


@lru_cache(maxsize=4)
def _bank_on(side: int, channels: int, device: torch.device) -> Tensor:
    return torch.from_numpy(noise_bank(side, channels)).to(device)
