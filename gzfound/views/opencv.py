"""Views on the CPU, one after the other with OpenCV: each is one resample and one look-up.

The resample rounds to grey levels, so that a table can turn them into floats with brightness,
contrast and colours; it loses up to half a level, and the later steps lose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from gzfound.views.config import ViewConfig
from gzfound.views.draws import DARKEST, Draws, Floats, bank_side, noise_bank

Image = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.float32]


def fill(
    out: Tensor,
    images: Tensor,
    draws: Draws,
    config: ViewConfig,
    standardise: tuple[Sequence[float], Sequence[float]] | None,
) -> None:
    """Write a view of each image to ``out``, see :func:`gzfound.views.make_views`."""
    tables = _tables(draws, config)
    scale = None if standardise is None else _scale(*standardise)
    views = out.permute(0, 2, 3, 1).numpy()
    for row, (image, view) in enumerate(zip(images.contiguous().numpy(), views, strict=True)):
        levels = _resample(image, draws.affine[row], int(draws.halvings[row]), config.side)
        cv2.LUT(levels, tables[row : row + 1], dst=view)
        if draws.radius[row]:
            _blur(view, draws.kernels[row], int(draws.radius[row]))
        flat = view.reshape(config.side, -1)
        if config.noise > 0:
            _add_noise(flat, draws.corner[row], draws.sigma[row], view.shape[2])
        cv2.threshold(flat, 0.0, 0.0, cv2.THRESH_TOZERO, dst=flat)
        cv2.threshold(flat, 1.0, 0.0, cv2.THRESH_TRUNC, dst=flat)
        if scale is not None:
            cv2.transform(view, scale, dst=view)


def _resample(image: Image, affine: Floats, halvings: int, size: int) -> Image:
    """The whole geometry in one resample; OpenCV is fastest with one channel, and with four."""
    for _ in range(halvings):
        height, width = (max(side // 2, 1) for side in image.shape[:2])
        image = _with_channels(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    matrix = _in_pixels(affine, image.shape[0], image.shape[1], size)
    channels = image.shape[2]
    if channels == 3:
        padded = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), np.uint8)
        return np.asarray(cv2.cvtColor(_warp(padded, matrix, size), cv2.COLOR_RGBA2RGB), np.uint8)
    if channels in (1, 4):
        return _with_channels(_warp(image, matrix, size))
    bands = [_warp(np.ascontiguousarray(image[..., i]), matrix, size) for i in range(channels)]
    return np.stack(bands, axis=2)


def _in_pixels(affine: Floats, height: int, width: int, size: int) -> Floats:
    """The same map between pixel numbers, where whole numbers are centres of pixels."""
    matrix = affine.copy()
    matrix[:, 2] += affine[:, :2].sum(axis=1) * (1 / size - 1) + 1
    matrix[:, :2] *= 2 / size
    matrix *= np.array([[width], [height]]) / 2
    matrix[:, 2] -= 0.5
    return matrix


def _warp(image: Image, matrix: Floats, size: int) -> Image:
    return np.asarray(
        cv2.warpAffine(
            image,
            matrix,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.uint8,
    )


def _blur(view: Pixels, kernel: Floats, radius: int) -> None:
    """Convolve a view with a Gaussian, one axis at a time, in place."""
    middle = len(kernel) // 2
    weights = kernel[middle - radius : middle + radius + 1].astype(np.float32)
    cv2.sepFilter2D(view, -1, weights, weights, dst=view, borderType=cv2.BORDER_REFLECT_101)


def _tables(draws: Draws, config: ViewConfig) -> Pixels:
    """Brightness and contrast of every grey level, ``(B, 256, C)``."""
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    tables = levels[:, None] * draws.gains[:, None].astype(np.float32)
    if config.contrast == 1:
        return tables
    power = draws.power[:, None, None].astype(np.float32)
    curved: Pixels = np.maximum(tables, np.float32(DARKEST)) ** power
    return curved


def _add_noise(flat: Pixels, corner: Any, sigma: float, channels: int) -> None:
    """Add a window of the noise bank to a view ``(size, size C)``, in place."""
    size = len(flat)
    bank = noise_bank(bank_side(size), channels)
    row, column = (int(place) for place in corner)
    window = bank.reshape(len(bank), -1)[row : row + size]
    cv2.scaleAdd(window[:, column * channels : (column + size) * channels], sigma, flat, dst=flat)


def _scale(mean: Sequence[float], std: Sequence[float]) -> Pixels:
    """The matrix ``(C, C + 1)`` that takes the mean out of each channel and divides by ``std``."""
    inverse = 1 / np.array(std)
    scale = np.column_stack([np.diag(inverse), -np.array(mean) * inverse])
    return scale.astype(np.float32)


def _with_channels(image: Any) -> Image:
    """OpenCV drops the axis of a single channel."""
    found: Image = image if image.ndim == 3 else image[..., None]
    return found
