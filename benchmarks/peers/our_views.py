"""gzfound's views on one core, from decoded images."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import os

import cv2
import numpy as np
import torch
from decoded import decoded
from serve import Line, timed

from gzfound.allocator import keep_freed_memory
from gzfound.views import ViewConfig, make_views

BATCH = 32


def main() -> None:
    """Serve."""
    line = Line()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # as the recipes do
    keep_freed_memory()
    images = torch.from_numpy(np.stack(decoded(line.settings["jpeg"])))
    config = ViewConfig(size=line.settings["size"])

    def work(views: int) -> None:
        for number in range(views // BATCH):
            first = number * BATCH % len(images)
            some = images[first : first + BATCH]
            rows = np.arange(first, first + len(some))
            make_views(some, rows, config, seed=0, epoch=number, view=0)

    line.serve(lambda views: timed(lambda: work(views), views))


if __name__ == "__main__":
    main()
