"""FITS files to arrays of flux: which HDU, which bands, in what unit.

Needs astropy (``pip install 'gzfound[fits]'``).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.data.astro import conversion, load_astropy
from gzfound.data.fits_config import FitsConfig
from gzfound.errors import ConfigError, GzfoundError, ImageError

Flux = npt.NDArray[np.float32]

MOST_NUMBERS = 2**28
"""Numbers in one HDU (1 GiB as floats) above which a cutout is taken for a mistake."""

_START = b"SIMPLE  ="
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class FitsFile:
    """One of the files of a galaxy.

    Attributes:
        data: its bytes.
        name: what to call it in an error, such as its path.
        band: the band that it holds, where it is one of several.
        hdu: the HDU that the galaxy's row names, in place of that of the configuration.
    """

    data: bytes
    name: str
    band: str = ""
    hdu: str = ""


def is_fits(data: bytes) -> bool:
    """Whether the bytes begin as FITS does, plain or inside gzip."""
    if not data.startswith(_GZIP):
        return data.startswith(_START)
    try:
        return zlib.decompressobj(31).decompress(data[:4096], len(_START)) == _START
    except zlib.error:
        return False


def read_fits(files: Sequence[FitsFile], config: FitsConfig) -> Flux:
    """The fluxes of a galaxy.

    Args:
        files: one, of any number of bands, or several of one band each.
        config: what to read of them.

    Returns:
        float32 ``(H, W, bands)``; NaN where there is no measurement, infinities included.

    Raises:
        ImageError: a file is damaged, has no such HDU, band or unit, or no finite pixel.
        GzfoundError: astropy is not installed.
    """
    planes: list[tuple[str, Flux]] = []
    for file in files:
        found = _planes(file, config)
        if file.band and len(found) > 1:
            raise ImageError(
                f"image {file.name}: {len(found)} bands where one, {file.band}, is expected"
            )
        planes += [(file.band or name, plane) for name, plane in found]
    name = files[0].name
    chosen = [planes[place][1] for place in _places([n for n, _ in planes], config.bands, name)]
    shapes = list(dict.fromkeys(plane.shape for plane in chosen))
    if len(shapes) > 1:
        sizes = " and ".join(f"{width} by {height}" for height, width in shapes[:2])
        raise ImageError(f"image {name}: its bands differ in size, {sizes} pixels")
    flux = np.stack(chosen)
    if config.scale:
        if len(config.scale) != len(chosen):
            raise ImageError(
                f"image {name}: {len(chosen)} bands, where fits.scale has {len(config.scale)} "
                "factors"
            )
        flux *= np.array(config.scale, dtype=np.float32)[:, None, None]
    finite = np.isfinite(flux)
    if not finite.any():
        raise ImageError(f"image {name}: no pixel is finite")
    if not finite.all():
        flux[~finite] = np.nan
    return np.moveaxis(flux, 0, 2)


def _places(names: list[str], wanted: tuple[str, ...], file: str) -> list[int]:
    """Where the bands asked for are; a name wins over a number."""
    if not wanted:
        return list(range(len(names)))
    places = []
    for band in wanted:
        if band in names:
            places.append(names.index(band))
        elif band.isdecimal() and int(band) < len(names):
            places.append(int(band))
        else:
            listed = ", ".join(names[:12])
            raise ImageError(f"image {file}: no band {band!r}; it has {listed}")
    return places


def _planes(file: FitsFile, config: FitsConfig) -> list[tuple[str, Flux]]:
    """The named planes of the chosen HDUs of a file."""
    fits = load_astropy().io.fits
    data = _unzipped(file)
    try:
        with fits.open(io.BytesIO(data), memmap=False) as hdus:
            chosen = choose_hdus(hdus, (file.hdu,) if file.hdu else config.hdu, file.name)
            return [
                item
                for hdu in chosen
                for item in _planes_of(hdu, len(data), file.name, config.unit, len(chosen) > 1)
            ]
    except GzfoundError:
        raise
    except Exception as error:  # astropy raises whatever a broken file makes it raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"image {file.name}: damaged or truncated FITS ({reason})") from error


def choose_hdus(hdus: Any, wanted: Sequence[str], name: str) -> list[Any]:
    """The HDUs asked for by name or number, or the only one that holds an image.

    Args:
        hdus: of ``astropy.io.fits.open``.
        wanted: names or numbers, or empty.
        name: of the file, for errors.

    Raises:
        ImageError: there is no such HDU, it holds no image, or several hold one and none is chosen.
    """
    labels = {number: hdu.name or str(number) for number, hdu in enumerate(hdus)}
    images = [n for n, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape) >= 2]
    listed = ", ".join(f"{n} {labels[n]}" if labels[n] != str(n) else str(n) for n in images)
    if not wanted:
        if len(images) == 1:
            return [hdus[images[0]]]
        found = f"{len(images)} HDUs hold images ({listed}); choose with fits.hdu"
        raise ImageError(f"image {name}: {found if images else 'no HDU holds an image'}")
    chosen = []
    for which in wanted:
        named = [n for n, label in labels.items() if label.upper() == which.upper()]
        number = named[0] if named else int(which) if which.isdecimal() else -1
        if number not in images:
            raise ImageError(
                f"image {name}: no HDU {which!r} with an image; there are {listed or 'none'}"
            )
        chosen.append(hdus[number])
    return chosen


def _planes_of(hdu: Any, size: int, name: str, unit: str, several: bool) -> list[tuple[str, Flux]]:
    """The planes of an HDU, named after its header, or after the HDU where there are several."""
    count = int(np.prod(hdu.shape, dtype=np.float64))
    if not 0 < count <= MOST_NUMBERS:
        raise ImageError(f"image {name}: {count} numbers; allowed: 1 to {MOST_NUMBERS}")
    place = hdu.fileinfo()
    tiles = type(hdu).__name__ == "CompImageHDU"  # whose size is that of the image inside
    if place and place["datLoc"] + (place["datSpan"] if tiles else hdu.size) > size:
        raise ImageError(f"image {name}: truncated, {size} bytes are not the whole file")
    values = np.asarray(hdu.data, dtype=np.float32)
    while values.ndim > 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim > 3:
        raise ImageError(f"image {name}: {values.ndim} axes; allowed: 2, or 3 with the bands first")
    cube = values[None] if values.ndim == 2 else values
    if unit:
        cube = cube * np.float32(_factor(hdu.header.get("BUNIT"), unit, name))
    names = band_names(hdu.header, len(cube))
    if several:
        label = hdu.name or "PRIMARY"
        names = [label] if len(cube) == 1 else [f"{label}-{band}" for band in names]
    return list(zip(names, cube, strict=True))


def band_names(header: Any, count: int) -> list[str]:
    """The names of the planes of a cube: ``BAND0``, ... as the Legacy Surveys write, or numbers."""
    names = [str(header.get(f"BAND{plane}", plane)).strip() for plane in range(count)]
    return names if len(set(names)) == count else [str(plane) for plane in range(count)]


def _unzipped(file: FitsFile) -> bytes:
    if not file.data.startswith(_GZIP):
        return file.data
    inflate = zlib.decompressobj(31)
    try:
        data = inflate.decompress(file.data, 4 * MOST_NUMBERS)
    except zlib.error as error:
        raise ImageError(f"image {file.name}: damaged gzip ({error})") from error
    if not inflate.eof:
        raise ImageError(f"image {file.name}: truncated, or more than {4 * MOST_NUMBERS} bytes")
    return data


def _factor(held: Any, wanted: str, name: str) -> float:
    """What turns the unit of a file into the one asked for."""
    if not held:
        raise ImageError(f"image {name}: no BUNIT in its header, so it is not known to be {wanted}")
    try:
        return conversion(str(held), wanted)
    except ConfigError as error:
        raise ImageError(f"image {name}: BUNIT: {error}") from error
