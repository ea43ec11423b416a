"""An encoder for inference alone: its batch norms become part of its convolutions."""

from __future__ import annotations

from torch import nn


def fold_batch_norm(encoder: nn.Module) -> nn.Module:
    """A copy in which each batch norm that follows a convolution is multiplied into its weights.

    It saves a pass over memory a layer, with the running statistics that ``eval`` uses. An encoder
    without such layers, or whose forward pass cannot be traced, comes back as it is.

    Args:
        encoder: in ``eval`` mode.
    """
    if not any(type(module) is nn.BatchNorm2d for module in encoder.modules()):
        return encoder
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(encoder)
    except Exception:  # what the Python of a forward pass can raise under the tracer has no limit
        return encoder
