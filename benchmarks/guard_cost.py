"""What it costs a healthy step to watch for losses and gradients that are not finite.

    python benchmarks/guard_cost.py    # prints a table, writes results/guard_cost.json

The step of a ResNet18 under SimCLR, one thread, in processor time. Clipping and optimiser are timed
with the guard and without it, in turns; the share is of the whole step.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from accelerate import Accelerator

from gzfound.errors import one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.models import create_encoder
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.training.batches import ArrayBatches
from gzfound.training.config import parse_config
from gzfound.training.loop import Run
from gzfound.training.nonfinite import FiniteGuard
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.order import BatchOrder


@dataclass(frozen=True)
class CostConfig:
    """Options.

    Attributes:
        rounds: of each part.
        batch_size: galaxies of the whole step.
        image_size: side of the views in pixels.
        output: JSON file to write.
    """

    rounds: int = 100
    batch_size: int = 64
    image_size: int = 96
    output: str = "benchmarks/results/guard_cost.json"


def measure(config: CostConfig, optim: OptimConfig) -> dict[str, float]:
    """Median milliseconds of the parts, and the share of the step that the guard takes."""
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    model = SimCLR(create_encoder("resnet18"), SimCLRConfig())
    model = model.to(memory_format=torch.channels_last)
    optimiser = build_optimiser(parameter_groups(model, optim.weight_decay), optim)
    model, optimiser = accelerator.prepare(model, optimiser)
    size = config.image_size
    views = torch.randn(2 * config.batch_size, 3, size, size)
    views = views.contiguous(memory_format=torch.channels_last)
    loss_of = SimCLRLoss(SimCLRConfig())
    order = BatchOrder(np.arange(8), 4, 0)
    batches = ArrayBatches({}, order, torch.device("cpu"))
    run = Run(Path(tempfile.mkdtemp()), 1, optim)
    guard = FiniteGuard(run, accelerator, model, optimiser, batches, lambda *_: views, print)

    def forward_backward() -> None:
        optimiser.zero_grad()
        accelerator.backward(loss_of(model(views)[1]))

    def without() -> None:
        optimiser.optimizer.found_inf = None
        if optim.clip:
            accelerator.clip_grad_norm_(model.parameters(), optim.clip)
        optimiser.step()

    def with_guard() -> None:
        guard.before_forward()
        guard.before_step()
        optimiser.step()
        guard.fine(1.0, 1, {})

    whole = median(seconds(forward_backward) for _ in range(max(3, config.rounds // 20)))
    pairs = [(seconds(without), seconds(with_guard)) for _ in range(config.rounds)]
    plain = median(first for first, _ in pairs)
    added = median(second - first for first, second in pairs)
    return {
        "step_ms": round(1000 * (whole + plain), 2),
        "clip_and_optimiser_ms": round(1000 * plain, 3),
        "guard_ms": round(1000 * added, 3),
        "guard_share": round(added / (whole + plain), 5),
    }


def seconds(work: Callable[[], None]) -> float:
    """Processor time."""
    began = time.process_time()
    work()
    return time.process_time() - began


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, measure, print and write."""
    config = parse_config(CostConfig, "Cost of watching for numbers that are not finite.", argv)
    torch.set_num_threads(1)
    found = {
        f"{what}, clip {clip:g}": measure(config, OptimConfig(clip=clip, on_non_finite=what))
        for what in ("stop", "skip")
        for clip in (1.0, 0.0)
    }
    for name, values in found.items():
        print(f"{name:14} {values}")
    options = {name: value for name, value in asdict(config).items() if name != "output"}
    write_results(config.output, {"config": options, "costs": found})


if __name__ == "__main__":
    main()
