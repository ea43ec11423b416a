"""Zoobot's ``predict_on_catalog`` with its encoder, as its guide to representations does it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
import torchvision.transforms.v2 as transforms
from serve import Line, best_workers, timed
from zoobot.pytorch.predictions.predict_on_catalog import predict
from zoobot.pytorch.training.representations import ZoobotEncoder

TRIED = 96


class Encoder(ZoobotEncoder):
    """Takes the image out of the dictionaries that galaxy-datasets makes."""

    def forward(self, x: Any) -> torch.Tensor:
        """Embeddings of a batch."""
        return super().forward(x["image"])


def main() -> None:
    """Serve, with the number of workers that is best_workers."""
    line = Line()
    size = line.settings["size"]
    encoder = timm.create_model(line.settings["encoder"], num_classes=0)
    model, columns = Encoder(encoder), [f"feat_{n}" for n in range(encoder.num_features)]
    files = sorted(Path(line.settings["jpeg"]).iterdir())
    catalog = pd.DataFrame({"id_str": [f.stem for f in files], "file_loc": [str(f) for f in files]})
    resize = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.PILToTensor(),
            transforms.ToDtype(torch.float32, scale=True),
        ]
    )

    def work(workers: int, images: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            predict(
                catalog[:images],
                model,
                f"{folder}/representations.csv",
                columns,
                resize,
                {"batch_size": 32, "num_workers": workers},
                {"accelerator": "cpu", "devices": 1, "default_root_dir": folder, "logger": False},
            )

    best, seconds = best_workers(line, work, TRIED)
    about = {"num_workers": best, "tried": seconds, "batch": 32, "threads": torch.get_num_threads()}
    line.serve(lambda images: timed(lambda: work(best, images), images), **about)


if __name__ == "__main__":
    main()
