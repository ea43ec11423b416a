"""Layers that see the whole batch: what several processes learn is what one learns."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, distributed, nn

from gzfound.models import create_encoder
from gzfound.training.processes import SharedBatchNorm, SharedDropout, share_layers

CPU = torch.device("cpu")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    where = f"file://{tmp_path / 'store'}"
    distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("kind", "loss", "weights"),
    [
        ("simclr", 1e-6, 1e-5),
        ("hybrid", 1e-6, 1e-5),
        ("batch_norm", 1e-13, 1e-11),
        ("tree", 1e-13, 1e-7),
    ],
)
def test_after_twenty_steps_two_processes_have_the_weights_of_one(
    by_one_and_two: tuple[dict[str, dict[str, Tensor]], ...],
    kind: str,
    loss: float,
    weights: float,
) -> None:
    """The first two kinds compute in float32, the others in float64, where only rounding differs.

    AdamW's steps are as long where a gradient is nothing but rounding, so the bound is absolute;
    twenty steps of 1e-3 move a weight by up to 2e-2.
    """
    one, two = (found[kind] for found in by_one_and_two)
    assert one["loss"] > 0.1
    torch.testing.assert_close(two["loss"], one["loss"], atol=0, rtol=loss)
    assert one.keys() == two.keys()
    statistics = [name for name in one if name.endswith("running_var")]
    assert bool(statistics) == (kind in ("batch_norm", "tree"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=weights, rtol=weights, msg=name)


def test_without_shared_batch_norm_two_processes_learn_something_else(
    by_one_and_two: tuple[dict[str, dict[str, Tensor]], ...],
) -> None:
    one, two = (found["batch_norm_apart"] for found in by_one_and_two)
    assert float(two["loss"]) != pytest.approx(float(one["loss"]), rel=1e-3)
    assert (two["gradient"] - one["gradient"]).norm() > 0.05 * one["gradient"].norm()


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"eps": 0.1}],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_alone_it_is_the_batch_norm_of_torch(
    alone: None, options: dict[str, Any], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """Outputs, gradients and statistics of two steps, then of evaluation."""
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(5, **options)
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    plain = plain.double() if dtype == torch.float64 else plain
    shared = share_layers(copy.deepcopy(plain), CPU, batch_norm=True)
    assert type(shared) is SharedBatchNorm
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    for training in (True, True, False):
        images = (torch.randn(4, 5, 3, 3) * 2 + 3).to(dtype, memory_format=layout)
        found = []
        for norm in (plain.train(training), shared.train(training)):
            pixels = images.clone().requires_grad_()
            out = norm(pixels)
            assert out.dtype == dtype
            wanted = (pixels, *norm.parameters())
            gradients = torch.autograd.grad((out.double() ** 3).mean(), wanted)
            found.append((out, *gradients))
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, atol=bound, rtol=bound)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(dict(shared.named_buffers())[name], buffer)


def test_rows_of_features_and_inputs_without_gradient(alone: None) -> None:
    """Those of a projection head, and of a layer behind frozen ones."""
    torch.manual_seed(0)
    plain = nn.BatchNorm1d(6)
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    shared = share_layers(copy.deepcopy(plain), CPU, batch_norm=True)
    rows, direction = torch.randn(8, 6), torch.randn(8, 6)
    for given in (rows, rows.clone().requires_grad_()):
        found = []
        for norm in (plain, shared):
            wanted = [*norm.parameters(), *([given] if given.requires_grad else [])]
            found.append(torch.autograd.grad((norm(given) * direction).sum(), wanted))
        assert len(found[0]) == 2 + given.requires_grad
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_layers_are_replaced_and_keep_their_parameters() -> None:
    """Batch norms of torch and of timm, which end in an activation."""
    for name in ("test_resnet", "test_efficientnet"):
        model = nn.Sequential(create_encoder(name), nn.Dropout(0.5)).eval()
        images = torch.randn(2, 3, 32, 32)
        before, expected = dict(model.named_parameters()), model(images)
        assert share_layers(model, CPU, batch_norm=True) is model
        after = dict(model.named_parameters())
        assert after.keys() == before.keys()
        assert all(after[key] is before[key] for key in before)
        kinds = [type(module) for module in model.modules()]
        assert kinds.count(SharedBatchNorm) > 5
        assert kinds.count(SharedDropout) == 1
        assert not {nn.BatchNorm2d, BatchNormAct2d, nn.Dropout} & set(kinds)
        assert torch.equal(model(images), expected), "in evaluation nothing is shared"


def test_batch_norm_is_left_alone_unless_asked_for() -> None:
    model = share_layers(create_encoder("test_resnet"), CPU, batch_norm=False)
    kinds = {type(module) for module in model.modules()}
    assert nn.BatchNorm2d in kinds
    assert SharedBatchNorm not in kinds


def test_on_a_gpu_batch_norm_is_that_of_torch() -> None:
    kinds = set()
    for name in ("test_resnet", "test_efficientnet"):
        model = share_layers(create_encoder(name), torch.device("cuda"), batch_norm=True)
        kinds |= {type(module) for module in model.modules()}
    assert {nn.SyncBatchNorm, SyncBatchNormAct} <= kinds
    assert not {nn.BatchNorm2d, BatchNormAct2d, SharedBatchNorm} & kinds
