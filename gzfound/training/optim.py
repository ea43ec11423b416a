"""Optimisers, their parameter groups, and a learning rate that is a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from gzfound.errors import ConfigError


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move.

    Attributes:
        optimiser: AdamW (Loshchilov & Hutter 2019), or LARS (You et al. 2017) for large batches.
        learning_rate: the largest learning rate.
        weight_decay: applied to weight matrices, never to biases and norms.
        warmup: share of the steps over which the learning rate rises linearly.
        final: last learning rate over the largest; between them the decay is a cosine.
        clip: largest norm of the gradient; 0 for no limit.
        on_non_finite: stop at a loss or a gradient that is not finite, or skip its step.
    """

    optimiser: Literal["adamw", "lars"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    final: float = 0.01
    clip: float = 1.0
    on_non_finite: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"optim.learning_rate: {self.learning_rate} must be above 0")
        for name, top in (("warmup", 1.0), ("final", 1.0), ("weight_decay", 1e9), ("clip", 1e9)):
            if not 0 <= getattr(self, name) <= top:
                raise ConfigError(f"optim.{name}: {getattr(self, name)} must be 0 to {top:g}")


def parameter_groups(
    module: nn.Module, weight_decay: float, *, scale: float = 1.0
) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices with weight decay, vectors without.

    Args:
        module: only its parameters that require a gradient are taken.
        weight_decay: for the matrices.
        scale: factor on the learning rate of both groups.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
    groups = ((matrices, weight_decay), (vectors, 0.0))
    return [{"params": p, "weight_decay": d, "scale": scale} for p, d in groups if p]


def build_optimiser(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    """The optimiser over parameter groups, each with a ``scale`` on its learning rate."""
    if config.optimiser == "lars":
        from timm.optim.lars import Lars

        lars: Optimizer = Lars(groups, lr=config.learning_rate, momentum=0.9)
        return lars
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate_factor(step: int, total: int, config: OptimConfig) -> float:
    """The learning rate of a step over the largest: linear warm-up, then a cosine.

    Args:
        step: number of steps taken before this one, from 0.
        total: number of steps of the run.
        config: holds ``warmup`` and ``final``.
    """
    warmup = config.warmup * total
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1.0, total - warmup))
    return config.final + (1.0 - config.final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def set_learning_rate(optimiser: Any, step: int, total: int, config: OptimConfig) -> float:
    """Set the learning rate of every group for a step; returns the unscaled one."""
    rate = config.learning_rate * learning_rate_factor(step, total, config)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
    return rate
