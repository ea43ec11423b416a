"""The loss of a step and its wait for data, without holding up a GPU."""

from __future__ import annotations

import torch
from torch import Tensor


class StepClock:
    """What one step gave: its loss, and for how long the model waited for its data.

    On a GPU nothing is waited for until :meth:`read`, so the next step can be queued before. The
    wait is then at most the time for which the GPU had nothing to do, by its own clock.

    Attributes:
        queued: steps that may be queued before the first of them is read.
        waited: seconds for which the model waited; final after :meth:`read`.
        told: what :meth:`finish` was given; final after :meth:`read`.

    Args:
        device: of the model.
        host_wait: seconds for which this process waited for the batch.
        before: the step before; None for the first of an epoch.
    """

    def __init__(self, device: torch.device, host_wait: float, before: StepClock | None) -> None:
        self.host_wait = host_wait
        self.waited = host_wait
        self.cuda = device.type == "cuda"
        self.queued = 1 if self.cuda else 0
        self.ended: torch.Event | None = None
        self.ended_before = before.ended if before and self.cuda else None
        self.began: torch.Event | None = None
        if self.cuda:
            self.began = torch.Event(device, enable_timing=True)
            self.ended = torch.Event(device, enable_timing=True)
            self.began.record()

    def finish(self, told: Tensor) -> None:
        """Keep the loss, or a row of numbers that begins with it; the copy is only queued."""
        self.told = told.to("cpu", non_blocking=True)
        if self.ended:
            self.ended.record()

    def read(self) -> float:
        """The loss, once the step is over."""
        if self.began and self.ended:
            self.ended.synchronize()
            if self.ended_before:
                idle = self.ended_before.elapsed_time(self.began) / 1000
                self.waited = min(self.host_wait, idle)
        return float(self.told.flatten()[0])
