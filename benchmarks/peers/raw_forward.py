"""The limit of extraction: the best tuned forward pass on tensors in memory, no data at all."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import torch
from serve import Line, timed
from tuned import choose

from gzfound.models import create_encoder
from gzfound.models.precision import pick_precision, usable_cores

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
BATCHES = (4, 8, 16, 32, 64)
SEARCHED = 96
HELD = 128
"""Images in memory, used again and again."""


def main() -> None:
    """Search, then measure the best."""
    line = Line()
    torch.manual_seed(0)
    size, cores = line.settings["size"], usable_cores()
    encoder = create_encoder(line.settings["encoder"]).eval()
    precision = pick_precision("auto", torch.device("cpu"))
    pixels = torch.randn(HELD, 3, size, size)

    def forward(config: dict[str, Any], images: int) -> None:
        layout, batch = LAYOUTS[config["layout"]], config["batch"]
        model = encoder.to(memory_format=layout)
        batches = pixels.contiguous(memory_format=layout).split(batch)
        bf16 = precision == "bf16"

        def part(number: int) -> None:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                model(batches[number % len(batches)])

        numbers: Iterator[int] = iter(range(images // batch))
        if config["workers"] == 1:
            torch.set_num_threads(cores)
            for number in numbers:
                part(number)
            return
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(part, numbers))

    choices = [
        {"layout": layout, "batch": batch, "workers": workers}
        for layout, batch, workers in product(LAYOUTS, BATCHES, sorted({1, cores}))
    ]
    best, tried = choose(line, choices, forward, SEARCHED)

    def measure(images: int) -> dict[str, float]:
        whole = max(images // best["batch"], 1) * best["batch"]
        return timed(lambda: forward(best, whole), whole)

    line.serve(measure, chosen=best, tried=tried, precision=precision, threads=cores)


if __name__ == "__main__":
    main()
