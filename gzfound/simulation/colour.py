"""Three bands to a picture: colours of the parts, and the Lupton stretch."""

from __future__ import annotations

import torch
from torch import Tensor

_GAIN = 48.0
"""Grey levels a unit of asinh."""
_PEDESTAL = (8.0, 5.5, 5.5)
"""Grey levels of the empty sky: JPEGs of Hubble mosaics are faintly red."""


def band_weights(colour: Tensor, bend: Tensor | float = 0.0) -> Tensor:
    """Flux in (red, green, blue) over that in green, shape ``(B, 3, 1, 1)``.

    ``colour (B, 1, 1)`` is in magnitudes between the outer bands; ``bend`` is how much the middle
    one is brighter than between them: a break in the spectrum bluewards of it makes it so.
    """
    red = torch.exp(0.9210 * (0.5 * colour - bend))
    blue = torch.exp(-0.9210 * (0.5 * colour + bend))
    return torch.stack((red, torch.ones_like(red), blue), dim=1)


def lupton_rgb(bands: Tensor, stretch: float) -> Tensor:
    """uint8 picture ``(B, H, W, 3)`` from ``bands (B, 3, H, W)``; linear well below ``stretch``.

    Lupton et al. 2004, PASP 116, 133: asinh of the mean intensity, ratios of bands kept, and
    bright pixels scaled down together so that they keep their colour.
    """
    intensity = (bands[:, 0] + bands[:, 1] + bands[:, 2]) / 3.0
    stretched = _GAIN * torch.asinh(intensity / stretch)
    tiny = torch.abs(intensity) < 1e-3 * stretch
    ratio = torch.where(tiny, _GAIN / stretch, stretched / torch.where(tiny, 1.0, intensity))
    levels = bands * ratio[:, None]
    levels = levels + torch.tensor(_PEDESTAL, device=bands.device)[:, None, None]
    brightest = torch.maximum(torch.maximum(levels[:, 0], levels[:, 1]), levels[:, 2])
    levels = levels * (255.0 / torch.clamp(brightest, min=255.0))[:, None]
    return torch.clamp(torch.round(levels), 0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)
