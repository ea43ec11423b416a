"""What the network takes, from the images of a batch: standardised views."""

from __future__ import annotations

import cv2
import torch
from torch import Tensor

from gzfound.models import EncoderTransform
from gzfound.training.batches import Batch
from gzfound.views import ViewConfig, make_views


class Augment:
    """Replaces ``images`` by ``pixels``: one or more views of each galaxy, standardised.

    On a CPU two batches of memory take turns, so the pixels of a batch last until the next but one
    is made.

    Args:
        config: ranges of the views.
        transform: mean and deviation that the network expects.
        seed: of the run.
        views: of each galaxy; all first views come first, then all second views.
    """

    def __init__(
        self, config: ViewConfig, transform: EncoderTransform, seed: int, views: int
    ) -> None:
        self.config = config
        self.standardise = (transform.mean, transform.std)
        self.seed = seed
        self.views = views
        self._memory: list[Tensor] = []
        cv2.setNumThreads(1)  # the other cores belong to the step

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """The batch with ``pixels`` ``(views B, C, size, size)``, channels last, for ``images``."""
        images, rows = batch["images"], batch["rows"].numpy()
        pixels = self._pixels(images)
        for view, part in enumerate(pixels.chunk(self.views)):
            make_views(
                images,
                rows,
                self.config,
                seed=self.seed,
                epoch=epoch,
                view=view,
                standardise=self.standardise,
                out=part,
            )
        return {**{k: v for k, v in batch.items() if k != "images"}, "pixels": pixels}

    def _pixels(self, images: Tensor) -> Tensor:
        size = self.config.side
        shape = (self.views * len(images), images.shape[3], size, size)
        if len(self._memory) == 2 and self._memory[0].shape == shape:
            self._memory.append(self._memory.pop(0))
            return self._memory[-1]
        new = torch.empty(shape, device=images.device, memory_format=torch.channels_last)
        if images.device.type == "cpu":
            self._memory = [*self._memory[-1:], new]
        return new
