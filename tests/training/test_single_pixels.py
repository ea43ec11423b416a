"""In bf16 on CPUs, the weights of a strided convolution that meet no pixel have a gradient of 0."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from gzfound.models import create_encoder
from gzfound.training.single_pixels import mend_single_pixels


def soil() -> None:
    """Leave no memory that happens to hold zeros."""
    for power in range(10, 24, 2):
        _ = [torch.full((1 << power,), float("nan")) for _ in range(4)]


def gradients(model: nn.Module, images: Tensor, *, bf16: bool) -> dict[str, Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        soil()
        out = model(images).float()
    soil()
    out.square().mean().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("size", [8, 16, 32])
def test_gradients_of_small_images_are_those_of_float32(size: int) -> None:
    torch.manual_seed(0)
    model = create_encoder("test_resnet").to(memory_format=torch.channels_last)
    images = torch.rand(32, 3, size, size).contiguous(memory_format=torch.channels_last)
    plain = gradients(copy.deepcopy(model), images, bf16=False)
    mend_single_pixels(model)
    for _ in range(5):
        for name, found in gradients(model, images, bf16=True).items():
            error = (found - plain[name]).norm() / plain[name].norm().clamp(min=1e-3)
            assert error < 0.5, name


def test_weights_that_meet_no_pixel_have_no_gradient() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 32, 3, stride=2, padding=1)
    mend_single_pixels(layer)
    for _ in range(5):
        gradient = gradients(layer, torch.rand(16, 64, 1, 1), bf16=True)["weight"]
        centre = gradient[:, :, 1, 1].clone()
        gradient[:, :, 1, 1] = 0
        assert (gradient == 0).all()
        assert (centre != 0).any()


def test_other_maps_and_float32_are_left_to_torch() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, stride=2, padding=1)
    mended = copy.deepcopy(layer)
    mend_single_pixels(mended)
    assert type(mended) is not nn.Conv2d
    assert list(mended.state_dict()) == list(layer.state_dict())
    for size in (1, 4):
        images = torch.rand(4, 8, size, size)
        assert torch.equal(mended(images), layer(images))
    with torch.autocast("cpu", torch.bfloat16):
        images = torch.rand(4, 8, 4, 4)
        assert torch.equal(mended(images), layer(images))
        assert mended(torch.rand(4, 8, 1, 1)).dtype is torch.float32
