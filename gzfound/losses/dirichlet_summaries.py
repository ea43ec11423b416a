"""What a Dirichlet says about a galaxy: mean, spread, intervals and draws of vote fractions.

For one question with concentrations ``alpha`` of total ``A``, the fraction of all possible
volunteers who would give answer j is Beta(alpha_j, A - alpha_j), and the number among N
volunteers who do is beta-binomial (Johnson, Kotz & Balakrishnan 1997, Discrete Multivariate
Distributions, ch. 35.13).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor

from gzfound.errors import ConfigError, DataError
from gzfound.losses.shapes import answer_matrix, check_shapes

if TYPE_CHECKING:
    from gzfound.trees import DecisionTree

Floats = npt.NDArray[np.float64]

_CHUNK = 2_000_000


def _per_question(concentrations: Tensor, tree: DecisionTree) -> tuple[Tensor, Tensor]:
    """Float64 totals: one a question ``(B, Q)``, and the same beside each answer ``(B, A)``."""
    check_shapes(tree, concentrations=concentrations)
    matrix = answer_matrix(tree, concentrations.device)
    totals = concentrations.double() @ matrix
    return totals, totals @ matrix.T


def _check_totals(totals: Tensor, concentrations: Tensor, tree: DecisionTree) -> None:
    wanted = (len(concentrations), len(tree.questions))
    if tuple(totals.shape) != wanted:
        raise DataError(
            f"totals has shape {tuple(totals.shape)}, but {wanted} is needed: one column a question"
        )


def total_concentration(concentrations: Tensor, tree: DecisionTree) -> Tensor:
    """The total concentration A of each question, ``(B, Q)``: the weight of the prediction."""
    return _per_question(concentrations, tree)[0].to(concentrations.dtype)


def expected_fractions(concentrations: Tensor, tree: DecisionTree) -> Tensor:
    """Expected vote fractions alpha_j / A, ``(B, A)``; differentiable, each question sums to 1."""
    beside = _per_question(concentrations, tree)[1]
    return (concentrations / beside).to(concentrations.dtype)


def fraction_variance(
    concentrations: Tensor, tree: DecisionTree, totals: Tensor | None = None
) -> Tensor:
    """Variance of each vote fraction, ``(B, A)``.

    Args:
        concentrations: ``(B, A)``, positive.
        tree: the questions and answers.
        totals: volunteers N asked each question, ``(B, Q)``. Without it, the variance of the
            fraction of all possible volunteers, p (1 - p) / (A + 1). With it, of the fraction
            observed among N, larger by the factor (A + N) / N; NaN where N is 0.
    """
    beside = _per_question(concentrations, tree)[1]
    mean = concentrations.double() / beside
    variance = mean * (1 - mean) / (beside + 1)
    if totals is not None:
        _check_totals(totals, concentrations, tree)
        index = torch.tensor(tree.question_index, device=concentrations.device)
        volunteers = totals.to(concentrations.device).double()[:, index]
        grown = variance * (beside + volunteers) / volunteers
        variance = torch.where(volunteers > 0, grown, torch.nan)
    return variance.to(concentrations.dtype)


def _beta_binomial(a: Floats, b: Floats, n: npt.NDArray[np.int64]) -> Floats:
    """P(at most k of n), ``(rows, 1 + the largest n)`` for k = 0, 1, ...; shapes are ``(rows,)``.

    P(k + 1) / P(k) = (n - k)(a + k) / ((k + 1)(b + n - k - 1)), from
    log P(0) = log B(a, b + n) - log B(a, b).
    """
    k = np.arange(int(n.max()))
    left = n[:, None] - k
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.log(left) + np.log(a[:, None] + k)
        steps -= np.log1p(k) + np.log(b[:, None] + left - 1)
    steps = np.where(left > 0, steps, -np.inf)
    log_p = np.concatenate([np.zeros((len(n), 1)), np.cumsum(steps, axis=1)], axis=1)
    cumulative: Floats = np.cumsum(np.exp(log_p - log_p.max(axis=1, keepdims=True)), axis=1)
    cumulative /= cumulative[:, -1:]
    return cumulative


def _asked_blocks(n: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Rows with n > 0, those of like n together, as many as fit in the memory of a block."""
    asked = np.flatnonzero(n > 0)
    asked = asked[np.argsort(n[asked], kind="stable")]
    step = max(1, _CHUNK // (int(n.max(initial=0)) + 1))
    for start in range(0, len(asked), step):
        yield asked[start : start + step]


def _observed_interval(a: Floats, b: Floats, n: npt.NDArray[np.int64], tail: float) -> Floats:
    """The smallest fractions whose cumulative probability reaches ``tail`` and ``1 - tail``."""
    result = np.full((2, len(n)), np.nan)
    limits = np.array([tail, 1 - tail])[:, None, None] - 1e-12
    for rows in _asked_blocks(n):
        cumulative = _beta_binomial(a[rows], b[rows], n[rows])
        result[:, rows] = np.argmax(cumulative >= limits, axis=2) / n[rows]
    return result


def cumulative_votes(
    concentrations: Tensor, votes: Tensor, tree: DecisionTree
) -> tuple[Floats, Floats]:
    """Predicted probability of fewer votes than were given, and of no more than were given.

    The totals are those of ``votes``; the number for each answer is beta-binomial. Under a perfect
    model a uniform draw between the two is itself uniform on [0, 1].

    Args:
        concentrations: ``(B, A)``, positive.
        votes: ``(B, A)`` whole numbers.
        tree: the questions and answers.

    Returns:
        (fewer, no more), each float64 ``(B, A)``; NaN where the question has no votes, 0 and 1
        for the answer of a question with a single one.
    """
    check_shapes(tree, concentrations=concentrations, votes=votes)
    a, b, certain = _beta_shapes(concentrations, tree)
    k = votes.cpu().numpy().astype(np.int64)
    starts = [part.start for part in tree.slices.values()]
    n = np.add.reduceat(k, starts, axis=1)[:, tree.question_index]
    flat_a, flat_b, flat_k, flat_n = a.ravel(), b.ravel(), k.ravel(), n.ravel()
    result = np.full((2, k.size), np.nan)
    for rows in _asked_blocks(flat_n):
        cumulative = _beta_binomial(flat_a[rows], flat_b[rows], flat_n[rows])
        place, given = np.arange(len(rows)), flat_k[rows]
        result[0, rows] = np.where(given > 0, cumulative[place, given - 1], 0.0)
        result[1, rows] = cumulative[place, given]
    fewer, no_more = result.reshape(2, *k.shape)
    fewer[:, certain] = np.where(n[:, certain] > 0, 0.0, np.nan)
    no_more[:, certain] = np.where(n[:, certain] > 0, 1.0, np.nan)
    return fewer, no_more


def _beta_shapes(
    concentrations: Tensor, tree: DecisionTree
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """The shapes a and b of each answer's Beta ``(B, A)``, and which answers are alone ``(A,)``."""
    beside = _per_question(concentrations, tree)[1].detach().cpu().numpy()
    a = concentrations.detach().cpu().double().numpy()
    b = beside - a
    certain = np.bincount(tree.question_index)[tree.question_index] == 1
    b[:, certain] = 1.0
    return a, b, certain


def credible_interval(
    concentrations: Tensor, tree: DecisionTree, level: float = 0.9, totals: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Equal-tailed intervals of each vote fraction, computed on the CPU, without gradient.

    Args:
        concentrations: ``(B, A)``, positive.
        tree: the questions and answers.
        level: probability inside, between 0 and 1.
        totals: volunteers N asked each question, ``(B, Q)`` whole numbers. Without it, the
            interval of the fraction of all possible volunteers (Beta). With it, of the fraction
            observed among N (beta-binomial): such fractions are steps of 1/N, so the interval
            holds at least ``level``; NaN where N is 0.

    Returns:
        (low, high), each ``(B, A)``. A question with a single answer has both at 1.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level!r}; allowed: a number between 0 and 1, such as 0.9")
    a, b, certain = _beta_shapes(concentrations, tree)
    tail = (1 - level) / 2
    if totals is None:
        bounds = np.stack([special.betaincinv(a, b, tail), special.betainccinv(a, b, tail)])
    else:
        _check_totals(totals, concentrations, tree)
        n = totals.cpu().numpy().astype(np.int64)[:, tree.question_index]
        bounds = _observed_interval(a.ravel(), b.ravel(), n.ravel(), tail).reshape(2, *a.shape)
    bounds[:, :, certain] = np.where(np.isnan(bounds[:, :, certain]), np.nan, 1.0)
    low, high = (torch.from_numpy(bound).to(concentrations) for bound in bounds)
    return low, high


def sample(
    concentrations: Tensor,
    tree: DecisionTree,
    draws: int,
    generator: np.random.Generator,
    totals: Tensor | None = None,
) -> Tensor:
    """Draw vote fractions, or votes where ``totals`` ``(B, Q)`` are given.

    Returns:
        ``(draws, B, A)``: float64 fractions that sum to 1 in each question, or int64 counts
        that sum to its total. The draws depend on the generator alone, which the caller seeds.
    """
    check_shapes(tree, concentrations=concentrations)
    alpha = concentrations.detach().cpu().double().numpy()
    shape = (draws, *alpha.shape)
    # log Gamma(a) = log Gamma(a + 1) + log(U) / a does not underflow at small a
    # (Marsaglia & Tsang 2000, ACM TOMS 26, 363, section 6).
    logs = np.log(generator.standard_gamma(alpha + 1, size=shape))
    logs -= generator.standard_exponential(shape) / alpha
    fractions = np.empty(shape)
    for part in tree.slices.values():
        fractions[..., part] = special.softmax(logs[..., part], axis=-1)
    if totals is None:
        return torch.from_numpy(fractions)
    _check_totals(totals, concentrations, tree)
    asked = totals.cpu().numpy().astype(np.int64)
    votes = np.empty(shape, dtype=np.int64)
    for number, part in enumerate(tree.slices.values()):
        votes[..., part] = generator.multinomial(asked[:, number], fractions[..., part])
    return torch.from_numpy(votes)
