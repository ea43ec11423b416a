"""Folding changes no embedding, only the number of layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gzfound.embedding import Forward
from gzfound.models import EncoderTransform, create_encoder
from gzfound.models.folding import fold_batch_norm


def trained(name: str) -> nn.Module:
    """An encoder whose batch norms do something."""
    torch.manual_seed(0)
    encoder = create_encoder(name)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return encoder.eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet10t"])
def test_the_same_embeddings_without_batch_norms(name: str) -> None:
    encoder, pixels = trained(name), torch.randn(2, 3, 64, 64)
    folded = fold_batch_norm(encoder)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.inference_mode():
        expected = encoder(pixels)
        error = (folded(pixels) - expected).norm() / expected.norm()
    assert error < 1e-5


def test_an_encoder_without_batch_norms_is_not_copied() -> None:
    encoder = create_encoder("convnext_atto")
    assert fold_batch_norm(encoder) is encoder


def test_an_encoder_that_cannot_be_traced_is_not_changed() -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x) if x.mean() > 0 else -self.layers(x)

    encoder = Choosy().eval()
    assert fold_batch_norm(encoder) is encoder


def test_bf16_embeddings_agree_with_float32() -> None:
    encoder = trained("resnet18")
    encoder.transform = EncoderTransform(64)  # type: ignore[assignment]
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    exact, rounded = (
        Forward(encoder, torch.device("cpu"), kind)(images) for kind in ("no", "bf16")
    )
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    assert ((exact * rounded).sum(axis=1) / lengths).min() > 0.999
