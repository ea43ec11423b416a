"""One of two processes that train while each loss is read a step late, as GPUs do.

The main one wants a checkpoint after every step. First a step of both is not finite and is skipped;
then the second process alone is asked to stop.

python two_late.py FOLDER, with RANK and the like in the environment
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gzfound.training import loop
from gzfound.training.batches import ArrayBatches, Batch
from gzfound.training.clock import StepClock
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.preemption import PreemptedError
from gzfound.training.progress import CheckpointConfig, Checkpoints, Progress
from gzfound.training.resume import checkpoints
from gzfound.training.run import batch_order

SPOILED, TOLD, STOPPED = 2, 3, 4
"""Steps: of the first run, one that is not finite; of the second, that in which a process is told,
and the one after it, with which its loss is read."""


class LateClock(StepClock):
    """Lets the next step be queued before the loss is read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.queued = 1


class SlowCheckpoints(Checkpoints):
    """Takes a second for the checkpoint of the step at which the second run stops."""

    def save(self, progress: Progress, more: dict[str, Any]) -> None:
        """Write a checkpoint."""
        if self.accelerator.is_main_process and progress.step == STOPPED:
            time.sleep(1)
        super().save(progress, more)


def fit(folder: Path, accelerator: Accelerator, *, spoiled: int = 0, told: int = 0) -> int:
    """Two epochs of eight steps, or fewer; returns how many forward passes were begun."""
    begun = 0

    def step(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        nonlocal begun
        begun += wrapped.training
        if begun == told and not accelerator.is_main_process:
            os.kill(os.getpid(), signal.SIGTERM)
        loss = wrapped(batch["x"]).square().mean()
        return loss * (math.nan if begun == spoiled else 1)

    if accelerator.is_main_process:
        folder.mkdir()
    accelerator.wait_for_everyone()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    optim = OptimConfig(on_non_finite="skip")
    x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    try:
        loop.train(
            loop.Run(folder, 2, optim, checkpoint=CheckpointConfig(seconds=1e-9)),
            accelerator,
            model,
            build_optimiser(parameter_groups(model, 0.0), optim),
            ArrayBatches({"x": x}, batch_order(range(32), 4, 0, accelerator), accelerator.device),
            step,
            lambda bare: {},
        )
    except PreemptedError:
        return begun
    accelerator.free_memory()
    return begun


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    loop.StepClock = LateClock
    loop.Checkpoints = SlowCheckpoints
    accelerator = Accelerator(cpu=True)
    skipped = fit(folder / "skipped", accelerator, spoiled=SPOILED)
    stopped = fit(folder / "stopped", accelerator, told=TOLD)
    last = checkpoints(folder / "stopped" / "checkpoints")[-1].name
    sys.stdout.write(json.dumps({"skipped": skipped, "stopped": stopped, "last": last}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
