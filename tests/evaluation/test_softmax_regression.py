"""The Newton steps against automatic differentiation, and against each question on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gzfound.evaluation.probes import Standardiser
from gzfound.evaluation.softmax_regression import SoftmaxRegression, _Penalised
from gzfound.trees import DecisionTree


def _objective(regression: SoftmaxRegression, penalty: torch.Tensor, free: torch.Tensor) -> Any:
    """Loss and penalties, one number, question by question with torch's own softmax."""
    logits = regression.rotated @ free[:-1] + free[-1] + regression.offset
    total = 0.5e-6 * (free[-1] ** 2).sum()
    for question in range(regression.questions):
        part = regression.index == question
        log_p = torch.log_softmax(logits[:, part], dim=1)
        total = total - (regression.counts[:, part] * log_p).sum()
        total = total + 0.5 * penalty[question] * (free[:-1, part] ** 2).sum()
    return total


def test_derivatives(world: Any) -> None:
    """Value, gradient and Hessian product are those of automatic differentiation."""
    features = Standardiser.fit(world.embeddings)(world.embeddings)
    regression = SoftmaxRegression(features, world.votes, world.tree)
    penalty = torch.logspace(-3, -1, 13, dtype=torch.float64)
    problem = _Penalised(regression, penalty[regression.index])
    draw = torch.Generator().manual_seed(0)
    shape = (regression.basis.shape[1] + 1, len(regression.index))
    at, direction = (0.3 * torch.randn(shape, generator=draw, dtype=torch.float64) for _ in "ab")
    value, slope, product = (
        problem.value(at).sum(),
        problem.gradient(at),
        problem.product(direction),
    )
    free = at.clone().requires_grad_()
    wanted = _objective(regression, penalty, free)
    (gradient,) = torch.autograd.grad(wanted, free, create_graph=True)
    (curved,) = torch.autograd.grad((gradient * direction).sum(), free)
    torch.testing.assert_close(value, wanted.detach())
    torch.testing.assert_close(slope, gradient.detach(), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(product, curved, atol=1e-6, rtol=1e-4)


def test_preconditioner_inverts_the_hessian_of_one_feature(world: Any) -> None:
    """With one feature and no dependence on it, nothing is left out of the blocks."""
    features = Standardiser.fit(world.embeddings)(world.embeddings)[:, :1]
    regression = SoftmaxRegression(features, world.votes, world.tree)
    problem = _Penalised(regression, torch.full((40,), 0.01, dtype=torch.float64))
    at = torch.zeros(2, 40, dtype=torch.float64)
    problem.gradient(at)
    direction = torch.zeros_like(at)
    direction[0] = torch.linspace(-1, 1, 40)
    product = problem.product(direction)
    product[1] = 0
    torch.testing.assert_close(problem.precondition(product), direction, atol=1e-4, rtol=1e-4)


def test_questions_together_are_questions_alone(world: Any) -> None:
    """One question at a time finds the same, also from another start, and at the true minimum."""
    features = Standardiser.fit(world.embeddings)(world.embeddings)
    whole = SoftmaxRegression(features, world.votes, world.tree)
    weights, offsets = whole.solve(0.003, tolerance=1e-12)
    far = (weights + 1.0, offsets - 2.0)
    again = whole.solve(0.003, start=far, tolerance=1e-12)
    np.testing.assert_allclose(again[0] - again[0].mean(), weights - weights.mean(), atol=1e-4)
    for question in world.tree.questions:
        part = world.tree.slices[question.name]
        tree = DecisionTree("alone", (replace(question, asked_after=()),))
        alone = SoftmaxRegression(features, world.votes[:, part], tree).solve(0.003)
        found, wanted = features @ weights[:, part], features @ alone[0]
        np.testing.assert_allclose(
            found - found.mean(1, keepdims=True), wanted - wanted.mean(1, keepdims=True), atol=1e-3
        )
    free = torch.from_numpy(np.vstack([whole.basis.numpy().T @ weights, offsets]))
    free[-1] -= whole.offset
    free.requires_grad_()
    penalty = torch.full((13,), 0.003, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(_objective(whole, penalty, free), free)
    assert float(gradient.abs().max()) < 1e-6
