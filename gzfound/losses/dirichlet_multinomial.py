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
(Abramowitz & Stegun 6.1.40) at :math:`z = a + m`, where the large terms cancel on paper:

.. math::
    R(a, n) = n \log z + (z + n - 1/2) \log(1 + n/z) - n + S(z + n) - S(z)
              - \log \prod_{k < m} \frac{a + n + k}{a + k}

The arithmetic is float64 whatever the type of the input: in float32, the n log z of a hundred
votes alone would use up the error that is allowed. For float32 input m is 4 (error of R below
1e-8), for float64 input 8. See ``docs/likelihood.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gzfound.errors import ConfigError
from gzfound.losses.shapes import answer_matrix, check_shapes

if TYPE_CHECKING:
    from gzfound.trees import DecisionTree

REDUCTIONS = ("mean", "sum", "none")

Terms = tuple[Tensor, "Tensor | None"]

_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)
_DIGAMMA = (-1 / 12, 1 / 120, -1 / 252, 1 / 240)
_TABLE_LENGTH = 4096
_BLOCK = 36_000


def _series(square: Tensor, coefficients: tuple[float, float, float, float]) -> Tensor:
    """``sum_i coefficients[i] * square^i``, by Horner's rule."""
    first, second, third, fourth = coefficients
    return (square * fourth).add_(third).mul_(square).add_(second).mul_(square).add_(first)


def _products(z: Tensor) -> tuple[Tensor, Tensor]:
    """prod_{k < 4} (z + k), which is x (x + 2) for x = z (z + 3), and the slope of its log."""
    x = (z + 3).mul_(z)
    product = (x + 2).mul_(x)
    return product, x.add_(1).mul_((z * 4).add_(6)).div_(product)


def log_rising(
    a: Tensor, n: Tensor, with_slope: bool = False, precise: bool = True
) -> tuple[Tensor, Tensor | None]:
    """R(a, n) and, if asked for, dR/da = digamma(a + n) - digamma(a), elementwise, float64.

    Both are exactly 0 where n is 0. R is good to 1e-11 for a up to 1e30, or to 1e-8 if not
    ``precise``. Row 0 of the arrays below is at a, row 1 at a + n.
    """
    z = torch.stack((a, a + n))
    product, logarithmic = _products(z)
    ratio, slope = product[1].div_(product[0]), logarithmic[0].sub_(logarithmic[1])
    z.add_(4)
    if precise:
        product, logarithmic = _products(z)
        ratio.mul_(product[1].div_(product[0]))
        slope.add_(logarithmic[0].sub_(logarithmic[1]))
        z.add_(4)
    inverse = z.reciprocal()
    square = inverse * inverse
    growth = torch.log1p(n * inverse[0])
    value = torch.log(z[0]).sub_(1).mul_(n).addcmul_(growth, z[1].sub_(0.5)).sub_(ratio.log_())
    stirling = _series(square, _STIRLING).mul_(inverse)
    value.add_(stirling[1]).sub_(stirling[0])
    if not with_slope:
        return value, None
    digamma = _series(square, _DIGAMMA).mul_(square)
    slope.add_(growth).add_(inverse[0], alpha=0.5).sub_(inverse[1], alpha=0.5)
    return value, slope.add_(digamma[1]).sub_(digamma[0])


def _question_sums(rows: Tensor, index: Tensor, questions: int) -> Tensor:
    """Sums ``(Q, B)`` of the answers ``(A, B)`` of each question."""
    if rows.device.type != "cpu":  # there, index_add_ sums in any order
        which: Tensor = nn.functional.one_hot(index, questions)
        return which.T.to(rows.dtype) @ rows
    return rows.new_zeros((questions, rows.shape[1])).index_add_(0, index, rows)


class _LogLikelihood(torch.autograd.Function):
    """The log likelihood of each question ``(B, Q)``, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, concentrations: Tensor, votes: Tensor, tree: DecisionTree, ordered: bool
    ) -> Tensor:
        with_slope = bool(ctx.needs_input_grad[0])
        index = torch.tensor(tree.question_index, device=concentrations.device)
        rows = _rows_together(concentrations, len(tree.questions))
        blocks = zip(torch.split(concentrations, rows), torch.split(votes, rows), strict=True)
        with _one_thread(concentrations.device):
            found = [_block(*p, index, len(tree.questions), ordered, with_slope) for p in blocks]
        if with_slope:
            ctx.save_for_backward(index, *(slope for _, slope in found if slope is not None))
            ctx.rows, ctx.dtype = rows, concentrations.dtype
        return torch.cat([value.T for value, _ in found])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        index, *slopes = ctx.saved_tensors
        pairs = zip(torch.split(gradient.T.contiguous(), ctx.rows, dim=1), slopes, strict=True)
        parts = [above.index_select(0, index).mul_(slope).to(ctx.dtype) for above, slope in pairs]
        return torch.cat([part.T for part in parts]), None, None, None


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU, to wake a second thread for each of these short steps costs more than it saves."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _rows_together(concentrations: Tensor, questions: int) -> int:
    """Galaxies a block: all, but on a CPU as many as stay in the cache: fresh memory is slow."""
    galaxies, answers = concentrations.shape
    if concentrations.device.type != "cpu":
        return max(galaxies, 1)
    return max(_BLOCK // (answers + questions), 1)


def _block(
    concentrations: Tensor,
    votes: Tensor,
    index: Tensor,
    questions: int,
    ordered: bool,
    with_slope: bool,
) -> tuple[Tensor, Tensor | None]:
    """Log likelihood ``(Q, b)`` and its slope in the concentrations ``(A, b)``.

    Inside, rows are answers and then questions, columns galaxies: ``(A + Q, b)``.
    """
    dtype = torch.promote_types(concentrations.dtype, torch.float32)
    n = votes.T.contiguous().double()
    a = concentrations.T.contiguous().double()
    totals = _question_sums(n, index, questions)
    if a.device.type != "cpu":  # there all are computed: R(a, 0) is 0, but not for infinite a
        a.masked_fill_((totals == 0).index_select(0, index), 1.0)
    a = torch.cat((a, _question_sums(a, index, questions)))
    n = torch.cat((n, totals))
    terms = partial(
        _terms,
        coefficient=not ordered,
        whole=not votes.is_floating_point(),
        with_slope=with_slope,
        precise=dtype is torch.float64,
    )
    value, slope = _where_votes(terms, a, n) if a.device.type == "cpu" else terms(a, n)
    answers, total = torch.split(value, [len(index), questions])
    result = _question_sums(answers, index, questions).sub_(total).to(dtype)
    if slope is None:
        return result, None
    of_answers, of_total = torch.split(slope, [len(index), questions])
    return result, of_answers.sub_(of_total.index_select(0, index)).to(dtype)


def _terms(
    a: Tensor, n: Tensor, *, coefficient: bool, whole: bool, with_slope: bool, precise: bool
) -> Terms:
    """R(a, n), less log(n!) with the coefficient, and the slope of R."""
    value, slope = log_rising(a, n, with_slope, precise)
    return (value.sub_(_log_factorial(n, whole)) if coefficient else value), slope


def _where_votes(terms: Callable[[Tensor, Tensor], Terms], a: Tensor, n: Tensor) -> Terms:
    """``terms`` computed only where there are votes; elsewhere they are 0.

    Most questions are not asked of most volunteers, and many answers are not given.
    """
    ends, counts = a.flatten(), n.flatten()
    places = torch.from_numpy(np.flatnonzero(counts.numpy() > 0))
    value, slope = terms(ends.index_select(0, places), counts.index_select(0, places))
    whole = torch.zeros_like(ends).scatter_(0, places, value).view(a.shape)
    if slope is None:
        return whole, None
    return whole, torch.zeros_like(ends).scatter_(0, places, slope).view(a.shape)


@cache
def _factorial_table() -> Tensor:
    return torch.lgamma(torch.arange(1, _TABLE_LENGTH + 1, dtype=torch.float64))


def _log_factorial(n: Tensor, whole: bool) -> Tensor:
    """log(n!) of float64 n; from a table where the counts are whole numbers on the CPU."""
    if whole and n.device.type == "cpu" and n.numel() > 0:
        least, most = (float(end) for end in n.aminmax())
        if least >= 0 and most < _TABLE_LENGTH:
            return _factorial_table().index_select(0, n.flatten().int()).view(n.shape)
    return torch.lgamma(n + 1)


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
    value: Tensor = _LogLikelihood.apply(concentrations, votes.to(device), tree, ordered)
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
        galaxies = -log_likelihood(concentrations, votes, self.tree).sum(dim=1)
        if self.reduction == "none":
            return galaxies
        return galaxies.mean() if self.reduction == "mean" else galaxies.sum()
