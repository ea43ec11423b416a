"""Star-forming clumps: where they lie in a galaxy and how they shine."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gzfound.simulation import profiles
from gzfound.simulation.canvas import GalaxyDraws
from gzfound.simulation.latents import ALONG_ARMS, CHAIN, LINE

MOST_CLUMPS = 8


def clump_positions(
    count: Tensor,
    arrangement: Tensor,
    symmetric: Tensor,
    arms: tuple[Tensor, Tensor, Tensor],
    draws: GalaxyDraws,
) -> tuple[Tensor, Tensor]:
    """Positions ``(MOST_CLUMPS, B, 1, 1)`` in effective radii, in the plane of the galaxy.

    ``arms`` holds their count, signed pitch in radians and starting phase. Symmetric clumps come
    in pairs opposite each other, with one at the centre if their number is odd.
    """
    order = torch.arange(MOST_CLUMPS, device=count.device)[:, None, None, None]
    radius, angle, jitter = (draws.uniform(f"clump {n}", MOST_CLUMPS) for n in ("r", "t", "j"))
    distance = 0.35 + 0.85 * torch.sqrt(radius)
    x = distance * torch.cos(2.0 * math.pi * angle)
    y = distance * torch.sin(2.0 * math.pi * angle)
    spread = order - 0.5 * (count - 1.0)
    step = 2.2 / torch.clamp(count, min=2.5)
    line = spread * step + 0.1 * (jitter - 0.5)
    curve = 2.0 * draws.uniform("clump curve") - 1.0
    bent = 0.6 * curve * (line * line - 0.6) + 0.25 * (radius - 0.5)
    arm_count, pitch, start = arms
    along = 0.45 + 0.9 * (order + 0.6 * jitter) / torch.clamp(count, min=3.0)
    lane = 2.0 * math.pi * torch.remainder(order, arm_count) / arm_count
    turn = torch.log(1.678 * along) / torch.tan(pitch) + lane + start / arm_count
    x = torch.where(arrangement == LINE, line, x)
    y = torch.where(arrangement == LINE, 0.06 * (radius - 0.5), y)
    x = torch.where(arrangement == CHAIN, line, x)
    y = torch.where(arrangement == CHAIN, bent, y)
    x = torch.where(arrangement == ALONG_ARMS, along * torch.cos(turn), x)
    y = torch.where(arrangement == ALONG_ARMS, along * torch.sin(turn), y)
    partner = torch.where(torch.remainder(order, 2) == 1, -1.0, 1.0)
    lone = (order == count - 1.0) & (torch.remainder(count, 2.0) == 1.0)
    pairs = torch.div(torch.arange(MOST_CLUMPS, device=count.device), 2, rounding_mode="floor") * 2
    paired_x = torch.where(lone, 0.0, x[pairs] * partner)
    paired_y = torch.where(lone, 0.0, y[pairs] * partner)
    return torch.where(symmetric, paired_x, x), torch.where(symmetric, paired_y, y)


def clump_fluxes(count: Tensor, symmetric: Tensor, draws: GalaxyDraws) -> Tensor:
    """Shares of the clump light, ``(MOST_CLUMPS, B, 1, 1)``, that sum to 1 over the clumps."""
    order = torch.arange(MOST_CLUMPS, device=count.device)[:, None, None, None]
    scatter = torch.where(symmetric, 0.1, 0.6)
    weight = torch.exp(scatter * draws.normal("clump flux", MOST_CLUMPS))
    weight = torch.where(order < count, weight, 0.0)
    total = torch.zeros_like(weight[0])
    for clump in range(MOST_CLUMPS):
        total = total + weight[clump]
    return weight / total


def _knot(x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    radius = torch.sqrt(x * x + y * y + 0.1 * size * size)
    return profiles.exponential(radius, size, torch.ones_like(size))


def paint_clumps(
    x: Tensor, y: Tensor, positions: tuple[Tensor, Tensor], fluxes: Tensor, sizes: Tensor
) -> Tensor:
    """Surface brightness ``(B, H, W)`` of clumps of unit total flux.

    ``positions``, ``fluxes`` and ``sizes`` are ``(MOST_CLUMPS, B, 1, 1)``.
    """
    light = torch.zeros_like(x)
    for clump in range(MOST_CLUMPS):
        dx, dy = x - positions[0][clump], y - positions[1][clump]
        light.addcmul_(fluxes[clump], _knot(dx, dy, sizes[clump]))
    return light
