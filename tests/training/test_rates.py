"""Rates: plain division, operations counted by hand, and nothing changed by counting."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gzfound.training import rates as room
from gzfound.training.clock import StepClock
from gzfound.training.rates import Rates, forward_flops


def test_rates_are_plain_divisions(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 11.0, 14.0])
    monkeypatch.setattr(room.time, "perf_counter", lambda: next(times))
    rates = Rates(flops_per_galaxy=3.0)
    rates.waited(0.5)
    rates.done(6)
    rates.waited(0.5)
    rates.done(2)
    expected = {"galaxies_per_second": 2.0, "waiting": 0.25, "flops_per_second": 6.0}
    assert rates.summary() == expected


def test_operations_equal_those_counted_by_hand_and_nothing_changes() -> None:
    """A convolution of 3x3 from 2 to 4 channels on 5x5 pixels; a linear layer from 100 to 7."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten()
    )
    model.append(nn.Linear(100, 7))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    assert forward_flops(model, 5, 2) == 2 * (9 * 2 * 4 * 25 + 100 * 7)
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert value.device.type == "cpu"


def test_a_step_on_the_cpu_is_read_at_once() -> None:
    clock = StepClock(torch.device("cpu"), 0.25, None)
    clock.finish(torch.tensor(1.5))
    assert (clock.read(), clock.waited, clock.queued) == (1.5, 0.25, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_wait_that_the_gpu_worked_through_is_none() -> None:
    device = torch.device("cuda")
    work = torch.ones(4096, 4096, device=device)
    first = StepClock(device, 0.0, None)
    for _ in range(50):
        work = work @ work * 1e-4
    first.finish(work.mean())
    second = StepClock(device, 10.0, first)
    second.finish(torch.ones((), device=device))
    assert second.read() == 1.0
    assert second.waited < 0.01
