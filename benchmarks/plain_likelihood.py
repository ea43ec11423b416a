"""The textbook Dirichlet-multinomial, and the errors of likelihoods in float32.

The reference is log Gamma(a + n) - log Gamma(a) = sum_{k < n} log(a + k), summed up in float64: no
difference of large numbers, so it holds about 14 digits. ``tests/losses`` compares with 50 digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gzfound.losses import log_likelihood
from gzfound.trees import DecisionTree

RANGES = ((1e-4, 1e-2), (0.1, 10.0), (10.0, 1e3), (1e3, 1e5), (1e5, 1e7), (1e6, 1e8))
"""Of the concentrations."""
MOST_VOTES = 100
GALAXIES = 32


def plain_likelihood(alpha: Tensor, votes: Tensor, tree: DecisionTree) -> Tensor:
    """Log likelihoods ``(B, Q)`` of votes ``(B, A)``, in a loop over the questions.

    The arithmetic is in the type of ``alpha``, and ``votes`` have that type too.
    """
    values = []
    for part in tree.slices.values():
        a, n = alpha[:, part], votes[:, part]
        total, asked = a.sum(1), n.sum(1)
        value = torch.lgamma(asked + 1) + torch.lgamma(total) - torch.lgamma(total + asked)
        terms = torch.lgamma(a + n) - torch.lgamma(a) - torch.lgamma(n + 1)
        values.append(value + terms.sum(1))
    return torch.stack(values, 1)


def exact_likelihood(alpha: Tensor, votes: Tensor, tree: DecisionTree) -> Tensor:
    """The same ``(B, Q)`` in float64, by the sum."""
    values = []
    for part in tree.slices.values():
        a, n = alpha[:, part].double(), votes[:, part].double()
        value = _rising(torch.ones(len(n)), n.sum(1)) - _rising(a.sum(1), n.sum(1))
        values.append(value + (_rising(a, n) - _rising(torch.ones_like(n), n)).sum(1))
    return torch.stack(values, 1)


def _rising(a: Tensor, n: Tensor) -> Tensor:
    steps = torch.arange(MOST_VOTES, dtype=torch.float64)
    return ((a.double()[..., None] + steps).log() * (steps < n[..., None])).sum(-1)


def float32_errors(tree: DecisionTree, seed: int) -> list[dict[str, Any]]:
    """Largest error, in nats a question, of gzfound and of the plain formula, a row a range."""
    draw = np.random.default_rng(seed)
    rows = []
    for low, high in RANGES:
        powers = draw.uniform(np.log10(low), np.log10(high), (GALAXIES, len(tree.columns)))
        alpha = torch.tensor(10**powers, dtype=torch.float32)
        votes = torch.zeros(alpha.shape)
        for part in tree.slices.values():
            share = draw.dirichlet(np.ones(part.stop - part.start), GALAXIES)
            some = draw.multinomial(draw.integers(0, MOST_VOTES + 1, GALAXIES), share)
            votes[:, part] = torch.from_numpy(some).float()
        exact = exact_likelihood(alpha, votes, tree)
        errors = {
            "gzfound": log_likelihood(alpha, votes, tree) - exact,
            "lgamma": plain_likelihood(alpha, votes, tree) - exact,
        }
        worst = {name: float(error.abs().max()) for name, error in errors.items()}
        rows.append({"least": low, "greatest": high, "questions": exact.numel(), **worst})
    return rows
