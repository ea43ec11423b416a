"""The probability of being asked, and expected votes: NumPy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gzfound import DecisionTree, list_trees, load_tree
from gzfound.errors import DataError
from gzfound.votes import check_votes, total_votes, vote_fractions

HUBBLE = load_tree("gz_hubble")
FloatArray = npt.NDArray[np.float64]


def random_fractions(tree: DecisionTree, seed: int, galaxies: int = 4) -> FloatArray:
    """Fractions that sum to one a question, some of them exactly zero or one."""
    generator = np.random.default_rng(seed)
    parts = [
        generator.dirichlet(np.full(len(question.answers), 0.4), size=galaxies)
        for question in tree.questions
    ]
    return np.concatenate(parts, axis=1)


def by_paths(tree: DecisionTree, fractions: FloatArray) -> FloatArray:
    """P(asked) of one galaxy by following every path downwards: the opposite direction."""
    number = {question.name: index for index, question in enumerate(tree.questions)}
    children: dict[str, list[str]] = {column: [] for column in tree.columns}
    for question in tree.questions:
        for column in question.asked_after:
            children[column].append(question.name)
    asked = np.zeros(len(tree.questions))

    def follow(name: str, probability: float) -> None:
        asked[number[name]] += probability
        start = tree.slices[name].start
        for offset, column in enumerate(tree.questions[number[name]].columns):
            for child in children[column]:
                follow(child, probability * fractions[start + offset])

    for question in tree.questions:
        if not question.asked_after:
            follow(question.name, 1.0)
    return asked


def walk_volunteers(tree: DecisionTree, seed: int, volunteers: int) -> npt.NDArray[np.int64]:
    """Votes of volunteers who each walk the tree and answer at random; one galaxy."""
    generator = np.random.default_rng(seed)
    votes = np.zeros(len(tree.columns), dtype=np.int64)
    for _ in range(volunteers):
        given_answers: set[str] = set()
        for question in tree.questions:
            if question.asked_after and given_answers.isdisjoint(question.asked_after):
                continue
            column = question.columns[generator.integers(len(question.columns))]
            given_answers.add(column)
            votes[tree.columns.index(column)] += 1
    return votes


@pytest.mark.parametrize("name", list_trees())
def test_agrees_with_following_every_path(name: str) -> None:
    tree = load_tree(name)
    fractions = random_fractions(tree, seed=len(name))
    expected = np.stack([by_paths(tree, row) for row in fractions])
    np.testing.assert_allclose(tree.probability_asked(fractions), expected, atol=1e-12)


def test_bulge_size_in_hubble_by_hand() -> None:
    """Half features, all not clumpy, 80 % not edge-on: bar, spiral and bulge size are asked of
    0.5 * 1 * 0.8 = 0.4, whatever the bar and spiral answers (bulge size follows both spiral
    answers, along two paths); winding of 0.4 * 0.3 = 0.12."""
    fractions = np.zeros((1, 40))
    for column, value in {
        "smooth-or-featured-hubble_smooth": 0.4,
        "smooth-or-featured-hubble_features": 0.5,
        "smooth-or-featured-hubble_artifact": 0.1,
        "clumpy-appearance-hubble_no": 1.0,
        "disk-edge-on-hubble_yes": 0.2,
        "disk-edge-on-hubble_no": 0.8,
        "bar-hubble_yes": 0.9,
        "bar-hubble_no": 0.1,
        "has-spiral-arms-hubble_yes": 0.3,
        "has-spiral-arms-hubble_no": 0.7,
        "spiral-winding-hubble_loose": 1.0,
        "spiral-arm-count-hubble_2": 1.0,
    }.items():
        fractions[0, HUBBLE.columns.index(column)] = value
    asked = dict(zip(HUBBLE.slices, HUBBLE.probability_asked(fractions)[0], strict=True))
    assert asked["smooth-or-featured-hubble"] == 1
    assert asked["clump-count-hubble"] == 0
    assert asked["bar-hubble"] == pytest.approx(0.4)
    assert asked["spiral-winding-hubble"] == pytest.approx(0.12)
    assert asked["bulge-size-hubble"] == pytest.approx(0.4)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list_trees()), st.integers(0, 2**31), st.integers(0, 200))
def test_expected_votes_are_conserved(name: str, seed: int, total: int) -> None:
    """Over the answers of a question, expected votes sum to total * P(asked), P in [0, 1]."""
    tree = load_tree(name)
    fractions = random_fractions(tree, seed)
    asked = tree.probability_asked(fractions)
    assert asked.min() >= 0
    assert asked.max() <= 1
    votes = tree.expected_votes(fractions, np.full(len(fractions), total))
    sums = np.add.reduceat(votes, [s.start for s in tree.slices.values()], axis=1)
    np.testing.assert_allclose(sums, total * asked, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["gz2", "gz_candels", "gz_hubble", "gz_jwst", "gz_h2o"]), st.integers(0, 99))
def test_walked_votes_are_their_own_expectation(name: str, seed: int) -> None:
    """Volunteers who walk the tree give child totals equal to the parent answers, so the
    expectation at their own fractions is exactly their votes (NaN where nobody was asked)."""
    tree = load_tree(name)
    votes = walk_volunteers(tree, seed, volunteers=seed % 37)[None]
    assert check_votes(votes, tree) == []
    fractions = vote_fractions(votes, tree)
    expected = tree.expected_votes(fractions, total_votes(votes, tree)[:, 0])
    np.testing.assert_allclose(expected, votes, atol=1e-9)


def test_nan_fractions_lead_nowhere() -> None:
    fractions = np.full((1, 40), np.nan)
    asked = HUBBLE.probability_asked(fractions)
    assert asked.tolist() == [[1.0] + [0.0] * 12]


@pytest.mark.parametrize("name", ["gz2", "gz_hubble", "gz_evo"])
def test_torch_agrees_with_numpy_and_differentiates(name: str) -> None:
    tree = load_tree(name)
    fractions = random_fractions(tree, seed=1)
    fractions[0, tree.slices[tree.questions[1].name]] = np.nan
    tensor = torch.tensor(fractions, requires_grad=True)
    asked = tree.probability_asked(tensor)
    np.testing.assert_allclose(asked.detach().numpy(), tree.probability_asked(fractions))
    totals = np.arange(4)
    votes = tree.expected_votes(tensor, torch.tensor(totals))
    np.testing.assert_allclose(votes.detach().numpy(), tree.expected_votes(fractions, totals))
    (votes.sum() + asked.sum()).backward()
    assert tensor.grad is not None
    assert torch.isfinite(tensor.grad).all()


def test_gradients_match_finite_differences() -> None:
    """Inside the simplex interior scaled by 0.9, where nothing is clipped."""
    inside = torch.tensor(0.9 * random_fractions(HUBBLE, seed=3, galaxies=2), requires_grad=True)
    assert torch.autograd.gradcheck(HUBBLE.probability_asked, (inside,))
    total = torch.tensor([3.0, 40.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: HUBBLE.expected_votes(f, total), (inside,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    """From the same rounded fractions, within half a unit in the last place of float64."""
    rounded = torch.tensor(random_fractions(HUBBLE, seed=5, galaxies=200), dtype=dtype)
    asked = HUBBLE.probability_asked(rounded)
    assert asked.dtype == dtype
    exact = HUBBLE.probability_asked(rounded.double().numpy())
    limits = torch.finfo(dtype)
    error = np.abs(asked.double().numpy() - exact)
    assert (error <= 0.5001 * limits.eps * exact + limits.tiny).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_above_one_is_taken_off_the_value_not_the_gradient(dtype: torch.dtype) -> None:
    """All smooth: merging is asked after three fractions that sum to 1 plus 2 eps. It is asked
    with probability 1, and the gradient to each of the three stays 1."""
    tree = load_tree("gz_candels")
    fractions = torch.zeros(1, len(tree.columns), dtype=dtype)
    fractions[0, tree.columns.index("smooth-or-featured-candels_smooth")] = 1
    rounded = tree.slices["how-rounded-candels"]
    third = (1 + 2 * torch.finfo(dtype).eps) / 4
    fractions[0, rounded] = torch.tensor([2 * third, third, third], dtype=dtype)
    assert fractions[0, rounded].double().sum() > 1
    fractions.requires_grad_()
    asked = tree.probability_asked(fractions)
    assert asked[0, -1] == 1
    asked[0, -1].backward()
    assert fractions.grad is not None
    assert fractions.grad[0, rounded].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("fractions", "dtype"),
    [
        (np.ones((2, 40), np.float32), np.float32),
        (np.ones((2, 40), np.float16), np.float16),
        (np.ones((2, 40), np.int64), np.float64),
        (torch.ones(2, 40, dtype=torch.int32), torch.float64),
    ],
)
def test_dtypes(fractions: Any, dtype: Any) -> None:
    assert HUBBLE.probability_asked(fractions).dtype == dtype
    assert HUBBLE.expected_votes(fractions, 40).dtype == dtype


@pytest.mark.parametrize("fractions", [np.ones((2, 39)), torch.ones(2, 41), np.float64(1.0)])
def test_a_wrong_shape_is_named(fractions: Any) -> None:
    with pytest.raises(DataError, match=r"gz_hubble needs \(galaxies, 40\)"):
        HUBBLE.probability_asked(fractions)
