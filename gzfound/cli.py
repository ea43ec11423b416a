"""The command line: one thin function a command; the work is imported when it is asked for."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import gzfound
from gzfound.cli_search import anomalies, index, neighbours
from gzfound.data.fits_config import NO_FITS, FitsConfig
from gzfound.errors import ConfigError, WeightsError, one_line_errors, one_line_usage
from gzfound.terminal import progress as _progress
from gzfound.terminal import say as _say

Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]

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

    with _progress("simulating") as (bar, task):
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
    _say(f"{galaxies} galaxies: {output}")


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

    with _progress("building") as (bar, task):
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
    _say(f"{report}")
    if report.reasons:
        raise SystemExit(REFUSED)


def embed(
    data: Source,
    weights: str | None = None,
    output: Path = Path("embeddings.parquet"),
    data_config: str | None = None,
    split: str | None = None,
    crop: float | None = None,
    rows_per_file: int | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto",
    decode: Literal["cpu", "device"] = "cpu",
    on_error: Literal["raise", "skip"] = "raise",
    fits: FitsConfig = NO_FITS,
    resume: bool = False,
) -> None:
    """Turn images into embeddings: Parquet with one row a galaxy.

    Args:
        data: a folder of images, a dataset directory or a hub name.
        weights: weights directory, name of gzfound weights, or hf-hub:owner/name; by default the
            weights that ship with the package.
        output: Parquet file to write, or directory of files with --rows-per-file.
        data_config: configuration of the dataset, such as tiny.
        split: split of the dataset; all of them, one after the other, by default.
        crop: linear fraction of each image to look at, if not that of the weights.
        rows_per_file: write a directory of files of this many rows each.
        batch_size: galaxies a forward pass; by default what suits the device and the images.
        threads: threads that decode and, on a CPU, run the encoder; by default one a core.
        device: auto takes a GPU where there is one.
        precision: auto takes bf16 where the hardware is fast at it.
        decode: device has JPEG decoded by the GPU too.
        on_error: raise, or skip images that cannot be read and list them beside the output.
        fits: what to read of FITS files, and their stretch, where not those of the weights.
        resume: with --rows-per-file, go on with what a killed run left, if anything.
    """
    with _progress("embedding") as (bar, task):
        done = gzfound.extract(
            data,
            weights,
            output,
            rows_per_file=rows_per_file,
            config=data_config,
            split=split,
            crop=crop,
            batch_size=batch_size,
            threads=threads,
            device=device,
            precision=precision,
            decode=decode,
            on_error=on_error,
            fits=fits,
            resume=resume,
            progress=lambda galaxies, total: bar.update(task, completed=galaxies, total=total),
        )
    sys.stderr.write(f"{done.rates}\n")
    _say(f"{done}: {output}")


def predict(
    data: Source,
    weights: str | None = None,
    output: Path = Path("predictions.parquet"),
    data_config: str | None = None,
    split: str | None = None,
    crop: float | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    fits: FitsConfig = NO_FITS,
) -> None:
    """Predict what weights were fine-tuned on, such as votes with 90 % intervals: a Parquet file.

    Args:
        data: a folder of images, a dataset directory or a hub name.
        weights: weights directory of a fine-tuning recipe, or name of gzfound weights; by default
            the weights that ship with the package.
        output: Parquet file to write.
        data_config: configuration of the dataset, such as tiny.
        split: split of the dataset; all of them, one after the other, by default.
        crop: linear fraction of each image to look at, if not that of the weights.
        on_error: raise, or skip images that cannot be read and list them beside the output.
        fits: what to read of FITS files, and their stretch, where not those of the weights.
    """
    table = gzfound.predict(
        data,
        weights,
        config=data_config,
        split=split,
        output=output,
        crop=crop,
        on_error=on_error,
        fits=fits,
    )
    _say(f"{table.num_rows} galaxies: {output}")


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
    _say(f"{made} cutouts: {output}{missing}")


def trees(name: Annotated[str, tyro.conf.Positional] = "") -> None:
    """Print a decision tree, or the names of all of them.

    Args:
        name: of a campaign, such as gz2.
    """
    _say(str(gzfound.load_tree(name)) if name else "\n".join(gzfound.list_trees()))


def weights() -> None:
    """List the weights that ship with the package: name, architecture, size and data."""
    from gzfound.weights import DEFAULT, describe_weights, list_weights

    if not list_weights():
        raise WeightsError("weights: this package holds none")
    for name in list_weights():
        _say(f"{describe_weights(name)}{'  (default)' if name == DEFAULT else ''}")


def push(
    weights: Annotated[str, tyro.conf.Positional],
    repo: Annotated[str, tyro.conf.Positional],
    dry_run: Path | None = None,
) -> None:
    """Upload weights and their card to the Hugging Face hub.

    Args:
        weights: weights directory, or name of gzfound weights; its card has to name a licence.
        repo: owner/name.
        dry_run: a new folder that gets the files instead; nothing is uploaded.
    """
    from gzfound.models.push import push_weights

    done = push_weights(weights, repo, dry_run=dry_run)
    _say(f"would be uploaded to {repo}: {done}" if dry_run else f"uploaded: {done}")


def _later(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command with its arguments filled in, to be run once all of them are understood."""

    @functools.wraps(command)
    def filled(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **kwargs)

    return filled


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if arguments == ["--version"]:
        _say(f"gzfound {gzfound.__version__}")
        return
    commands: list[Callable[..., None]] = [
        simulate,
        build,
        cutouts,
        embed,
        predict,
        neighbours,
        index,
        anomalies,
        trees,
        weights,
        push,
    ]
    with one_line_usage():
        command = tyro.extras.subcommand_cli_from_dict(
            {command.__name__: _later(command) for command in commands},
            prog="gzfound",
            description=gzfound.__doc__.splitlines()[0],
            args=arguments,
        )
    command()
