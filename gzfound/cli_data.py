"""The commands that make data: simulated, from released tables, from mosaics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from gzfound.errors import ConfigError
from gzfound.terminal import progress, say

REFUSED = 3
"""Exit status of a build that left something out."""


def simulate(
    output: Annotated[Path, tyro.conf.Positional],
    galaxies: int = 3000,
    image_size: int = 128,
    seed: int = 0,
    campaign: str = "gz_hubble",
    population: str | None = None,
) -> None:
    """Write simulated galaxies with simulated volunteers, in the layout of the Hugging Face hub.

    Args:
        output: directory to write; it must not exist yet.
        galaxies: number of galaxies; a fifth of them are the test split.
        image_size: side of the images in pixels.
        seed: of every random draw.
        campaign: whose telescope and decision tree to imitate.
        population: campaign whose galaxies to look at, if not its own.
    """
    from gzfound.simulation import simulate_dataset

    with progress("simulating") as (bar, task):
        bar.update(task, total=galaxies)
        simulate_dataset(
            output,
            galaxies=galaxies,
            image_size=image_size,
            seed=seed,
            campaign=campaign,
            population=population,
            progress=lambda done: bar.advance(task, done),
        )
    say(f"{galaxies} galaxies: {output}")


def build(
    table: Annotated[Path, tyro.conf.Positional],
    campaign: str,
    output: Path,
    images: Annotated[Path | None, tyro.conf.Positional] = None,
    id_column: str | None = None,
    votes: bool = True,
    excess: int = 0,
    licence: str | None = None,
) -> None:
    """Turn a released table and a folder of images into a dataset in the layout of the hub.

    The status is 0 if every row was taken, 3 if some were refused; they are listed beside the
    output.

    Args:
        table: CSV or Parquet with a row a galaxy.
        campaign: whose votes they are, such as gz2 (gzfound trees lists them).
        output: directory to write; it must not exist yet.
        images: folder of their images; without it the dataset holds the votes alone.
        id_column: column that names the galaxies; by default one of the usual names.
        votes: whether the table has any; without, its other columns alone are kept.
        excess: votes by which a question may outnumber the answers that lead to it.
        licence: as the hub names it; by default that of Galaxy Zoo.
    """
    from gzfound.data.build import build_dataset
    from gzfound.data.card import GALAXY_ZOO_LICENCE

    with progress("building") as (bar, task):
        report = build_dataset(
            table,
            images,
            campaign=campaign,
            output=output,
            id_column=id_column,
            votes=votes,
            excess=excess,
            licence=licence or GALAXY_ZOO_LICENCE,
            progress=lambda done, rows: bar.update(task, completed=done, total=rows),
        )
    say(f"{report}")
    if report.reasons:
        raise SystemExit(REFUSED)


def cutouts(
    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")],
    output: Path = Path("cutouts"),
    catalogue: Path | None = None,
    detect: bool = False,
    size: float = 64.0,
    unit: Literal["pixels", "arcsec"] = "pixels",
    edges: Literal["fill", "skip"] = "fill",
    hdu: str = "",
    threshold: float = 3.0,
    min_pixels: int = 9,
) -> None:
    """Cut galaxies out of a FITS mosaic with a WCS, at positions of a catalogue or detected ones.

    Args:
        image: FITS file of one plane, or of one a band.
        output: folder to write; it must not exist yet.
        catalogue: CSV, Parquet or FITS table with ra and dec in degrees, and perhaps id_str.
        detect: find the objects instead.
        size: side of a cutout.
        unit: of the size.
        edges: fill what lies beyond the mosaic with NaN, or skip cutouts that reach there.
        hdu: name or number of the HDU of the mosaic; by default the only one with an image.
        threshold: of a detection, in standard deviations of the background.
        min_pixels: connected pixels above it that make a detection.
    """
    if detect == (catalogue is not None):
        raise ConfigError("cutouts: pass either --catalogue TABLE or --detect")
    from gzfound.cutouts import CutoutConfig, make_cutouts

    config = CutoutConfig(size, unit, edges, hdu, threshold, min_pixels)
    made, left_out = make_cutouts(image, output, catalogue=catalogue, config=config)
    missing = f", {left_out} positions left out: {output / 'left_out.jsonl'}" if left_out else ""
    say(f"{made} cutouts: {output}{missing}")
