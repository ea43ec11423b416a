"""The decision-tree head: an embedding in, the concentrations of every answer out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gzfound.trees import DecisionTree


class TreeHead(nn.Module):
    """A linear layer that predicts one Dirichlet for each question of a tree.

    The layer gives each answer a logit and each question the logarithm of its total
    concentration. The softmax of the logits within a question is the expected vote fraction, so
    what the galaxy looks like and how sure the model is are learned by separate weights
    (Zoobot, Walmsley et al. 2023, JOSS 8, 5312, predicts the concentrations directly).

    Args:
        num_features: length of the embedding.
        tree: the questions to predict.
        dropout: probability of dropping an embedding feature during training.
    """

    log_range = (-4.0, 7.0)

    def __init__(self, num_features: int, tree: DecisionTree, dropout: float = 0.0) -> None:
        super().__init__()
        self.tree = tree
        self.dropout = nn.Dropout(dropout)
        self.answers = nn.Linear(num_features, len(tree.columns))
        self.totals = nn.Linear(num_features, len(tree.questions))
        nn.init.zeros_(self.answers.weight)
        nn.init.zeros_(self.answers.bias)
        nn.init.zeros_(self.totals.weight)
        nn.init.constant_(self.totals.bias, 2.0)
        self.question_index: Tensor
        index = torch.tensor(tree.question_index, dtype=torch.int64)
        self.register_buffer("question_index", index, persistent=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Positive float32 concentrations ``(B, answers)`` of embeddings ``(B, features)``."""
        kept = self.dropout(embeddings)
        logits = self.answers(kept).float()
        log_totals = self.totals(kept).float().clamp(*self.log_range)
        index = self.question_index.expand(len(logits), -1)
        largest = logits.new_full(log_totals.shape, -torch.inf)
        largest = largest.scatter_reduce(1, index, logits.detach(), "amax")
        powers = (logits - largest.gather(1, index)).exp()
        sums = torch.zeros_like(log_totals).scatter_add(1, index, powers)
        scale = log_totals.exp() / sums
        concentrations: Tensor = powers * scale.gather(1, index)
        return concentrations.clamp_min(1e-6)
