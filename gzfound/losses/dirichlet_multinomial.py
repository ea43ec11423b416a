r"""The Dirichlet-multinomial likelihood of volunteer votes: the only copy of that maths.

A model gives every answer a concentration :math:`\alpha_j > 0`. For a question with answers
:math:`j`, votes :math:`n_j`, total votes :math:`N` and total concentration
:math:`A = \sum_j \alpha_j` (Mosimann 1962, Biometrika 49, 65; for Galaxy Zoo, Walmsley et al.
2022, MNRAS 509, 3966, section 4.2):

.. math::
    \log P(n | \alpha) = \log \frac{N!}{\prod_j n_j!} + \sum_j R(\alpha_j, n_j) - R(A, N),
    \qquad R(a, n) = \log\Gamma(a + n) - \log\Gamma(a) = \sum_{k < n} \log(a + k)

All questions are computed at once, in float64 whatever the type of the input: in float32, the
n log(a) of a hundred votes alone would use up the error that is allowed. ``losses/rising.py`` has
R; its error is below 1e-8 for float32 input. See ``docs/likelihood.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gzfound.errors import ConfigError
from gzfound.losses.rising import log_factorial, log_rising
from gzfound.losses.shapes import answer_matrix, check_shapes

if TYPE_CHECKING:
    from gzfound.trees import DecisionTree

REDUCTIONS = ("mean", "sum", "none")

Found = tuple[Tensor, "Tensor | None"]
Terms = Callable[[Tensor, Tensor], Found]

_BLOCK = 36_000


class _LogLikelihood(torch.autograd.Function):
    """The log likelihood of each question ``(B, Q)``, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, concentrations: Tensor, votes: Tensor, tree: DecisionTree, terms: Terms
    ) -> Tensor:
        way = _at_votes if concentrations.device.type == "cpu" else _everywhere
        index = torch.tensor(tree.question_index, device=concentrations.device)
        value, slope = way(concentrations, votes, tree, index, terms)
        if slope is not None:
            dtype = concentrations.dtype
            ctx.save_for_backward(index, slope.to(torch.promote_types(dtype, torch.float32)))
            ctx.dtype = dtype
        return value.to(torch.promote_types(concentrations.dtype, torch.float32))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        index, slope = ctx.saved_tensors
        result = gradient.index_select(1, index).mul_(slope).to(ctx.dtype)
        return result, None, None, None


def _everywhere(
    concentrations: Tensor, votes: Tensor, tree: DecisionTree, index: Tensor, terms: Terms
) -> Found:
    """Of every answer of every galaxy: what suits a GPU.

    Returns:
        Log likelihood ``(B, Q)`` and its slope in the concentrations ``(B, A)``.
    """
    sums = answer_matrix(tree, concentrations.device)
    n = votes.double()
    totals = n @ sums
    # R(a, 0) is 0, but not for infinite a.
    a = concentrations.double().masked_fill((totals == 0).index_select(1, index), 1.0)
    value, slope = terms(torch.cat((a, a @ sums), 1), torch.cat((n, totals), 1))
    answers = len(index)
    result = (value[:, :answers] @ sums).sub_(value[:, answers:])
    if slope is None:
        return result, None
    return result, slope[:, :answers].sub(slope[:, answers:].index_select(1, index))


def _at_votes(
    concentrations: Tensor, votes: Tensor, tree: DecisionTree, index: Tensor, terms: Terms
) -> Found:
    """The same, computed only where there are votes: what suits a CPU.

    Most questions are not asked of most volunteers, and many answers are not given. Galaxies come
    in blocks that stay in the cache, since fresh memory is slow, and in one thread, since to wake
    another for each of these short steps costs more than it saves.
    """
    rows = max(_BLOCK // (len(index) + len(tree.questions)), 1)
    blocks = zip(torch.split(concentrations, rows), torch.split(votes, rows), strict=True)
    with _one_thread():
        values, slopes = zip(*(_block(*pair, tree, index, terms) for pair in blocks), strict=True)
        return torch.cat(values), None if slopes[0] is None else torch.cat(slopes)


def _block(
    concentrations: Tensor, votes: Tensor, tree: DecisionTree, index: Tensor, terms: Terms
) -> Found:
    answers, questions = len(index), len(tree.questions)
    n, a = (_with_totals(values, index, questions) for values in (votes, concentrations))
    places = torch.from_numpy(np.flatnonzero(n.numpy() > 0))
    value, slope = terms(a.view(-1).index_select(0, places), n.view(-1).index_select(0, places))
    values = torch.zeros_like(a)
    values.view(-1).scatter_(0, places, value)
    result = torch.zeros_like(values[answers:]).index_add_(0, index, values[:answers])
    result.sub_(values[answers:])
    if slope is None:
        return result.T, None
    slopes = torch.zeros_like(a)
    slopes.view(-1).scatter_(0, places, slope)
    of_answers = slopes[:answers].sub_(slopes[answers:].index_select(0, index))
    return result.T, of_answers.to(torch.promote_types(concentrations.dtype, torch.float32)).T


def _with_totals(values: Tensor, index: Tensor, questions: int) -> Tensor:
    """``(b, A)`` as rows in float64 and below them the sums of each question: ``(A + Q, b)``."""
    galaxies, answers = values.shape
    rows = values.new_zeros((answers + questions, galaxies), dtype=torch.float64)
    rows[:answers].copy_(values.T)
    rows[answers:].index_add_(0, index, rows[:answers])
    return rows


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _terms(
    a: Tensor, n: Tensor, *, coefficient: bool, whole: bool, with_slope: bool, precise: bool
) -> Found:
    """R(a, n), less log(n!) with the coefficient, and the slope of R."""
    value, slope = log_rising(a, n, with_slope, precise)
    return (value.sub_(log_factorial(n, whole)) if coefficient else value), slope


def log_likelihood(
    concentrations: Tensor, votes: Tensor, tree: DecisionTree, *, ordered: bool = False
) -> Tensor:
    """Log-probability of the votes, one value a question.

    Args:
        concentrations: ``(B, A)``, positive, any floating type.
        votes: ``(B, A)`` counts, any type.
        tree: the A answers and Q questions.
        ordered: leave out the multinomial coefficient log(N! / prod n_j!): the probability of
            the votes in the order in which they came. It has no gradient either way.

    Returns:
        ``(B, Q)`` in nats; float64 for float64 concentrations, otherwise float32. A question
        without votes is exactly 0 and sends exactly 0 back.

    Raises:
        DataError: for shapes that do not match the tree.
    """
    check_shapes(tree, concentrations=concentrations, votes=votes)
    device = concentrations.device
    if device.type == "mps":  # no float64 there
        on_cpu = log_likelihood(concentrations.cpu(), votes.cpu(), tree, ordered=ordered)
        return on_cpu.to(device)
    terms = partial(
        _terms,
        coefficient=not ordered,
        whole=not votes.is_floating_point(),
        with_slope=concentrations.requires_grad and torch.is_grad_enabled(),
        precise=concentrations.dtype is torch.float64,
    )
    value: Tensor = _LogLikelihood.apply(concentrations, votes.to(device), tree, terms)
    return value


def log_likelihood_per_vote(concentrations: Tensor, votes: Tensor, tree: DecisionTree) -> Tensor:
    """Mean log-probability of one volunteer's answer, given those of the volunteers before.

    The ordered log likelihood (no multinomial coefficient), summed over galaxies and divided by
    the votes: comparable between questions whatever their totals; exp(-value) is a perplexity.

    Returns:
        ``(Q,)`` in nats a vote; NaN for a question without any votes.
    """
    ordered = log_likelihood(concentrations.double(), votes, tree, ordered=True)
    totals = votes.double() @ answer_matrix(tree, votes.device)
    return ordered.sum(0) / totals.sum(0)


class DirichletMultinomialLoss(nn.Module):
    """Negative log likelihood of the votes, summed over questions.

    Args:
        tree: the questions and answers, in the order of the columns.
        reduction: over galaxies: ``"mean"``, ``"sum"``, or ``"none"`` for one value a galaxy.

    Raises:
        ConfigError: for an unknown reduction.
    """

    def __init__(self, tree: DecisionTree, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            allowed = ", ".join(REDUCTIONS)
            raise ConfigError(f"reduction is {reduction!r}; allowed: {allowed}")
        self.tree = tree
        self.reduction = reduction

    def forward(self, concentrations: Tensor, votes: Tensor) -> Tensor:
        """Loss of concentrations ``(B, A)`` against votes ``(B, A)``: a scalar, or ``(B,)``."""
        questions = log_likelihood(concentrations, votes, self.tree)
        if self.reduction == "none":
            return -questions.sum(dim=1)
        total = -questions.sum()
        return total / len(questions) if self.reduction == "mean" else total
