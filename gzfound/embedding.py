"""Images in, embeddings out: one call, one row a galaxy, in the order of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from gzfound.data import load_dataset
from gzfound.data.decode import square_resize
from gzfound.data.read import read_images
from gzfound.errors import ConfigError, DataError
from gzfound.files import atomic_file, check_file
from gzfound.models import load_encoder, transform_of
from gzfound.models.precision import Precision, pick_device, pick_precision

if TYPE_CHECKING:
    from datasets import Dataset

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings with the galaxies they belong to.

    Attributes:
        ids: ``id_str`` of each galaxy.
        vectors: float32 ``(N, num_features)``.
    """

    ids: list[str]
    vectors: Vectors

    def write(self, path: str | Path) -> None:
        """Write a Parquet file with columns ``id_str`` and ``embedding`` (a fixed-size list)."""
        write_embeddings(iter([(self.ids, self.vectors)]), self.vectors.shape[1], path)

    @classmethod
    def read(cls, path: str | Path) -> Embeddings:
        """Read what :meth:`write` wrote.

        Raises:
            DataError: the file is no Parquet file of embeddings.
        """
        try:
            table = pq.read_table(path, columns=["id_str", "embedding"])
            width = table.schema.field("embedding").type.list_size
        except (OSError, pa.ArrowException, AttributeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"embeddings: {path} holds no embeddings: {reason}") from error
        column = table.column("embedding").combine_chunks()
        vectors = np.asarray(column.flatten(), dtype=np.float32).reshape(-1, width)
        return cls(table.column("id_str").to_pylist(), vectors)


def embed(
    source: str | Path | Dataset,
    weights: str | Path | nn.Module,
    *,
    config: str | None = None,
    split: str | None = None,
    output: str | Path | None = None,
    crop: float | None = None,
    batch_size: int = 32,
    threads: int = 2,
    device: str = "auto",
    precision: Precision = "auto",
    on_error: str = "raise",
    errors_path: str | Path | None = None,
) -> Embeddings:
    """Embed every galaxy of a dataset.

    Args:
        source: a folder of images, a dataset directory, a hub name, or a loaded dataset.
        weights: a weights directory, or an encoder of :func:`gzfound.load_encoder`.
        config: of the dataset, such as ``tiny``.
        split: of the dataset; by default every split, one after the other.
        output: also write a Parquet file here.
        crop: linear fraction of each image to look at, around its centre, where the images have a
            wider or narrower field than those trained on; by default that of the weights.
        batch_size: galaxies a forward pass.
        threads: threads that decode images.
        device: ``auto`` takes a GPU where there is one.
        precision: ``auto`` takes bf16 where the hardware is fast at it.
        on_error: ``raise``, or ``skip`` to leave out images that cannot be read.
        errors_path: lists the images left out, one JSON object a line; by default
            ``<output>.errors.jsonl`` where there is an ``output``.

    Returns:
        One row a galaxy, in the order of the dataset.

    Raises:
        DataError: the dataset or one of its images cannot be read.
        WeightsError: the weights cannot be loaded.
    """
    dataset = whole_dataset(source, config, split)
    if isinstance(weights, nn.Module) and crop is not None:
        raise ConfigError("crop: an encoder has its own; pass crop to gzfound.load_encoder")
    encoder = weights if isinstance(weights, nn.Module) else load_encoder(weights, crop=crop)
    if output is not None:
        check_file(output)
    if errors_path is None and output is not None:
        errors_path = f"{output}.errors.jsonl"
    errors = None if errors_path is None else Path(errors_path)
    if errors is not None:
        errors.unlink(missing_ok=True)  # of an earlier run
    found = list(
        embed_batches(
            dataset,
            encoder,
            batch_size=batch_size,
            threads=threads,
            device=device,
            precision=precision,
            on_error=on_error,
            errors_path=errors,
        )
    )
    if not found:
        raise DataError(f"data: {source} holds no image that can be read")
    embeddings = Embeddings(
        [name for ids, _ in found for name in ids], np.concatenate([v for _, v in found])
    )
    if output is not None:
        embeddings.write(output)
    return embeddings


def whole_dataset(source: str | Path | Dataset, config: str | None, split: str | None) -> Dataset:
    """One dataset: the named split, or all splits one after the other."""
    from datasets import Dataset, concatenate_datasets

    if isinstance(source, Dataset):
        return source
    if split is not None:
        return load_dataset(str(source), config, split)
    return concatenate_datasets(list(load_dataset(str(source), config).values()))


def embed_batches(
    dataset: Dataset,
    encoder: nn.Module,
    *,
    rows: Sequence[int] | npt.NDArray[np.int64] | None = None,
    batch_size: int = 32,
    threads: int = 2,
    device: str = "auto",
    precision: Precision = "auto",
    on_error: str = "raise",
    errors_path: Path | None = None,
) -> Iterator[tuple[list[str], Vectors]]:
    """Ids and embeddings ``(b, num_features)`` of a dataset, batch by batch, in order.

    Args:
        rows: the rows to embed, all by default.
        errors_path: where images that were left out are recorded.

    The other arguments are those of :func:`embed`.
    """
    transform = transform_of(encoder)
    where = pick_device(device)
    forward = Forward(encoder, where, precision)
    names = dataset.with_format(None)["id_str"]
    images = read_images(
        dataset,
        transform.size,
        crop=transform.crop,
        threads=threads,
        batch_size=batch_size,
        on_error=on_error,
        errors_path=errors_path,
        rows=rows,
    )
    for numbers, pixels in images:
        yield [names[int(i)] for i in numbers], forward(pixels)


class Forward:
    """The forward pass of an encoder on uint8 images, without gradients.

    Args:
        encoder: has a ``transform``.
        device: where to run it; the encoder is moved there.
        precision: see :func:`embed`.
    """

    def __init__(self, encoder: nn.Module, device: torch.device, precision: Precision) -> None:
        self.encoder = encoder.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.transform = transform_of(encoder)
        self.device = device
        chosen = pick_precision(precision, device)
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(chosen)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        """Embeddings ``(B, num_features)`` of images ``(B, size, size, C)``."""
        images = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
        autocast = torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)
        with torch.inference_mode(), autocast:
            vectors: Any = self.encoder(self.transform.normalise(images))
        result: Vectors = vectors.float().cpu().numpy()
        return result


def embed_arrays(
    encoder: nn.Module, images: npt.NDArray[np.uint8], device: torch.device | str = "cpu"
) -> Vectors:
    """Embed decoded images ``(N, S, S, C)``, already cropped, in float32 whatever their size S."""
    forward = Forward(encoder, torch.device(device), "no")
    size = forward.transform.size
    parts = []
    for start in range(0, len(images), 64):
        part = images[start : start + 64]
        if part.shape[1] != size:
            part = np.stack([square_resize(image, size) for image in part])
        parts.append(forward(part))
    return np.concatenate(parts)


def write_embeddings(
    batches: Iterator[tuple[list[str], Vectors]], width: int, path: str | Path
) -> int:
    """Stream embeddings to a Parquet file, whole or absent; returns the number of rows."""
    schema = pa.schema([("id_str", pa.string()), ("embedding", pa.list_(pa.float32(), width))])
    count = 0
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for ids, vectors in batches:
            flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, width)
            writer.write_table(pa.table([pa.array(ids, pa.string()), column], schema=schema))
            count += len(ids)
    return count
