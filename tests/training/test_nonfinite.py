"""Losses and gradients that are not finite: stopped or skipped, with what led to them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gzfound.errors import GzfoundError
from gzfound.training.batches import ArrayBatches, Batch
from gzfound.training.loop import Run, train
from gzfound.training.nonfinite import (
    MOST_IN_A_ROW,
    FiniteGuard,
    recorded_activations,
    rewind_notes,
)
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.order import BatchOrder
from gzfound.training.telemetry import read_metrics

IDS = [f"galaxy-{n}" for n in range(32)]
Spoil = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its precision for the life of a process."""
    from accelerate.state import AcceleratorState, GradientState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def model_of() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))


def fit(
    folder: Path,
    *,
    bad: tuple[int, ...] = (),
    on_non_finite: Literal["stop", "skip"] = "stop",
    optimiser: Literal["adamw", "lars"] = "adamw",
    clip: float = 1.0,
    accumulate: int = 1,
    precision: str = "no",
    scaler: bool = False,
    resume: bool = False,
    spoil: Spoil = lambda loss, x: loss * math.nan,
) -> nn.Module:
    """Fit y = sum(x) in 2 epochs of 4 batches; what galaxies ``bad`` give is spoiled."""
    folder.mkdir(exist_ok=True)
    x = np.random.default_rng(0).normal(size=(32, 5)).astype(np.float32)
    optim = OptimConfig(optimiser, 0.01, clip=clip, on_non_finite=on_non_finite)
    model = model_of()
    accelerator = Accelerator(
        cpu=True, gradient_accumulation_steps=accumulate, mixed_precision=precision
    )
    if scaler:
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=10**6)

    def step(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        loss = (wrapped(batch["x"])[:, 0].float() - batch["x"].sum(dim=1)).square().mean()
        return spoil(loss, batch["x"]) if set(batch["rows"].tolist()) & set(bad) else loss

    return train(
        Run(folder, 2, optim, resume, ids=IDS),
        accelerator,
        model,
        build_optimiser(parameter_groups(model, 0.0), optim),
        ArrayBatches(
            {"x": x}, BatchOrder(np.arange(32), 8, 3, accumulate=accumulate), torch.device("cpu")
        ),
        step,
        lambda bare: {},
    )


def infinite_gradient(loss: Tensor, x: Tensor) -> Tensor:
    """The loss as it is, with a gradient of infinity: the root has none at 0."""
    return loss + (loss - loss.detach()).abs().sqrt()


def batch_of(galaxy: int, epoch: int = 0) -> tuple[int, list[str]]:
    """The step, from 1, in which a galaxy comes, and the ids of its batch."""
    order = BatchOrder(np.arange(32), 8, 3)
    for place, rows in enumerate(order.epoch(epoch).tolist()):
        if galaxy in rows:
            return epoch * order.steps + place + 1, [IDS[row] for row in rows]
    raise AssertionError(galaxy)


def test_a_loss_stops_the_run_with_step_galaxies_and_activations(tmp_path: Path) -> None:
    number, ids = batch_of(7)
    with pytest.raises(GzfoundError) as caught:
        fit(tmp_path, bad=(7,))
    said = str(caught.value)
    assert said.startswith(f"loss: nan at step {number}; lower optim.learning_rate; largest")
    assert f"galaxies {', '.join(ids[:3])} and 5 more" in said
    assert "not finite from no layer on" in said
    (noted,) = [
        json.loads(line) for line in (tmp_path / "non_finite.jsonl").read_text().splitlines()
    ]
    assert (noted["step"], noted["ids"], noted["loss"]) == (number, ids, "nan")
    assert [layer["layer"] for layer in noted["layers"]] == ["0", "1", "2", "3"]
    assert all(layer["finite"] and layer["largest"] > 0 for layer in noted["layers"])


@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_a_gradient_stops_the_run_though_the_loss_is_finite(tmp_path: Path, clip: float) -> None:
    number, _ = batch_of(7)
    with pytest.raises(GzfoundError, match=rf"gradient: its norm is (nan|inf) at step {number};"):
        fit(tmp_path, bad=(7,), clip=clip, spoil=infinite_gradient)


@pytest.mark.parametrize("optimiser", ["adamw", "lars"])
def test_activations_are_those_of_the_weights_before_the_step(
    tmp_path: Path, optimiser: Literal["adamw", "lars"]
) -> None:
    """Had the step been taken, every activation would be NaN."""
    with pytest.raises(GzfoundError):
        fit(tmp_path, bad=(7,), spoil=infinite_gradient, optimiser=optimiser)
    noted = json.loads((tmp_path / "non_finite.jsonl").read_text())
    assert all(layer["finite"] for layer in noted["layers"])


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    model = model_of()
    with torch.no_grad():
        model[1].weight[3] = torch.inf
    with recorded_activations(model) as found:
        model(torch.randn(8, 5))
    assert [layer.finite for layer in found] == [True, False, False, False]
    assert all(math.isfinite(layer.largest) for layer in found)
    assert not any(layer._forward_hooks for layer in model)


@pytest.mark.parametrize("optimiser", ["adamw", "lars"])
@pytest.mark.parametrize("spoil", [lambda loss, x: loss * math.nan, infinite_gradient])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_skipped_step_leaves_no_trace(
    tmp_path: Path,
    optimiser: Literal["adamw", "lars"],
    spoil: Spoil,
    precision: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run goes on, is counted, and its weights and statistics are finite."""
    trained = fit(
        tmp_path,
        bad=(7,),
        on_non_finite="skip",
        optimiser=optimiser,
        spoil=spoil,
        precision=precision,
    )
    assert all(value.isfinite().all() for value in trained.state_dict().values())
    steps, epochs = (read_metrics(tmp_path / "metrics.jsonl", kind) for kind in ("step", "epoch"))
    left_out = [batch_of(7, epoch)[0] for epoch in (0, 1)]
    assert [row["step"] for row in steps] == [n for n in range(1, 9) if n not in left_out]
    assert [row["skipped"] for row in epochs] == [1, 1]
    for epoch, row in enumerate(epochs):
        losses = [s["loss"] for s in steps if (s["step"] - 1) // 4 == epoch]
        assert row["loss"] == pytest.approx(np.mean(losses))
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("skipped: ") == 2
    assert f"at step {left_out[0]};" in said


@pytest.mark.parametrize("optimiser", ["adamw", "lars"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_skipping_equals_a_step_that_was_never_taken(
    tmp_path: Path, optimiser: Literal["adamw", "lars"], precision: str, clip: float
) -> None:
    """The guard's optimiser against one that steps on the other batches alone, step by step."""
    options = {"optimiser": optimiser, "precision": precision, "clip": clip}
    trained = fit(tmp_path, bad=(7,), on_non_finite="skip", **options)
    x = np.random.default_rng(0).normal(size=(32, 5)).astype(np.float32)
    order, expected = BatchOrder(np.arange(32), 8, 3), model_of()
    rates = [row["learning_rate"] for row in read_metrics(tmp_path / "metrics.jsonl", "step")]
    optim = OptimConfig(optimiser, 0.01)
    moves = build_optimiser(parameter_groups(expected, 0.0), optim)
    rows = [r for epoch in (0, 1) for r in order.epoch(epoch).tolist() if 7 not in r]
    for some, rate in zip(rows, rates, strict=True):
        batch = torch.from_numpy(x[some])
        for group in moves.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            found = expected(batch)[:, 0].float()
        (found - batch.sum(dim=1)).square().mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(expected.parameters(), clip)
        moves.step()
        moves.zero_grad()
    for name, value in expected.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(trained.state_dict()[name], value)


def test_an_accumulated_gradient_is_skipped_as_a_whole(tmp_path: Path) -> None:
    trained = fit(tmp_path, bad=(7,), on_non_finite="skip", accumulate=2)
    assert all(value.isfinite().all() for value in trained.state_dict().values())
    order = BatchOrder(np.arange(32), 8, 3, accumulate=2)
    places = [
        next(place for place, rows in enumerate(order.epoch(epoch).tolist()) if 7 in rows)
        for epoch in (0, 1)
    ]
    skipped = [row["skipped"] for row in read_metrics(tmp_path / "metrics.jsonl", "epoch")]
    # A bad first half spoils the gradient that the second one adds to.
    assert skipped == [2 - place % 2 for place in places]


def test_what_was_noted_after_the_checkpoint_is_noted_again_not_twice(tmp_path: Path) -> None:
    notes = tmp_path / "non_finite.jsonl"
    notes.write_text("".join(f'{{"step": {step}}}\n' for step in (4, 5, 9)) + '{"ste')
    (tmp_path / "non_finite-1.jsonl").write_text('{"step": 5}\n')
    rewind_notes(tmp_path, 4)
    assert notes.read_text() == '{"step": 4}\n'
    assert (tmp_path / "non_finite-1.jsonl").read_text() == ""
    fit(tmp_path, bad=(7,), on_non_finite="skip", resume=True)
    noted = [json.loads(line)["step"] for line in notes.read_text().splitlines()]
    assert noted == [batch_of(7, epoch)[0] for epoch in (0, 1)], "started over: all of it again"


def test_a_run_that_skips_everything_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(
        GzfoundError, match=r"every step of an epoch was skipped; the last: loss: nan"
    ):
        fit(tmp_path, bad=tuple(range(32)), on_non_finite="skip")
    assert MOST_IN_A_ROW > 4, "the epoch of four steps ends before that"


def test_overflow_under_fp16_is_left_to_the_scaler(tmp_path: Path) -> None:
    """A gradient of infinity, once an epoch: the scaler halves its scale twice, the run goes on."""
    trained = fit(tmp_path, bad=(7,), scaler=True, spoil=infinite_gradient)
    assert all(value.isfinite().all() for value in trained.state_dict().values())
    epochs = read_metrics(tmp_path / "metrics.jsonl", "epoch")
    assert len(epochs) == 2
    assert not any("skipped" in row for row in epochs)


def test_a_loss_that_is_not_finite_stops_under_fp16_too(tmp_path: Path) -> None:
    with pytest.raises(GzfoundError, match=f"loss: nan at step {batch_of(7)[0]};"):
        fit(tmp_path, bad=(7,), scaler=True)


def test_a_scale_that_falls_for_ever_stops_the_run(tmp_path: Path) -> None:
    """From 2^8, twenty steps without a finite gradient leave 2^-12; here four leave 2^4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gzfound.training.nonfinite.LEAST_SCALE", 2.0**5)
        with pytest.raises(
            GzfoundError, match=r"precision: the loss scale of fp16 fell to 1\.6e\+01"
        ):
            fit(tmp_path, bad=tuple(range(32)), scaler=True, spoil=infinite_gradient)


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.reads += "_local_scalar_dense" in str(func) or "is_nonzero" in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("on_non_finite", ["stop", "skip"])
@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_a_healthy_step_waits_for_nothing(
    tmp_path: Path, on_non_finite: Literal["stop", "skip"], clip: float
) -> None:
    model, accelerator = model_of(), Accelerator(cpu=True)
    optim = OptimConfig(clip=clip, on_non_finite=on_non_finite)
    model, optimiser = accelerator.prepare(
        model, build_optimiser(parameter_groups(model, 0.0), optim)
    )
    batches = ArrayBatches({}, BatchOrder(np.arange(32), 8, 3), torch.device("cpu"))
    guard = FiniteGuard(
        Run(tmp_path, 1, optim), accelerator, model, optimiser, batches, lambda *_: None, print
    )
    accelerator.backward(model(torch.randn(8, 5)).square().mean())
    with HostReads() as counted:
        guard.before_forward()
        guard.before_step()
        optimiser.step()
    assert counted.reads == 0
    with HostReads() as counted:
        assert guard.fine(0.5, 1, {})
    assert counted.reads == 1, "the norm, read when the loss has been read"
