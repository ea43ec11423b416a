"""Image files to uint8 RGB arrays, and centred squares of them.

Plain 8-bit JPEG and PNG go through OpenCV, whose JPEG pixels equal PIL's exactly and which lets
go of the interpreter lock; everything else (palettes, alpha, CMYK, 16 bits, TIFF, ...) through PIL.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gzfound.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 2**26
"""Images of more pixels than this (8,192 by 8,192) are taken for decompression bombs."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NOT_PLAIN = (b"tRNS", b"acTL")  # transparency, animation
_PIL_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What PIL may try: its other plugins read no pictures of galaxies, and one starts a program."""
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_JPEG_NO_LENGTH = frozenset({0x01, 0xFF, *range(0xD0, 0xD9)})


def decode_image(data: bytes, name: str) -> Pixels:
    """Decode an image file to RGB.

    Greyscale is repeated in three channels, transparency is laid over black, 16 bits become 8 by
    division by 257, CMYK is converted, and EXIF rotation is applied.

    Args:
        data: the bytes of the file.
        name: what to call the image in an error, such as its path.

    Returns:
        uint8 of shape ``(H, W, 3)``.

    Raises:
        ImageError: the bytes are empty, truncated, no image, too many pixels, or FITS.
    """
    if not data:
        raise ImageError(f"image {name}: the file is empty")
    if data.startswith(b"SIMPLE  ="):
        raise ImageError(
            f"image {name}: FITS holds fluxes, not pixels; gzfound.data.decode_bands takes a "
            "stretch for them"
        )
    size = _png_size(data, name) if data.startswith(_PNG) else _plain_size(data)
    if size is not None:
        _check_size(size, name)
        return _decode_opencv(data, name)
    return _decode_pil(data, name)


def square_resize(pixels: Pixels, size: int, crop: float = 1.0) -> Pixels:
    """The centred square of an image, resized with antialiasing.

    Torch's bilinear antialiased resize of uint8 differs by at most one grey level from PIL's.

    Args:
        pixels: uint8 of shape ``(H, W, C)``.
        size: side of the result in pixels.
        crop: side of the square over the shorter side of the image, in (0, 1].

    Returns:
        uint8 of shape ``(size, size, C)``, contiguous.

    Raises:
        ConfigError: ``size`` or ``crop`` is out of range.
    """
    from torch import from_numpy
    from torch.nn.functional import interpolate

    check_geometry(size, crop)
    height, width = pixels.shape[:2]
    side = max(1, round(min(height, width) * crop))
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return square.copy()
    image = from_numpy(np.require(square[None], requirements=["C", "W"])).permute(0, 3, 1, 2)
    small = interpolate(image, size=(size, size), mode="bilinear", antialias=True)
    return np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy()[0])


def check_geometry(size: int, crop: float) -> None:
    """Raise ``ConfigError`` unless ``size`` is positive and ``crop`` lies in (0, 1]."""
    if size < 1:
        raise ConfigError(f"size {size}: must be at least 1 pixel")
    if not 0.0 < crop <= 1.0:
        raise ConfigError(f"crop {crop}: must be above 0 and at most 1")


def _plain_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a whole 8-bit grey or RGB JPEG; None for anything else."""
    if data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9"):
        return _jpeg_size(data)
    return None


def _png_size(data: bytes, name: str) -> tuple[int, int] | None:
    """Width and height of an opaque 8-bit grey or RGB PNG of one picture; None for another PNG.

    Raises:
        ImageError: its end is missing, or a checksum does not hold; PIL passes over some of them.
    """
    size, plain, place, view = None, True, len(_PNG), memoryview(data)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            reason = f"damaged or truncated (the checksum of {kind!r} does not hold)"
            raise ImageError(f"image {name}: {reason}")
        plain = plain and kind not in _PNG_NOT_PLAIN
        if kind == b"IHDR" and length == 13:
            *shape, depth, colour = struct.unpack_from(">IIBB", data, place + 8)
            size = (shape[0], shape[1]) if depth == 8 and colour in (0, 2) else None
        if kind == b"IEND":
            return size if plain else None
        place = end + 4
    raise ImageError(f"image {name}: damaged or truncated (the end of the PNG is missing)")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the frame header of a JPEG (ITU T.81, B.2.2) of 1 or 3 components."""
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _JPEG_FRAMES:
            depth, height, width, components = struct.unpack_from(">BHHB", data, place + 4)
            return (width, height) if depth == 8 and components in (1, 3) else None
        if marker in _JPEG_NO_LENGTH:
            place += 1 if marker == 0xFF else 2
        else:
            place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    return None


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"image {name}: {width} by {height} pixels is more than the {MAX_PIXELS} allowed"
        )


def _decode_opencv(data: bytes, name: str) -> Pixels:
    import cv2

    pixels: Any
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        pixels = None
    return _decode_pil(data, name) if pixels is None else pixels


def _decode_pil(data: bytes, name: str) -> Pixels:
    from PIL import Image, ImageOps, UnidentifiedImageError

    if data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ImageError(f"image {name}: truncated, the end of the JPEG is missing")
    try:
        with Image.open(io.BytesIO(data), formats=_PIL_FORMATS) as image:
            _check_size(image.size, name)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), name)
    except UnidentifiedImageError as error:
        kinds = ", ".join(_PIL_FORMATS)
        raise ImageError(
            f"image {name}: not an image, or damaged from the start; allowed: {kinds}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"image {name}: more than the {MAX_PIXELS} pixels allowed") from error
    except ImageError:
        raise
    except Exception as error:  # PIL's plugins raise whatever a broken file makes them raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"image {name}: damaged or truncated ({reason})") from error


def _to_rgb(image: Image, name: str) -> Pixels:
    from PIL import Image as Images

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"image {name}: 32-bit pixels have no set black and white; convert to 8 or 16 bits"
        )
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Images.alpha_composite(Images.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    return np.array(image.convert("RGB"))
