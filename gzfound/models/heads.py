"""Heads: an embedding in; concentrations of answers, logits of classes or a number out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gzfound.errors import WeightsError
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

    def describe(self) -> dict[str, Any]:
        """What :func:`new_head` needs to make this head again."""
        return {"kind": "tree", "columns": list(self.tree.columns)}


class ClassHead(nn.Module):
    """A linear layer that gives each class a logit.

    Args:
        num_features: length of the embedding.
        target: name of what is classified.
        classes: names of the classes.
        dropout: probability of dropping an embedding feature during training.
    """

    def __init__(
        self, num_features: int, target: str, classes: Sequence[str], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.target = target
        self.classes = tuple(classes)
        self.dropout = nn.Dropout(dropout)
        self.logits = _from_zero(num_features, len(self.classes))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Float32 logits ``(B, classes)`` of embeddings ``(B, features)``."""
        logits: Tensor = self.logits(self.dropout(embeddings)).float()
        return logits

    def describe(self) -> dict[str, Any]:
        """What :func:`new_head` needs to make this head again."""
        return {"kind": "class", "target": self.target, "classes": list(self.classes)}


class NumberHead(nn.Module):
    """A linear layer that predicts a number, standardised as the numbers it was trained on.

    Args:
        num_features: length of the embedding.
        target: name of the number.
        mean: of the training galaxies, in the units of the number.
        std: their standard deviation.
        dropout: probability of dropping an embedding feature during training.
    """

    def __init__(
        self, num_features: int, target: str, mean: float, std: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.target = target
        self.mean = mean
        self.std = std
        self.dropout = nn.Dropout(dropout)
        self.number = _from_zero(num_features, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Float32 numbers ``(B,)``, standardised, of embeddings ``(B, features)``."""
        number: Tensor = self.number(self.dropout(embeddings)).float()[:, 0]
        return number

    def standardised(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Numbers in their units, as :meth:`forward` predicts them."""
        return np.asarray((numbers - self.mean) / self.std, np.float32)

    def in_units(self, standardised: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What :meth:`forward` gives, in the units of the number."""
        return standardised.astype(np.float64) * self.std + self.mean

    def describe(self) -> dict[str, Any]:
        """What :func:`new_head` needs to make this head again."""
        return {"kind": "number", "target": self.target, "mean": self.mean, "std": self.std}


Head = TreeHead | ClassHead | NumberHead


def new_head(description: Mapping[str, Any], num_features: int) -> Head:
    """An untrained head of the kind that ``describe`` described.

    Raises:
        WeightsError: no such kind, or a key is missing.
    """
    try:
        if description["kind"] == "tree":
            return TreeHead(num_features, DecisionTree.from_columns(description["columns"]).tree)
        if description["kind"] == "class":
            return ClassHead(num_features, description["target"], description["classes"])
        if description["kind"] == "number":
            target, mean, std = (description[name] for name in ("target", "mean", "std"))
            if not np.isfinite([mean, std]).all():
                raise WeightsError(f"weights: a head of mean {mean}, std {std}; allowed: finite")
            return NumberHead(num_features, target, float(mean), float(std))
    except KeyError as error:
        raise WeightsError(f"weights: the head has no {error} in config.json") from error
    kind = description["kind"]
    raise WeightsError(f"weights: a head of kind {kind!r}; allowed: tree, class, number")


def _from_zero(num_features: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(num_features, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
