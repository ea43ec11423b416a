"""The limit of pretraining: the best tuned forward and backward pass on tensors in memory."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from itertools import product
from typing import Any

import torch
from serve import Line, timed
from tuned import choose

from gzfound.models import create_encoder
from gzfound.models.precision import pick_precision, usable_cores

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
SEARCHED = 256


def main() -> None:
    """Search, then measure the best."""
    line = Line()
    torch.manual_seed(0)
    size, views = line.settings["size"], 2 * line.settings["galaxies_a_batch"]
    encoder = create_encoder(line.settings["encoder"]).train()
    precision = pick_precision("auto", torch.device("cpu"))
    pixels = torch.randn(views, 3, size, size)

    def step(config: dict[str, Any], images: int) -> None:
        layout = LAYOUTS[config["layout"]]
        model = encoder.to(memory_format=layout)
        batches = pixels.contiguous(memory_format=layout).split(config["batch"])
        for number in range(images // config["batch"]):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = model(batches[number % len(batches)]).float().square().mean()
            loss.backward()
            model.zero_grad(set_to_none=True)

    choices = [
        {"layout": layout, "batch": batch}
        for layout, batch in product(LAYOUTS, (views // 4, views // 2, views))
    ]
    best, tried = choose(line, choices, step, SEARCHED)

    def measure(images: int) -> dict[str, float]:
        whole = max(images // best["batch"], 1) * best["batch"]
        return timed(lambda: step(best, whole), whole)

    line.serve(measure, chosen=best, tried=tried, precision=precision, threads=usable_cores())


if __name__ == "__main__":
    main()
