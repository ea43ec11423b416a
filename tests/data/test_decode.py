"""Bytes to pixels, and centred squares."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gzfound.data import decode_image, square_resize
from gzfound.errors import ConfigError, ImageError

Galaxy = Callable[..., np.ndarray]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("options", [{"quality": 70}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_pixels_equal_pil(galaxy: Galaxy, mode: str, options: dict[str, Any]) -> None:
    """PIL and OpenCV both use libjpeg-turbo; builds may differ by one grey level."""
    data = encoded(Image.fromarray(galaxy(0, 61, 83)).convert(mode), "JPEG", **options)
    pixels = decode_image(data, "x")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert pixels.shape == (61, 83, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "PNG", {}),
        ("L", "PNG", {}),
        ("P", "PNG", {}),
        ("1", "PNG", {}),
        ("RGB", "TIFF", {}),
        ("RGB", "BMP", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("CMYK", "TIFF", {}),
        ("CMYK", "JPEG", {}),
    ],
)
def test_other_kinds_equal_pil(
    galaxy: Galaxy, mode: str, kind: str, options: dict[str, Any]
) -> None:
    image = Image.fromarray(galaxy(1)).convert(mode)
    data = encoded(image, kind, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data, "x"), expected)


def test_transparency_lies_over_black() -> None:
    """(200, 100, 50) at half opacity over black is (100, 50, 25) to rounding; opaque is itself."""
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = (200, 100, 50, 128)
    pixels[1] = (200, 100, 50, 255)
    decoded = decode_image(encoded(Image.fromarray(pixels), "PNG"), "x")
    assert np.abs(decoded[0, 0].astype(int) - (100, 50, 25)).max() <= 1
    assert decoded[1, 1].tolist() == [200, 100, 50]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_keep_black_and_white(kind: str) -> None:
    """65535 / 257 = 255, 257 / 257 = 1, 32896 / 257 = 128."""
    grey = np.array([[0, 257], [32896, 65535]], np.uint16)
    decoded = decode_image(encoded(Image.fromarray(grey), kind), "x")
    np.testing.assert_array_equal(decoded[:, :, 0], [[0, 1], [128, 255]])
    assert decoded.shape == (2, 2, 3)


def test_exif_rotation_is_applied(galaxy: Galaxy) -> None:
    """Orientation 6: the stored image is shown a quarter turn clockwise, for JPEG and PNG alike."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(galaxy(2, 40, 64))
    turned = np.rot90(np.asarray(image), -1)
    data = encoded(image, "JPEG", exif=exif, quality=100, subsampling=0)
    decoded = decode_image(data, "x")
    assert decoded.shape == (64, 40, 3)
    assert np.abs(decoded.astype(int) - turned).mean() < 2


def test_bytes_after_the_end_are_harmless(jpeg: Callable[..., bytes]) -> None:
    np.testing.assert_array_equal(
        decode_image(jpeg(0) + b"\0" * 100, "x"), decode_image(jpeg(0), "x")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_claims(width: int, height: int, depth: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b""))
    )


def broken_images(jpeg: bytes, png: bytes) -> dict[str, tuple[bytes, str]]:
    half = len(jpeg) // 2
    return {
        "empty": (b"", "the file is empty"),
        "half a JPEG": (jpeg[:half], "truncated, the end of the JPEG is missing"),
        "JPEG with a zeroed end": (jpeg[:half] + bytes(half), "truncated, the end of the JPEG"),
        "start of a JPEG": (jpeg[:3], "not an image, or damaged from the start"),
        "half a PNG": (png[: len(png) // 2], "damaged or truncated ("),
        "PNG with a wrong byte": (png[:200] + b"\0\1\2" + png[203:], "damaged or truncated ("),
        "a web page": (b"<html>404</html>", "not an image, or damaged from the start"),
        "FITS": (b"SIMPLE  =                    T", "FITS holds fluxes, not pixels"),
        "32-bit floats": (
            encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
            "32-bit pixels have no set black and white; convert to 8 or 16 bits",
        ),
        "bomb": (png_that_claims(50000, 50000, 8), "50000 by 50000 pixels is more than the 67108"),
        "16-bit bomb": (png_that_claims(50000, 50000, 16), "more than the 67108864 pixels allowed"),
    }


def test_broken_images_name_the_file(jpeg: Callable[..., bytes], galaxy: Galaxy) -> None:
    cases = broken_images(jpeg(0), encoded(Image.fromarray(galaxy(0)), "PNG"))
    assert len(cases) == 11
    for case, (data, message) in cases.items():
        with pytest.raises(ImageError) as caught:
            decode_image(data, "deep/g3.jpg")
        assert str(caught.value).startswith(f"image deep/g3.jpg: {message}"), case
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [32, 57, 100, 150])
@pytest.mark.parametrize("crop", [1.0, 0.7])
def test_resize_is_antialiased_like_pil(galaxy: Galaxy, size: int, crop: float) -> None:
    """Against PIL's bilinear filter, whose support grows with the reduction: 1 grey level."""
    pixels = galaxy(3, 120, 120)
    side = round(120 * crop)
    low = (120 - side) // 2
    square = Image.fromarray(pixels[low : low + side, low : low + side])
    expected = np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))
    found = square_resize(pixels, size, crop)
    assert found.shape == (size, size, 3)
    assert found.flags["C_CONTIGUOUS"]
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_stripes_finer_than_a_pixel_average_out() -> None:
    """Alternating 0 and 200 reduced fourfold must give 100; without antialiasing 0 or 200."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, ::2] = 200
    small = square_resize(pixels, 16)
    assert np.abs(small[2:-2, 2:-2].astype(int) - 100).max() <= 5


def test_centre_square_of_an_oblong() -> None:
    """The middle 40 columns of 100 are white: a square of side 40 sees only them."""
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = 255
    assert square_resize(pixels, 20).min() == 255
    assert square_resize(pixels.transpose(1, 0, 2), 20).min() == 255
    assert square_resize(np.pad(pixels, ((0, 0), (1, 1), (0, 0))), 40).min() == 255


def test_resize_leaves_its_input_alone(galaxy: Galaxy) -> None:
    pixels = galaxy(4)
    before = pixels.copy()
    for size in (60, 30):
        square_resize(pixels, size)[:] = 0
    np.testing.assert_array_equal(pixels, before)
    pixels.flags.writeable = False
    assert square_resize(pixels[::-1], 30).shape == (30, 30, 3)


@pytest.mark.parametrize(("size", "crop"), [(0, 1.0), (10, 0.0), (10, 1.5), (10, float("nan"))])
def test_geometry_is_checked(size: int, crop: float) -> None:
    with pytest.raises(ConfigError):
        square_resize(np.zeros((4, 4, 3), np.uint8), size, crop)


def test_real_jpegs_equal_pil(real_data: Path) -> None:
    paths = sorted((real_data / "hst_goods" / "images").iterdir())[::14]
    paths += sorted((real_data / "gz_examples" / "images").iterdir())[::30]
    assert len(paths) > 20
    for path in paths:
        data = path.read_bytes()
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        found = decode_image(data, path.name)
        assert np.abs(found.astype(int) - expected).max() <= 1
        side = min(expected.shape[:2])
        if expected.shape[0] == expected.shape[1]:
            small = np.asarray(Image.fromarray(found).resize((96, 96), Image.Resampling.BILINEAR))
            difference = square_resize(found, 96).astype(float) - small
            assert np.sqrt((difference**2).mean()) < 0.5, side


def test_real_fits_are_refused(real_data: Path) -> None:
    path = next(path for path in (real_data / "fits").rglob("*.fits"))
    with pytest.raises(ImageError, match="FITS holds fluxes, not pixels"):
        decode_image(path.read_bytes(), path.name)
