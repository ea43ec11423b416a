"""How fast a job goes: galaxies a second, share of time spent waiting, FLOP a second."""

from __future__ import annotations

import time
from itertools import chain

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Rates:
    """Rates of a job from when this was made to the last :meth:`done`.

    Args:
        flops_per_galaxy: operations of the model for one galaxy; may be set later.
    """

    def __init__(self, flops_per_galaxy: float = 0.0) -> None:
        self.flops_per_galaxy = flops_per_galaxy
        self.galaxies = 0
        self.seconds_waited = 0.0
        self.began = self.last = time.perf_counter()

    def waited(self, seconds: float) -> None:
        """Add time in which the model had nothing to do because its data were not there."""
        self.seconds_waited += seconds

    def done(self, galaxies: int) -> None:
        """Add galaxies that the model is through with."""
        self.galaxies += galaxies
        self.last = time.perf_counter()

    def summary(self) -> dict[str, float]:
        """``galaxies_per_second``, ``waiting`` (0 to 1) and ``flops_per_second``."""
        elapsed = max(self.last - self.began, 1e-9)
        speed = self.galaxies / elapsed
        return {
            "galaxies_per_second": speed,
            "waiting": min(1.0, self.seconds_waited / elapsed),
            "flops_per_second": speed * self.flops_per_galaxy,
        }


def forward_flops(encoder: nn.Module, size: int, channels: int = 3) -> float:
    """Operations of one image's forward pass, a multiplication and an addition counted as two.

    Shapes are followed on the ``meta`` device: nothing is computed and the encoder is not changed.

    Args:
        encoder: maps ``(B, channels, size, size)`` to anything.
        size: side of the image in pixels.
        channels: of the image.
    """
    named = chain(encoder.named_parameters(), encoder.named_buffers())
    held = {name: torch.empty_like(tensor, device="meta") for name, tensor in named}
    # Two images: batch norm that is training refuses one with a last map of one pixel.
    images = torch.empty(2, channels, size, size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        torch.func.functional_call(encoder, held, (images,))
    return float(counter.get_total_flops()) / 2
