"""Convolutions that add and clip: the same numbers, fewer layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from gzfound.embedding import Forward
from gzfound.models import EncoderTransform, attach_transform, create_encoder
from gzfound.models.folding import fold_batch_norm
from gzfound.models.fused import FusedConvolution, fuse_convolutions

EXAMPLE = torch.zeros(1, 3, 64, 64)


def fused_layers(network: nn.Module) -> list[str]:
    """The activation of each fused layer, in order, with a + where something is added."""
    assert isinstance(network, fx.GraphModule)
    layers = []
    for node in network.graph.nodes:
        layer = network.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(layer, FusedConvolution):
            layers.append("+" * (len(node.args) - 1) + layer.activation)
    return layers


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", 8), ("resnet10t", 4), ("resnet26", 8)])
def test_agrees_with_the_folded_encoder(name: str, blocks: int) -> None:
    torch.manual_seed(0)
    encoder, pixels = create_encoder(name).eval(), torch.randn(2, 3, 64, 64)
    folded = fold_batch_norm(encoder)
    fused = fuse_convolutions(fold_batch_norm(encoder), EXAMPLE)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected, found = folded(pixels).float(), fused(pixels).float()
    assert ((found - expected).norm() / expected.norm()).item() < 0.01
    assert fused_layers(fused).count("+relu") == blocks
    called = [fused.get_submodule(n.target) for n in fused.graph.nodes if n.op == "call_module"]
    assert not [layer for layer in called if isinstance(layer, (nn.ReLU, nn.Conv2d))]


def traced(module: nn.Module) -> fx.GraphModule:
    return fx.symbolic_trace(module.eval())


class Sum(nn.Module):
    """relu(convolution(x) + what ``add`` makes of x)."""

    def __init__(self, add: nn.Module) -> None:
        super().__init__()
        self.convolution, self.add, self.relu = nn.Conv2d(3, 3, 3, padding=1), add, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.convolution(x) + self.add(x))


@pytest.mark.parametrize(
    ("add", "layers"),
    [
        (nn.Identity(), ["+relu"]),
        (nn.Conv2d(3, 3, 1), ["+relu", "none"]),
        (nn.AdaptiveAvgPool2d(1), ["none"]),
    ],
)
def test_only_what_has_the_same_shape_is_added(add: nn.Module, layers: list[str]) -> None:
    torch.manual_seed(0)
    module = Sum(add)
    fused = fuse_convolutions(traced(module), EXAMPLE)
    assert sorted(fused_layers(fused)) == sorted(layers)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(fused(pixels).float(), module(pixels), atol=0.03, rtol=0.03)


def test_a_convolution_that_two_layers_read_keeps_its_output() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            y = self.convolution(x)
            return self.relu(y) - y

    module, pixels = Twice(), torch.randn(2, 3, 64, 64)
    fused = fuse_convolutions(traced(module), EXAMPLE)
    assert fused_layers(fused) == ["none"]
    with torch.inference_mode():
        torch.testing.assert_close(fused(pixels).float(), module(pixels), atol=0.03, rtol=0.03)


def test_an_encoder_of_the_user_is_not_changed() -> None:
    encoder = traced(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)))
    attach_transform(encoder, EncoderTransform(64))
    before = str(encoder.code)
    assert Forward(encoder, torch.device("cpu"), "bf16").network is encoder
    assert encoder.code == before
