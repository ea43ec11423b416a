"""Surface brightness profiles of unit flux: what a galaxy's parts look like without a telescope.

Every function is elementwise in torch. Lengths are in any one unit; the result is flux per
unit length squared, so that its integral over the plane is 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sersic_b(index: Tensor) -> Tensor:
    """The b_n that makes the effective radius hold half of the light.

    Ciotti & Bertin 1999, A&A 352, 447, eq. 18; within 1e-4 for ``index`` of 1 or more, 1e-3 at 0.6.
    """
    inverse = 1.0 / index
    series = 131.0 / 1148175.0 * inverse
    series = (46.0 / 25515.0 + series) * inverse
    series = (4.0 / 405.0 + series) * inverse
    return 2.0 * index - 1.0 / 3.0 + series


def elliptical_radius(x: Tensor, y: Tensor, axis_ratio: Tensor, softening: Tensor) -> Tensor:
    """Semi-major axis of the ellipse through (x, y); ``softening`` keeps it off zero."""
    return torch.sqrt(x * x + (y / axis_ratio) ** 2 + softening * softening)


def boxy_radius(
    x: Tensor, y: Tensor, axis_ratio: Tensor, boxiness: Tensor, softening: Tensor
) -> Tensor:
    """As ``elliptical_radius``, with isophotes from ellipses (``boxiness`` 0) to rounded boxes (1).

    They are ``x^4 + 2 (1 - boxiness) x^2 y^2 + y^4 = r^4``, with y in units of the axis ratio.
    """
    x2 = x * x + softening * softening
    y2 = (y / axis_ratio) ** 2
    total = x2 + y2
    return torch.sqrt(torch.sqrt(total * total - 2.0 * boxiness * x2 * y2))


def sersic(radius: Tensor, effective_radius: Tensor, index: Tensor, axis_ratio: Tensor) -> Tensor:
    """Sersic profile (Sersic 1963; Graham & Driver 2005, PASA 22, 118, eqs. 1 and 4)."""
    b = sersic_b(index)
    log_area = (
        math.log(2.0 * math.pi)
        + torch.log(index * axis_ratio)
        + 2.0 * torch.log(effective_radius)
        - 2.0 * index * torch.log(b)
        + torch.lgamma(2.0 * index)
    )
    shape = torch.exp(torch.log(radius / effective_radius) / index)
    return torch.exp(-b * shape - log_area)


def exponential(radius: Tensor, scale: Tensor, axis_ratio: Tensor) -> Tensor:
    """Exponential disk; its effective radius is 1.67835 scale lengths."""
    return torch.exp(-radius / scale) / (2.0 * math.pi * scale * scale * axis_ratio)


def edge_on_disk(x: Tensor, y: Tensor, scale: Tensor, height: Tensor) -> Tensor:
    """Edge-on exponential disk with sech^2 vertical structure (van der Kruit & Searle 1981).

    Along the major axis it is ``s K_1(s)``, here ``sqrt(1 + pi s / 2) exp(-s)``, which has the
    same limits at 0 and infinity and is within 2.2 % between.
    """
    s = torch.abs(x) / scale
    along = torch.sqrt(1.0 + 0.5 * math.pi * s) * torch.exp(-s)
    decay = torch.exp(-2.0 * torch.abs(y) / height)
    across = 4.0 * decay / (1.0 + decay) ** 2
    return along * across / (2.0 * _EDGE_ON_LENGTH * scale * 2.0 * height)


_EDGE_ON_LENGTH = 1.54407
"""The integral of ``sqrt(1 + pi s / 2) exp(-s)`` from 0 to infinity (that of s K_1 is pi/2)."""


def bar(x: Tensor, y: Tensor, half_length: Tensor, axis_ratio: Tensor) -> Tensor:
    """A flat-topped bar along x, ``exp(-s^4)`` with s the elliptical radius in half-lengths."""
    squared = (x * x + (y / axis_ratio) ** 2) / (half_length * half_length)
    area = 0.5 * math.pi**1.5 * half_length * half_length * axis_ratio
    light: Tensor = torch.exp(-squared * squared) / area
    return light


def ring(radius: Tensor, ring_radius: Tensor, width: Tensor, axis_ratio: Tensor) -> Tensor:
    """A ring whose cross-section is a Gaussian of sigma ``width`` (thin: width << radius)."""
    area = (2.0 * math.pi) ** 1.5 * ring_radius * width * axis_ratio
    light: Tensor = torch.exp(-0.5 * ((radius - ring_radius) / width) ** 2) / area
    return light


def gaussian(x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
    """A round Gaussian."""
    variance = sigma * sigma
    return torch.exp(-0.5 * (x * x + y * y) / variance) / (2.0 * math.pi * variance)
