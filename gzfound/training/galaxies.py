"""The galaxies of a training run: decoded images, ids and votes of one or more sources."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gzfound.data import Bands, decoded_images, load_dataset, split_by_id
from gzfound.data.bands import RGB
from gzfound.data.card import licence_of
from gzfound.data.names import Names, joined
from gzfound.data.skipped import BadInput
from gzfound.data.stream import open_stream
from gzfound.data.table import shorten
from gzfound.data.union import campaigns_in, check_ids, dataset_names, questions_of
from gzfound.errors import ConfigError, DataError
from gzfound.training.streamed import StreamedImages
from gzfound.training.vote_counts import read_votes, room_for_votes
from gzfound.trees import DecisionTree

if TYPE_CHECKING:
    from datasets import Dataset

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Galaxies:
    """Images in memory or mapped into it, one row a galaxy.

    Attributes:
        ids: ``id_str`` of each galaxy.
        images: uint8 ``(N, size, size, C)``; read as they are asked for if they are streamed.
        tree: the questions that the sources have votes for; None without any.
        votes: ``(N, answers)``, zero where a source does not have the question; None without tree.
        no_votes: why there is no tree.
        labels: the values of the columns asked for, None where a galaxy has none.
        campaigns: the dataset of each galaxy, by campaign.
        licences: those that the cards of the sources name.
    """

    ids: Sequence[str]
    images: npt.NDArray[np.uint8] | StreamedImages
    tree: DecisionTree | None
    votes: npt.NDArray[np.int32] | None
    no_votes: str = ""
    labels: Mapping[str, list[Any]] = field(default_factory=dict)
    campaigns: Sequence[str] = ()
    licences: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, rows: Rows) -> Galaxies:
        """Some of the galaxies; their images are copied into memory, unless they are streamed."""
        return Galaxies(
            [self.ids[row] for row in rows],
            self.images.only(rows)
            if isinstance(self.images, StreamedImages)
            else np.asarray(self.images[rows]),
            self.tree,
            None if self.votes is None else self.votes[rows],
            self.no_votes,
            {name: [values[row] for row in rows] for name, values in self.labels.items()},
            [self.campaigns[row] for row in rows] if self.campaigns else (),
            self.licences,
        )


def load_galaxies(
    sources: Sequence[str],
    *,
    config: str | None,
    split: str,
    size: int,
    crop: float | Sequence[float],
    on_error: str = "raise",
    errors_path: Path | None = None,
    columns: Sequence[str] = (),
    bands: Bands = RGB,
    held_out_campaign: str = "",
    window: int = 0,
) -> Galaxies:
    """Load and decode one split of every source.

    Unlike a union by :func:`gzfound.load_dataset`, each source can have a crop of its own, and one
    may be named twice; what the sources lack is filled in alike.

    Args:
        sources: names that :func:`gzfound.load_dataset` takes.
        config: of every source.
        split: of every source.
        size: side of the decoded images in pixels.
        crop: linear fraction of each image kept around its centre, for all sources or for each.
        on_error: ``raise``, or ``skip`` to leave out images that cannot be read.
        errors_path: lists the images left out, one JSON object a line.
        columns: labels to keep beside the votes; a source without one has None.
        bands: what to make of the bands of each image.
        held_out_campaign: leaves without its galaxies and questions.
        window: row groups to mix if the images are streamed, 0 to decode them now.

    Raises:
        ConfigError: no galaxy is of the held-out campaign, or all are; a crop is out of range, or
            there are not as many as sources.
        DataError: no source, or one that cannot be read, or none with one of the columns,
            or a galaxy that is in two that are named differently.
    """
    if not sources:
        raise DataError("data: name at least one dataset")
    skipped: Any = {
        "on_error": on_error,
        "errors_path": errors_path if on_error == "skip" else None,
    }
    streams = [open_stream(source, config, split) for source in sources] if window else []
    datasets = [stream.labels() for stream in streams]
    licences = [stream.licence for stream in streams] or [licence_of(each) for each in sources]
    if not window:
        datasets = [load_dataset(source, config, split, **skipped) for source in sources]
    named = [dataset_names(d, source) for d, source in zip(datasets, sources, strict=True)]
    crops = crop_of_each(crop, sources)
    places = [np.arange(len(dataset)) for dataset in datasets]
    if held_out_campaign:
        rows = _rows_without(named, held_out_campaign)
        left = [k for k, kept in enumerate(rows) if len(kept)]
        datasets = [datasets[k].select(rows[k]) for k in left]
        named = [named[k].only(rows[k]) for k in left]
        crops = tuple(crops[k] for k in left)
        sources = [sources[k] for k in left]
        streams = [streams[k] for k in left] if window else []
        places = [rows[k] for k in left]
    check_ids(list(dict(zip(sources, datasets, strict=True)).items()))
    images: npt.NDArray[np.uint8] | StreamedImages
    if window:
        images = StreamedImages.of(
            streams, places, crops, size=size, bands=bands, bad=BadInput(**skipped), window=window
        )
        kept = [np.arange(len(dataset)) for dataset in datasets]
    else:
        images, kept = _decoded(datasets, crops, size=size, bands=bands, **skipped)
    names = list(dict.fromkeys(name for d in datasets for name in d.column_names))
    check_columns(names, columns, split)
    try:
        tree, no_votes = DecisionTree.from_columns(names).tree, ""
        if held_out_campaign:
            tree = tree.without(*questions_of(tree, held_out_campaign))
    except DataError as error:
        tree, no_votes = None, f"data: {error}"
    pairs = list(zip(datasets, kept, strict=True))
    votes = None
    if tree is not None:
        votes, edges = room_for_votes(sum(map(len, kept)), tree), np.cumsum([0, *map(len, kept)])
        for (d, own), source, first, end in zip(pairs, sources, edges, edges[1:], strict=False):
            read_votes(d, own, tree, source, votes[first:end])
    ids = joined([Names.of(d).only(rows) for d, rows in pairs])
    labels = {c: [v for d, rows in pairs for v in _labels(d, rows, c)] for c in columns}
    campaigns = joined([own.only(rows) for own, rows in zip(named, kept, strict=True)])
    return Galaxies(ids, images, tree, votes, no_votes, labels, campaigns, licences)


def _decoded(
    datasets: Sequence[Dataset], crops: Sequence[float], **how: Any
) -> tuple[npt.NDArray[np.uint8], list[Rows]]:
    """The images of all datasets, and the rows of each that could be read."""
    pairs = zip(datasets, crops, strict=True)
    found = [decoded_images(dataset, crop=crop, **how) for dataset, crop in pairs]
    return _joined([kept.images for kept in found]), [np.asarray(kept.rows) for kept in found]


def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """One array of several; that of a single source is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _rows_without(named: Sequence[Names], campaign: str) -> list[Rows]:
    """The rows of each dataset that are not of a campaign, from the campaigns of its galaxies."""
    gone = campaigns_in({name for own in named for name in own}, campaign)
    kept = [np.flatnonzero([name not in gone for name in own]) for own in named]
    if not any(len(rows) for rows in kept):
        raise ConfigError(f"held_out_campaign: {campaign!r} leaves no galaxies; name more data")
    return kept


def campaign_numbers(galaxies: Galaxies) -> Rows:
    """The number of the campaign of each galaxy, ``(N,)``; 0 for all where they are not known."""
    if not galaxies.campaigns:
        return np.zeros(len(galaxies), np.int64)
    numbers = {name: number for number, name in enumerate(sorted(set(galaxies.campaigns)))}
    found = (numbers[name] for name in galaxies.campaigns)
    return np.fromiter(found, np.int64, len(galaxies))


def check_columns(names: Sequence[str], columns: Sequence[str], split: str) -> None:
    """Raise ``DataError`` unless all ``columns`` are among the ``names`` of a split."""
    for column in columns:
        if column not in names:
            close = difflib.get_close_matches(column, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {shorten(list(names))}"
            raise DataError(f"data: no column {column!r} in split {split!r}; {hint}")


def labelled_rows(ids: Sequence[str], share: float, seed: int) -> Rows:
    """The galaxies whose labels a run learns, by a hash of their names; a larger share has more.

    Args:
        ids: ``id_str`` of each galaxy.
        share: of the galaxies, above 0 and at most 1.
        seed: another seed takes others.
    """
    if share == 1:
        return np.arange(len(ids))
    shares = {"labelled": share, "others": 1 - share}
    return split_by_id(ids, shares, seed, purpose="labelled")["labelled"]


def known_tree(galaxies: Galaxies, held_out: str) -> tuple[DecisionTree, npt.NDArray[np.int32]]:
    """The tree without the held-out questions, and the votes on what is left of it.

    Without such questions the votes are those of ``galaxies``, not a copy.

    Args:
        galaxies: of one or more sources.
        held_out: questions, separated by commas, that leave with every question below them.

    Raises:
        DataError: no source has votes.
        ConfigError: the tree has no such question.
    """
    if galaxies.tree is None or galaxies.votes is None:
        raise DataError(galaxies.no_votes)
    names = [name.strip() for name in held_out.split(",") if name.strip()]
    if not names:
        return galaxies.tree, galaxies.votes
    tree = galaxies.tree.without(*names)
    where = {column: i for i, column in enumerate(galaxies.tree.columns)}
    return tree, galaxies.votes[:, [where[column] for column in tree.columns]]


def crop_of_each(crop: float | Sequence[float], sources: Sequence[str]) -> tuple[float, ...]:
    """The crop of each source.

    Raises:
        ConfigError: a crop is out of range, or there are not as many as sources.
    """
    crops = (crop,) * len(sources) if isinstance(crop, (int, float)) else tuple(crop)
    if len(crops) != len(sources):
        raise ConfigError(
            f"crop: {len(crops)} numbers for {len(sources)} datasets; allowed: one number, or one "
            "for each of data"
        )
    for each in crops:
        if not 0 < each <= 1:
            raise ConfigError(f"crop: {each} must be above 0 and at most 1")
    return crops


def _values(dataset: Dataset, rows: Rows, column: str) -> list[Any]:
    values = dataset.with_format(None)[column][:]
    return [values[row] for row in rows]


def _labels(dataset: Dataset, rows: Rows, column: str) -> list[Any]:
    if column not in dataset.column_names:
        return [None] * len(rows)
    values = _values(dataset, rows, column)
    names = getattr(dataset.features[column], "names", None)  # of a ClassLabel; -1 is no label
    if names:
        values = [names[v] if v is not None and v >= 0 else None for v in values]
    return values
