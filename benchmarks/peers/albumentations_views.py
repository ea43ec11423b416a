"""albumentations on one core, with the operations of gzfound's views, from decoded images."""

from __future__ import annotations

import os

import albumentations as A
import cv2
import torch
from albumentations.pytorch import ToTensorV2
from decoded import decoded
from serve import Line, timed


def main() -> None:
    """Serve."""
    line = Line()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    size = line.settings["size"]
    images = decoded(line.settings["jpeg"])
    transform = A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(0.25, 1.0), ratio=(1 / 1.1, 1.1)),
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=180, border_mode=cv2.BORDER_REFLECT, p=1.0),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.05, 1.5), p=0.5),
            A.MultiplicativeNoise((1 / 1.1, 1.1), per_channel=True, p=1.0),
            A.RandomBrightnessContrast(0.4, 0.0, p=1.0),
            A.RandomGamma((77, 130), p=1.0),
            A.GaussNoise(std_range=(0.0, 0.06), p=1.0),
            A.ToFloat(max_value=255),
            ToTensorV2(),
        ]
    )

    def work(views: int) -> None:
        for number in range(views):
            transform(image=images[number % len(images)])

    line.serve(lambda views: timed(lambda: work(views), views))


if __name__ == "__main__":
    main()
