"""The validation loss after each epoch, and the best weights so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gzfound.embedding import embed_arrays
from gzfound.finetuning.task import Task
from gzfound.models import save_weights, transform_of
from gzfound.models.checkpoint import read_config
from gzfound.models.tuning import HeadModel
from gzfound.training.galaxies import Rows
from gzfound.training.patience import WATCHED
from gzfound.training.streamed import StreamedImages


class Validation:
    """Scores the model on the validation galaxies and writes the weights whenever they are better.

    Args:
        task: knows the loss.
        rows: the validation galaxies.
        inputs: images of all galaxies, or embeddings if only the head learns.
        folder: of the weights.
        keep: whether the weights in the folder, if any, are the best so far.
        encoder: of the model, or what made the embeddings.
        record: metadata of the weights.
    """

    def __init__(
        self,
        task: Task,
        rows: Rows,
        inputs: npt.NDArray[Any] | StreamedImages,
        folder: Path,
        keep: bool,
        encoder: nn.Module,
        record: Mapping[str, Any],
    ) -> None:
        self.loss = task.loss
        self.targets = torch.from_numpy(task.targets[rows])
        self.inputs = inputs[rows]
        self.folder = folder
        self.encoder = encoder
        self.record = record
        kept = read_config(folder)["gzfound"] if keep and folder.exists() else {}
        self.best = float(kept.get(WATCHED, "inf"))

    def __call__(self, model: nn.Module) -> Mapping[str, float]:
        """The validation loss after an epoch, and the best so far."""
        head: Any = model.head if isinstance(model, HeadModel) else model
        device = next(head.parameters()).device
        embeddings = self.inputs
        if embeddings.dtype == np.uint8:
            embeddings = embed_arrays(self.encoder, embeddings, device)
        with torch.inference_mode():
            outputs = head(torch.from_numpy(embeddings).to(device)).cpu()
            value = float(self.loss(outputs, self.targets))
        if value < self.best:
            self.best = value
            record = {**self.record, WATCHED: value}
            save_weights(self.folder, self.encoder, transform_of(self.encoder), record, head=head)
        return {WATCHED: value, "best": self.best}
