"""gzfound's extraction, from JPEG files or from Parquet, with every option at its default."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from collections import deque

import torch
from serve import Line, timed

from gzfound.embedding import embed_batches, whole_dataset
from gzfound.models import EncoderTransform, create_encoder


def main() -> None:
    """Serve."""
    line = Line()
    torch.manual_seed(0)
    encoder = create_encoder(line.settings["encoder"]).eval()
    encoder.transform = EncoderTransform(line.settings["size"])
    dataset = whole_dataset(line.settings[line.settings["source"]], None, None)

    def measure(images: int) -> dict[str, float]:
        part = dataset if images == len(dataset) else dataset.select(range(images))
        return timed(lambda: deque(embed_batches(part, encoder), 0), images)

    line.serve(measure)


if __name__ == "__main__":
    main()
