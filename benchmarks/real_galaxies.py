"""Frozen embeddings of real galaxies: HST/ACS GOODS-S vote fractions, and images of eight surveys.

    python benchmarks/real_galaxies.py --weights W --data $GZFOUND_REAL_DATA --output R.json

Writes the tables as JSON and, with --pictures FOLDER, the neighbours of real galaxies, and real
galaxies beside simulated ones, as PNG.
"""

from __future__ import annotations

import gzfound  # isort: skip  # before torch: says how its threads wait

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rich
import torch
from PIL import Image

from gzfound.data import decoded_images
from gzfound.embedding import embed_arrays
from gzfound.errors import ConfigError, one_line_errors
from gzfound.evaluation import (
    Interval,
    ResultTable,
    Row,
    cross_validation,
    interval,
    resampled_sums,
    target_table,
)
from gzfound.evaluation.benchmark import EmbeddingOf
from gzfound.evaluation.methods import EMBEDDING, baseline_embeddings
from gzfound.evaluation.results import write_results
from gzfound.neighbours import nearest
from gzfound.reports import save_png
from gzfound.reports.sheets import neighbour_rows
from gzfound.simulation.render import render
from gzfound.training.config import parse_config

LEAST_IMAGES = 5
"""Fewest images of an answer, and a question needs two answers with as many."""


@dataclass(frozen=True)
class RealConfig:
    """Options of the benchmark on real galaxies.

    Attributes:
        weights: a weights directory or a name of ``gzfound weights``.
        data: folder with ``hst_goods`` and ``gz_examples``.
        output: JSON file to write.
        pictures: folder for the pictures as PNG; none by default.
        crop: linear fraction of the GOODS-S images to look at, if not that of the weights.
        examples_crop: the same for the images of eight surveys, which are scaled to the galaxy.
        repeats: cross-validations with other folds, whose spread is reported.
        folds: of each cross-validation.
        seed: of folds, untrained encoder and bootstrap.
    """

    weights: str = ""
    data: str = ""
    output: str = ""
    pictures: str = ""
    crop: float | None = None
    examples_crop: float = 0.5
    repeats: int = 5
    folds: int = 5
    seed: int = 0


def embeddings_of(
    config: RealConfig, images: npt.NDArray[np.uint8], encoder: torch.nn.Module
) -> dict[str, EmbeddingOf]:
    """Embeddings of the weights, of the same encoder untrained, and of the pixels."""
    compared = baseline_embeddings(
        encoder, images, ("untrained", "pixels"), seed=config.seed, device="cpu"
    )
    return {EMBEDDING: embed_arrays(encoder, images), **compared}


def decode(source: Path, encoder: torch.nn.Module, **options: Any) -> Any:
    """The images of a folder or table as the encoder takes them, with the table's columns."""
    dataset = gzfound.load_dataset(source, split="train", **options)
    transform: Any = encoder.transform
    size, crop, bands = transform.size, transform.crop, transform.bands
    return dataset, decoded_images(dataset, size, crop=crop, bands=bands)


def goods(config: RealConfig) -> dict[str, Any]:
    """Five-fold Spearman correlation and error of the volunteers' fraction of "features"."""
    encoder = gzfound.load_encoder(config.weights, crop=config.crop)
    dataset, kept = decode(Path(config.data) / "hst_goods/labels.csv", encoder)
    target = np.asarray(dataset["p_features"][:])[kept.rows]
    embeddings = embeddings_of(config, kept.images, encoder)
    repeats = [
        target_table(
            embeddings,
            target,
            cross_validation(len(target), config.folds, config.seed + repeat),
            name="p_features",
            seed=config.seed,
        )
        for repeat in range(config.repeats)
    ]
    rich.print(repeats[0].table.to_rich())
    spread: dict[str, dict[str, Any]] = {}
    for row in repeats[0].table.rows:
        for metric in row.metrics:
            found = [r.table.find("p_features", row.method).metrics[metric].value for r in repeats]
            spread.setdefault(row.method, {})[metric] = {
                "mean": float(np.mean(found)),
                "deviation": float(np.std(found)),
                "values": found,
            }
    if config.pictures:
        vectors = embed_arrays(encoder, kept.images)
        picture(Path(config.pictures) / "neighbours_hst_goods.png", dataset, kept, vectors, 0.4)
        sheet(Path(config.pictures) / "real_and_simulated.png", dataset, config.seed)
    return {**repeats[0].table.to_dict(), "over_folds": spread}


def examples(config: RealConfig) -> dict[str, Any]:
    """How often the nearest image, of those that illustrate the same question, has its answer."""
    encoder = gzfound.load_encoder(config.weights, crop=config.examples_crop)
    folder = Path(config.data) / "gz_examples"
    dataset, kept = decode(folder / "images", encoder)
    row_of = {name: row for row, name in enumerate(kept.ids)}
    questions = labels(folder / "labels.csv", row_of)
    everything = np.arange(len(kept.ids))
    agreements = {
        name: agreement(vectors(everything) if callable(vectors) else vectors, questions)
        for name, vectors in embeddings_of(config, kept.images, encoder).items()
    }
    answers = [np.array(list(chosen.values())) for chosen in questions.values()]
    agreements["chance"] = np.concatenate(
        [((each[:, None] == each).sum(axis=1) - 1) / (len(each) - 1) for each in answers]
    )
    rows = [
        Row("nearest image has the same answer", name, len(found), {"agreement": mean_of(found)})
        for name, found in agreements.items()
    ]
    notes = (
        f"{len(questions)} questions with at least two answers of {LEAST_IMAGES} images; 95 % "
        "intervals from 1,000 resamples of the images.",
    )
    table = ResultTable("Images of eight surveys", rows, notes)
    rich.print(table.to_rich())
    if config.pictures:
        path = Path(config.pictures) / "neighbours_gz_examples.png"
        picture(path, dataset, kept, embed_arrays(encoder, kept.images), 1.0)
    return {**table.to_dict(), "questions": list(questions)}


def agreement(
    vectors: npt.NDArray[np.floating], questions: dict[str, dict[int, str]]
) -> npt.NDArray[np.float64]:
    """Whether each image's nearest image within its question has the same answer, 1 or 0."""
    found = []
    for chosen in questions.values():
        rows, answers = np.array(list(chosen)), np.array(list(chosen.values()))
        names = rows.astype(str)
        best, _ = nearest(vectors[rows], vectors[rows], 1, ids=names, query_ids=names)
        found.append(answers[best[:, 0]] == answers)
    return np.concatenate(found).astype(np.float64)


def mean_of(values: npt.NDArray[np.float64]) -> Interval:
    """A mean with its bootstrap interval."""
    samples = resampled_sums(values[:, None])[:, 0] / len(values)
    return interval(float(values.mean()), samples)


def labels(table: Path, row_of: dict[str, int]) -> dict[str, dict[int, str]]:
    """Question to the answer of each image, for questions and answers with enough images."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    with table.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            question = line["question"].replace("center", "centre")
            found[question][row_of[Path(line["file"]).stem]] = line["answer"]
    kept = {}
    for question, answers in found.items():
        counts = Counter(answers.values())
        often = {row: a for row, a in answers.items() if counts[a] >= LEAST_IMAGES}
        if len(set(often.values())) > 1:
            kept[question] = often
    return kept


def picture(
    path: Path, dataset: Any, kept: Any, vectors: npt.NDArray[np.float32], crop: float
) -> None:
    """Write six galaxies and their nearest neighbours as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = decoded_images(dataset, 112, crop=crop)
    names = [Path(name).name.removesuffix("_bviz_thumb") for name in kept.ids]
    save_png(neighbour_rows(shown.images, names, vectors).figure(), path, dpi=100)


def sheet(path: Path, dataset: Any, seed: int) -> None:
    """Write real GOODS-S galaxies (upper rows) over simulated ones (lower rows), 3 by 12 each."""
    size, rows, columns = 80, 3, 12
    chosen = np.random.default_rng(seed).permutation(len(dataset))[: rows * columns]
    real = decoded_images(dataset.select(chosen), size, crop=0.4).images
    latents = gzfound.simulation.sample_population(np.arange(rows * columns), seed, "gz_hubble")
    telescope = gzfound.simulation.telescope_for("gz_hubble")
    simulated = render(latents, size, telescope, seed).numpy()
    walls = [
        each.reshape(rows, columns, size, size, 3).swapaxes(1, 2).reshape(rows * size, -1, 3)
        for each in (real, simulated)
    ]
    gap = np.full((8, columns * size, 3), 255, dtype=np.uint8)
    Image.fromarray(np.concatenate([walls[0], gap, walls[1]])).save(path)


def named_as_given(folder: str) -> str:
    """The folder of real data as a command names it, which is not the same on every machine."""
    name = "GZFOUND_REAL_DATA"
    return f"${name}" if folder == os.environ.get(name) else folder


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, run both tests, print the tables and write the JSON file."""
    config = parse_config(RealConfig, "Frozen embeddings of real galaxies.", argv)
    for name in ("weights", "data", "output"):
        if not getattr(config, name):
            raise ConfigError(f"{name}: missing; pass --{name}")
    result = {
        "hst_goods": goods(config),
        "gz_examples": examples(config),
        "configuration": {**asdict(config), "data": named_as_given(config.data)},
    }
    write_results(config.output, result)
    print(f"written: {config.output}")


if __name__ == "__main__":
    main()
