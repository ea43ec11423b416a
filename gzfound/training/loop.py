"""The one training loop: every recipe defines its step and hands it over.

The loop is the one of accelerate's examples: ``prepare``, ``accumulate``, ``backward``, ``step``.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gzfound.errors import ConfigError
from gzfound.training.batches import Batch, Batches
from gzfound.training.clock import StepClock
from gzfound.training.nonfinite import FiniteGuard
from gzfound.training.optim import OptimConfig, set_learning_rate
from gzfound.training.patience import WATCHED, Patience
from gzfound.training.processes import share_layers
from gzfound.training.rates import Rates
from gzfound.training.resume import checkpoints, load_checkpoint, save_checkpoint
from gzfound.training.telemetry import Telemetry

Step = Callable[[nn.Module, Batch, int], Tensor]
AtEpochEnd = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class Run:
    """What the loop needs to know of a run.

    Attributes:
        folder: receives ``metrics.jsonl`` and ``checkpoints``.
        epochs: number of passes over the galaxies.
        optim: learning rate and clipping.
        resume: whether to go on from the last checkpoint in the folder.
        patience: epochs without a better ``validation_loss`` that end the run; 0 never ends it.
        tracked: whether the accelerator's trackers follow it.
        sync_batch_norm: whether batch norm takes its statistics over all processes.
        ids: names of the galaxies, for messages.
    """

    folder: Path
    epochs: int
    optim: OptimConfig
    resume: bool = False
    patience: int = 0
    tracked: bool = True
    sync_batch_norm: bool = True
    ids: Sequence[str] = ()


def train(
    run: Run,
    accelerator: Accelerator,
    model: nn.Module,
    optimiser: Any,
    batches: Batches,
    step: Step,
    at_epoch_end: AtEpochEnd,
) -> nn.Module:
    """Train a model and return it, unwrapped.

    Args:
        run: folder, length and rates.
        accelerator: made by the recipe; owns precision, devices and processes.
        model: not yet prepared.
        optimiser: over the parameters of the model, not yet prepared.
        batches: the galaxies of every epoch.
        step: the recipe's own part: ``step(model, batch, epoch)`` gives the loss, a scalar.
        at_epoch_end: ``at_epoch_end(model)`` gives metrics of the unwrapped model, on the main
            process; with ``run.patience``, one of them is ``validation_loss``.

    Raises:
        GzfoundError: a loss or a gradient is not finite; the message names the step.
        ConfigError: the checkpoint to go on from is one of another run.
    """
    if accelerator.num_processes > 1:
        model = share_layers(model, accelerator.device, batch_norm=run.sync_batch_norm)
    model, optimiser = accelerator.prepare(model, optimiser)
    bare: nn.Module = accelerator.unwrap_model(model)
    steps = batches.order.steps
    patience = Patience(run.patience)
    done = _resume(run, bare, optimiser, steps, patience)
    main = accelerator.is_main_process
    tracker = accelerator if run.tracked else None
    with Telemetry(run.folder, run.epochs * steps, main, tracker) as says:
        if run.resume:
            says.rewind(done)
        if done:
            says.say(f"resumed at step {done} of {run.epochs * steps}")
        flops = 0.0
        for epoch in range(done // steps, run.epochs):
            if patience.over:
                says.say(f"stopped: no better {WATCHED} in {patience.waited} epochs")
                break
            bare.train()
            rates = Rates(flops)
            values = _epoch(run, accelerator, model, optimiser, batches, step, epoch, says, rates)
            flops = rates.flops_per_galaxy
            if main:
                values |= at_epoch_end(bare.eval())
            patience.see(accelerator, values.get(WATCHED, math.nan))
            if main:
                says.record("epoch", (epoch + 1) * steps, {"epoch": epoch + 1, **values})
                says.epoch(epoch + 1, run.epochs, values)
                state = {"step": (epoch + 1) * steps, "steps_per_epoch": steps, **patience.state()}
                save_checkpoint(run.folder / "checkpoints", bare, optimiser, state)
            accelerator.wait_for_everyone()
    return bare.eval()


def _resume(run: Run, bare: nn.Module, optimiser: Any, steps: int, patience: Patience) -> int:
    found = checkpoints(run.folder / "checkpoints") if run.resume else []
    if not found:
        return 0
    state = load_checkpoint(found[-1], bare, optimiser)
    if state["steps_per_epoch"] != steps:
        raise ConfigError(
            f"resume: {found[-1]} has {state['steps_per_epoch']} steps an epoch, this run {steps}; "
            "data, batch_size and accumulate must be those of the run to go on with"
        )
    patience.restore(state)
    return int(state["step"])


@contextmanager
def _counted(rates: Rates, galaxies: float) -> Iterator[None]:
    """Count the operations of what is done with ``galaxies``, unless they are known."""
    if rates.flops_per_galaxy:
        yield
        return
    with FlopCounterMode(display=False) as counter:
        yield
    rates.flops_per_galaxy = max(1, counter.get_total_flops()) / galaxies


def _epoch(
    run: Run,
    accelerator: Accelerator,
    model: nn.Module,
    optimiser: Any,
    batches: Batches,
    step: Step,
    epoch: int,
    says: Telemetry,
    rates: Rates,
) -> dict[str, float]:
    """One pass over the galaxies; returns the mean loss and the rates."""
    order = batches.order
    moves = run.epochs * order.steps // order.accumulate
    total_loss = 0.0
    clock: StepClock | None = None
    unread: deque[tuple[StepClock, int, float]] = deque()
    guard = FiniteGuard(run, accelerator, model, optimiser, batches, step, says.say)

    def read() -> float:
        past, number, rate = unread.popleft()
        value = past.read()
        if not guard.fine(value, number, batch):
            return 0.0
        rates.waited(past.waited)
        rates.done(order.batch_size)
        says.record("step", number, {"loss": value, "learning_rate": rate})
        says.advance(number, rates.summary()["galaxies_per_second"])
        return value

    ready = time.perf_counter()
    for number, batch in enumerate(batches.epoch(epoch)):
        clock = StepClock(accelerator.device, time.perf_counter() - ready, clock)
        taken = epoch * order.steps + number
        rate = set_learning_rate(optimiser, taken // order.accumulate, moves, run.optim)
        guard.before_forward()
        with accelerator.accumulate(model):
            with _counted(rates, order.batch_size / accelerator.num_processes):
                loss = step(model, batch, epoch)
                accelerator.backward(loss)
            guard.before_step()
            optimiser.step()
            optimiser.zero_grad()
        clock.finish(accelerator.reduce(loss.detach(), "mean"))
        unread.append((clock, taken + 1, rate))
        # A GPU works on this step while the loss of the one before is read.
        if len(unread) > clock.queued:
            total_loss += read()
        ready = time.perf_counter()
    while unread:
        total_loss += read()
    loss_of_each = total_loss / max(1, order.steps - guard.skipped)
    return {"loss": loss_of_each, **guard.end_of_epoch(), **rates.summary()}
