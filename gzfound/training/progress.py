"""How far a run has come, when it writes a checkpoint, and from which one it goes on."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from gzfound.errors import ConfigError, WeightsError
from gzfound.training.order import BatchOrder
from gzfound.training.resume import checkpoints, damage, load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written, beside the end of each epoch, and how many are kept.

    Attributes:
        steps: steps between checkpoints within an epoch; 0 for none. A GPU writes each one step
            later, when it has read the loss.
        seconds: seconds between checkpoints within an epoch, as the main process counts them; 0
            for none.
        keep: newest checkpoints that are kept; the others are removed.
    """

    steps: int = 0
    seconds: float = 1800.0
    keep: int = 2

    def __post_init__(self) -> None:
        if self.steps < 0 or not 0 <= self.seconds < float("inf"):
            raise ConfigError(
                f"checkpoint: steps {self.steps}, seconds {self.seconds}: must be at least 0"
            )
        if self.keep < 1:
            raise ConfigError(f"checkpoint.keep: {self.keep} must be at least 1")


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: steps taken.
        epochs: epochs that are over, with what is measured at their end.
        loss: sum over the steps of the epoch at hand.
        skipped: steps of it that were not taken, because they were not finite.
    """

    step: int = 0
    epochs: int = 0
    loss: float = 0.0
    skipped: int = 0


class Checkpoints:
    """Writes the checkpoints of a run, on the main process, and finds the one to go on from.

    Args:
        folder: holds one directory a checkpoint.
        config: when to write.
        accelerator: knows the main process.
        module: unwrapped model.
        optimiser: its optimiser.
        order: of the batches.
    """

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        accelerator: Accelerator,
        module: nn.Module,
        optimiser: Any,
        order: BatchOrder,
    ) -> None:
        self.folder = folder
        self.config = config
        self.accelerator = accelerator
        self.module = module
        self.optimiser = optimiser
        self.order = order
        self.steps = order.steps
        self._trace = (-1, "")
        self.last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether the main process, if this is it, wants one after a step within an epoch."""
        if not self.accelerator.is_main_process or step % self.steps == 0:
            return False
        by_steps = self.config.steps > 0 and step % self.config.steps == 0
        elapsed = time.monotonic() - self.last
        return by_steps or 0 < self.config.seconds <= elapsed

    def save(self, progress: Progress, more: dict[str, Any]) -> None:
        """Write a checkpoint of the step, if this is the main process."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": progress.step,
            "epochs": progress.epochs,
            "loss": progress.loss,
            "skipped": progress.skipped,
            "steps_per_epoch": self.steps,
            "threads": torch.get_num_threads(),
            "order": self._order_of(progress.epochs) if progress.step % self.steps else "",
            **more,
        }
        save_checkpoint(self.folder, self.module, self.optimiser, state, keep=self.config.keep)
        self.last = time.monotonic()

    def _order_of(self, epoch: int) -> str:
        """A hash of the batches of an epoch, of all processes together."""
        if self._trace[0] != epoch:
            rows = replace(self.order, process=0, processes=1).epoch(epoch)
            self._trace = (epoch, hashlib.blake2b(rows.tobytes(), digest_size=12).hexdigest())
        return self._trace[1]

    def load(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Go on from the newest checkpoint that is not damaged; returns its state, empty for none.

        Damaged ones that are newer are removed, with a line for each.

        Raises:
            WeightsError: all are damaged, or the checkpoint is one of another model.
            ConfigError: it is one of a run with other batches, or in another order.
        """
        (name,) = broadcast_object_list([self._newest(say)])
        if not name:
            return {}
        path = self.folder / name
        state = load_checkpoint(path, self.module, self.optimiser)
        if state["steps_per_epoch"] != self.steps:
            raise ConfigError(
                f"resume: {path} has {state['steps_per_epoch']} steps an epoch, this run "
                f"{self.steps}; data, batch_size and accumulate must be those of the run to go on "
                "with"
            )
        traced = state.get("order", "")  # checkpoints of earlier versions have none
        if traced and traced != self._order_of(state["epochs"]):
            raise ConfigError(
                f"resume: {path} is within an epoch whose galaxies come in another order; seed, "
                "data and their row groups, streaming, stream_window, labelled and balance must be "
                "those of the run to go on with"
            )
        threads = state["threads"]
        if self.accelerator.device.type == "cpu" and threads != torch.get_num_threads():
            say(f"resume: {threads} threads, as before, not {torch.get_num_threads()}")
            torch.set_num_threads(threads)
        return state

    def _newest(self, say: Callable[[str], None]) -> str:
        """The name of the newest whole checkpoint, on the main process; empty for none."""
        if not self.accelerator.is_main_process:
            return ""
        damaged: list[tuple[Path, str]] = []
        for path in reversed(checkpoints(self.folder)):
            wrong = damage(path)
            if not wrong:
                for old, reason in damaged:
                    say(f"resume: {old} is damaged ({reason}); going on from {path.name}")
                    shutil.rmtree(old)
                return path.name
            damaged.append((path, wrong))
        if damaged:
            path, wrong = damaged[0]
            raise WeightsError(f"resume: cannot use the checkpoint {path}: {wrong}; nor any other")
        return ""
