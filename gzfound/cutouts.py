"""Cutouts of a mosaic, at the positions of a catalogue or of what is detected, through its WCS.

OUT/<id_str>.fits    the cutout, a plane a band, with its WCS and where it comes from
OUT/cutouts.csv      file, x, y and blank beside id_str, ra, dec and the rest of the catalogue
OUT/left_out.jsonl   the positions without a cutout, and why, if there are any
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import csv

from gzfound import __version__
from gzfound.data.astro import load_astropy
from gzfound.data.mosaic import Mosaic, detect, read_mosaic, read_positions
from gzfound.data.skipped import BadInput
from gzfound.data.table import BAND_PREFIX, HDU_COLUMN
from gzfound.errors import ConfigError, DataError
from gzfound.files import atomic_directory

if TYPE_CHECKING:
    from astropy.nddata import Cutout2D

Edges = Literal["fill", "skip"]
Unit = Literal["pixels", "arcsec"]


@dataclass(frozen=True)
class CutoutConfig:
    """How cutouts are made.

    Attributes:
        size: side of a cutout.
        unit: of the size, pixels or arcsec.
        edges: fill what of a cutout lies beyond the mosaic with NaN, or skip such positions.
        hdu: name or number of the HDU of the mosaic; by default the only one with an image.
        threshold: of a detection, in standard deviations of the background.
        min_pixels: connected pixels above it that make a detection.
    """

    size: float = 64.0
    unit: Unit = "pixels"
    edges: Edges = "fill"
    hdu: str = ""
    threshold: float = 3.0
    min_pixels: int = 9

    def __post_init__(self) -> None:
        for name in ("size", "threshold"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: {getattr(self, name)} must be above 0")
        if self.unit not in ("pixels", "arcsec"):
            raise ConfigError(f"unit: {self.unit!r}; allowed: pixels, arcsec")
        if self.edges not in ("fill", "skip"):
            raise ConfigError(f"edges: {self.edges!r}; allowed: fill, skip")
        if self.min_pixels < 1:
            raise ConfigError(f"min_pixels: {self.min_pixels} must be at least 1")

    def side(self, mosaic: Mosaic) -> int:
        """Pixels of a cutout of this mosaic.

        Raises:
            ConfigError: there would be none.
        """
        pixels = self.size if self.unit == "pixels" else self.size / mosaic.arcseconds
        if pixels < 1 or (self.unit == "pixels" and pixels != round(pixels)):
            raise ConfigError(f"size: {self.size} {self.unit}; allowed: whole pixels, at least 1")
        return round(pixels)


def make_cutouts(
    image: str | Path,
    output: str | Path,
    *,
    catalogue: str | Path | None = None,
    config: CutoutConfig | None = None,
) -> tuple[int, int]:
    """Cut objects out of a mosaic.

    Args:
        image: FITS file with a celestial WCS, of one plane or of one a band.
        output: folder to write; it must not exist yet.
        catalogue: CSV, Parquet or FITS table with ``ra`` and ``dec`` in degrees (ICRS), perhaps
            ``id_str`` or ``id``, and columns to keep; without it, objects are detected.
        config: size, edges and detection.

    Returns:
        How many cutouts were written, and how many positions were left out.

    Raises:
        DataError: mosaic or catalogue cannot be used, or no position is on the mosaic.
        ConfigError: ``output`` is in use, or the size is none.
        GzfoundError: astropy, or sep for detection, is not installed.
    """
    config = CutoutConfig() if config is None else config
    if Path(output).exists():
        raise ConfigError(f"output: {output} is in use; name a new folder")
    mosaic = read_mosaic(image, config.hdu)
    side = config.side(mosaic)
    if catalogue is None:
        positions = detect(mosaic, config.threshold, config.min_pixels)
    else:
        positions = read_positions(catalogue)
    with atomic_directory(output) as folder:
        bad = BadInput("skip", folder / "left_out.jsonl")
        rows, files, x, y, blank = [], [], [], [], []
        for row, cutout, planes in _cut(mosaic, positions, side, config.edges, bad):
            name = str(positions["id_str"][row])
            files.append(re.sub(r"[^\w.+-]", "_", name) + ".fits")
            if (folder / files[-1]).exists():
                raise DataError(f"{catalogue}: id_str '{name}' gives {files[-1]}, as another does")
            rows.append(row)
            x.append(float(cutout.input_position_original[0]))
            y.append(float(cutout.input_position_original[1]))
            blank.append(float(np.mean(~np.isfinite(planes))))
            position = (float(positions[c][row].as_py()) for c in ("ra", "dec"))
            header = _header(mosaic, cutout, name, *position)
            load_astropy().io.fits.writeto(folder / files[-1], planes, header)
        if not rows:
            raise DataError(f"{catalogue or 'detect'}: none of {len(positions)} is on {image}")
        kept = positions.take(rows)
        others = {c: kept[c] for c in kept.column_names if _is_kept(c, kept[c].type)}
        table = {"file": files, "x": x, "y": y, "blank": blank, **others}
        csv.write_csv(pa.table(table), folder / "cutouts.csv")
    return len(rows), len(positions) - len(rows)


def _is_kept(name: str, kind: pa.DataType) -> bool:
    """Whether a column of a catalogue means nothing in the table of cutouts."""
    taken = name in ("file", "x", "y", "blank") or name.startswith((HDU_COLUMN, BAND_PREFIX))
    return not taken and not pa.types.is_nested(kind)


def _header(mosaic: Mosaic, cutout: Cutout2D, name: str, ra: float, dec: float) -> Any:
    """The WCS of a cutout, and where it comes from."""
    header = cutout.wcs.to_header(relax=True)
    x, y = cutout.input_position_original
    cards = {
        "OBJECT": (name, "id_str"),
        "OBJ_RA": (ra, "[deg] position asked for, ICRS"),
        "OBJ_DEC": (dec, "[deg] position asked for, ICRS"),
        "SRCFILE": (mosaic.path.name, "mosaic it was cut from"),
        "SRCHDU": (mosaic.hdu, "HDU of the mosaic, from 0"),
        "SRC_X": (x + 1, "position on the mosaic, pixels from 1"),
        "SRC_Y": (y + 1, "position on the mosaic, pixels from 1"),
        "CREATOR": (f"gzfound {__version__}", "gzfound cutouts"),
        "SRCSHA": (mosaic.checksum, ""),
    }
    cards |= {f"BAND{n}": (band, "") for n, band in enumerate(mosaic.bands)}
    if mosaic.unit:
        cards["BUNIT"] = (mosaic.unit, "")
    header.update(cards)
    return header


def _cut(
    mosaic: Mosaic, positions: pa.Table, side: int, edges: Edges, bad: BadInput
) -> Iterator[tuple[int, Cutout2D, Any]]:
    """Row, cutout of the first plane, and planes ``(bands, side, side)`` of each there is."""
    from astropy.nddata import Cutout2D
    from astropy.nddata.utils import NoOverlapError

    x, y = mosaic.places(positions["ra"].to_numpy(), positions["dec"].to_numpy())
    for row, place in enumerate(zip(x, y, strict=True)):
        where = f"ra {positions['ra'][row]}, dec {positions['dec'][row]}"
        if not np.isfinite(place).all():
            reason = f"{where}: no position on the sky that the mosaic's projection shows"
        else:
            try:
                cut = [
                    Cutout2D(
                        plane, place, side, mosaic.wcs, mode="partial", fill_value=np.nan, copy=True
                    )
                    for plane in mosaic.planes
                ]
            except NoOverlapError:
                reason = f"{where}: outside the mosaic"
            else:
                planes = np.stack([part.data for part in cut])
                beyond = any(high - low + 1 < side for low, high in cut[0].bbox_original)
                if not np.isfinite(planes).any():
                    reason = f"{where}: the mosaic is blank there"
                elif edges == "skip" and beyond:
                    reason = f"{where}: the cutout reaches beyond the mosaic"
                else:
                    yield row, cut[0], planes
                    continue
        bad.meet(str(positions["id_str"][row]), DataError(reason))
