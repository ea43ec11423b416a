"""The two stages of fine-tuning: the head alone, then the head and the encoder together.

A new head sends meaningless gradients into the encoder and spoils what it knows; a head that has
been fitted first does not (Kumar et al. 2022, arXiv:2202.10054). The first stage needs no more than
the embeddings, which are made once, so its epochs cost next to nothing. Each stage is a run of the
loop with checkpoints of its own, so that resuming stays exact.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator
from torch import Tensor, nn

from gzfound.embedding import embed_arrays
from gzfound.files import atomic_directory
from gzfound.finetuning.config import FinetuneConfig
from gzfound.finetuning.task import Task
from gzfound.finetuning.validation import Validation
from gzfound.models import transform_of
from gzfound.models.checkpoint import load_head
from gzfound.models.tuning import HeadModel, layerwise_groups
from gzfound.training.augment import Augment
from gzfound.training.batches import Batch
from gzfound.training.galaxies import Rows
from gzfound.training.loop import Run, Step, train
from gzfound.training.optim import build_optimiser, parameter_groups
from gzfound.training.order import BatchOrder
from gzfound.training.resident import batches_for
from gzfound.training.run import PROBE, batch_order
from gzfound.training.streamed import StreamedImages


@dataclass(frozen=True, eq=False)
class Tuning:
    """What both stages of a run share.

    Attributes:
        config: of the run.
        accelerator: owns precision, devices and processes.
        folder: of the run.
        task: what is learned.
        images: of all galaxies.
        parts: rows of the galaxies to train on and of those to validate with.
        model: encoder and head.
        record: metadata of the weights.
        ids: names of all galaxies.
        groups: the campaign of each galaxy to train on, as a number, if they are balanced.
    """

    config: FinetuneConfig
    accelerator: Accelerator
    folder: Path
    task: Task
    images: npt.NDArray[np.uint8] | StreamedImages
    parts: dict[str, Rows]
    model: HeadModel
    record: dict[str, Any]
    ids: Sequence[str]
    groups: Rows | None

    def order(self) -> BatchOrder:
        """The batches of this process."""
        config = self.config
        rows = self.parts["train"]
        return batch_order(rows, config.batch_size, config.seed, self.accelerator, self.groups)


def tune_head(tuning: Tuning, folder: Path, epochs: int) -> None:
    """Train the head alone, on the embeddings of the images as they are."""
    config, device = tuning.config, tuning.accelerator.device
    patience, tracked = config.patience, not config.probes
    head = copy.deepcopy(tuning.model.head)  # wrapped here for processes, which is not undone
    inputs = embed_arrays(tuning.model.encoder, tuning.images, device)
    arrays = {"embeddings": inputs, "targets": tuning.task.targets}
    order = tuning.order()
    if tuning.accelerator.is_main_process:
        folder.mkdir(exist_ok=True)
    train(
        Run(
            folder,
            epochs,
            config.optim,
            bool(config.resume),
            patience,
            tracked,
            config.sync_batch_norm,
            checkpoint=config.checkpoint,
            ids=tuning.ids,
        ),
        tuning.accelerator,
        head,
        build_optimiser(parameter_groups(head, config.optim.weight_decay), config.optim),
        batches_for(arrays, order, device),
        step_on("embeddings", tuning.task),
        validation(tuning, inputs, folder, keep=bool(config.resume)),
    )


def start_from_probe(tuning: Tuning) -> None:
    """Put the best head of the first stage into the model; its weights are the best so far."""
    tuning.accelerator.free_memory()
    probe, weights = tuning.folder / PROBE / "weights", tuning.folder / "weights"
    head = load_head(probe, tuning.model.encoder)
    tuning.model.head.load_state_dict(head.state_dict())
    if tuning.accelerator.is_main_process and not (tuning.config.resume and weights.exists()):
        with atomic_directory(weights) as target:
            shutil.copytree(probe, target, dirs_exist_ok=True)
    tuning.accelerator.wait_for_everyone()


def tune_together(tuning: Tuning) -> None:
    """Train the head and what is tuned of the encoder, on augmented images."""
    config, model = tuning.config, tuning.model
    scale = config.encoder_scale if config.weights else 1.0
    groups = layerwise_groups(model.encoder, config.optim.weight_decay, config.layer_decay)
    for group in groups:
        group["scale"] *= scale
    groups += parameter_groups(model.head, config.optim.weight_decay)
    arrays = {"images": tuning.images, "targets": tuning.task.targets}
    order = tuning.order()
    augment = Augment(config.views, transform_of(model.encoder), config.seed, views=1)
    train(
        Run(
            tuning.folder,
            config.epochs,
            config.optim,
            bool(config.resume),
            config.patience,
            sync_batch_norm=config.sync_batch_norm,
            ids=tuning.ids,
            checkpoint=config.checkpoint,
        ),
        tuning.accelerator,
        model,
        build_optimiser(groups, config.optim),
        batches_for(arrays, order, tuning.accelerator.device, augment),
        step_on("pixels", tuning.task),
        validation(tuning, tuning.images, tuning.folder, keep=config.probes or bool(config.resume)),
    )


def step_on(name: str, task: Task) -> Step:
    """The loss of a batch; ``name`` is what the module takes of it."""

    def step(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        del epoch
        return task.loss(wrapped(batch[name]), batch["targets"])

    return step


def validation(
    tuning: Tuning, inputs: npt.NDArray[Any] | StreamedImages, folder: Path, keep: bool
) -> Validation:
    """What scores the model after each epoch, and keeps the best weights in a folder."""
    rows, encoder = tuning.parts["validation"], tuning.model.encoder
    weights = folder / "weights"
    return Validation(tuning.task, rows, inputs, weights, keep, encoder, tuning.record)
