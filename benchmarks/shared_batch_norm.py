"""What shared batch norm costs a SimCLR step: with it and without, step by step in turns.

    torchrun --nproc_per_node 2 benchmarks/shared_batch_norm.py

Writes results/shared_batch_norm.json.

Both models live in the same processes, so whatever else the machine does slows both alike.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from accelerate import Accelerator
from torch import nn

from gzfound.allocator import keep_freed_memory
from gzfound.errors import one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.models import create_encoder
from gzfound.models.precision import local_processes, only_cpu, pick_precision, use_all_cores
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.training.config import parse_config
from gzfound.training.processes import share_layers

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class CostConfig:
    """Options of the measurement.

    Attributes:
        output: JSON file to write.
        encoder: timm architecture, with batch norm.
        size: side of the views in pixels.
        galaxies: a step of each process.
        steps: measured, each way, after two that are not.
    """

    output: str = str(RESULTS / "shared_batch_norm.json")
    encoder: str = "resnet18"
    size: int = 96
    galaxies: int = 32
    steps: int = 15


def seconds(model: nn.Module, loss: nn.Module, views: torch.Tensor, by: Accelerator) -> float:
    """How long a step takes all processes, forward and backward."""
    by.wait_for_everyone()
    start = time.perf_counter()
    by.backward(loss(model(views)[1]))
    by.wait_for_everyone()
    return time.perf_counter() - start


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, measure, write what comes out."""
    config = parse_config(CostConfig, "What shared batch norm costs a step.", argv)
    keep_freed_memory()
    by = Accelerator(cpu=only_cpu(), mixed_precision=pick_precision("auto"))
    use_all_cores(local_processes(by.num_processes))
    torch.manual_seed(by.process_index)
    simclr = SimCLRConfig()
    models = {}
    for name in ("shared", "apart"):
        model: nn.Module = SimCLR(create_encoder(config.encoder), simclr)
        model = share_layers(model, by.device, batch_norm=name == "shared")
        models[name] = by.prepare(model.to(memory_format=torch.channels_last))
    views = torch.randn(2 * config.galaxies, 3, config.size, config.size, device=by.device)
    views = views.to(memory_format=torch.channels_last)
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(2 + config.steps):
        for name, model in models.items():
            found[name].append(seconds(model, SimCLRLoss(simclr), views, by))
    taken = {name: values[2:] for name, values in found.items()}
    ratios = [shared / apart for shared, apart in zip(*taken.values(), strict=True)]
    quarters = sorted(ratios)[len(ratios) // 4], sorted(ratios)[-1 - len(ratios) // 4]
    if by.is_main_process:
        told = {**asdict(config), "output": Path(config.output).name}
        result = {
            "load_average": os.getloadavg(),
            **told,
            "processes": by.num_processes,
            "precision": by.mixed_precision,
            "seconds": taken,
            "times": median(ratios),
            "quartiles": quarters,
        }
        write_results(config.output, result)
        print(f"a step takes {result['times']:.3f} times as long ({quarters})")
    by.end_training()


if __name__ == "__main__":
    main()
