from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import gzfound
from gzfound.errors import ConfigError, DataError
from gzfound.losses import (
    DirichletMultinomialLoss,
    dirichlet_multinomial,
    log_likelihood,
    log_likelihood_per_vote,
)
from gzfound.losses.dirichlet_multinomial import log_rising
from gzfound.trees import DecisionTree, Question

TREE = gzfound.load_tree("gz_hubble")
THREE = DecisionTree("three", (Question("shape", ("a", "b", "c")),))


def reference(alpha: list[float], votes: list[int]) -> tuple[float, list[float]]:
    """Log likelihood of one question and its gradient, from log-gammas of 50 digits."""
    with mpmath.workdps(50):
        a = [mpmath.mpf(x) for x in alpha]
        total, asked = mpmath.fsum(a), sum(votes)
        value = mpmath.loggamma(asked + 1) + mpmath.loggamma(total)
        value -= mpmath.loggamma(total + asked)
        slope = mpmath.digamma(total) - mpmath.digamma(total + asked)
        gradient = []
        for x, n in zip(a, votes, strict=True):
            value += mpmath.loggamma(x + n) - mpmath.loggamma(x) - mpmath.loggamma(n + 1)
            gradient.append(float(slope + mpmath.digamma(x + n) - mpmath.digamma(x)))
        return float(value), gradient


def random_case(scale: float, seed: int, galaxies: int = 6) -> tuple[Tensor, Tensor]:
    """Concentrations around ``scale`` within a factor of 10, and up to 100 votes a question."""
    draw = np.random.default_rng(seed)
    alpha = scale * 10 ** draw.uniform(-1, 1, (galaxies, len(TREE.columns)))
    votes = np.zeros(alpha.shape, dtype=np.int64)
    for part in TREE.slices.values():
        share = draw.dirichlet(np.ones(part.stop - part.start), galaxies)
        votes[:, part] = draw.multinomial(draw.integers(0, 101, galaxies), share)
    return torch.tensor(alpha, dtype=torch.float32), torch.tensor(votes)


@pytest.mark.parametrize("scale", [1e-3, 1e-1, 1, 10, 1e2, 1e4, 1e6, 1e7])
def test_float32_is_within_1e_4_of_fifty_digits(scale: float) -> None:
    """The promise of DESIGN section 5; the concentrations reach 10 times ``scale``."""
    alpha, votes = random_case(scale, seed=1)
    alpha.requires_grad_()
    value = log_likelihood(alpha, votes, TREE)
    value.sum().backward()
    assert value.dtype is torch.float32
    assert alpha.grad is not None
    compared = 0
    for row in range(len(alpha)):
        for question, part in enumerate(TREE.slices.values()):
            expected, slope = reference(alpha[row, part].tolist(), votes[row, part].tolist())
            assert value[row, question].item() == pytest.approx(expected, rel=0, abs=1e-4)
            # float32 keeps 6e-8 of the result; the smallest terms are 1e-15 of the largest
            np.testing.assert_allclose(alpha.grad[row, part].numpy(), slope, rtol=1e-6, atol=1e-15)
            compared += 1
    assert compared == 6 * 13


def test_concentrations_of_very_different_size_in_one_question() -> None:
    """-1,800 nats: half a unit in the last place of float32 is 6e-5, still within 1e-4."""
    alpha = torch.tensor([[1.0, 1e8, 1e4]], requires_grad=True)
    votes = torch.tensor([[100, 0, 7]])
    expected, slope = reference([1.0, 1e8, 1e4], [100, 0, 7])
    value = log_likelihood(alpha, votes, THREE)
    value.sum().backward()
    assert value.item() == pytest.approx(expected, rel=0, abs=1e-4)
    assert alpha.grad is not None
    np.testing.assert_allclose(alpha.grad[0].numpy(), slope, rtol=1e-6)


@pytest.mark.parametrize("a", [1e-6, 0.3, 1.0, 7.9, 55.0, 1e5, 1e10, 1e30])
def test_rising_factorial_in_float64(a: float) -> None:
    """log(a (a + 1) ... (a + n - 1)), by 50 digits, to 1e-11."""
    counts = [0, 1, 2, 9, 100, 4000]
    value = log_rising(torch.full((6,), a, dtype=torch.float64), torch.tensor(counts).double())[0]
    with mpmath.workdps(50):
        expected = [
            float(mpmath.fsum(mpmath.log(mpmath.mpf(a) + k) for k in range(n))) for n in counts
        ]
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-13, atol=2e-11)


def test_gradcheck() -> None:
    alpha, votes = random_case(3.0, seed=2, galaxies=2)
    alpha = alpha.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: log_likelihood(c, votes, TREE), (alpha,), eps=1e-6)


def test_one_vote_is_the_expected_fraction() -> None:
    """With N = 1, P(answer j) = alpha_j / A: 2/8 here."""
    value = log_likelihood(torch.tensor([[2.0, 5.0, 1.0]]), torch.tensor([[1, 0, 0]]), THREE)
    assert value.item() == pytest.approx(math.log(2 / 8), abs=1e-6)


def test_flat_prior_makes_every_outcome_equally_likely() -> None:
    """alpha = (1, 1, 1), N = 4: C(6, 2) = 15 outcomes, each 1/15."""
    for votes in ([4, 0, 0], [2, 1, 1], [0, 1, 3]):
        value = log_likelihood(torch.ones(1, 3), torch.tensor([votes]), THREE)
        assert value.item() == pytest.approx(-math.log(15), abs=1e-6)


def test_agrees_with_scipy_and_sums_to_one() -> None:
    alpha = torch.tensor([[0.7, 2.2, 5.1]], dtype=torch.float64)
    outcomes = [(i, j, 6 - i - j) for i in range(7) for j in range(7 - i)]
    votes = torch.tensor(outcomes)
    value = log_likelihood(alpha.expand(len(votes), 3), votes, THREE)[:, 0].numpy()
    expected = stats.dirichlet_multinomial(alpha[0].numpy(), 6).logpmf(votes.numpy())
    np.testing.assert_allclose(value, expected, atol=1e-10)
    assert np.exp(value).sum() == pytest.approx(1, abs=1e-10)


def test_large_concentrations_approach_the_multinomial() -> None:
    """alpha = 1e12 p: the multinomial; ordered, sum n log p (torch's own is in float32)."""
    p = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    votes = torch.tensor([[3, 4, 9]])
    value = log_likelihood(1e12 * p[None], votes, THREE)
    expected = stats.multinomial(16, p.numpy()).logpmf(votes[0].numpy())
    assert value.item() == pytest.approx(expected, abs=1e-9)
    peer = torch.distributions.Multinomial(16, probs=p).log_prob(votes[0].float())
    assert value.item() == pytest.approx(peer.item(), abs=1e-5)
    ordered = log_likelihood(1e12 * p[None], votes, THREE, ordered=True)
    assert ordered.item() == pytest.approx((votes[0] * p.log()).sum().item(), abs=1e-9)


@pytest.mark.parametrize("extreme", [1e-30, 1.0, 3e38, float("inf")])
def test_a_question_without_votes_is_exactly_zero(extreme: float) -> None:
    alpha, votes = random_case(5.0, seed=3)
    silent = TREE.slices["bar-hubble"]
    alpha[:, silent], votes[:, silent] = extreme, 0
    alpha.requires_grad_()
    value = log_likelihood(alpha, votes, TREE)
    value.sum().backward()
    assert alpha.grad is not None
    assert torch.isfinite(value).all()
    assert torch.isfinite(alpha.grad).all()
    assert (value[:, list(TREE.slices).index("bar-hubble")] == 0).all()
    assert (alpha.grad[:, silent] == 0).all()


def test_galaxy_without_any_votes_has_no_loss() -> None:
    alpha = torch.rand(3, len(TREE.columns)).add_(0.1).requires_grad_()
    loss = DirichletMultinomialLoss(TREE)(
        alpha, torch.zeros(3, len(TREE.columns), dtype=torch.int32)
    )
    loss.backward()
    assert loss.item() == 0
    assert alpha.grad is not None
    assert (alpha.grad == 0).all()


def test_reductions_sum_over_questions_then_reduce_galaxies() -> None:
    alpha, votes = random_case(5.0, seed=4)
    each = -log_likelihood(alpha, votes, TREE).sum(1)
    torch.testing.assert_close(DirichletMultinomialLoss(TREE, "none")(alpha, votes), each)
    torch.testing.assert_close(DirichletMultinomialLoss(TREE, "sum")(alpha, votes), each.sum())
    torch.testing.assert_close(DirichletMultinomialLoss(TREE)(alpha, votes), each.mean())


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.float32, torch.float64])
def test_votes_of_any_type_give_the_same(dtype: torch.dtype) -> None:
    alpha, votes = random_case(5.0, seed=5)
    torch.testing.assert_close(
        log_likelihood(alpha, votes.to(dtype), TREE), log_likelihood(alpha, votes, TREE)
    )


def test_half_precision_concentrations_give_a_float32_loss() -> None:
    alpha, votes = random_case(5.0, seed=6)
    half = alpha.bfloat16().requires_grad_()
    value = log_likelihood(half, votes, TREE)
    value.sum().backward()
    assert value.dtype is torch.float32
    assert half.grad is not None
    torch.testing.assert_close(value, log_likelihood(half.detach().float(), votes, TREE))


def test_log_likelihood_per_vote() -> None:
    """Two galaxies with fractions (3/4, 1/4) certain: 3 log(3/4) + log(1/4) over 4 votes."""
    alpha = torch.tensor([[7.5e11, 2.5e11], [7.5e11, 2.5e11]], dtype=torch.float64)
    tree = DecisionTree("two", (Question("bar", ("yes", "no")),))
    value = log_likelihood_per_vote(alpha, torch.tensor([[3, 1], [0, 0]]), tree)
    assert value.tolist() == pytest.approx([(3 * math.log(0.75) + math.log(0.25)) / 4], abs=1e-9)


def test_bad_input_is_one_line() -> None:
    with pytest.raises(DataError, match=r"votes has shape \(2, 4\).*'three' needs \(galaxies, 3\)"):
        log_likelihood(torch.ones(2, 3), torch.ones(2, 4), THREE)
    with pytest.raises(DataError, match="number of galaxies differs: concentrations 2, votes 5"):
        log_likelihood(torch.ones(2, 3), torch.ones(5, 3), THREE)
    with pytest.raises(ConfigError, match="reduction is 'avg'; allowed: mean, sum, none"):
        DirichletMultinomialLoss(THREE, "avg")


def test_agrees_with_zoobot() -> None:
    """Zoobot 2.9's ``get_dirichlet_loss_func``, called on these votes: loss and gradient.

    It gives one value a question and takes the mean over galaxies and questions; ours sums over
    questions.
    """
    tree = DecisionTree(
        "two", (Question("smooth", ("_yes", "_no", "_artifact")), Question("bar", ("_yes", "_no")))
    )
    votes = torch.tensor([[10, 20, 3, 7, 13], [0, 0, 0, 0, 0], [38, 2, 0, 0, 2]])
    alpha = torch.tensor(
        [[2.5, 7.0, 1.5, 3.0, 9.0], [1.0, 2.0, 3.0, 4.0, 5.0], [50.0, 3.0, 1.25, 1.5, 80.0]],
        requires_grad=True,
    )
    theirs = torch.tensor([[4.8993511, 2.4474115], [0.0, 0.0], [2.2607765, 0.0369568]])
    # Theirs is off by 3e-5 in the last value, against float64.
    torch.testing.assert_close(-log_likelihood(alpha, votes, tree), theirs, atol=5e-5, rtol=0)
    DirichletMultinomialLoss(tree, "sum")(alpha, votes).backward()
    slopes = [
        [-0.3610089, 0.0166101, 0.0686491, -0.3216003, 0.0798664],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [-0.0133758, -0.0270550, 0.5562785, 0.0243912, -0.0004539],
    ]
    torch.testing.assert_close(alpha.grad, torch.tensor(slopes), atol=2e-6, rtol=0)


def test_the_blocks_of_galaxies_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """One galaxy a block, some, or all at once: the same bits, for loss and gradient."""
    tree = gzfound.load_tree("gz_hubble")
    draw = torch.Generator().manual_seed(0)
    shape = (17, len(tree.columns))
    votes = torch.randint(0, 9, shape, generator=draw) * (torch.rand(shape, generator=draw) > 0.5)
    alpha = torch.rand(shape, generator=draw) * 50 + 0.1
    found = []
    for block in (1, 300, 10**6):
        monkeypatch.setattr("gzfound.losses.dirichlet_multinomial._BLOCK", block)
        leaf = alpha.clone().requires_grad_()
        loss = DirichletMultinomialLoss(tree, "none")(leaf, votes)
        found.append((loss, torch.autograd.grad(loss.sum(), leaf)[0]))
    for loss, slope in found[1:]:
        assert torch.equal(loss, found[0][0])
        assert torch.equal(slope, found[0][1])


def test_the_threads_of_torch_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    tree = gzfound.load_tree("gz_hubble")
    ones = torch.ones(2, len(tree.columns))
    inside: list[int] = []

    def failing(*args: object) -> None:
        inside.append(torch.get_num_threads())
        raise ValueError("in the middle")

    try:
        torch.set_num_threads(3)
        DirichletMultinomialLoss(tree)(ones, ones)
        assert torch.get_num_threads() == 3
        monkeypatch.setattr("gzfound.losses.dirichlet_multinomial.log_rising", failing)
        with pytest.raises(ValueError, match="in the middle"):
            DirichletMultinomialLoss(tree)(ones, ones)
        assert inside == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("ordered", [False, True])
def test_the_way_of_a_gpu_agrees_with_that_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    alpha, votes = random_case(5.0, seed=7)
    silent = TREE.slices["bar-hubble"]
    alpha[0, silent], votes[0, silent] = float("inf"), 0
    found = []
    for _ in range(2):
        leaf = alpha.clone().requires_grad_()
        value = log_likelihood(leaf, votes, TREE, ordered=ordered)
        value.sum().backward()
        found.append((value.detach(), leaf.grad))
        everywhere = dirichlet_multinomial._everywhere
        monkeypatch.setattr(dirichlet_multinomial, "_at_votes", everywhere)
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-6)
    assert (found[0][1][0, silent] == 0).all()
    assert (found[1][1][0, silent] == 0).all()


def test_both_logarithms_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's where the processor has AVX-512, torch's elsewhere."""
    a, n = torch.logspace(-3, 8, 40, dtype=torch.float64), torch.arange(40).double()
    found = []
    for capability in ("AVX512", "AVX2"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda it=capability: it)
        found.append(log_rising(a, n, True))
    torch.testing.assert_close(found[0], found[1], atol=1e-11, rtol=1e-13)
