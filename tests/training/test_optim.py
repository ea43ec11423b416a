"""Learning rates and parameter groups."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from gzfound.errors import ConfigError
from gzfound.training.optim import (
    OptimConfig,
    build_optimiser,
    learning_rate_factor,
    parameter_groups,
    set_learning_rate,
)
from gzfound.training.resume import checkpoints, load_checkpoint, save_checkpoint


def test_warm_up_then_cosine() -> None:
    """100 steps, 10 of warm-up: 1/11 at first, 1 at step 10, half-way of the cosine at 55."""
    config = OptimConfig(warmup=0.1, final=0.02)
    factors = [learning_rate_factor(step, 100, config) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.02 + 0.98 * 0.5)
    assert factors[99] == pytest.approx(0.02 + 0.49 * (1 + math.cos(math.pi * 89 / 90)))
    assert max(factors) == factors[10]


def test_only_matrices_decay_and_frozen_parameters_are_left_out() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    module[2].requires_grad_(False)
    matrices, vectors = parameter_groups(module, 0.1, scale=0.5)
    assert [p.shape for p in matrices["params"]] == [(4, 3)]
    assert [p.shape for p in vectors["params"]] == [(4,)] * 3
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_every_optimiser_takes_its_scaled_rate_and_moves(name: str) -> None:
    module = nn.Linear(3, 2)
    config = OptimConfig(optimiser=name, learning_rate=0.1, warmup=0.0)  # type: ignore[arg-type]
    optimiser = build_optimiser(parameter_groups(module, 0.0, scale=0.25), config)
    assert set_learning_rate(optimiser, 0, 10, config) == pytest.approx(0.1)
    assert {group["lr"] for group in optimiser.param_groups} == {0.025}
    before = module.weight.detach().clone()
    module(torch.ones(4, 3)).sum().backward()
    optimiser.step()
    assert not torch.equal(before, module.weight)


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 0), ("warmup", 2), ("clip", -1)])
def test_values_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"optim.{name}"):
        OptimConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("resumed", [False, True])
def test_the_fused_optimiser_moves_as_a_plain_one(tmp_path: Path, resumed: bool) -> None:
    """Also with weights laid out channels last, and with moments that come from a checkpoint."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    fast = copy.deepcopy(module).to(memory_format=torch.channels_last)
    config = OptimConfig(learning_rate=0.01)
    optimiser = build_optimiser(parameter_groups(fast, config.weight_decay), config)
    plain = torch.optim.AdamW(
        parameter_groups(module, config.weight_decay), lr=0.01, foreach=False, fused=False
    )
    for step in range(4):
        for slow_weight, weight in zip(module.parameters(), fast.parameters(), strict=True):
            slow_weight.grad = torch.randn_like(slow_weight)
            weight.grad = torch.empty_like(weight).copy_(slow_weight.grad)
        plain.step()
        optimiser.step()
        if resumed:
            save_checkpoint(tmp_path, fast, optimiser, {"step": step})
            optimiser = build_optimiser(parameter_groups(fast, config.weight_decay), config)
            load_checkpoint(checkpoints(tmp_path)[-1], fast, optimiser)
    for name, value in fast.state_dict().items():
        torch.testing.assert_close(value, module.state_dict()[name])
