"""Galaxy images as small pictures that a page can hold inside itself."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from gzfound.errors import DataError

Pixels = npt.NDArray[np.uint8]


def check_pixels(image: npt.NDArray[np.generic], name: str) -> Pixels:
    """``image`` as uint8 ``(H, W, 3)``; greyscale ``(H, W)`` is repeated. Else a DataError."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise DataError(
            f"{name}: image has shape {image.shape} and type {image.dtype}; "
            "allowed is uint8 of shape (H, W, 3) or (H, W)"
        )
    pixels: Pixels = image.astype(np.uint8, copy=False)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def thumbnail(
    image: npt.NDArray[np.generic], size: int, name: str = "thumbnail", *, crop: float = 1.0
) -> Pixels:
    """The central square of ``image``, at ``size`` x ``size`` pixels, uint8 RGB.

    ``crop`` is the share of the shorter side that the square spans.
    """
    pixels = check_pixels(image, name)
    height, width = pixels.shape[:2]
    side = max(1, round(crop * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    if side != size:
        square = square.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(square)


def data_uri(pixels: Pixels, *, quality: int = 85) -> str:
    """``pixels`` ``(H, W, 3)`` as a JPEG inside a ``data:`` address."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
