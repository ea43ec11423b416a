"""Softmax regression on counts: every answer of every question in one solve.

For each question q the objective is the mean negative log likelihood of a vote plus a ridge
penalty on the weights of its answers,

    sum_i sum_j -n_ij log softmax_j(x_i W_q + b_q) / V_q  +  lambda_q |W_q|^2 / 2,

with V_q the votes on q; a galaxy without votes on q adds nothing. The questions share no
parameters; :mod:`gzfound.evaluation.separable_newton` minimises all of them together. It needs an
approximate inverse of the Hessian: in the eigenvectors of the covariance of the features, the
Hessian couples the answers of a question but hardly one feature with another, so the inverse of
those small blocks is close. Shapes: N galaxies, F features, A answers, Q questions.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gzfound.errors import DataError
from gzfound.evaluation.separable_newton import minimise
from gzfound.trees import DecisionTree

Floats = npt.NDArray[np.float64]

_OFFSET_PENALTY = 1e-6
_CHUNK = 4096
"""Galaxies whose squared features are held at a time."""


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
        self.basis = basis[:, seen]
        self.rotated = x @ self.basis
        self.rotated32 = self.rotated.float()
        self.same = (index[:, None] == index).float()
        pooled = counts.sum(0) + 0.5
        self.offset = (pooled / self._sum(pooled[None])[0, index]).log()

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
        free = torch.zeros(self.basis.shape[1] + 1, len(self.index), dtype=torch.float64)
        if start is not None:
            free[:-1] = self.basis.T @ torch.from_numpy(start[0])
            free[-1] = torch.from_numpy(start[1]) - self.offset
        found = minimise(_Penalised(self, penalty[self.index]), free, tolerance)
        return (self.basis @ found[:-1]).numpy(), (found[-1] + self.offset).numpy()

    def log_p(self, free: Tensor) -> Tensor:
        """Log of the fractions ``(N, A)`` at weights and, in the last row, shifts of offsets."""
        logits = torch.addmm(free[-1] + self.offset, self.rotated, free[:-1])
        return log_softmax(logits, self.index, self.questions)

    def _sum(self, values: Tensor) -> Tensor:
        empty = torch.zeros(len(values), self.questions, dtype=values.dtype)
        return empty.index_add_(1, self.index, values)


class _Penalised:
    """Objective, gradient and Hessian of a regression with a penalty for each answer ``(A,)``."""

    def __init__(self, regression: SoftmaxRegression, penalty: Tensor) -> None:
        self.data = regression
        self.ridge = penalty.repeat(regression.basis.shape[1] + 1, 1)
        self.ridge[-1] = _OFFSET_PENALTY
        first, second = regression.same.triu(1).nonzero(as_tuple=True)
        self.pairs = first, second
        self.place, self.last = torch.empty(0), torch.empty(0)

    def value(self, at: Tensor) -> Tensor:
        """See :class:`gzfound.evaluation.separable_newton.Problem`, as for the rest."""
        log_p = self.data.log_p(at)
        loss = -(self.data.counts * log_p).sum(0) + 0.5 * (self.ridge * at * at).sum(0)
        self.place, self.last = at, log_p
        return self.per_question(loss[None])

    def gradient(self, at: Tensor) -> Tensor:
        data = self.data
        log_p = self.last if self.place is at else data.log_p(at)
        p = log_p.exp()
        slope = data.totals * p - data.counts
        self.p = p.float()
        self.weight = (data.totals * p).float()
        self.inverse = self._inverse_blocks()
        return torch.vstack([data.rotated.T @ slope, slope.sum(0)]) + self.ridge * at

    def product(self, direction: Tensor) -> Tensor:
        small, x = direction.float(), self.data.rotated32
        change = torch.addmm(small[-1], x, small[:-1])
        curved = self.weight * change.sub_((self.p * change) @ self.data.same)
        return torch.vstack([x.T @ curved, curved.sum(0)]).double() + self.ridge * direction

    def precondition(self, gradient: Tensor) -> Tensor:
        return torch.bmm(self.inverse, gradient[:, :, None])[:, :, 0]

    def per_question(self, values: Tensor) -> Tensor:
        return self.data._sum(values.sum(0)[None])[0]

    def per_answer(self, values: Tensor) -> Tensor:
        return values[self.data.index]

    def _inverse_blocks(self) -> Tensor:
        """Inverse of the Hessian of each feature alone ``(F + 1, A, A)``.

        Two answers j, k of a question have -sum_i t_i p_ij p_ik x_i^2; each row sums to 0.
        """
        first, second = self.pairs
        x, both = self.data.rotated32, self.weight[:, first] * self.p[:, second]
        sums = torch.zeros(x.shape[1] + 1, len(first))
        for first_row in range(0, len(x), _CHUNK):
            part = slice(first_row, first_row + _CHUNK)
            sums[:-1].addmm_(x[part].square().T, both[part])
        sums[-1] = both.sum(0)
        blocks = torch.zeros(*self.ridge.shape, self.ridge.shape[1], dtype=torch.float64)
        blocks[:, first, second] = blocks[:, second, first] = -sums.double()
        blocks.diagonal(dim1=1, dim2=2).copy_(self.ridge - blocks.sum(2))
        inverse: Tensor = torch.linalg.inv(blocks)
        return inverse


def log_softmax(logits: Tensor, index: Tensor, questions: int) -> Tensor:
    """Log of the softmax within each question, ``(N, A)``; ``index`` numbers their questions."""
    largest = torch.full((len(logits), questions), -math.inf, dtype=logits.dtype)
    largest.scatter_reduce_(1, index.expand(len(logits), -1), logits, "amax")
    shifted = logits - largest[:, index]
    sums = torch.zeros_like(largest).index_add_(1, index, shifted.exp())
    return shifted.sub_(sums.log_()[:, index])
