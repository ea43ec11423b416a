"""Contrast plus votes: what each galaxy adds, and that one without votes adds nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gzfound import load_tree
from gzfound.hybrid import HybridLoss, HybridSimCLR
from gzfound.losses import log_likelihood
from gzfound.models import create_encoder
from gzfound.simclr import SimCLRConfig, SimCLRLoss

TREE = load_tree("gz_hubble")
CONFIG = SimCLRConfig(hidden=32, output=16)


@pytest.fixture
def outputs() -> tuple[Tensor, Tensor, Tensor]:
    """Projections and concentrations of two views of five galaxies, and their votes."""
    generator = torch.Generator().manual_seed(0)
    projections = torch.randn(10, 8, generator=generator)
    concentrations = torch.rand(10, len(TREE.columns), generator=generator) * 5 + 0.1
    votes = torch.randint(0, 9, (5, len(TREE.columns)), generator=generator)
    return projections, concentrations, votes


def test_the_likelihood_is_a_mean_over_the_views_of_galaxies_with_votes(
    outputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Galaxies 1 and 4 have votes: rows 1, 4 of the first views and 6, 9 of the second."""
    projections, concentrations, votes = outputs
    votes[[0, 2, 3]] = 0
    likelihood = log_likelihood(concentrations[[1, 4, 6, 9]], votes[[1, 4, 1, 4]], TREE).sum()
    expected = float(SimCLRLoss(CONFIG)(projections)) - 0.3 * float(likelihood) / 4
    loss = HybridLoss(CONFIG, TREE, 0.3)(projections, concentrations, votes)
    assert float(likelihood) < -10
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_galaxies_and_questions_without_votes_add_exactly_nothing(
    outputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Only the bar of galaxy 2 has votes; then no galaxy has any."""
    projections, concentrations, votes = outputs
    concentrations.requires_grad_()
    where = TREE.slices["bar-hubble"]
    bar = torch.zeros_like(votes)
    bar[2, where] = torch.tensor([3, 1])
    HybridLoss(CONFIG, TREE, 1.0)(projections, concentrations, bar).backward()
    gradient = concentrations.grad
    assert gradient is not None
    assert bool((gradient[[2, 7], where] != 0).all())
    others = gradient.clone()
    others[[2, 7], where] = 0
    assert torch.equal(others, torch.zeros_like(others))
    concentrations.grad = None
    loss = HybridLoss(CONFIG, TREE, 1.0)(projections, concentrations, torch.zeros_like(votes))
    loss.backward()
    assert loss.item() == SimCLRLoss(CONFIG)(projections).item()
    assert torch.equal(concentrations.grad, torch.zeros_like(concentrations))


def test_both_heads_stand_on_the_same_embeddings() -> None:
    model = HybridSimCLR(create_encoder("test_convnext"), CONFIG, TREE).eval()
    torch.nn.init.normal_(model.head.answers.weight)
    views = torch.randn(4, 3, 32, 32)
    projections, concentrations = model(views)
    embeddings = model.encoder(views)
    assert torch.equal(projections, model.simclr.projection_head(embeddings))
    assert torch.equal(concentrations, model.head(embeddings))
