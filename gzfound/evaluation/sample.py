"""The galaxies that a benchmark tests methods on: images, columns, and which are for testing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gzfound.data import Bands, decoded_images, load_dataset, split_by_id
from gzfound.data.bands import RGB
from gzfound.data.splits import check_no_overlap
from gzfound.data.union import campaigns_in, dataset_names, questions_of
from gzfound.errors import DataError
from gzfound.evaluation.benchmark import Rows
from gzfound.trees import DecisionTree
from gzfound.votes import votes_from_columns

if TYPE_CHECKING:
    from datasets import Dataset

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DataConfig:
    """Options that say where the galaxies come from.

    Attributes:
        data: hub name, dataset directory, or folder of images with a table; several, separated by
            commas, are one dataset. A folder or table of that whole name comes first.
        data_config: configuration of the dataset.
        threads: threads that decode images.
        on_error: ``raise``, or ``skip`` to leave out images that cannot be read.
    """

    data: str = ""
    data_config: str | None = None
    threads: int = 2
    on_error: str = "raise"


@dataclass(frozen=True)
class Sample:
    """The galaxies of all splits, one after the other; ``test_rows`` is None without a test split.

    ``columns`` are the table's, without images, at the galaxies whose image could be read;
    ``sources`` are the same rows of each split.
    """

    images: Pixels
    ids: list[str]
    columns: dict[str, Any]
    test_rows: Rows | None
    sources: tuple[Dataset, ...]

    def decoded(self, config: DataConfig, size: int, crop: float, bands: Bands = RGB) -> Pixels:
        """The images of the same galaxies at another size and crop, or of other bands."""
        parts = [
            decoded_images(source, size, crop=crop, threads=config.threads, bands=bands).images
            for source in self.sources
        ]
        return np.concatenate([np.asarray(part) for part in parts])


@dataclass(frozen=True)
class VoteTask:
    """Vote counts ``(N, A)`` of a sample, and which galaxies are to be fitted and tested."""

    tree: DecisionTree
    votes: npt.NDArray[np.int32]
    train_rows: Rows
    test_rows: Rows


def names_in(text: str) -> list[str]:
    """The names in an option that separates them by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def load_sample(
    config: DataConfig,
    size: int,
    crop: float,
    *,
    target: str = "",
    campaign: str = "",
    bands: Bands = RGB,
) -> Sample:
    """Load, decode and crop every split.

    Args:
        config: where the galaxies come from.
        size: side of the images in pixels.
        crop: linear fraction kept around the centre.
        target: a column; galaxies without a value of it are left out.
        campaign: the one whose galaxies are taken; all by default.
        bands: what to make of the bands of each image.

    Raises:
        ConfigError: no galaxy is of the campaign.
        DataError: there is no such column, or a galaxy is in the test split and in another.
    """
    named = names_in(config.data)
    whole = len(named) < 2 or os.path.exists(config.data)  # noqa: PTH110  # never raises
    source = config.data if whole else named
    splits: dict[str, Dataset] = dict(load_dataset(source, config.data_config))
    if campaign:
        splits = {name: part for name, part in _only(splits, config.data, campaign).items() if part}
    ids: list[str] = []
    parts, tables, tested, sources = [], [], [], []
    for name, dataset in splits.items():
        chosen = dataset.select(known_rows(dataset, target)) if target else dataset
        kept = decoded_images(
            chosen,
            size,
            crop=crop,
            threads=config.threads,
            on_error=config.on_error,
            bands=bands,
        )
        sources.append(chosen.select(kept.rows))
        parts.append(np.asarray(kept.images))
        ids += kept.ids
        tables.append(sources[-1].with_format(None).remove_columns("image").to_pandas())
        tested += [name == "test"] * len(kept.ids)
    shared = [c for c in tables[0].columns if all(c in table.columns for table in tables)]
    columns = {c: np.concatenate([table[c].to_numpy() for table in tables]) for c in shared}
    rows = np.flatnonzero(tested) if any(tested) else None
    trained = [name for name, held in zip(ids, tested, strict=True) if not held]
    held = [name for name, is_held in zip(ids, tested, strict=True) if is_held]
    check_no_overlap(trained, held, "train", "test")
    return Sample(np.concatenate(parts), ids, columns, rows, tuple(sources))


def _only(splits: dict[str, Dataset], source: str, campaign: str) -> dict[str, Dataset]:
    """The galaxies of a campaign in each split."""
    named = {name: dataset_names(part, source) for name, part in splits.items()}
    kept = campaigns_in({each for own in named.values() for each in own}, campaign)
    return {
        name: part.select([row for row, each in enumerate(named[name]) if each in kept])
        for name, part in splits.items()
    }


def known_rows(dataset: Dataset, target: str) -> Rows:
    """The rows that have a value of the target."""
    if target not in dataset.column_names:
        columns = ", ".join(name for name in dataset.column_names if name != "image")
        raise DataError(f"target: there is no column {target!r}; the columns are {columns}")
    values = dataset.with_format(None).select_columns(target).to_pandas()[target]
    return np.flatnonzero(values.notna())


def vote_task(sample: Sample, seed: int, campaign: str = "") -> VoteTask:
    """The votes of one campaign, or of all; tested is the test split, or one galaxy in five.

    Raises:
        DataError: no column is a vote column, or a count is unusable.
    """
    tree = DecisionTree.from_columns(sample.columns).tree
    if campaign:
        own = questions_of(tree, campaign)
        if not own:
            raise DataError(f"data: no votes of {campaign!r}, only of {tree.name}")
        tree = tree.without(*(name for name in tree.slices if name not in own))
    votes = votes_from_columns(sample.columns, tree)
    test = sample.test_rows
    if test is None:
        test = split_by_id(sample.ids, {"train": 0.8, "test": 0.2}, seed)["test"]
    return VoteTask(tree, votes, np.setdiff1d(np.arange(len(votes)), test), test)
