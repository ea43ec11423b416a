"""One random view of each image, by the route that suits the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt
import torch
from torch import Tensor

from gzfound.errors import ConfigError
from gzfound.views.config import ViewConfig
from gzfound.views.draws import draw


def make_views(
    images: Tensor,
    galaxies: npt.ArrayLike,
    config: ViewConfig,
    *,
    seed: int,
    epoch: int,
    view: int,
    standardise: tuple[Sequence[float], Sequence[float]] | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """One random view of each image.

    On the CPU, OpenCV makes them one after the other in the calling thread, from 8-bit
    intermediates; elsewhere torch makes them as one batch of floats. Both have the same draws:
    a view differs between them by about one of 255 grey levels.

    Args:
        images: uint8 ``(B, H, W, C)``, on any device.
        galaxies: an integer identity of each galaxy, ``(B,)``.
        config: the ranges.
        seed: of the run.
        epoch: a galaxy gets other views in every epoch.
        view: 0 for the first view of the pair, 1 for the second.
        standardise: mean and standard deviation of each channel; taken out at the end.
        out: where to write, of the type and layout of what is returned; None for new memory.

    Returns:
        Floats ``(B, C, size, size)``, channels last, on the device of ``images``; between 0 and 1
        unless standardised.

    Raises:
        ConfigError: ``out`` has another shape, type, layout or device.
    """
    count, height, width, channels = images.shape
    changes = draw(galaxies, (height, width, channels), config, seed=seed, epoch=epoch, view=view)
    if out is None:
        shape = (count, config.side, config.side, channels)
        out = torch.empty(shape, device=images.device).permute(0, 3, 1, 2)
    check_out(out, (count, channels, config.side, config.side), images.device)
    if images.device.type == "cpu":
        from gzfound.views.opencv import fill
    else:
        from gzfound.views.tensors import fill
    fill(out, images, changes, config, standardise)
    return out


def check_out(out: Tensor, shape: tuple[int, ...], device: torch.device) -> None:
    """Refuse memory that views cannot be written to.

    Raises:
        ConfigError: it has another shape, type, layout or device.
    """
    if (
        out.shape != shape
        or out.dtype != torch.float32
        or out.device != device
        or not out.permute(0, 2, 3, 1).is_contiguous()
    ):
        raise ConfigError(
            f"out: {tuple(out.shape)} {out.dtype} on {out.device} must be {shape} torch.float32 "
            f"on {device}, channels last"
        )
