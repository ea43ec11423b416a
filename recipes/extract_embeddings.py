"""Embed a dataset with any number of processes: every galaxy once, in the order of the data.

accelerate launch recipes/extract_embeddings.py --weights W --data D --output E.parquet
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import glob
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset
from torch import nn

from gzfound.data import FitsConfig
from gzfound.data.read import Rows
from gzfound.embedding import embed_batches, write_embeddings
from gzfound.embedding.batches import Decode, default_batch_size
from gzfound.embedding.calls import Extraction, galaxies_of, refuse_to_resume
from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.resumable import extract_files
from gzfound.embedding.store import read_batches
from gzfound.embedding.writing import check_output
from gzfound.errors import ConfigError, one_line_errors
from gzfound.files import write_text
from gzfound.locks import held
from gzfound.models import encoder_features, load_encoder, transform_of
from gzfound.models.precision import (
    Precision,
    local_processes,
    only_cpu,
    usable_cores,
    use_all_cores,
)
from gzfound.training.config import parse_config
from gzfound.training.exchange import WAIT
from gzfound.training.rates import Rates, forward_flops


@dataclass(frozen=True)
class ExtractConfig:
    """Options of extraction.

    Attributes:
        weights: weights directory or name; by default the weights that ship with the package.
        data: hub name, dataset directory or folder of images; an address such as https:// or s3://
            is streamed.
        output: Parquet file of the embeddings, or directory of files with rows_per_file.
        rows_per_file: write a directory of files of this many rows each.
        resume: with rows_per_file, go on with what a killed run left, if anything; with any number
            of processes.
        data_config: configuration of the dataset, such as ``tiny``.
        split: split of the dataset; all of them, one after the other, by default.
        streaming: read a dataset directory or a hub name from where it is, as addresses always are:
            nothing is copied to the disk.
        crop: linear fraction of each image to look at, if not that of the weights.
        batch_size: galaxies a forward pass; by default what suits the device and the images.
        threads: threads of each process that decode and, on a CPU, run the encoder; by default
            the cores are divided over the processes.
        precision: auto takes bf16 where the hardware is fast at it.
        decode: device has JPEG decoded by the GPU too.
        on_error: raise, or skip images that cannot be read and list them beside the output.
        fits: what to read of FITS files, and their stretch, where not those of the weights.
    """

    weights: str | None = None
    data: str = ""
    output: str = "embeddings.parquet"
    rows_per_file: int | None = None
    data_config: str | None = None
    split: str | None = None
    streaming: bool = False
    crop: float | None = None
    batch_size: int | None = None
    threads: int | None = None
    precision: Precision = "auto"
    decode: Decode = "cpu"
    on_error: str = "raise"
    resume: bool = False
    fits: FitsConfig = field(default_factory=FitsConfig)


def extract(config: ExtractConfig) -> None:
    """Embed this process's part of the rows."""
    if not config.data:
        raise ConfigError("data: missing; pass --data")
    if config.rows_per_file is None:
        refuse_to_resume(config.resume)
        check_output(config.output, None)
    state = PartialState(cpu=only_cpu(), timeout=WAIT)
    sharing = local_processes(state.num_processes)
    use_all_cores(sharing)
    with state.main_process_first():
        dataset = galaxies_of(config.data, config.data_config, config.split, config.streaming)
    encoder = load_encoder(config.weights, crop=config.crop, fits=config.fits)
    size, width = transform_of(encoder).size, encoder_features(encoder)
    rates = Rates(forward_flops(encoder, size, len(transform_of(encoder).mean)))
    how: dict[str, Any] = {
        "batch_size": config.batch_size,
        "threads": config.threads,
        "device": str(state.device),
        "precision": config.precision,
        "decode": config.decode,
        "on_error": config.on_error,
    }
    if config.threads is None:
        how["threads"] = max(1, usable_cores() // sharing)
    if config.rows_per_file is None:
        with held(config.output, wanted=state.is_main_process):
            count = one_file(config.output, dataset, encoder, rates, state, how)
    else:
        rows, resume = config.rows_per_file, config.resume
        count = extract_files(
            dataset, encoder, config.output, rows, rates, resume=resume, state=state, **how
        )
    if state.is_main_process:
        done = Extraction(count, width, **rates.summary())
        by = f" by {state.num_processes} processes" if state.num_processes > 1 else ""
        sys.stderr.write(f"{done.rates}\n")
        state.print(f"{done}{by}: {config.output}")


def one_file(
    output: str,
    dataset: Dataset,
    encoder: nn.Module,
    rates: Rates,
    state: PartialState,
    how: Mapping[str, Any],
) -> int:
    """Embed this process's stretch of the rows; the main process joins the stretches."""
    target = Path(output)
    if state.is_main_process:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left_over in target.parent.glob(f".{glob.escape(target.name)}.part-*"):
            left_over.unlink()
    state.wait_for_everyone()
    parts = [target.with_name(f".{target.name}.part-{i}") for i in range(state.num_processes)]
    mine = parts[state.process_index]
    together = how["batch_size"]
    if together is None:
        size = transform_of(encoder).size
        together = default_batch_size(size, len(dataset), state.device)
    batches = embed_batches(
        dataset,
        encoder,
        rows=stretch(len(dataset), together, state),
        errors_path=Path(f"{mine}.errors.jsonl"),
        waited=rates.waited,
        **{**how, "batch_size": together},
    )
    width = encoder_features(encoder)
    write_embeddings(batches, width, mine)
    state.wait_for_everyone()
    count = 0
    if state.is_main_process:
        joined = chain.from_iterable(read_batches(part) for part in parts)
        count = write_embeddings(joined, width, target, encoder=EncoderIdentity.of(encoder))
        rates.done(count)
        _join_errors(parts, target)
        for part in parts:
            part.unlink()
    state.wait_for_everyone()
    return count


def stretch(galaxies: int, together: int, state: PartialState) -> Rows:
    """The rows of this process: whole batches, the same ones for any number of processes."""
    batches = np.arange(-(-galaxies // together))
    mine = np.array_split(batches, state.num_processes)[state.process_index]
    edges = (mine[0] * together, (mine[-1] + 1) * together) if len(mine) else (0, 0)
    return np.arange(edges[0], min(edges[1], galaxies))


def _join_errors(parts: Sequence[Path], target: Path) -> None:
    found = [p for part in parts if (p := Path(f"{part}.errors.jsonl")).exists()]
    listed = Path(f"{target}.errors.jsonl")
    listed.unlink(missing_ok=True)
    if found:
        write_text(listed, "".join(path.read_text(encoding="utf-8") for path in found))
    for path in found:
        path.unlink()


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    extract(parse_config(ExtractConfig, "Embed every galaxy of a dataset.", argv))


if __name__ == "__main__":
    main()
