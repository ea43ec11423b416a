"""The one training loop: every recipe defines its step and hands it over.

The loop is the one of accelerate's examples: ``prepare``, ``accumulate``, ``backward``, ``step``.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gzfound.training.batches import Batch, Batches
from gzfound.training.clock import StepClock
from gzfound.training.nonfinite import FiniteGuard, rewind_notes
from gzfound.training.optim import OptimConfig, set_learning_rate
from gzfound.training.patience import WATCHED, Patience
from gzfound.training.preemption import PreemptedError, Preemption
from gzfound.training.processes import share_layers
from gzfound.training.progress import CheckpointConfig, Checkpoints, Progress
from gzfound.training.rates import Rates
from gzfound.training.single_pixels import mend_single_pixels
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
        checkpoint: when checkpoints are written, and how many are kept.
    """

    folder: Path
    epochs: int
    optim: OptimConfig
    resume: bool = False
    patience: int = 0
    tracked: bool = True
    sync_batch_norm: bool = True
    ids: Sequence[str] = ()
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


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
        PreemptedError: the process, or another of the run, was asked to stop and a checkpoint is
            written.
    """
    if accelerator.device.type == "cpu":
        mend_single_pixels(model)
    if accelerator.num_processes > 1:
        model = share_layers(model, accelerator.device, batch_norm=run.sync_batch_norm)
    model, optimiser = accelerator.prepare(model, optimiser)
    bare: nn.Module = accelerator.unwrap_model(model)
    steps = batches.order.steps
    patience = Patience(run.patience)
    kept = Checkpoints(
        run.folder / "checkpoints", run.checkpoint, accelerator, bare, optimiser, batches.order
    )
    main = accelerator.is_main_process
    tracker = accelerator if run.tracked else None
    with (
        Telemetry(run.folder, run.epochs * steps, main, tracker) as says,
        Preemption() as preemption,
    ):
        at = _resume(run, kept, patience, says)
        job = _Job(run, accelerator, model, optimiser, batches, step, says, kept, preemption)
        flops = 0.0
        while at.epochs < run.epochs:
            if patience.over:
                says.say(f"stopped: no better {WATCHED} in {patience.waited} epochs")
                break
            bare.train()
            rates = Rates(flops)
            values = _epoch(job, at, rates, patience)
            flops = rates.flops_per_galaxy
            if main:
                values |= preemption.unless_asked(lambda: at_epoch_end(bare.eval())) or {}
            if _any_asked(job):
                _stop(job, at, patience)
            patience.see(accelerator, values.get(WATCHED, math.nan))
            at.epochs, at.loss, at.skipped = at.epochs + 1, 0.0, 0
            says.record("epoch", at.step, {"epoch": at.epochs, **values})
            if main:
                says.epoch(at.epochs, run.epochs, values)
            kept.save(at, patience.state())
            accelerator.wait_for_everyone()
        if _any_asked(job):
            raise PreemptedError
    return bare.eval()


@dataclass(frozen=True, eq=False)
class _Job:
    """What an epoch needs of its run."""

    run: Run
    accelerator: Accelerator
    model: nn.Module
    optimiser: Any
    batches: Batches
    step: Step
    says: Telemetry
    kept: Checkpoints
    preemption: Preemption


def _resume(run: Run, kept: Checkpoints, patience: Patience, says: Telemetry) -> Progress:
    if not run.resume:
        return Progress()
    state = kept.load(says.say)
    patience.restore(state)
    at = Progress(**{name: state[name] for name in ("step", "epochs", "loss", "skipped") if state})
    says.rewind(at.step, at.epochs)
    if kept.accelerator.is_main_process:
        rewind_notes(run.folder, at.step)
    if state:
        says.say(f"resumed at step {at.step} of {run.epochs * kept.steps}")
    return at


def _any_asked(job: _Job) -> bool:
    """Whether any process was asked to stop, where no loss tells it: alike in all of them."""
    asked = torch.tensor(float(job.preemption.asked), device=job.accelerator.device)
    return bool(job.accelerator.reduce(asked, "sum"))


def _stop(job: _Job, at: Progress, patience: Patience) -> None:
    job.kept.save(at, patience.state())
    job.says.say(f"stopped at step {at.step}, as asked; --resume goes on from there")
    job.accelerator.wait_for_everyone()  # a launcher ends all processes when the first one ends
    job.accelerator.end_training()
    raise PreemptedError


@contextmanager
def _counted(rates: Rates, galaxies: float) -> Iterator[None]:
    """Count the operations of what is done with ``galaxies``, unless they are known."""
    if rates.flops_per_galaxy:
        yield
        return
    with FlopCounterMode(display=False) as counter:
        yield
    rates.flops_per_galaxy = max(1, counter.get_total_flops()) / galaxies


def _epoch(job: _Job, at: Progress, rates: Rates, patience: Patience) -> dict[str, float]:
    """What is left of a pass over the galaxies; returns the mean loss and the rates."""
    accelerator, optimiser, optim = job.accelerator, job.optimiser, job.run.optim
    order = job.batches.order
    moves = job.run.epochs * order.steps // order.accumulate
    clock: StepClock | None = None
    unread: deque[tuple[StepClock, int, float]] = deque()
    guard = FiniteGuard(
        job.run, accelerator, job.model, optimiser, job.batches, job.step, job.says.say
    )
    guard.skipped = at.skipped
    asked = due = False

    def read() -> None:
        nonlocal asked, due
        past, number, rate = unread.popleft()
        value = past.read()
        at.step = number
        asked, due = asked or bool(past.told[1]), due or bool(past.told[2])
        fine = guard.fine(value, number, batch)
        at.skipped = guard.skipped
        if not fine:
            return
        rates.waited(past.waited)
        rates.done(order.batch_size)
        job.says.record("step", number, {"loss": value, "learning_rate": rate})
        job.says.advance(number, rates.summary()["galaxies_per_second"])
        at.loss += value

    ready = time.perf_counter()
    start = at.step - at.epochs * order.steps
    for number, batch in enumerate(job.batches.epoch(at.epochs, start), start):
        clock = StepClock(accelerator.device, time.perf_counter() - ready, clock)
        taken = at.epochs * order.steps + number
        rate = set_learning_rate(optimiser, taken // order.accumulate, moves, optim)
        guard.before_forward()
        with accelerator.accumulate(job.model):
            with _counted(rates, order.batch_size / accelerator.num_processes):
                loss = job.step(job.model, batch, at.epochs)
                accelerator.backward(loss)
            guard.before_step()
            optimiser.step()
            optimiser.zero_grad()
        # All processes hear with the loss of the same step that one of them was asked to stop, or
        # wants a checkpoint: so they read the same steps between the same forward passes.
        wishes = (float(job.preemption.asked), float(job.kept.due(taken + 1)))
        told = loss.detach().float()
        told = torch.cat((told[None], told.new_tensor(wishes)))
        clock.finish(accelerator.reduce(told, "mean"))
        unread.append((clock, taken + 1, rate))
        # A GPU works on this step while the loss of the one before is read.
        if len(unread) > clock.queued:
            read()
        if accelerator.sync_gradients and (asked or due):
            while unread:
                read()
            if asked:
                _stop(job, at, patience)
            job.kept.save(at, patience.state())
            due = False
        ready = time.perf_counter()
    while unread:
        read()
    loss_of_each = at.loss / max(1, order.steps - guard.skipped)
    return {"loss": loss_of_each, **guard.end_of_epoch(), **rates.summary()}
