"""Mosaics of the sky with their WCS, and positions on them: of a catalogue, or detected."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gzfound.data.astro import load_astropy
from gzfound.data.fits import band_names, choose_hdus
from gzfound.data.table import FITS_ENDINGS, as_text, read_columns, shorten
from gzfound.errors import DataError, GzfoundError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

Numbers = npt.NDArray[np.float64]

_RETURNS = 0.1
"""Pixels by which a position may miss itself on its way to the mosaic and back to the sky."""


@dataclass(frozen=True)
class Mosaic:
    """An image of the sky.

    Attributes:
        path: of its file.
        checksum: SHA-256 of the file, hexadecimal.
        hdu: the number of the HDU.
        planes: floats ``(bands, H, W)``.
        bands: their names.
        wcs: of each plane.
        unit: BUNIT of the HDU, perhaps empty.
    """

    path: Path
    checksum: str
    hdu: int
    planes: npt.NDArray[Any]
    bands: list[str]
    wcs: WCS
    unit: str

    @property
    def arcseconds(self) -> float:
        """Side of a pixel where the projection is true to scale."""
        from astropy.wcs.utils import proj_plane_pixel_scales

        return float(np.mean(proj_plane_pixel_scales(self.wcs))) * 3600.0

    def places(self, ra: Numbers, dec: Numbers) -> tuple[Numbers, Numbers]:
        """Pixels, from 0 at the centre of the first, of ICRS positions in degrees.

        NaN for positions that are none, or that the projection cannot show, such as those on the
        other side of the sky.
        """
        x, y = (np.full(len(ra), np.nan) for _ in "xy")
        known = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
        if known.any():
            sky = _sky(ra[known], dec[known])
            across, up = (np.asarray(v, dtype=float) for v in self.wcs.world_to_pixel(sky))
            missed = self.wcs.pixel_to_world(across, up).separation(sky).arcsec / self.arcseconds
            back = missed < _RETURNS
            x[known] = np.where(back, across, np.nan)
            y[known] = np.where(back, up, np.nan)
        return x, y


def read_mosaic(path: str | Path, hdu: str = "") -> Mosaic:
    """Open a FITS image of the sky; its pixels are mapped into memory where they can be.

    Args:
        path: of the file.
        hdu: name or number of the HDU; by default the only one with an image.

    Raises:
        DataError: the file cannot be read, or the image has no celestial WCS.
        GzfoundError: astropy is not installed.
    """
    fits = load_astropy().io.fits
    from astropy.wcs import WCS

    place = Path(path)
    try:
        with fits.open(place, memmap=True) as hdus, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy mends old headers, and tells of it at length
            (chosen,) = choose_hdus(hdus, (hdu,) if hdu else (), str(path))
            number, header, data = hdus.index(chosen), chosen.header, chosen.data
            wcs = WCS(header, naxis=2)
    except GzfoundError:
        raise
    except Exception as error:  # astropy raises whatever a broken file makes it raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"mosaic {path}: cannot be read ({reason})") from error
    if not wcs.has_celestial:
        raise DataError(f"mosaic {path}: HDU {number} has no celestial WCS (CTYPE1, CRVAL1, ...)")
    if data.ndim not in (2, 3):
        raise DataError(f"mosaic {path}: {data.ndim} axes; allowed: 2, or 3 with the bands first")
    planes = data.reshape(-1, *data.shape[-2:])
    return Mosaic(
        path=place,
        checksum=_checksum(place),
        hdu=number,
        planes=planes if planes.dtype.kind == "f" else planes.astype(np.float32),
        bands=band_names(header, len(planes)),
        wcs=wcs,
        unit=str(header.get("BUNIT", "")),
    )


def read_positions(path: str | Path) -> pa.Table:
    """A catalogue with ``id_str``, ``ra`` and ``dec`` first, then its other columns.

    Args:
        path: CSV, Parquet or FITS table with ``ra`` and ``dec`` in degrees; names come from
            ``id_str`` or ``id``, else from the rows.

    Raises:
        DataError: it cannot be read, lacks a position, or repeats a name.
    """
    place = Path(path)
    table = _fits_table(place) if place.name.lower().endswith(FITS_ENDINGS) else read_columns(place)
    names = {name.lower(): name for name in reversed(table.column_names)}
    columns: dict[str, Any] = {}
    for name in ("ra", "dec"):
        if name not in names:
            found = shorten(table.column_names)
            raise DataError(f"{path}: column '{name}' is missing; found {found}")
        try:
            columns[name] = table.column(names[name]).cast(pa.float64()).fill_null(np.nan)
        except pa.ArrowException as error:
            kind = table.column(names[name]).type
            raise DataError(
                f"{path}: column '{name}' must hold degrees; it holds {kind}"
            ) from error
    key = next((name for name in ("id_str", "id") if name in table.column_names), None)
    ids = [f"{place.name.split('.')[0]}-{row:06d}" for row in range(len(table))]
    if key is not None:
        ids = as_text(table, key, place).column(key).to_pylist()
    if len(set(ids)) < len(ids):
        repeated = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"{path}: {key} '{repeated}' is repeated")
    used = {"id_str", names["ra"], names["dec"]}
    others = {name: table.column(name) for name in table.column_names if name not in used}
    return pa.table({"id_str": pa.array(ids, pa.string()), **columns, **others})


def detect(mosaic: Mosaic, threshold: float, min_pixels: int) -> pa.Table:
    """Objects on the mean of the bands, brightest first, by SExtractor's algorithm (``sep``).

    Args:
        mosaic: to look at; pixels that are not finite are masked.
        threshold: standard deviations of the background, pixel by pixel.
        min_pixels: connected pixels above it.

    Returns:
        ``id_str``, ``ra``, ``dec``, and ``flux``, the sum over the bands' mean.

    Raises:
        DataError: sep cannot take the image.
        GzfoundError: sep is not installed.
    """
    try:
        import sep
    except ImportError as error:
        raise GzfoundError(
            "detection needs sep, which is not installed: pip install 'gzfound[fits]'"
        ) from error
    image: npt.NDArray[np.float32] = np.asarray(mosaic.planes.mean(axis=0), dtype=np.float32)
    mask = ~np.isfinite(image)
    image[mask] = 0.0
    try:
        sep.set_extract_pixstack(max(300_000, image.size // 4))
        background = sep.Background(image, mask=mask)
        objects = sep.extract(
            image - background,
            threshold,
            err=background.globalrms,
            mask=mask,
            minarea=min_pixels,
        )
    except Exception as error:  # sep raises plain exceptions
        raise DataError(f"mosaic {mosaic.path}: nothing can be detected ({error})") from error
    objects = objects[np.argsort(-objects["flux"], kind="stable")]
    sky = mosaic.wcs.pixel_to_world(objects["x"], objects["y"]).icrs
    stem = mosaic.path.name.split(".")[0]
    return pa.table(
        {
            "id_str": pa.array([f"{stem}-{row:06d}" for row in range(len(objects))], pa.string()),
            "ra": np.asarray(sky.ra.deg, dtype=np.float64).reshape(-1),
            "dec": np.asarray(sky.dec.deg, dtype=np.float64).reshape(-1),
            "flux": np.asarray(objects["flux"], dtype=np.float64),
        }
    )


def _sky(ra: Numbers, dec: Numbers) -> SkyCoord:
    from astropy.coordinates import SkyCoord

    return SkyCoord(ra, dec, unit="deg")


def _fits_table(path: Path) -> pa.Table:
    load_astropy()
    from astropy.table import Table

    try:
        return pa.Table.from_pandas(Table.read(path).to_pandas(), preserve_index=False)
    except Exception as error:  # astropy raises whatever a broken file makes it raise
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as a table ({reason})") from error


def _checksum(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()
