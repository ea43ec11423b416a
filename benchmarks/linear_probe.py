"""Linear probes on frozen embeddings, beside a constant, pixel PCA and an untrained encoder.

python benchmarks/linear_probe.py --weights W --data D --questions Q1,Q2 --output R.json
python benchmarks/linear_probe.py --weights W --data D --target COLUMN --output R.json
"""

from __future__ import annotations

import gzfound  # isort: skip  # before torch: says how its threads wait

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rich
import torch

from gzfound.data import decoded_images, split_by_id
from gzfound.data.splits import check_no_overlap
from gzfound.embedding import embed_arrays
from gzfound.errors import ConfigError, DataError, one_line_errors
from gzfound.evaluation import cross_validation, pixel_pca, probe_table, target_table
from gzfound.evaluation.benchmark import EmbeddingOf, Rows
from gzfound.files import write_text
from gzfound.models import create_encoder, transform_of
from gzfound.models.precision import pick_device
from gzfound.training.config import parse_config
from gzfound.training.provenance import machine, revision, versions
from gzfound.votes import votes_from_columns

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class ProbeConfig:
    """Options of the linear-probe benchmark; give ``questions`` or ``target``.

    Attributes:
        weights: a weights directory, a name of ``gzfound weights``, or a pretrained timm model.
        data: hub name, dataset directory, or folder of images with a table.
        output: JSON file to write.
        questions: questions to probe, separated by commas; ``all`` for every one.
        target: column to probe instead: a number or a class.
        kind: of the target: ``auto``, ``number`` or ``class``.
        data_config: configuration of the dataset.
        crop: linear fraction of each image to look at, if not that of the weights.
        folds: of the cross-validation of a target in data without a test split.
        min_votes: fewest votes on a question for a galaxy to count in the errors.
        components: of pixel PCA.
        resamples: of the bootstrap.
        seed: of splits, untrained encoder and bootstrap.
        device: ``auto`` takes a GPU where there is one.
        threads: threads that decode images.
        on_error: ``raise``, or ``skip`` to leave out images that cannot be read.
    """

    weights: str = ""
    data: str = ""
    output: str = ""
    questions: str = ""
    target: str = ""
    kind: str = "auto"
    data_config: str | None = None
    crop: float | None = None
    folds: int = 5
    min_votes: int = 20
    components: int = 64
    resamples: int = 1000
    seed: int = 0
    device: str = "auto"
    threads: int = 2
    on_error: str = "raise"


@dataclass(frozen=True)
class Sample:
    """The galaxies of all splits, one after the other; ``test_rows`` is None without a test split.

    ``columns`` are the table's, without images, at the galaxies whose image could be read.
    """

    images: npt.NDArray[np.uint8]
    ids: list[str]
    columns: dict[str, Any]
    test_rows: Rows | None


def load_sample(config: ProbeConfig, size: int, crop: float) -> Sample:
    """Load, decode and crop every split; for a target, galaxies without a value are left out."""
    splits: dict[str, Dataset] = dict(gzfound.load_dataset(config.data, config.data_config))
    parts, ids, tables, tested = [], [], [], []
    for name, dataset in splits.items():
        chosen = dataset.select(known_rows(dataset, config.target)) if config.target else dataset
        kept = decoded_images(
            chosen, size, crop=crop, threads=config.threads, on_error=config.on_error
        )
        table = chosen.with_format(None).remove_columns("image").select(kept.rows).to_pandas()
        parts.append(np.asarray(kept.images))
        ids += kept.ids
        tables.append(table)
        tested += [name == "test"] * len(kept.ids)
    shared = [c for c in tables[0].columns if all(c in table.columns for table in tables)]
    columns = {c: np.concatenate([table[c].to_numpy() for table in tables]) for c in shared}
    rows = np.flatnonzero(tested) if any(tested) else None
    trained = [name for name, held in zip(ids, tested, strict=True) if not held]
    held = [name for name, is_held in zip(ids, tested, strict=True) if is_held]
    check_no_overlap(trained, held, "train", "test")
    return Sample(np.concatenate(parts), ids, columns, rows)


def known_rows(dataset: Dataset, target: str) -> Rows:
    """The rows that have a value of the target."""
    if target not in dataset.column_names:
        columns = ", ".join(name for name in dataset.column_names if name != "image")
        raise DataError(f"target: there is no column {target!r}; the columns are {columns}")
    values = dataset.with_format(None).select_columns(target).to_pandas()[target]
    return np.flatnonzero(values.notna())


def make_embeddings(
    config: ProbeConfig, encoder: torch.nn.Module, images: npt.NDArray[np.uint8]
) -> dict[str, EmbeddingOf]:
    """The embeddings to compare: of the weights, of the same encoder untrained, of pixels."""
    architecture: dict[str, Any] = encoder.pretrained_cfg  # type: ignore[assignment]
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        untrained = create_encoder(
            architecture["architecture"], image_size=encoder.transform.size
        ).eval()
    untrained.transform = encoder.transform
    device = pick_device(config.device)
    return {
        "embedding": embed_arrays(encoder, images, device),
        "untrained encoder": embed_arrays(untrained, images, device),
        "pixel PCA": lambda rows: pixel_pca(
            images, rows, components=config.components, seed=config.seed
        ),
    }


def probe_questions(
    config: ProbeConfig, sample: Sample, embeddings: dict[str, EmbeddingOf]
) -> dict[str, Any]:
    """Probe vote counts, on the test split of the data or on one galaxy in five."""
    tree = gzfound.DecisionTree.from_columns(sample.columns).tree
    votes = votes_from_columns(sample.columns, tree)
    test = sample.test_rows
    if test is None:
        test = split_by_id(sample.ids, {"train": 0.8, "test": 0.2}, config.seed)["test"]
    train = np.setdiff1d(np.arange(len(votes)), test)
    chosen = [name.strip() for name in config.questions.split(",") if name.strip()]
    results = probe_table(
        embeddings,
        votes,
        tree,
        train,
        test,
        None if chosen == ["all"] else chosen,
        seed=config.seed,
        min_votes=config.min_votes,
        resamples=config.resamples,
    )
    rich.print(results.table.to_rich())
    differences = results.scores.differences("embedding")
    penalties = {method: dict(found) for method, found in results.penalties.items()}
    return {**results.table.to_dict(), "differences": differences, "penalties": penalties}


def probe_target(
    config: ProbeConfig, sample: Sample, embeddings: dict[str, EmbeddingOf]
) -> dict[str, Any]:
    """Probe a column, on the test split of the data or by cross-validation."""
    galaxies, test = len(sample.ids), sample.test_rows
    splits = (
        cross_validation(galaxies, config.folds, config.seed)
        if test is None
        else [(np.setdiff1d(np.arange(galaxies), test), test)]
    )
    results = target_table(
        embeddings,
        sample.columns[config.target],
        splits,
        name=config.target,
        kind=config.kind,
        seed=config.seed,
        resamples=config.resamples,
    )
    rich.print(results.table.to_rich())
    return {**results.table.to_dict(), "folds": results.folds}


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, run the benchmark, print the table and write the JSON file."""
    about = "Linear probes on frozen embeddings, with baselines, noise floor and intervals."
    config = parse_config(ProbeConfig, about, argv)
    missing = [name for name in ("weights", "data", "output") if not getattr(config, name)]
    if missing:
        raise ConfigError(f"--{missing[0]} is missing; --weights, --data and --output are needed")
    if bool(config.questions) == bool(config.target):
        raise ConfigError("give either --questions Q1,Q2 (or all) or --target COLUMN")
    start = time.perf_counter()
    encoder = gzfound.load_encoder(config.weights, crop=config.crop)
    transform = transform_of(encoder)
    sample = load_sample(config, transform.size, transform.crop)
    embeddings = make_embeddings(config, encoder, sample.images)
    probe = probe_target if config.target else probe_questions
    result = {
        **probe(config, sample, embeddings),
        "command": sys.argv if argv is None else ["benchmarks/linear_probe.py", *argv],
        "configuration": dataclasses.asdict(config),
        "machine": machine(),
        "versions": versions(),
        "revision": revision(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_text(config.output, json.dumps(without_nan(result), indent=2, allow_nan=False) + "\n")
    print(f"written: {Path(config.output).resolve()}")


def without_nan(value: Any) -> Any:
    """The same, with null for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


if __name__ == "__main__":
    main()
