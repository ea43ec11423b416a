"""Newton's method for many softmax regressions at once, each with steps of its own.

The questions share features but no parameters. Their Hessians are block diagonal, so one pass over
the galaxies multiplies all of them, and every question has its own conjugate gradients, step length
and end. The products need no Hessian: they are two matrix products in float32. What is minimised,
and its gradient, are in float64, so the minimum is exact to the tolerance asked for.
Shapes: N galaxies, P parameters an answer, A answers, Q questions.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

_NEWTON_STEPS = 50
_PRODUCTS = 100
_HALVINGS = 30
_ENOUGH = 1e-4
"""Share of the promised decrease that a step must bring (Armijo)."""


class Problem(Protocol):
    """Objectives of Q questions, of parameters ``(P, A)``."""

    def value(self, at: Tensor) -> Tensor:
        """The objective of each question ``(Q,)``."""

    def gradient(self, at: Tensor) -> Tensor:
        """Gradient ``(P, A)``; the products and the inverse are then those at this place."""

    def product(self, direction: Tensor) -> Tensor:
        """The Hessian times ``(P, A)``."""

    def precondition(self, gradient: Tensor) -> Tensor:
        """An approximate inverse of the Hessian times ``(P, A)``."""

    def per_question(self, values: Tensor) -> Tensor:
        """Sums of ``(P, A)`` over each question ``(Q,)``."""

    def per_answer(self, values: Tensor) -> Tensor:
        """Numbers of questions ``(Q,)``, each repeated for its answers ``(A,)``."""


def minimise(problem: Problem, start: Tensor, tolerance: float) -> Tensor:
    """The parameters ``(P, A)`` at the minimum of every question.

    A question ends when a Newton step promises to improve its objective by less than
    ``tolerance``, or when rounding hides what it improves.
    """
    at, value = start, problem.value(start)
    active = torch.ones(len(value), dtype=torch.bool)
    for _ in range(_NEWTON_STEPS):
        gradient = problem.gradient(at) * problem.per_answer(active)
        step = _conjugate_gradients(problem, -gradient, tolerance)
        slope = problem.per_question(gradient * step)
        active &= -slope > 2 * tolerance
        if not active.any():
            break
        at, value, moved = _search(problem, at, value, step, slope, active)
        active &= moved
    return at


def _conjugate_gradients(problem: Problem, target: Tensor, tolerance: float) -> Tensor:
    """Solve Hessian x = target roughly; a steep objective is far from its minimum, so roughly."""
    found, residual = torch.zeros_like(target), target.clone()
    scaled = problem.precondition(residual)
    size = problem.per_question(residual * scaled)
    wanted = size * size.sqrt().clamp(1e-4, 0.1)
    direction = scaled
    for _ in range(_PRODUCTS):
        active = size > wanted.clamp_min(0.02 * tolerance)
        if not active.any():
            break
        product = problem.product(direction)
        along = problem.per_question(direction * product)
        length = torch.where(active, size / along.clamp_min(1e-300), 0.0)
        found = found + problem.per_answer(length) * direction
        residual = residual - problem.per_answer(length) * product
        scaled = problem.precondition(residual)
        before, size = size, torch.where(active, problem.per_question(residual * scaled), size)
        turn = torch.where(active, size / before.clamp_min(1e-300), 0.0)
        direction = scaled + problem.per_answer(turn) * direction
    return found


def _search(
    problem: Problem, at: Tensor, value: Tensor, step: Tensor, slope: Tensor, active: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve each question's step until it brings enough; (parameters, values, who has moved)."""
    length = active.double()
    for _ in range(_HALVINGS):
        moved = at + problem.per_answer(length) * step
        found = problem.value(moved)
        poor = found > value + _ENOUGH * length * slope
        if not poor.any():
            return moved, found, active
        length = torch.where(poor, length / 2, length)
    length = torch.where(poor, 0.0, length)
    moved = at + problem.per_answer(length) * step
    return moved, torch.where(poor, value, found), length > 0
