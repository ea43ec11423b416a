"""lightly's SimCLR views on one core, from decoded images."""

from __future__ import annotations

import os

import torch
from decoded import decoded
from lightly.transforms import SimCLRTransform
from PIL import Image
from serve import Line, timed


def main() -> None:
    """Serve."""
    line = Line()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    images = [Image.fromarray(image) for image in decoded(line.settings["jpeg"])]
    transform = SimCLRTransform(input_size=line.settings["size"])

    def work(views: int) -> None:
        for number in range(views // 2):
            transform(images[number % len(images)])

    line.serve(lambda views: timed(lambda: work(views), views))


if __name__ == "__main__":
    main()
