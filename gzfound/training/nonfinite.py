"""Losses and gradients that are not finite: the step is not taken, and what led to it is named.

A healthy step pays for one test of the norm of its gradient, on the device; it is read together
with the loss, so nothing waits for it. A fused optimiser is told there to leave the step out.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from gzfound.data.table import shorten
from gzfound.errors import GzfoundError
from gzfound.training.telemetry import keep_rows

if TYPE_CHECKING:
    from gzfound.training.batches import Batch, Batches
    from gzfound.training.loop import Run, Step

MOST_IN_A_ROW = 10
"""Steps that may be skipped one after the other before the run is given up."""

LEAST_SCALE = 2.0**-10
"""The least loss scale of fp16: where it falls below, hardly a step has been taken for long."""


@dataclass(frozen=True)
class LayerActivation:
    """What a layer gave for a batch.

    Attributes:
        layer: its name in the model.
        largest: largest finite magnitude of its output.
        finite: whether all of its output is finite.
    """

    layer: str
    largest: float
    finite: bool


class FiniteGuard:
    """Clips gradients, and keeps a step that is not finite away from the weights.

    With ``optim.on_non_finite: stop`` the run ends with the step, the galaxies of the batch and the
    largest activations; with ``skip`` the same is said and noted in ``non_finite.jsonl``, and the
    run goes on. Statistics that batch norm took from a skipped batch are put back.

    Under fp16 accelerate's ``GradScaler`` leaves out steps whose gradient overflowed, and lowers
    its scale: that is normal and not counted. A loss that is not finite is not normal.

    Args:
        run: folder, options and names of the galaxies.
        accelerator: owns precision, devices and processes.
        model: prepared.
        optimiser: prepared.
        batches: the galaxies of every epoch.
        step: gives the loss of a batch.
        say: prints a line.
    """

    def __init__(
        self,
        run: Run,
        accelerator: Accelerator,
        model: nn.Module,
        optimiser: Any,
        batches: Batches,
        step: Step,
        say: Callable[[str], None],
    ) -> None:
        self.run, self.accelerator, self.model = run, accelerator, model
        self.optimiser = getattr(optimiser, "optimizer", optimiser)
        self.batches, self.step, self.say = batches, step, say
        self.scaler = accelerator.scaler
        self.fused = bool(self.optimiser.defaults.get("fused"))
        self.skips = run.optim.on_non_finite == "skip"
        self.buffers = [b for b in model.buffers() if b.is_floating_point()] if self.skips else []
        self.waiting: deque[tuple[Tensor | None, list[Tensor]]] = deque()
        self.in_a_row = self.skipped = 0
        self.last = ""

    def before_forward(self) -> None:
        """Note the statistics of the model, if they may have to be put back."""
        self.waiting.append((None, [buffer.clone() for buffer in self.buffers]))

    def before_step(self) -> None:
        """Clip the gradient, and have the optimiser leave out a step if it is not finite."""
        clip = self.run.optim.clip
        if not self.accelerator.sync_gradients or (self.scaler is not None and not clip):
            return
        if clip:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), clip)
        else:
            norm = get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if self.scaler is not None or norm is None:
            return
        wrong = ~torch.isfinite(norm)
        if self.fused:
            self.optimiser.found_inf = wrong.float()
        elif wrong:  # only here, without a fused optimiser, does a GPU wait
            self.optimiser.zero_grad()
        self.waiting[-1] = (norm.detach().to("cpu", non_blocking=True), self.waiting[-1][1])

    def fine(self, loss: float, number: int, batch: Batch) -> bool:
        """Whether the oldest step that was not asked about is finite; call it in their order.

        Args:
            loss: of the step, mean over the processes.
            number: of the step, from 1.
            batch: the last one; on a CPU that of this step.

        Raises:
            GzfoundError: it is not, and steps are not skipped, or too many were.
        """
        copied, before = self.waiting.popleft()
        norm = 0.0 if copied is None else float(copied)
        if math.isfinite(loss) and math.isfinite(norm):
            self.in_a_row = 0
            return True
        self.in_a_row += 1
        self.skipped += 1
        with torch.no_grad(), torch.random.fork_rng(self._devices()):
            layers = self._activations(number, batch)
            for buffer, value in zip(self.buffers, before, strict=True):
                buffer.copy_(value)
        self.last = what = self._note(loss, norm, number, layers)
        taken = copied is not None and math.isfinite(norm)
        if not self.skips or taken or self.in_a_row >= MOST_IN_A_ROW:
            raise GzfoundError(what)
        self.say(f"skipped: {what}")
        return False

    def end_of_epoch(self) -> dict[str, float]:
        """The number of steps skipped in the epoch, if any.

        Raises:
            GzfoundError: that is all of them, or the loss scale of fp16 has fallen so far that
                hardly a step is taken.
        """
        if self.skipped >= self.batches.order.steps:
            raise GzfoundError(f"every step of an epoch was skipped; the last: {self.last}")
        if self.scaler is not None and (scale := self.scaler.get_scale()) < LEAST_SCALE:
            raise GzfoundError(
                f"precision: the loss scale of fp16 fell to {scale:.1e}, so that no gradient is "
                "finite; use --precision bf16 or no"
            )
        skipped, self.skipped = self.skipped, 0
        return {"skipped": skipped} if skipped else {}

    def _devices(self) -> list[torch.device]:
        device = self.accelerator.device
        return [device] if device.type == "cuda" else []

    def _activations(self, number: int, batch: Batch) -> list[LayerActivation]:
        """What each layer gives for the batch of a step, in the order in which they are asked."""
        epoch, place = divmod(number - 1, self.batches.order.steps)
        with recorded_activations(self.accelerator.unwrap_model(self.model)) as found:
            if self.accelerator.device.type == "cpu":
                self.step(self.model, batch, epoch)
            else:  # the batch is a later one; a GPU makes each in memory of its own
                with closing(self.batches.epoch(epoch, place)) as again:  # type: ignore[type-var]  # a generator
                    self.step(self.model, next(again), epoch)
        return found

    def _note(self, loss: float, norm: float, number: int, layers: list[LayerActivation]) -> str:
        """Append to ``non_finite.jsonl`` what is known of a step; returns it in one line."""
        epoch, place = divmod(number - 1, self.batches.order.steps)
        rows = self.batches.order.epoch(epoch)[place].tolist()
        ids = [str(self.run.ids[row] if len(self.run.ids) else row) for row in rows]
        process = self.accelerator.process_index
        path = self.run.folder / f"non_finite{f'-{process}' if process else ''}.jsonl"
        held = {"step": number, "loss": str(loss), "gradient_norm": str(norm), "ids": ids}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**held, "layers": [asdict(layer) for layer in layers]}) + "\n")
        top = sorted(layers, key=lambda layer: -layer.largest)[:3]
        largest = ", ".join(f"{layer.layer} {layer.largest:.3g}" for layer in top)
        first = next((layer.layer for layer in layers if not layer.finite), "no layer")
        what = f"gradient: its norm is {norm}" if math.isfinite(loss) else f"loss: {loss}"
        return (
            f"{what} at step {number}; lower optim.learning_rate; largest activations {largest}; "
            f"not finite from {first} on; galaxies {shorten(ids, 3)}; all of it is in {path}"
        )


def rewind_notes(folder: Path, step: int) -> None:
    """Drop what a killed run noted of steps after ``step``, which are run again."""
    for path in folder.glob("non_finite*.jsonl"):
        keep_rows(path, lambda row: row["step"] <= step)


@contextmanager
def recorded_activations(model: nn.Module) -> Iterator[list[LayerActivation]]:
    """Record what the innermost layers of a model give while the context is open."""
    found: list[LayerActivation] = []

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs
            if isinstance(output, Tensor) and output.is_floating_point():
                size = output.detach().float().abs()
                finite = torch.isfinite(size)
                largest = float(torch.where(finite, size, 0).max())
                found.append(LayerActivation(name, largest, bool(finite.all())))

        return record

    hooks = [
        layer.register_forward_hook(hook_of(name or "model"))
        for name, layer in model.named_modules()
        if not any(layer.children())
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
