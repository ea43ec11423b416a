"""An extraction to a folder of files that goes on after a kill, by any number of processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from gzfound.data.identity import dataset_key
from gzfound.data.read import image_files
from gzfound.data.skipped import BadInput
from gzfound.embedding.batches import Decode, check_sizes, default_batch_size, embed_rows
from gzfound.embedding.forward import Forward
from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.shards import Shards
from gzfound.errors import ConfigError, OutputError
from gzfound.locks import held
from gzfound.models import encoder_features
from gzfound.models.precision import Precision, pick_device, usable_cores
from gzfound.training.rates import Rates

if TYPE_CHECKING:
    from accelerate import PartialState
    from datasets import Dataset


Progress = Callable[[int, int], None]


def extract_files(
    dataset: Dataset,
    encoder: nn.Module,
    folder: str | Path,
    rows_per_file: int,
    rates: Rates,
    *,
    resume: bool = False,
    state: PartialState | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    decode: Decode = "cpu",
    on_error: str = "raise",
    progress: Progress | None = None,
) -> int:
    """Embed a dataset into files of a folder; returns the number of embeddings in all of them.

    The embeddings, bit by bit, are the same for any number of processes and of kills in between.

    Args:
        folder: to write to; images that were left out are listed in ``<folder>.errors.jsonl``.
        rows_per_file: rows of the data in each file but the last.
        rates: is told what this process does.
        resume: go on with what an earlier run left there, if anything.
        state: the processes that share the work; this one alone by default.

    The other arguments, and the errors, are those of :func:`gzfound.extract`.

    Raises:
        OutputError: another run writes to the folder, or the disk is full.
    """
    if rows_per_file < 1:
        raise ConfigError(f"rows_per_file: {rows_per_file} must be at least 1")
    main = state is None or state.is_main_process
    with held(folder, wanted=main):
        forward = Forward(encoder, pick_device(device), precision)
        files = image_files(dataset)
        bad = BadInput(on_error)
        together = batch_size
        if together is None:
            together = default_batch_size(forward.transform.size, len(files), forward.device)
        workers = usable_cores() if threads is None else threads
        check_sizes(workers, together)
        job: dict[str, Any] = {}
        if main:
            job = {"rows_per_file": rows_per_file} | describe_job(files, forward, together, decode)
        (job,) = _from_main([job], state)
        width = encoder_features(encoder)
        made_by = EncoderIdentity.of(encoder)
        shards = Shards(Path(folder), rows_per_file, len(files), together, width, job, made_by)
        (missing,) = _from_main([shards.begin(resume, _say) if main else []], state)
        mine: list[int] = missing
        if state is not None:
            mine = np.array_split(missing, state.num_processes)[state.process_index].tolist()
        kept = len(files) - sum(len(shards.stretch(number)) for number in missing)
        if kept:
            _say(f"resume: {kept} of {len(files)} galaxies are there already")

        def done(galaxies: int) -> None:
            rates.done(galaxies)
            if progress is not None:
                progress(kept + rates.galaxies, len(files))

        found = embed_rows(
            files,
            forward,
            shards.batches(mine),
            threads=workers,
            decode=decode,
            waited=rates.waited,
        )
        try:
            with closing(found):
                shards.write(mine, found, bad, done)
        except OutputError as error:
            raise OutputError(f"{error}; whole files are kept, --resume goes on") from error
        _wait(state)
        rates.done(len(files) - kept - rates.galaxies)  # what the other processes did
        count = shards.end(Path(f"{folder}.errors.jsonl")) if main else 0
    _wait(state)
    return count


def describe_job(files: Dataset, forward: Forward, together: int, decode: Decode) -> dict[str, Any]:
    """All that embeddings depend on, but for the versions of libraries and the processor."""
    transform = forward.transform
    return {
        "galaxies": len(files),
        "data": dataset_key(files),
        "fits": str(transform.fits),
        "weights": EncoderIdentity.of(forward.encoder).digest,
        "size": transform.size,
        "crop": transform.crop,
        "mean": list(transform.mean),
        "std": list(transform.std),
        "batch_size": together,
        "precision": str(forward.dtype or "float32").removeprefix("torch."),
        "device": forward.device.type,
        "decode": decode,
    }


def _from_main(values: list[Any], state: PartialState | None) -> list[Any]:
    if state is None or state.num_processes == 1:
        return values
    from accelerate.utils import broadcast_object_list

    found: list[Any] = broadcast_object_list(values)
    return found


def _wait(state: PartialState | None) -> None:
    if state is not None:
        state.wait_for_everyone()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
