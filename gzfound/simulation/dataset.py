"""Simulate a galaxy dataset in the hub layout: images, votes, and the truth beside them.

    OUT/README.md, OUT/data/..., OUT/tiny/...   as Galaxy Zoo publishes (see gzfound.data.write)
    OUT/truth.parquet                            the latents and true answer probabilities

Galaxies are made in batches, so memory stays flat; every galaxy depends only on its number and
the seed, so the files are the same for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gzfound.data.card import DatasetCard, citations_of
from gzfound.data.splits import split_by_id
from gzfound.data.write import dataset_writer
from gzfound.draws import stream_key, uniforms
from gzfound.errors import ConfigError
from gzfound.simulation.latents import Integers, Latents
from gzfound.simulation.population import sample_population, seen_with
from gzfound.simulation.render import render
from gzfound.simulation.telescope import telescope_for
from gzfound.simulation.volunteers import answer_probabilities, vote
from gzfound.trees import load_tree
from gzfound.votes import votes_to_columns

JPEG_QUALITY = 90
SPLITS = {"train": 0.8, "test": 0.2}
LEAST_GALAXIES = 20
IMAGE_SIZES = (16, 1024)
BATCH = 32
"""Galaxies painted in one go by one thread."""
TRUTH_FILE = "truth.parquet"
_TRUTH_ROWS = 5000


def simulate_dataset(
    output: str | Path,
    *,
    galaxies: int,
    image_size: int = 128,
    seed: int = 0,
    campaign: str = "gz_hubble",
    population: str | None = None,
    threads: int = 2,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write ``galaxies`` simulated galaxies, ``image_size`` pixels wide, to ``output``.

    ``population`` names the campaign whose galaxies they are, if not those of ``campaign``: with
    one seed, galaxy number n is the same through every telescope.

    A fifth of them is the test split. ``progress`` is called with the number of galaxies done
    since its last call. Returns ``output``.

    Raises:
        ConfigError: an option is out of range, the campaign cannot be simulated, or ``output``
            is in use.
    """
    _check_options(galaxies, image_size, seed, threads)
    survey = _Survey(campaign, None if population == campaign else population, seed)
    card = _card(galaxies, image_size, survey)
    paint = partial(_paint, image_size=image_size, survey=survey, device=device)
    with (
        dataset_writer(output, card, overwrite=overwrite) as writer,
        _painters(threads) as pool,
    ):
        for numbers, images in _in_order(pool, 2 * threads, galaxies, paint):
            labels = _labels(numbers, survey)
            table = pa.table({"image": pa.array(images, pa.binary()), **labels})
            for split, rows in split_by_id(labels["id_str"], SPLITS).items():
                writer.write(split, table.take(pa.array(rows)))
            if progress:
                progress(len(numbers))
        _write_truth(writer.folder / TRUTH_FILE, galaxies, survey)
    return Path(output)


class _Survey:
    """A campaign's telescope and tree, and the galaxies that it looks at."""

    def __init__(self, campaign: str, population: str | None, seed: int) -> None:
        self.campaign, self.population, self.seed = campaign, population, seed
        self.telescope = telescope_for(campaign, population)
        self.tree = load_tree(campaign)

    def latents(self, numbers: Integers) -> Latents:
        """The truth behind galaxies, at the depth of the telescope."""
        drawn = sample_population(numbers, self.seed, self.population or self.campaign)
        return seen_with(drawn, self.telescope)


def encode_jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """The JPEG file of an RGB image ``(H, W, 3)``."""
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()


def read_truth(
    dataset: str | Path,
) -> tuple[list[str], Latents, dict[str, npt.NDArray[np.float64]]]:
    """The truth beside a simulated dataset: ids, latents, and answer probabilities by column.

    Raises:
        ConfigError: ``dataset`` has no truth, so it was not simulated.
    """
    path = Path(dataset) / TRUTH_FILE
    if not path.is_file():
        raise ConfigError(f"dataset '{dataset}': no {TRUTH_FILE}, so it was not simulated")
    table = pq.read_table(path)
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "id_str"}
    suffix = "_probability"
    chances = {n.removesuffix(suffix): v for n, v in columns.items() if n.endswith(suffix)}
    return table["id_str"].to_pylist(), Latents.from_columns(columns), chances


def galaxy_names(numbers: Integers, seed: int, campaign: str) -> list[str]:
    """The ``id_str`` of each galaxy number, unique to campaign and seed."""
    return [f"{campaign}-{seed}-{number:08d}" for number in numbers.tolist()]


def _check_options(galaxies: int, image_size: int, seed: int, threads: int) -> None:
    low, high = IMAGE_SIZES
    allowed = {
        "galaxies": (galaxies, galaxies >= LEAST_GALAXIES, f"at least {LEAST_GALAXIES}"),
        "image_size": (image_size, low <= image_size <= high, f"{low} to {high}"),
        "seed": (seed, seed >= 0, "0 or more"),
        "threads": (threads, threads >= 1, "1 or more"),
    }
    for option, (value, good, wanted) in allowed.items():
        if not good:
            raise ConfigError(f"{option} {value} is out of range: {wanted}")


@contextmanager
def _painters(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each render on one core: faster than one that renders on all of them."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _in_order(
    pool: ThreadPoolExecutor,
    ahead: int,
    galaxies: int,
    paint: Callable[[Integers], list[bytes]],
) -> Iterator[tuple[Integers, list[bytes]]]:
    """Galaxy numbers and images, a batch at a time, with ``ahead`` more batches being painted."""
    waiting: deque[tuple[Integers, Future[list[bytes]]]] = deque()
    for start in range(0, galaxies, BATCH):
        numbers = np.arange(start, min(start + BATCH, galaxies))
        waiting.append((numbers, pool.submit(paint, numbers)))
        if len(waiting) > ahead:
            ready, task = waiting.popleft()
            yield ready, task.result()
    for ready, task in waiting:
        yield ready, task.result()


def _paint(numbers: Integers, *, image_size: int, survey: _Survey, device: str) -> list[bytes]:
    latents = survey.latents(numbers)
    images = render(latents, image_size, survey.telescope, survey.seed, device=device)
    return [encode_jpeg(image) for image in images.cpu().numpy()]


def _labels(numbers: Integers, survey: _Survey) -> dict[str, Any]:
    """The columns beside the image, in the order of the published card."""
    votes = vote(survey.latents(numbers), survey.telescope, survey.tree, survey.seed)
    places = uniforms(stream_key(survey.seed, "sky"), numbers, 2)
    return {
        "id_str": galaxy_names(numbers, survey.seed, survey.campaign),
        "ra": 360.0 * places[:, 0],
        "dec": np.degrees(np.arcsin(2.0 * places[:, 1] - 1.0)),
        **votes_to_columns(votes, survey.tree),
    }


def _truth_tables(galaxies: int, survey: _Survey) -> Iterator[pa.Table]:
    tree = survey.tree
    for start in range(0, galaxies, _TRUTH_ROWS):
        numbers = np.arange(start, min(start + _TRUTH_ROWS, galaxies))
        latents = survey.latents(numbers)
        chances = answer_probabilities(latents, survey.telescope, tree)
        names = galaxy_names(numbers, survey.seed, survey.campaign)
        columns: dict[str, Any] = {"id_str": names}
        columns.update(latents.to_columns())
        columns.update({f"{n}_probability": chances[:, i] for i, n in enumerate(tree.columns)})
        yield pa.table(columns)


def _write_truth(path: Path, galaxies: int, survey: _Survey) -> None:
    tables = _truth_tables(galaxies, survey)
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _card(galaxies: int, image_size: int, survey: _Survey) -> DatasetCard:
    campaign, telescope = survey.campaign, survey.telescope
    command = (
        f"gzfound simulate OUT --galaxies {galaxies} --image-size {image_size} "
        f"--seed {survey.seed} --campaign {campaign}"
    )
    if survey.population:
        command += f" --population {survey.population}"
    body = f"""\
**These galaxies are simulated**: neither the images nor the votes are observations. {galaxies:,}
galaxies as {telescope.name} would see them, {image_size} x {image_size} pixels, with the votes of
simulated volunteers, in the columns of Galaxy Zoo's `{campaign}` dataset. The volunteers' mean
answers are calibrated to published Galaxy Zoo vote tables; no image or vote of Galaxy Zoo is
included.

Made with gzfound:

```
{command}
```

`{TRUTH_FILE}` holds, by `id_str`, the physical truth behind each galaxy and the true probability
of each answer given that its question is asked (`<column>_probability`). It is not part of
either config.

## Usage

```python
from datasets import load_dataset

dataset = load_dataset("OUT", split="train")  # or load_dataset("OUT", "tiny", split="test")
```

Columns `<question>_<answer>` count the volunteers who gave that answer. A question that no one
was asked has no votes: that is missing, not "no"."""
    return DatasetCard(
        name=campaign,
        title=f"Simulated galaxies in the style of {campaign}",
        licence="cc0-1.0",
        body=body,
        citations=citations_of(campaign),
        tags=("simulated", "galaxy zoo", "physics", "astronomy", "galaxies"),
    )
