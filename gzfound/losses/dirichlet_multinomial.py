r"""The Dirichlet-multinomial likelihood of volunteer votes: the only copy of that maths.

A model gives every answer a concentration :math:`\alpha_j > 0`. For a question with answers
:math:`j`, votes :math:`n_j`, total votes :math:`N` and total concentration
:math:`A = \sum_j \alpha_j` (Mosimann 1962, Biometrika 49, 65; for Galaxy Zoo, Walmsley et al.
2022, MNRAS 509, 3966, section 4.2):

.. math::
    \log P(n | \alpha) = \log \frac{N!}{\prod_j n_j!} + \sum_j R(\alpha_j, n_j) - R(A, N),
    \qquad R(a, n) = \log\Gamma(a + n) - \log\Gamma(a) = \sum_{k < n} \log(a + k)

All questions are computed at once. The difference of two log-gammas loses every digit at
large concentrations (143 nats at 1e8 in float32), so R is written with Stirling's series
(Abramowitz & Stegun 6.1.40) at :math:`z = a + 8`, where the large terms cancel on paper:

.. math::
    R(a, n) = n \log z + (z + n - 1/2) \log(1 + n/z) - n + S(z + n) - S(z)
              - \log \prod_{k < 8} \frac{a + n + k}{a + k}

The arithmetic is float64 whatever the type of the input: in float32, the n log z of a hundred
votes alone would use up the error that is allowed. See ``docs/likelihood.md``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gzfound.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gzfound.trees import DecisionTree

REDUCTIONS = ("mean", "sum", "none")

_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)
_PAIRS = (6.0, 10.0, 12.0)  # (a + k)(a + 7 - k) = a(a + 7) + k(7 - k), for k = 1, 2, 3
_TABLE_LENGTH = 4096


def answer_matrix(tree: DecisionTree, device: torch.device) -> Tensor:
    """The 0/1 matrix, shape ``(answers, questions)``, float64, that sums answers to questions."""
    index = torch.tensor(tree.question_index, device=device)
    return nn.functional.one_hot(index, len(tree.questions)).double()


def check_shapes(tree: DecisionTree, **arrays: Tensor) -> None:
    """Raise ``DataError`` unless every array is ``(galaxies, answers of the tree)``."""
    answers = len(tree.columns)
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != answers:
            raise DataError(
                f"{name} has shape {tuple(array.shape)}, but the tree {tree.name!r} needs "
                f"(galaxies, {answers}): one column an answer"
            )
    if len({len(array) for array in arrays.values()}) > 1:
        rows = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError(f"the number of galaxies differs: {rows}; it must be the same")


def _stirling_series(z: Tensor) -> Tensor:
    """S(z) = 1/(12 z) - 1/(360 z^3) + ..., to 1e-11 for z >= 8."""
    inverse = z.reciprocal()
    square = inverse * inverse
    total = square * _STIRLING[3]
    total.add_(_STIRLING[2]).mul_(square).add_(_STIRLING[1]).mul_(square).add_(_STIRLING[0])
    return total.mul_(inverse)


def _log_rising(a: Tensor, n: Tensor) -> Tensor:
    """R(a, n) = log Gamma(a + n) - log Gamma(a), elementwise; exactly 0 where n is 0."""
    z, top = a + 8, a + n
    end = z + n
    low, high = a * (a + 7), top.mul_(top + 7)
    ratio = high / low
    for pair in _PAIRS:
        ratio.mul_((high + pair).div_(low + pair))
    total = torch.log(z).sub_(1).mul_(n)
    total.addcmul_(torch.log1p(n / z), end - 0.5)
    return total.add_(_stirling_series(end)).sub_(_stirling_series(z)).sub_(ratio.log_())


class _OrderedLogLikelihood(torch.autograd.Function):
    """``sum_j R(alpha_j, n_j) - R(A, N)`` for each question, and its gradient.

    dR/da = digamma(a + n) - digamma(a), which float64 holds to 1e-14.
    """

    @staticmethod
    def forward(ctx: Any, concentrations: Tensor, votes: Tensor, matrix: Tensor) -> Tensor:
        answers = len(matrix)
        totals = votes @ matrix
        asked = (totals > 0).double() @ matrix.T > 0
        safe = torch.where(asked, concentrations, 1.0)
        a = torch.cat([safe, safe @ matrix], dim=1)
        n = torch.cat([votes, totals], dim=1)
        ctx.save_for_backward(a, n, matrix, asked)
        rising = _log_rising(a, n)
        return rising[:, :answers] @ matrix - rising[:, answers:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        a, n, matrix, asked = ctx.saved_tensors
        slope = torch.digamma(a + n).sub_(torch.digamma(a))
        answers = len(matrix)
        of_answers = slope[:, :answers] * (gradient @ matrix.T)
        of_answers -= (slope[:, answers:] * gradient) @ matrix.T
        return torch.where(asked, of_answers, 0.0), None, None


@cache
def _factorial_table() -> Tensor:
    return torch.lgamma(torch.arange(1, _TABLE_LENGTH + 1, dtype=torch.float64))


def _log_factorial(votes: Tensor) -> Tensor:
    """log(n!), float64; from a table where the counts are whole numbers on the CPU."""
    whole = not votes.is_floating_point() and votes.device.type == "cpu" and votes.numel() > 0
    if whole and int(votes.min()) >= 0 and int(votes.max()) < _TABLE_LENGTH:
        return _factorial_table()[votes.long()]
    return torch.lgamma(votes.double() + 1)


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
    matrix = answer_matrix(tree, device)
    counts = votes.to(device, torch.float64)
    value: Tensor = _OrderedLogLikelihood.apply(concentrations.double(), counts, matrix)
    if not ordered:
        factorials = _log_factorial(votes.to(device)) @ matrix
        value = value + (_log_factorial((counts @ matrix).round_().long()) - factorials)
    return value.to(torch.promote_types(concentrations.dtype, torch.float32))


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
        galaxies = -log_likelihood(concentrations, votes, self.tree).sum(dim=1)
        if self.reduction == "none":
            return galaxies
        return galaxies.mean() if self.reduction == "mean" else galaxies.sum()
