"""FITS in numbers: rates beside JPEG, agreement with astropy, positions found on simulated mosaics.

python benchmarks/fits_reading.py                    # writes results/fits_reading.json
python benchmarks/fits_reading.py --picture P.png    # draws a mosaic with the positions
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import gzip
import io
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.visualization import make_lupton_rgb
from datasets import Dataset
from pyarrow import csv

from gzfound.data import Bands, FitsConfig, Stretch, read_images
from gzfound.data.fits import FitsFile, read_fits
from gzfound.data.mosaic import detect, read_mosaic
from gzfound.errors import one_line_errors
from gzfound.files import write_text
from gzfound.simulation import sample_population, simulate_mosaic, telescope_for
from gzfound.simulation.dataset import encode_jpeg
from gzfound.simulation.render import render
from gzfound.training.config import parse_config
from gzfound.training.provenance import machine, revision, versions

CAMPAIGN = "gz_hubble"
ASINH = Stretch("asinh", softening=1.0)
NEAR = (1.0, 4.0)
"""Pixels within which a galaxy counts as found."""


@dataclass(frozen=True)
class FitsReadingConfig:
    """Options of this benchmark.

    Attributes:
        images: read in one go.
        pixels: side of the files.
        size: side that they are resized to.
        rounds: of every contender, in turn.
        mosaics: of twenty-five galaxies each.
        seed: of every random draw.
        output: JSON file to write.
        picture: instead, write this PNG of a simulated mosaic, with what is detected on it.
    """

    images: int = 64
    pixels: int = 424
    size: int = 224
    rounds: int = 5
    mosaics: int = 8
    seed: int = 0
    output: str = str(Path(__file__).parent / "results" / "fits_reading.json")
    picture: str = ""


def in_memory(hdus: fits.HDUList) -> bytes:
    """The bytes of a FITS file."""
    out = io.BytesIO()
    hdus.writeto(out)
    return out.getvalue()


def file_kinds(config: FitsReadingConfig) -> dict[str, list[bytes]]:
    """The same galaxies as JPEG, and as fluxes in three planes, plain and compressed."""
    latents = sample_population(np.arange(min(config.images, 16)), config.seed, CAMPAIGN)
    pictures = render(latents, config.pixels, telescope_for(CAMPAIGN), config.seed).numpy()
    kinds: dict[str, list[bytes]] = {"JPEG": [], "FITS": [], "FITS .gz": [], "FITS .fz": []}
    for picture in pictures:
        planes = np.moveaxis(picture, 2, 0).astype(np.float32) / 64
        plain = in_memory(fits.HDUList([fits.PrimaryHDU(planes)]))
        tiles = fits.CompImageHDU(planes, compression_type="RICE_1", quantize_level=16)
        kinds["JPEG"].append(encode_jpeg(picture))
        kinds["FITS"].append(plain)
        kinds["FITS .gz"].append(gzip.compress(plain, 6))
        kinds["FITS .fz"].append(in_memory(fits.HDUList([fits.PrimaryHDU(), tiles])))
    return kinds


def measure_rates(config: FitsReadingConfig) -> dict[str, Any]:
    """Images a second of processor time to arrays of ``size`` pixels, by one thread."""
    kinds = file_kinds(config)
    stretches = {"asinh": ASINH, "linear": Stretch("linear"), "percentile": Stretch("percentile")}
    jobs: dict[str, Callable[[], object]] = {}
    for kind, some in kinds.items():
        cells = [
            {"bytes": some[number % len(some)], "path": None} for number in range(config.images)
        ]
        names = [str(number) for number in range(config.images)]
        dataset = Dataset.from_dict({"image": cells, "id_str": names})
        chosen = {"": Stretch()} if kind == "JPEG" else stretches
        for name, stretch in chosen.items() if kind in ("JPEG", "FITS") else [("asinh", ASINH)]:
            bands = Bands(3, FitsConfig(stretch=stretch))
            jobs[f"{kind} {name}".strip()] = _reader(dataset, config.size, bands)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(config.rounds):
        for name, job in jobs.items():
            began = time.process_time()
            job()
            seconds[name].append(time.process_time() - began)
    rates = {name: [config.images / value for value in found] for name, found in seconds.items()}
    sizes = {kind: round(float(np.mean([len(d) for d in some]))) for kind, some in kinds.items()}
    return {
        "bytes": sizes,
        "images_a_processor_second": {
            name: {"median": median(found), "least": min(found), "greatest": max(found)}
            for name, found in rates.items()
        },
    }


def _reader(dataset: Dataset, size: int, bands: Bands) -> Callable[[], object]:
    return lambda: deque(read_images(dataset, size, threads=1, bands=bands), 0)


def compare_with_astropy(flux: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Grey levels of this asinh and of ``make_lupton_rgb``, which cuts fractions of a level off."""
    ours = ASINH(flux).astype(int)
    bands = np.moveaxis(flux.astype(float), 2, 0)
    theirs = make_lupton_rgb(*bands, stretch=ASINH.softening, Q=ASINH.q)
    values, counts = np.unique(ours - theirs, return_counts=True)
    return {
        "values": int(ours.size),
        "levels": len(np.unique(ours)),
        "differences": {int(d): int(n) for d, n in zip(values, counts, strict=True)},
    }


def recover_positions(config: FitsReadingConfig) -> dict[str, Any]:
    """How far the nearest detection is from each galaxy of simulated mosaics."""
    offsets: list[float] = []
    detections = 0
    agreement: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(config.mosaics):
            image = Path(folder) / f"sky{number}.fits"
            truth = csv.read_csv(simulate_mosaic(image, seed=config.seed + number))
            mosaic = read_mosaic(image)
            found = detect(mosaic, 3.0, 9)
            x, y = mosaic.places(found["ra"].to_numpy(), found["dec"].to_numpy())
            detections += len(x)
            across, up = (truth[name].to_numpy()[:, None] for name in ("x", "y"))
            offsets += np.hypot(across - x, up - y).min(axis=1).tolist()
            if not agreement:
                file = FitsFile(image.read_bytes(), image.name)
                agreement = compare_with_astropy(read_fits([file], FitsConfig()))
    return {
        "astropy": agreement,
        "galaxies": len(offsets),
        "detections": detections,
        "median_offset": median(offsets),
        "within": {str(near): float(np.mean(np.array(offsets) < near)) for near in NEAR},
    }


def draw_positions(config: FitsReadingConfig) -> None:
    """A mosaic after asinh, true positions in yellow, detections in blue; north is up."""
    from PIL import Image, ImageDraw

    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "sky.fits"
        truth = csv.read_csv(simulate_mosaic(image, seed=config.seed))
        mosaic = read_mosaic(image)
        found = detect(mosaic, 3.0, 9)
        places = mosaic.places(found["ra"].to_numpy(), found["dec"].to_numpy())
        flux = read_fits([FitsFile(image.read_bytes(), image.name)], FitsConfig())
    picture = Image.fromarray(Stretch("asinh", softening=0.5)(flux)[::-1]).convert("RGB")
    height, pen = len(flux), ImageDraw.Draw(picture)
    for x, y in zip(truth["x"].to_pylist(), truth["y"].to_pylist(), strict=True):
        pen.rectangle((x - 24, height - 25 - y, x + 24, height + 23 - y), outline="khaki")
    for x, y in zip(*places, strict=True):
        pen.ellipse((x - 9, height - 10 - y, x + 9, height + 8 - y), outline="deepskyblue")
    picture.resize((480, 480), Image.Resampling.LANCZOS).save(config.picture, optimize=True)


def measure(config: FitsReadingConfig) -> dict[str, Any]:
    """All numbers, with where they come from."""
    rates = measure_rates(config)
    positions = recover_positions(config)
    return {
        "configuration": {n: v for n, v in asdict(config).items() if n != "output"},
        "rates": rates,
        "agreement": positions.pop("astropy"),
        "positions": positions,
        "machine": machine(),
        "versions": {**versions(), "astropy": version("astropy"), "sep": version("sep")},
        "revision": revision(),
    }


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    config = parse_config(FitsReadingConfig, "FITS in numbers.", argv)
    if config.picture:
        draw_positions(config)
        return
    results = json.dumps(measure(config), indent=1)
    write_text(config.output, results + "\n")
    sys.stdout.write(results + "\n")


if __name__ == "__main__":
    main()
