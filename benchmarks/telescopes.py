"""The same galaxies through every campaign's telescope, as one picture.

python benchmarks/telescopes.py docs/images/telescopes.png
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw

from gzfound.errors import one_line_errors
from gzfound.files import atomic_file
from gzfound.simulation import sample_population, telescope_for
from gzfound.simulation.latents import GALAXY
from gzfound.simulation.population import seen_with
from gzfound.simulation.render import render

CAMPAIGNS = (
    "gz_jwst",
    "gz_hubble",
    "gz_candels",
    "gz_euclid",
    "gz_h2o",
    "gz_desi",
    "gz_ukidss",
    "gz2",
)
"""From the sharpest telescope to the bluntest."""
TITLE = 16
GAP = 2


@dataclass(frozen=True)
class Options:
    """What to draw.

    Attributes:
        output: PNG to write.
        population: campaign whose galaxies they are.
        galaxies: columns of the picture, the most spiral of the first few hundred.
        size: side of an image in pixels.
        seed: of the galaxies.
    """

    output: tyro.conf.Positional[Path]
    population: str = "gz_h2o"
    galaxies: int = 7
    size: int = 96
    seed: int = 11


def draw(options: Options) -> Image.Image:
    """One row a telescope, one column a galaxy."""
    latents = sample_population(np.arange(400), options.seed, options.population)
    strength = np.where(latents.kind == GALAXY, latents.arm_strength * latents.effective_radius, 0)
    chosen = latents[np.argsort(-strength, kind="stable")[: options.galaxies]]
    width = options.galaxies * (options.size + GAP) - GAP
    height = len(CAMPAIGNS) * (options.size + TITLE + GAP) - GAP
    page = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(page)
    for row, campaign in enumerate(CAMPAIGNS):
        telescope = telescope_for(campaign, options.population)
        seen = seen_with(chosen, telescope)
        images = render(seen, options.size, telescope, options.seed).numpy()
        top = row * (options.size + TITLE + GAP)
        words = f"{campaign}: {telescope.name}, {telescope.psf_fwhm} arcsec"
        pen.text((2, top + 2), words, fill="black")
        for column, image in enumerate(images):
            place = (column * (options.size + GAP), top + TITLE)
            page.paste(Image.fromarray(image), place)
    return page


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the picture and write it."""
    options = tyro.cli(Options, args=argv)
    page = draw(options)
    with atomic_file(options.output) as temporary:
        page.save(temporary, "PNG", optimize=True)
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
