"""Softmax regression on counts: every answer of every question in one L-BFGS solve.

For each question q the objective is the mean negative log likelihood of a vote plus a ridge
penalty on the weights of its answers,

    sum_i sum_j -n_ij log softmax_j(x_i W_q + b_q) / V_q  +  lambda_q |W_q|^2 / 2,

with V_q the votes on q; a galaxy without votes on q adds nothing. The questions share no
parameters, so the sum over q is solved as one problem. The Hessian is near p_j (1 - p_j) C +
lambda, with C the covariance of the features: in the eigenvectors of C, scaled by its inverse
root, all directions curve alike, and L-BFGS needs tens of steps instead of thousands.
Shapes: N galaxies, F features, A answers, Q questions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gzfound.errors import DataError
from gzfound.trees import DecisionTree

Floats = npt.NDArray[np.float64]

_OFFSET_PENALTY = 1e-6
_STEPS = 200


class SoftmaxRegression:
    """The data of the regression, prepared once for solves with many penalties.

    Args:
        features: standardised, ``(N, F)``.
        votes: counts or any non-negative weights, ``(N, A)``.
        tree: questions and answers.

    Raises:
        DataError: a question has no votes at all.
    """

    def __init__(
        self, features: npt.NDArray[np.floating], votes: npt.NDArray[np.generic], tree: DecisionTree
    ) -> None:
        counts = torch.from_numpy(np.asarray(votes, np.float64))
        x = torch.from_numpy(np.asarray(features, np.float64))
        index = torch.tensor(tree.question_index)
        self.index, self.questions = index, len(tree.questions)
        totals = self._sum(counts)
        self.votes_per_question = totals.sum(0)
        for question, number in zip(tree.questions, self.votes_per_question, strict=True):
            if number == 0:
                raise DataError(
                    f"question {question.name!r} has no votes in the galaxies to fit; "
                    "leave it out, or use data in which it was asked"
                )
        self.counts = counts / self.votes_per_question[index]
        self.totals = (totals / self.votes_per_question)[:, index]
        variance, basis = torch.linalg.eigh(x.T @ x / len(x))
        seen = variance > 1e-10 * variance[-1]  # the penalty sets weights elsewhere to 0
        self.variance, self.basis = variance[seen], basis[:, seen]
        self.rotated = x @ self.basis
        pooled = counts.sum(0) + 0.5
        pooled = pooled / self._sum(pooled[None])[0, index]
        self.offset = pooled.log()
        self.curvature = pooled * (1 - pooled)

    def solve(
        self,
        penalties: npt.ArrayLike,
        start: tuple[Floats, Floats] | None = None,
        tolerance: float = 1e-9,
    ) -> tuple[Floats, Floats]:
        """Weights ``(F, A)`` and offsets ``(A,)`` that minimise the objective.

        Args:
            penalties: lambda, one a question ``(Q,)`` or one for all.
            start: weights and offsets to start from, by default no dependence on features.
            tolerance: stop when a step improves the objective (nats a vote) by less.
        """
        penalty = torch.as_tensor(np.asarray(penalties, np.float64)).expand(self.questions)
        ridge = penalty[self.index]
        scale = (self.variance[:, None] * self.curvature + ridge).clamp_min(1e-12).rsqrt()
        offset_scale = (self.curvature + _OFFSET_PENALTY).rsqrt()
        features = len(self.variance)
        free = torch.zeros(features + 1, len(self.index), dtype=torch.float64)
        if start is not None:
            free[:features] = (self.basis.T @ torch.from_numpy(start[0])) / scale
            free[features] = (torch.from_numpy(start[1]) - self.offset) / offset_scale
        free.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [free],
            max_iter=_STEPS,
            history_size=20,
            tolerance_grad=1e-7,
            tolerance_change=tolerance,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Any:
            weights, shift = free[:-1].detach() * scale, free[-1].detach() * offset_scale
            loss, slope = self._loss(weights, shift + self.offset)
            loss += 0.5 * (ridge * weights * weights).sum()
            loss += 0.5 * _OFFSET_PENALTY * (shift * shift).sum()
            free.grad = torch.cat(
                [
                    scale * (self.rotated.T @ slope + ridge * weights),
                    (offset_scale * (slope.sum(0) + _OFFSET_PENALTY * shift))[None],
                ]
            )
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        found = free.detach()
        weights = self.basis @ (found[:-1] * scale)
        return weights.numpy(), (found[-1] * offset_scale + self.offset).numpy()

    def _loss(self, weights: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean negative log likelihood, and its slope in the logits ``(N, A)``."""
        logits = torch.addmm(offsets, self.rotated, weights)
        log_p = log_softmax(logits, self.index, self.questions)
        loss = -(self.counts * log_p).sum()
        return loss, log_p.exp_().mul_(self.totals).sub_(self.counts)

    def _sum(self, values: Tensor) -> Tensor:
        empty = torch.zeros(len(values), self.questions, dtype=values.dtype)
        return empty.index_add_(1, self.index, values)


def log_softmax(logits: Tensor, index: Tensor, questions: int) -> Tensor:
    """Log of the softmax within each question, ``(N, A)``; ``index`` numbers their questions."""
    largest = torch.full((len(logits), questions), -math.inf, dtype=logits.dtype)
    largest.scatter_reduce_(1, index.expand(len(logits), -1), logits, "amax")
    shifted = logits - largest[:, index]
    sums = torch.zeros_like(largest).index_add_(1, index, shifted.exp())
    return shifted.sub_(sums.log_()[:, index])
