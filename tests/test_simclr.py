"""SimCLR: the loss against a closed form and a plain reference, and many processes against one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gzfound.errors import ConfigError
from gzfound.models import create_encoder
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss


def plain_nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Eq. 1 of arXiv:2002.05709, written as its double sum."""
    unit = nn.functional.normalize(projections.double(), dim=1)
    count = len(unit)
    losses = []
    for i in range(count):
        partner = (i + count // 2) % count
        similarities = unit @ unit[i] / temperature
        others = torch.cat([similarities[:i], similarities[i + 1 :]])
        losses.append(torch.logsumexp(others, 0) - similarities[partner])
    return torch.stack(losses).mean()


def test_loss_of_orthogonal_pairs_has_a_closed_form() -> None:
    """Equal views of B orthogonal galaxies: loss = log(1 + (2B - 2) exp(-1 / T)).

    Each of the 2B views has similarity 1 to its partner and 0 to the 2B - 2 others.
    """
    views = torch.eye(4).repeat(2, 1)
    loss = SimCLRLoss(SimCLRConfig(temperature=0.5))(views)
    assert float(loss) == pytest.approx(math.log(1 + 6 * math.exp(-2)), rel=1e-6)


def test_loss_and_gradient_equal_the_double_sum() -> None:
    torch.manual_seed(0)
    projections = torch.randn(12, 5, requires_grad=True)
    loss = SimCLRLoss(SimCLRConfig(temperature=0.2))(projections)
    (gradient,) = torch.autograd.grad(loss, projections)
    reference = plain_nt_xent(projections, 0.2)
    (expected,) = torch.autograd.grad(reference, projections)
    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)


def test_the_model_gives_embeddings_and_projections() -> None:
    model = SimCLR(create_encoder("test_convnext"), SimCLRConfig(hidden=32, output=16))
    embeddings, projections = model(torch.randn(6, 3, 32, 32))
    assert embeddings.shape == (6, model.encoder.num_features)
    assert projections.shape == (6, 16)


@pytest.mark.parametrize("kind", ["simclr", "hybrid"])
def test_two_processes_give_the_loss_and_the_gradients_of_one(
    by_one_and_two: tuple[dict[str, dict[str, Tensor]], ...], kind: str
) -> None:
    """Each process has half the batch, and every negative, with gradients, of the other.

    Of the galaxies with votes, one process has all and the other none.
    """
    one, two = (found[kind] for found in by_one_and_two)
    assert one["loss"] > 0.1
    assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=1e-6)
    assert one["gradient"].abs().max() > 1e-3
    torch.testing.assert_close(two["gradient"], one["gradient"], atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"hidden": 0}, {"output": -1}])
def test_values_out_of_range_are_named(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"simclr.{next(iter(options))}"):
        SimCLRConfig(**options)  # type: ignore[arg-type]
