"""One call from a source of images to embeddings, in memory or in Parquet files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from gzfound.data import FitsConfig, load_dataset
from gzfound.data.address import is_address
from gzfound.data.stream import Stream, open_stream
from gzfound.embedding.batches import Decode, embed_batches
from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.resumable import extract_files
from gzfound.embedding.store import Embeddings
from gzfound.embedding.writing import Batch, check_output, write_embeddings
from gzfound.errors import ConfigError, DataError
from gzfound.locks import held
from gzfound.models import encoder_features, load_encoder, transform_of
from gzfound.models.precision import Precision

if TYPE_CHECKING:
    from datasets import Dataset

    from gzfound.training.rates import Rates


MOST_WAITING = 0.05


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes:
        galaxies: number of embeddings written.
        features: length of each.
        galaxies_per_second: from the first image read to the last embedding written.
        waiting: share of that time in which the encoder waited for images.
        flops_per_second: operations of the encoder.
    """

    galaxies: int
    features: int
    galaxies_per_second: float
    waiting: float
    flops_per_second: float

    def __str__(self) -> str:
        return f"{self.galaxies} embeddings of {self.features} numbers"

    @property
    def rates(self) -> str:
        """The rates in words, with a remedy where the encoder waits for more than 5 % of it."""
        said = (
            f"{self.galaxies_per_second:,.0f} galaxies/s, {self.waiting:.1%} waiting for images, "
            f"{self.flops_per_second / 1e9:,.1f} GFLOP/s"
        )
        if self.waiting <= MOST_WAITING:
            return said
        return f"{said}; smaller image files, or more cores and threads, would shorten the wait"


def embed(
    source: str | Path | Dataset,
    weights: str | Path | nn.Module | None = None,
    *,
    config: str | None = None,
    split: str | None = None,
    output: str | Path | None = None,
    crop: float | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    decode: Decode = "cpu",
    on_error: str = "raise",
    errors_path: str | Path | None = None,
    fits: FitsConfig | None = None,
) -> Embeddings:
    """Embed every galaxy of a dataset; all embeddings are held in memory.

    Args:
        source: a folder of images, a dataset directory, a hub name, an address of a dataset such as
            ``https://...``, which is streamed, or a loaded dataset.
        weights: what :func:`gzfound.load_encoder` takes, or an encoder that it gave; by default
            the weights that ship with the package.
        config: of the dataset, such as ``tiny``.
        split: of the dataset; by default every split, one after the other.
        output: also write a Parquet file here.
        crop: linear fraction of each image to look at, around its centre, where the images have a
            wider or narrower field than those trained on; by default that of the weights.
        batch_size: galaxies a forward pass; by default what suits the device and the image size.
        threads: threads that decode images and, on a CPU, run the encoder on a core each; by
            default one a core.
        device: ``auto`` takes a GPU where there is one.
        precision: ``auto`` takes bf16 where the hardware is fast at it.
        decode: ``device`` has JPEG decoded by the GPU too; its pixels may differ a little.
        on_error: ``raise``, or ``skip`` to leave out images that cannot be read.
        errors_path: lists the images left out, one JSON object a line; by default
            ``<output>.errors.jsonl`` where there is an ``output``.
        fits: what to read of FITS files, and their stretch, in place of that of the weights.

    Returns:
        One row a galaxy, in the order of the dataset.

    Raises:
        DataError: the dataset or one of its images cannot be read.
        WeightsError: the weights cannot be loaded.
        OutputError: another run writes to ``output``, or the disk is full.
    """
    dataset = galaxies_of(source, config, split)
    encoder = _encoder(weights, crop, fits)
    identity = EncoderIdentity.of(encoder)
    if output is not None:
        check_output(output, None)
    found: list[Batch] = []
    with held(output or "", wanted=output is not None):
        batches = embed_batches(
            dataset,
            encoder,
            batch_size=batch_size,
            threads=threads,
            device=device,
            precision=precision,
            decode=decode,
            on_error=on_error,
            errors_path=_errors_path(errors_path, output),
        )
        kept = _keeping(_some(batches, source), found)
        if output is None:
            deque(kept, maxlen=0)
        else:
            write_embeddings(kept, encoder_features(encoder), output, encoder=identity)
    names = [name for ids, _ in found for name in ids]
    return Embeddings(names, np.concatenate([v for _, v in found]), identity)


def extract(
    source: str | Path | Dataset,
    weights: str | Path | nn.Module | None = None,
    output: str | Path = "embeddings.parquet",
    *,
    rows_per_file: int | None = None,
    config: str | None = None,
    split: str | None = None,
    crop: float | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    decode: Decode = "cpu",
    on_error: str = "raise",
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
    fits: FitsConfig | None = None,
    streaming: bool = False,
) -> Extraction:
    """Embed every galaxy of a dataset into Parquet; of memory, only its table grows with them.

    Args:
        output: file to write, or with ``rows_per_file`` a directory of files.
        rows_per_file: rows of the data in each file of the directory.
        resume: go on with what a killed run left in the directory, if anything.
        progress: called with the galaxies done and the galaxies in all.
        streaming: read a dataset directory or a hub name from where it is, as addresses always are:
            nothing is copied to the disk.

    The other arguments, and the errors, are those of :func:`gzfound.embed`.

    Raises:
        OutputError: another run writes there, or the disk is full.
    """
    from gzfound.training.rates import Rates, forward_flops

    dataset = galaxies_of(source, config, split, streaming)
    encoder = _encoder(weights, crop, fits)
    rates = Rates()
    how: dict[str, Any] = {
        "batch_size": batch_size,
        "threads": threads,
        "device": device,
        "precision": precision,
        "decode": decode,
        "on_error": on_error,
    }
    features = encoder_features(encoder)
    if rows_per_file is not None:
        count = extract_files(
            dataset, encoder, output, rows_per_file, rates, resume=resume, progress=progress, **how
        )
    else:
        refuse_to_resume(resume)
        check_output(output, None)
        with held(output):
            batches = embed_batches(
                dataset, encoder, errors_path=_errors_path(None, output), waited=rates.waited, **how
            )
            counted = _counted(_some(batches, source), rates, len(dataset), progress)
            count = write_embeddings(counted, features, output, encoder=EncoderIdentity.of(encoder))
    rates.flops_per_galaxy = forward_flops(
        encoder, transform_of(encoder).size, len(transform_of(encoder).mean)
    )
    return Extraction(count, features, **rates.summary())


def refuse_to_resume(resume: bool) -> None:
    """Raise ``ConfigError`` if one file is to be gone on with."""
    if resume:
        raise ConfigError("resume: one file is written as a whole; it needs rows_per_file")


def galaxies_of(
    source: str | Path | Dataset, config: str | None, split: str | None, streaming: bool = False
) -> Dataset | Stream:
    """What :func:`whole_dataset` gives, or a stream if asked, or for an address.

    Raises:
        ConfigError: a dataset that is loaded already cannot be streamed.
        DataError: it cannot be read, or an ``id_str`` is missing or there twice.
    """
    if not isinstance(source, str | Path):
        if streaming:
            raise ConfigError("streaming: the dataset is loaded already; give where it is")
        return whole_dataset(source, config, split)
    if streaming or is_address(source):
        stream = open_stream(source, config, split)
        stream.labels(["id_str"])  # refuses what a loaded dataset would be refused for
        return stream
    return whole_dataset(source, config, split)


def whole_dataset(source: str | Path | Dataset, config: str | None, split: str | None) -> Dataset:
    """One dataset: the named split, or all splits one after the other."""
    from datasets import Dataset, concatenate_datasets

    if isinstance(source, Dataset):
        return source
    if split is not None:
        return load_dataset(str(source), config, split)
    return concatenate_datasets(list(load_dataset(str(source), config).values()))


def _encoder(
    weights: str | Path | nn.Module | None, crop: float | None, fits: FitsConfig | None
) -> nn.Module:
    if not isinstance(weights, nn.Module):
        return load_encoder(weights, crop=crop, fits=fits)
    for name, value in (("crop", crop), ("fits", fits)):
        if value is not None:
            raise ConfigError(f"{name}: an encoder has its own; pass it to gzfound.load_encoder")
    return weights


def _errors_path(chosen: str | Path | None, output: str | Path | None) -> Path | None:
    """Where images that were left out are listed; the list of an earlier run is removed."""
    if chosen is None and output is None:
        return None
    path = Path(chosen) if chosen is not None else Path(f"{output}.errors.jsonl")
    path.unlink(missing_ok=True)
    return path


def _keeping(batches: Iterator[Batch], found: list[Batch]) -> Iterator[Batch]:
    for batch in batches:
        found.append(batch)
        yield batch


def _some(batches: Iterator[Batch], source: object) -> Iterator[Batch]:
    """The batches, of which there must be one."""
    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        raise DataError(f"data: {source} holds no image that can be read")


def _counted(
    batches: Iterator[Batch],
    rates: Rates,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Batch]:
    for ids, vectors in batches:
        yield ids, vectors
        rates.done(len(ids))
        if progress is not None:
            progress(rates.galaxies, total)
