"""Epochs of pretraining from streamed galaxies and from decoded ones, in turns.

    gzfound simulate runs/default_galaxies --galaxies 20000 --seed 20
    python benchmarks/streaming.py    # prints the ratio, writes results/streaming.json

Both live in the same process, each with a model of its own, and take turns epoch by epoch, so
whatever else the machine does slows both alike. The first epoch of each warms it, uncounted.
An epoch is timed from the first batch asked for to the last step taken.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from peers.results import spread

from gzfound.allocator import keep_freed_memory
from gzfound.errors import one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.models import transform_of
from gzfound.models.checkpoint import start_encoder
from gzfound.models.precision import only_cpu, pick_precision
from gzfound.training.augment import Augment
from gzfound.training.config import parse_config
from gzfound.training.galaxies import load_galaxies
from gzfound.training.optim import build_optimiser, parameter_groups
from gzfound.training.resident import batches_for
from gzfound.training.run import batch_order
from gzfound.views import ViewConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
from pretrain_simclr import PretrainConfig, build_model, build_step

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class SpeedConfig:
    """Options of the measurement.

    Attributes:
        data: dataset directory.
        output: JSON file to write.
        encoder: timm architecture.
        size: side of the views in pixels.
        image_size: side of the decoded images in pixels.
        crop: linear fraction of each image kept around its centre.
        batch_size: galaxies a step.
        stream_window: row groups that are mixed.
        rounds: epochs of each that are counted.
    """

    data: str = "runs/default_galaxies"
    output: str = str(RESULTS / "streaming.json")
    encoder: str = "resnet10t"
    size: int = 48
    image_size: int = 64
    crop: float = 0.5
    batch_size: int = 128
    stream_window: int = 32
    rounds: int = 5


class Contender:
    """Pretraining as the recipe sets it up, from streamed or from decoded galaxies."""

    def __init__(self, config: SpeedConfig, accelerator: Accelerator, window: int) -> None:
        views = ViewConfig(size=config.size, zoom=(0.55, 1.0))
        options = PretrainConfig(data=(config.data,), encoder=config.encoder, views=views)
        torch.manual_seed(0)
        encoder = start_encoder(options.encoder, None, config.size)
        transform = transform_of(encoder)
        galaxies = load_galaxies(
            options.data,
            config=None,
            split="train",
            size=config.image_size,
            crop=config.crop,
            window=window,
        )
        model = build_model(encoder, options, None)
        optimiser = build_optimiser(parameter_groups(model, 1e-4), options.optim)
        self.accelerator = accelerator
        self.model, self.optimiser = accelerator.prepare(model, optimiser)
        self.step = build_step(options, None)
        self.order = batch_order(range(len(galaxies)), config.batch_size, 0, accelerator)
        augment = Augment(views, transform, 0, views=2)
        arrays = {"images": galaxies.images}
        self.batches = batches_for(arrays, self.order, accelerator.device, augment)

    def epoch(self, number: int) -> dict[str, float]:
        """Seconds, processor seconds, and seconds of waiting for batches of an epoch."""
        began, worked, waited = time.perf_counter(), time.process_time(), 0.0
        ready = began
        for batch in self.batches.epoch(number):
            waited += time.perf_counter() - ready
            self.accelerator.backward(self.step(self.model, batch, number))
            self.optimiser.step()
            self.optimiser.zero_grad()
            ready = time.perf_counter()
        return {
            "seconds": time.perf_counter() - began,
            "processor_seconds": time.process_time() - worked,
            "waited": waited,
        }


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, measure, print and write."""
    config = parse_config(SpeedConfig, "Streamed epochs beside cached ones.", argv)
    keep_freed_memory()
    precision = pick_precision("auto")
    accelerator = Accelerator(cpu=only_cpu(), mixed_precision=precision)
    windows = {"cached": 0, "streamed": config.stream_window}
    both = {name: Contender(config, accelerator, window) for name, window in windows.items()}
    before = os.getloadavg()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in both}
    for number in range(1 + config.rounds):
        turn = list(both) if number % 2 else list(both)[::-1]
        for name in turn:
            found[name].append(both[name].epoch(number))
    counted = {name: values[1:] for name, values in found.items()}
    galaxies = both["streamed"].order.steps * config.batch_size
    pairs = list(zip(counted["cached"], counted["streamed"], strict=True))
    ratio = spread([cached["seconds"] / streamed["seconds"] for cached, streamed in pairs])
    work = spread([two["processor_seconds"] / one["processor_seconds"] for one, two in pairs])
    result = {
        "configuration": {**asdict(config), "output": Path(config.output).name},
        "galaxies": galaxies,
        "precision": precision,
        "load_average": {"before": before, "after": os.getloadavg()},
        "streamed_over_cached": ratio,
        "processor_time_over_cached": work,
        "galaxies_per_second": {
            name: spread([galaxies / value["seconds"] for value in values])
            for name, values in counted.items()
        },
        "epochs": counted,
    }
    write_results(config.output, result)
    ends = f"{ratio['least']:.3f} to {ratio['greatest']:.3f}"
    print(f"streamed over cached: {ratio['median']:.3f} ({ends})")
    print(f"processor time: {work['median']:.3f} times that of cached")


if __name__ == "__main__":
    main()
