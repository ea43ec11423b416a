"""Early stopping: a run ends when what it watches has not improved for some epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

WATCHED = "validation_loss"
"""The metric of the end of an epoch that early stopping looks at; smaller is better."""


@dataclass
class Patience:
    """How long nothing has improved. A function of the values seen, so it resumes exactly.

    Attributes:
        epochs: epochs without a better value that end the run; 0 never ends it.
        best: the smallest value so far.
        waited: epochs since then.
    """

    epochs: int
    best: float = float("inf")
    waited: int = 0

    @property
    def over(self) -> bool:
        """Whether the run ends here."""
        return 0 < self.epochs <= self.waited

    def see(self, accelerator: Accelerator, value: float) -> None:
        """Take in the value of an epoch, that of the main process in all processes."""
        if not self.epochs:
            return
        shared = torch.tensor([value], dtype=torch.float32, device=accelerator.device)
        found = float(broadcast(shared))
        if found < self.best:
            self.best, self.waited = found, 0
        else:
            self.waited += 1

    def state(self) -> dict[str, float | int]:
        """What a checkpoint keeps of it."""
        return {"best": self.best, "waited": self.waited} if self.epochs else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint kept, if it kept anything."""
        self.best = float(state.get("best", self.best))
        self.waited = int(state.get("waited", self.waited))
