"""JPEG files to centred squares on a device, decoded by the GPU's own JPEG engine where it has one.

torchvision hands a batch of plain JPEGs to nvJPEG; whatever else comes (PNG, EXIF rotation, RGB
stored as such, CMYK, damage) is decoded on the CPU, one by one, and joins the others before the
resize, so every error is the one line that :func:`decode_image` has for it.

nvJPEG does not interpolate the colours of subsampled JPEGs as libjpeg does, so pixels beside sharp
colour edges differ between the two routes; on the CPU both routes decode with libjpeg.
"""

from __future__ import annotations

import io
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gzfound.data.decode import MAX_PIXELS, _plain_size, check_geometry, decode_image
from gzfound.errors import ImageError

_RESIZED_AT_ONCE = 2**26
"""Pixels that are resized in one go: as float32 RGB they take 768 MiB."""

_streams = threading.local()


@dataclass(frozen=True)
class DeviceBatch:
    """The images of a batch that could be read.

    Attributes:
        images: uint8 ``(k, size, size, 3)`` on the device, contiguous.
        places: which of the files each is, ascending.
        errors: what is wrong with each of the others, by place.
    """

    images: Tensor
    places: list[int]
    errors: dict[int, ImageError]


def decode_on(
    device: torch.device, files: Sequence[bytes], names: Sequence[str], size: int, crop: float = 1.0
) -> DeviceBatch:
    """Decode image files and resize their centred squares, with antialiasing, on a device.

    May be called from several threads; each has a CUDA stream of its own, which is idle again on
    return, so the images can be used on the stream that was current at the call.

    Args:
        device: where the images go.
        files: the bytes of each file.
        names: what to call each in an error.
        size: side of the squares in pixels.
        crop: side of the square over the shorter side of the image, in (0, 1].

    Raises:
        ConfigError: ``size`` or ``crop`` is out of range.
    """
    check_geometry(size, crop)
    with _own_stream(device) as caller:
        pixels, errors = _decode(files, names, device)
        squares = _squares([pixels[place] for place in sorted(pixels)], size, crop, device)
        if caller is not None:
            squares.record_stream(caller)
    return DeviceBatch(squares, sorted(pixels), errors)


@lru_cache(maxsize=8)
def decodes_on(device: torch.device) -> bool:
    """Whether torchvision decodes JPEG on this device; where not, the CPU does it."""
    if device.type == "cpu":
        return True
    import cv2

    _, sample = cv2.imencode(".jpg", np.full((16, 16, 3), 128, np.uint8))
    try:
        return _torchvision([sample.tobytes()], device)[0] is not None
    except (ImportError, AttributeError):  # torchvision means to leave JPEG to torchcodec
        return False


@contextmanager
def _own_stream(device: torch.device) -> Iterator[torch.cuda.Stream | None]:
    """Work on this thread's CUDA stream, finished at the end; gives the stream of the caller.

    torchvision allocates decoded images on the current stream but writes them on another, without
    waiting (pytorch/vision#9606): on the caller's stream it may overwrite memory that queued work
    still reads. This thread's stream has nothing queued when decoding starts.
    """
    if device.type != "cuda":
        yield None
        return
    held: dict[torch.device, torch.cuda.Stream] = _streams.__dict__.setdefault("held", {})
    if device not in held:
        held[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # of torch
    stream = held[device]
    caller = torch.cuda.current_stream(device)
    try:
        with torch.cuda.stream(stream):
            yield caller
    finally:
        stream.synchronize()


def _decode(
    files: Sequence[bytes], names: Sequence[str], device: torch.device
) -> tuple[dict[int, Tensor], dict[int, ImageError]]:
    """RGB images ``(3, H, W)`` on the device by place, and what is wrong with the others."""
    ready = (
        [n for n, data in enumerate(files) if _is_plain_jpeg(data)] if decodes_on(device) else []
    )
    there = _torchvision([files[place] for place in ready], device)
    pixels = {place: image for place, image in zip(ready, there, strict=True) if image is not None}
    errors: dict[int, ImageError] = {}
    for place in range(len(files)):
        if place in pixels:
            continue
        try:
            image = torch.from_numpy(decode_image(files[place], names[place]))
        except ImageError as error:
            errors[place] = error
        else:
            pixels[place] = image.to(device).permute(2, 0, 1)
    return pixels, errors


def _torchvision(files: list[bytes], device: torch.device) -> list[Tensor | None]:
    """Decode in one call; around a file that fails, in halves, which leaves None in its place."""
    from torchvision.io import ImageReadMode, decode_jpeg

    if not files:
        return []
    data = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    try:
        found: list[Tensor | None] = decode_jpeg(data, mode=ImageReadMode.RGB, device=device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        if len(files) == 1:
            return [None]
        half = len(files) // 2
        return _torchvision(files[:half], device) + _torchvision(files[half:], device)
    return found


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether it is a whole, upright 8-bit JPEG of moderate size, grey or stored as YCbCr."""
    size = _plain_size(data) if data.startswith(b"\xff\xd8") else None
    if size is None or size[0] * size[1] > MAX_PIXELS:
        return False
    adobe = data.find(b"Adobe")
    if adobe >= 0 and data[adobe + 11 : adobe + 12] != b"\1":
        return False  # 0: RGB as such, which nvJPEG would take for YCbCr
    return b"Exif\0\0" not in data or _orientation(data) == 1


def _orientation(data: bytes) -> int:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(0x0112, 1))
    except Exception:  # PIL's plugins raise whatever a broken file makes them raise
        return 0


def _squares(pixels: list[Tensor], size: int, crop: float, device: torch.device) -> Tensor:
    """Centred squares ``(k, size, size, 3)`` of images ``(3, H, W)``, same shapes together."""
    squares = torch.empty((len(pixels), size, size, 3), dtype=torch.uint8, device=device)
    alike: dict[torch.Size, list[int]] = defaultdict(list)
    for place, image in enumerate(pixels):
        alike[image.shape].append(place)
    for (_, height, width), places in alike.items():
        side = max(1, round(min(height, width) * crop))
        top, left = (height - side) // 2, (width - side) // 2
        together = max(1, _RESIZED_AT_ONCE // side**2)
        for start in range(0, len(places), together):
            some = places[start : start + together]
            part = torch.stack([pixels[n][:, top : top + side, left : left + side] for n in some])
            if side != size:
                small = interpolate(
                    part.float(), size=(size, size), mode="bilinear", antialias=True
                )
                part = small.round_().to(torch.uint8)
            squares[torch.tensor(some, device=device)] = part.permute(0, 2, 3, 1)
    return squares
