"""The point spread function: a Gaussian core and wide Gaussian wings, by shifts and sums.

Sums of shifted images round the same way whatever the batch, which FFTs and matrix products
do not promise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian, in sigmas."""
_COARSE = 4
_PIXEL_SIGMA = 1.0 / math.sqrt(12.0)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur ``images (B, C, H, W)`` with Gaussians of ``sigma (B, 1, 1)`` pixels; zeros outside."""
    radius = max(1, math.ceil(3.5 * float(sigma.max())))
    steps = torch.arange(-radius, radius + 1, device=images.device)
    sigma = sigma.reshape(-1, 1)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = torch.where(torch.abs(steps) <= torch.ceil(3.5 * sigma), weights, 0.0)
    total = torch.zeros_like(sigma)
    for tap in range(2 * radius + 1):
        total = total + weights[:, tap : tap + 1]
    weights = (weights / total)[:, :, None, None, None]
    for dimension, padding in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = F.pad(images, padding)
        side = images.shape[dimension]
        images = padded.narrow(dimension, radius, side) * weights[:, radius]
        for tap in range(1, radius + 1):
            before = padded.narrow(dimension, radius - tap, side)
            after = padded.narrow(dimension, radius + tap, side)
            images.addcmul_(before + after, weights[:, radius + tap])
    return images


def telescope_blur(
    images: Tensor, fwhm: float, wing_fraction: float, wing_scale: float, pixel: Tensor
) -> Tensor:
    """Blur ``images (B, C, H, W)`` as a telescope does.

    ``fwhm`` is in arcseconds and ``pixel (B, 1, 1)`` in arcseconds a pixel; ``wing_fraction``
    of the light goes to wings that are ``wing_scale`` times wider, made with coarser pixels.
    """
    sigma = fwhm / FWHM / pixel
    core = gaussian_blur(images, torch.sqrt(sigma * sigma + _PIXEL_SIGMA**2))
    coarse = gaussian_blur(F.avg_pool2d(images, _COARSE), wing_scale * sigma / _COARSE)
    wings = F.interpolate(coarse, scale_factor=_COARSE, mode="bilinear", align_corners=False)
    return torch.lerp(core, wings, wing_fraction)
