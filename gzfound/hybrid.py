"""SimCLR that also learns the votes, of the galaxies that have any.

NT-Xent needs no labels and the likelihood of votes needs few; a galaxy without votes adds to the
first and exactly nothing to the second (Walmsley et al. 2022, arXiv:2206.11927, add a supervised
and a contrastive loss in this way, with BYOL).
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from gzfound.losses import DirichletMultinomialLoss
from gzfound.models import TreeHead, encoder_features
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.trees import DecisionTree


class HybridSimCLR(nn.Module):
    """SimCLR with a decision-tree head on its embeddings, as one module.

    Args:
        encoder: maps ``(B, C, H, W)`` to embeddings ``(B, num_features)``.
        config: shape of the projection head.
        tree: the questions to learn.
    """

    def __init__(self, encoder: nn.Module, config: SimCLRConfig, tree: DecisionTree) -> None:
        super().__init__()
        self.simclr = SimCLR(encoder, config)
        self.head = TreeHead(encoder_features(encoder), tree)

    @property
    def encoder(self) -> nn.Module:
        """What both heads stand on."""
        return self.simclr.encoder

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Projections ``(2B, output)`` and concentrations ``(2B, answers)`` of both views.

        Args:
            views: the first views of a batch, then the second views, ``(2B, C, H, W)``.
        """
        embeddings, projections = self.simclr(views)
        return projections, self.head(embeddings)


class HybridLoss(nn.Module):
    """NT-Xent plus ``weight`` times the negative log likelihood of a galaxy's votes.

    The likelihood is that of :class:`DirichletMultinomialLoss`, summed over questions: what
    fine-tuning minimises. Its mean is over both views of the galaxies that have any vote, in all
    processes together. So the weight means the same however many galaxies of a batch have votes,
    and N processes with B/N galaxies each have the loss of one with B.

    Args:
        config: holds the temperature.
        tree: the questions and answers.
        weight: of the likelihood.
    """

    def __init__(self, config: SimCLRConfig, tree: DecisionTree, weight: float) -> None:
        super().__init__()
        self.contrast = SimCLRLoss(config)
        self.likelihood = DirichletMultinomialLoss(tree, reduction="sum")
        self.weight = weight

    def forward(self, projections: Tensor, concentrations: Tensor, votes: Tensor) -> Tensor:
        """The loss, a scalar, of what :class:`HybridSimCLR` gives and votes ``(B, answers)``.

        With several processes, the mean of their losses is the loss of all galaxies.
        """
        galaxies = (votes.sum(dim=1) > 0).sum().float()
        processes = 1
        if distributed.is_initialized():
            distributed.all_reduce(galaxies)
            processes = distributed.get_world_size()
        total: Tensor = self.likelihood(concentrations, torch.cat((votes, votes)))
        supervised = total * processes / (2 * galaxies.clamp_min(1))
        loss: Tensor = self.contrast(projections) + self.weight * supervised
        return loss
