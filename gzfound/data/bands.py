"""The bands that an encoder takes, from image files of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gzfound.data.decode import Pixels, decode_image
from gzfound.data.fits import FitsFile, is_fits, read_fits
from gzfound.data.fits_config import FitsConfig
from gzfound.data.stretch import KINDS
from gzfound.errors import ImageError


@dataclass(frozen=True)
class Bands:
    """What becomes of the bands of an image.

    Attributes:
        channels: of the encoder.
        fits: which bands of FITS these are, and how their fluxes become pixels.
    """

    channels: int = 3
    fits: FitsConfig = field(default_factory=FitsConfig)


RGB = Bands()


def decode_bands(files: Sequence[FitsFile], bands: Bands = RGB) -> Pixels:
    """Decode the file or files of a galaxy.

    A single band is repeated for an encoder of three; colours become grey for an encoder of one.

    Args:
        files: one image file of any kind, or one FITS file a band.
        bands: what to make of them.

    Returns:
        uint8 ``(H, W, channels)``.

    Raises:
        ImageError: a file cannot be read, or its bands are not as many as the channels.
    """
    name = files[0].name
    kinds = [is_fits(file.data) for file in files]
    if not any(kinds) and len(files) == 1:
        pixels = decode_image(files[0].data, name)
        return _with_channels(
            _grey(pixels) if bands.channels == 1 else pixels, bands.channels, name
        )
    if not all(kinds):
        other = files[kinds.index(False)].name
        raise ImageError(f"image {other}: no FITS; several files to one galaxy must all be FITS")
    if bands.fits.stretch.kind == "none":
        raise ImageError(
            f"image {name}: FITS holds fluxes, and these weights name no stretch for them; "
            f"choose fits.stretch.kind: {KINDS}"
        )
    return _with_channels(bands.fits.stretch(read_fits(files, bands.fits)), bands.channels, name)


def _with_channels(pixels: Pixels, channels: int, name: str) -> Pixels:
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if found == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    raise ImageError(
        f"image {name}: {found} bands where the encoder takes {channels}; choose {channels} with "
        "fits.bands, or train an encoder with in_chans"
    )


def _grey(pixels: Pixels) -> Pixels:
    import cv2

    grey: Pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return grey[..., None]
