"""Convolutions whose weight gradient torch gets wrong: of maps of one pixel, in bf16 on CPUs.

With a stride above 1 and a kernel that reaches beyond the map, oneDNN leaves the weights that never
meet the pixel whatever the memory held before, instead of 0 (torch 2.14.1; float32 and other sizes
are right). ResNets meet this in views of 16 pixels or fewer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mend_single_pixels(model: nn.Module) -> None:
    """Have strided convolutions of a model compute maps of one pixel in float32, in place."""
    for module in model.modules():
        if type(module) is nn.Conv2d and max(module.stride) > 1 and max(module.kernel_size) > 1:
            module.__class__ = _SinglePixelConv2d


class _SinglePixelConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, H, W)`` convolved; of one pixel, without autocast."""
        if input.shape[-2:] != (1, 1) or not torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float()).to(input.dtype)
