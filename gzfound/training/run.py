"""What every recipe does first: the accelerator, the folder, the record of where it comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    LoggerType,
    set_seed,
)

from gzfound.allocator import keep_freed_memory
from gzfound.data import FitsConfig
from gzfound.data.address import refuse_credentials
from gzfound.errors import ConfigError
from gzfound.files import remove_left_overs, write_text
from gzfound.locks import hold, release
from gzfound.models.precision import (
    Precision,
    local_processes,
    only_cpu,
    pick_precision,
    use_all_cores,
)
from gzfound.training.completed import completed
from gzfound.training.config import save_config
from gzfound.training.exchange import WAIT
from gzfound.training.optim import OptimConfig
from gzfound.training.order import BatchOrder
from gzfound.training.progress import CheckpointConfig
from gzfound.training.provenance import revision, versions
from gzfound.training.resume_option import Resume
from gzfound.views import ViewConfig

PROBE = "probe"
"""Folder, in that of a fine-tuning run, of the epochs in which only the head learns."""

FINISHED = "checkpoints/finished.json"
"""File of a run whose work is done, with its number of epochs."""

# Gradients live in the buffers that are sent. Buffers of the model, such as the statistics of batch
# norm, are not sent: those of the main process are the ones that are evaluated and saved.
_WITHOUT_COPIES = DistributedDataParallelKwargs(
    broadcast_buffers=False, gradient_as_bucket_view=True
)


@dataclass(frozen=True)
class RunConfig:
    """The options that every training recipe has.

    Attributes:
        data: datasets: hub names, dataset directories or folders of images.
        output: folder of the run; the weights are in ``<output>/weights``.
        weights: directory or name of weights to start from; without, the encoder starts untrained.
        encoder: timm architecture; empty for that of the weights, or resnet18 without any.
        views: ranges of the augmentations.
        data_config: configuration of every dataset, such as ``tiny``.
        split: split to train on.
        labelled: share of its galaxies whose labels are learned, the same ones in every recipe.
        streaming: read images from where they are as batches need them, and keep none on the disk;
            data may then be addresses of datasets, such as https://, s3:// or hf://datasets/.
        stream_window: row groups of the data that are mixed at a time when streaming.
        balance: let every campaign in the data fill the same share of an epoch.
        held_out_campaign: campaign to leave out, its galaxies and its questions.
        image_size: side in pixels at which images are decoded and kept for training; by default a
            third more than that of the views, which zoom in.
        in_chans: channels of the encoder, where not those of the weights, or 3 without any.
        fits: what to read of FITS files, and their stretch, where not those of the weights.
        optim: optimiser and learning rate.
        epochs: passes over the galaxies.
        batch_size: galaxies a batch, over all processes together.
        accumulate: batches a step of the optimiser.
        sync_batch_norm: take the statistics of batch norm over all processes, not within each.
        seed: of every random draw.
        precision: auto takes bf16 where the hardware is fast at it.
        on_error: raise, or skip images that cannot be read.
        tracker: any accelerate tracker, such as tensorboard or wandb.
        resume: go on from the last checkpoint in the output folder; auto does so for the same
            command run again and again: it starts, goes on, or says that the run is finished.
        checkpoint: when checkpoints are written within an epoch, and how many are kept.
    """

    data: tuple[str, ...] = ()
    output: str = "runs/new"
    weights: str | None = None
    encoder: str = ""
    views: ViewConfig = field(default_factory=ViewConfig)
    data_config: str | None = None
    split: str = "train"
    labelled: float = 1.0
    streaming: bool = False
    stream_window: int = 32
    balance: bool = False
    held_out_campaign: str = ""
    image_size: int | None = None
    in_chans: int | None = None
    fits: FitsConfig = field(default_factory=FitsConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    epochs: int = 100
    batch_size: int = 256
    accumulate: int = 1
    sync_batch_norm: bool = True
    seed: int = 0
    precision: Precision = "auto"
    on_error: Literal["raise", "skip"] = "raise"
    tracker: str | None = None
    resume: Resume = False
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "accumulate", "image_size", "in_chans", "stream_window")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}: {value} must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed: {self.seed} must be 0 to {2**32 - 1}")
        if not 0 < self.labelled <= 1:
            raise ConfigError(f"labelled: {self.labelled} must be above 0 and at most 1")
        for source in self.data:
            refuse_credentials(source)
        if self.streaming and self.balance:
            reason = "a small campaign would be read again and again"
            raise ConfigError(f"balance: True does not go with streaming, where {reason}")
        trackers = [kind.value for kind in LoggerType]
        if self.tracker is not None and self.tracker not in trackers:
            raise ConfigError(f"tracker: {self.tracker!r}; allowed: {', '.join(trackers)}")

    @property
    def kept_side(self) -> int:
        """The side in pixels of the images that are kept."""
        return -(-4 * self.views.side // 3) if self.image_size is None else self.image_size


C = TypeVar("C", bound=RunConfig)


def open_run(config: C) -> tuple[Accelerator, Path, C]:
    """Start accelerate and the folder of a run, with the resolved configuration in it.

    Ends the process with status 0 if ``resume`` is ``auto`` and the run is finished.

    Returns:
        The accelerator, the folder, and the options with what :func:`completed` fills in.

    Raises:
        ConfigError: the folder already holds a run and ``resume`` is off.
        OutputError: another process is writing to the folder.
    """
    keep_freed_memory()
    folder = Path(config.output)
    accelerator = Accelerator(
        cpu=only_cpu(),
        mixed_precision=pick_precision(config.precision),
        gradient_accumulation_steps=config.accumulate,
        log_with=config.tracker,
        project_dir=str(folder),
        kwargs_handlers=[_WITHOUT_COPIES, InitProcessGroupKwargs(timeout=WAIT)],
    )
    use_all_cores(local_processes(accelerator.num_processes))
    if config.resume == "auto" and _epochs_finished(folder) == config.epochs:
        accelerator.print(f"output: {folder} holds a finished run of {config.epochs} epochs")
        raise SystemExit(0)
    held = any((part / "metrics.jsonl").exists() for part in (folder, folder / PROBE))
    if accelerator.is_main_process:
        if held and not config.resume:
            raise ConfigError(
                f"output: {folder} already holds a run; pass --resume to go on, or another --output"
            )
        hold(folder)
    config = completed(config)
    set_seed(config.seed)
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        for part in (folder, folder / PROBE):
            remove_left_overs(part)
            remove_left_overs(part / "checkpoints")
        if not held:
            for old in folder.glob("errors*.jsonl"):
                old.unlink()
        save_config(config, folder / "config.yaml")
    if config.tracker:
        accelerator.init_trackers("gzfound", config=_flat(asdict(config)))
    accelerator.wait_for_everyone()
    return accelerator, folder, config


def errors_file(accelerator: Accelerator, folder: Path, streaming: bool = False) -> Path:
    """Where this process lists images that it leaves out: those of the run, once each.

    Every process meets them, and so does a run that goes on; the list of the main one is kept. When
    streaming, each process meets its own as they come, and a run that goes on adds to the list.
    """
    if streaming:
        number = accelerator.process_index
        return folder / (f"errors-{number}.jsonl" if number else "errors.jsonl")
    if not accelerator.is_main_process:
        return Path(os.devnull)
    path = folder / "errors.jsonl"
    path.unlink(missing_ok=True)
    return path


def close_run(accelerator: Accelerator, folder: Path, config: RunConfig) -> None:
    """Say where the weights are, and that the run is finished."""
    if accelerator.is_main_process:
        write_text(folder / FINISHED, json.dumps({"epochs": config.epochs}) + "\n")
        accelerator.print(f"weights: {folder / 'weights'}")
        release(folder)
    accelerator.end_training()


def _epochs_finished(folder: Path) -> int | None:
    try:
        found: int = json.loads((folder / FINISHED).read_text(encoding="utf-8"))["epochs"]
    except FileNotFoundError:
        return None
    return found


def provenance(recipe: str, config: RunConfig, licences: Sequence[str]) -> dict[str, Any]:
    """The metadata of weights: recipe, data, licences, citations, versions, configuration.

    The number of processes is part of it: without ``sync_batch_norm`` each has batch statistics of
    its own.
    """
    return {
        "recipe": recipe,
        "data": ", ".join(config.data),
        "licence": ", ".join(dict.fromkeys(licences)),
        "citations": [
            "SimCLR: Chen et al. 2020, arXiv:2002.05709",
            "Galaxy Zoo embeddings: Walmsley et al. 2024, arXiv:2404.02973",
        ],
        "version": versions()["gzfound"],
        "versions": versions(),
        "revision": revision(),
        "processes": PartialState().num_processes,
        "config": asdict(config),
    }


def _flat(values: dict[str, Any], at: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{at}{key}.")
        else:
            flat[at + key] = value if isinstance(value, (int, float, str, bool)) else str(value)
    return flat


def batch_order(
    rows: npt.ArrayLike,
    batch_size: int,
    seed: int,
    accelerator: Accelerator,
    groups: npt.NDArray[np.int64] | None = None,
) -> BatchOrder:
    """The batches of this process; a batch is never larger than the data.

    Args:
        rows: the galaxies to draw from.
        batch_size: galaxies a step, over all processes together.
        seed: of the order.
        accelerator: knows the processes, and how many batches make a step of the optimiser.
        groups: a number for each of the rows, to balance.
    """
    galaxies = np.asarray(rows, dtype=np.int64)
    processes = accelerator.num_processes
    together = accelerator.gradient_accumulation_steps
    largest = len(galaxies) // together // processes * processes
    return BatchOrder(
        rows=galaxies,
        batch_size=min(batch_size, largest),
        seed=seed,
        process=accelerator.process_index,
        processes=processes,
        accumulate=together,
        groups=groups,
    )
