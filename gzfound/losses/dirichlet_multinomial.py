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

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gzfound.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gzfound.trees import DecisionTree

REDUCTIONS = ("mean", "sum", "none")

_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)
_DIGAMMA = (-1 / 12, 1 / 120, -1 / 252, 1 / 240)
_TABLE_LENGTH = 4096
_BLOCK_ROWS = 256


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


def _odd_series(inverse: Tensor, coefficients: tuple[float, float, float, float]) -> Tensor:
    """``sum_i coefficients[i] * inverse^(2 i + 1)``, by Horner's rule."""
    first, second, third, fourth = coefficients
    square = inverse * inverse
    total = (square * fourth).add_(third).mul_(square).add_(second).mul_(square).add_(first)
    return total.mul_(inverse)


def _pair_products(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x, x (x + 12) and (x + 6) (x + 10) for x = a (a + 7); the last two make prod (a + k)."""
    x = a * (a + 7)
    outer = x * (x + 12)
    return x, outer, torch.add(outer, x, alpha=4).add_(60)


def _log_slope(a: Tensor, x: Tensor, outer: Tensor, inner: Tensor) -> Tensor:
    """d/da log prod_{k < 8} (a + k)."""
    total = x.mul(2).add_(12).div_(outer).add_(x.mul(2).add_(16).div_(inner))
    return total.mul_(a.mul(2).add_(7))


def log_rising(a: Tensor, n: Tensor, with_slope: bool = False) -> tuple[Tensor, Tensor | None]:
    """R(a, n) and, if asked for, dR/da = digamma(a + n) - digamma(a), elementwise, float64.

    Both are exactly 0 where n is 0; to 1e-11 for a up to 1e30.
    """
    z, top = a + 8, a + n
    low, high = _pair_products(a), _pair_products(top)
    before, after = z.reciprocal(), (z + n).reciprocal_()
    growth = torch.log1p(n * before)
    value = torch.log(z).sub_(1).mul_(n).addcmul_(growth, top.add(7.5))
    value.add_(_odd_series(after, _STIRLING)).sub_(_odd_series(before, _STIRLING))
    value.sub_((high[1] / low[1]).mul_(high[2] / low[2]).log_())
    if not with_slope:
        return value, None
    slope = growth.addcmul_(before * after, n, value=0.5)
    slope.addcmul_(_odd_series(after, _DIGAMMA), after)
    slope.addcmul_(_odd_series(before, _DIGAMMA), before, value=-1)
    return value, slope.add_(_log_slope(a, *low)).sub_(_log_slope(top, *high))


def _blocks(*arrays: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows in blocks that stay in the cache of a CPU, where fresh memory costs more than maths."""
    rows = _BLOCK_ROWS if arrays[0].device.type == "cpu" else max(len(arrays[0]), 1)
    return zip(*(torch.split(array, rows) for array in arrays), strict=True)


class _OrderedLogLikelihood(torch.autograd.Function):
    """``sum_j R(alpha_j, n_j) - R(A, N)`` for each question, and its gradient."""

    @staticmethod
    def forward(ctx: Any, concentrations: Tensor, votes: Tensor, matrix: Tensor) -> Tensor:
        with_slope, answers = bool(ctx.needs_input_grad[0]), len(matrix)
        values, slopes = [], []
        for alpha, block in _blocks(concentrations, votes):
            counts = block.double()
            totals = counts @ matrix
            asked = totals @ matrix.T > 0
            safe = torch.where(asked, alpha.double(), 1.0)  # R(a, 0) is 0, but not for infinite a
            a, n = torch.cat([safe, safe @ matrix], 1), torch.cat([counts, totals], 1)
            value, slope = log_rising(a, n, with_slope)
            values.append(value[:, :answers] @ matrix - value[:, answers:])
            slopes.append(slope)
        if with_slope:
            ctx.save_for_backward(matrix, *slopes)
            ctx.dtype = concentrations.dtype
        return torch.cat(values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        matrix, *slopes = ctx.saved_tensors
        answers, parts = len(matrix), []
        for (above,), slope in zip(_blocks(gradient), slopes, strict=True):
            part = slope[:, :answers] * (above @ matrix.T)
            part.sub_((slope[:, answers:] * above) @ matrix.T)
            parts.append(part.to(ctx.dtype))
        return torch.cat(parts), None, None


@cache
def _factorial_table() -> Tensor:
    return torch.lgamma(torch.arange(1, _TABLE_LENGTH + 1, dtype=torch.float64))


def _log_factorial(votes: Tensor) -> Tensor:
    """log(n!), float64; from a table where the counts are whole numbers on the CPU."""
    whole = not votes.is_floating_point() and votes.device.type == "cpu" and votes.numel() > 0
    if whole and int(votes.min()) >= 0 and int(votes.max()) < _TABLE_LENGTH:
        return _factorial_table()[votes.long()]
    return torch.lgamma(votes.double() + 1)


def _log_coefficient(votes: Tensor, matrix: Tensor) -> Tensor:
    """log(N! / prod n_j!), float64 ``(B, Q)``."""
    parts = []
    for (counts,) in _blocks(votes):
        totals = counts.double() @ matrix
        totals = totals if counts.is_floating_point() else totals.long()
        parts.append(_log_factorial(totals) - _log_factorial(counts) @ matrix)
    return torch.cat(parts)


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
    counts = votes.to(device)
    value: Tensor = _OrderedLogLikelihood.apply(concentrations, counts, matrix)
    if not ordered:
        value = value + _log_coefficient(counts, matrix)
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
