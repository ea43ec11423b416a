"""Both sides of the benchmark of probes find the minimum of the same objective."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gzfound.evaluation.softmax_regression import SoftmaxRegression


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("probe_pair")


def test_same_optimum(pair: ModuleType) -> None:
    """To 1e-6 of the objective of each question; the optimum is one, so neither is ahead."""
    values, votes, tree = pair.example(seed=0, galaxies=1500, features=12)
    solution = SoftmaxRegression(values, votes, tree).solve(pair.PENALTY)
    peer = pair.with_scikit_learn(values, votes, tree, pair.PENALTY, tolerance=1e-7)
    ours = pair.objective_of(solution, values, votes, tree, pair.PENALTY)
    theirs = pair.objective_of(peer, values, votes, tree, pair.PENALTY)
    assert ours.shape == (13,)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    flat = pair.objective_of((0 * peer[0], peer[1]), values, votes, tree, pair.PENALTY)
    assert (ours < flat).all()


def test_what_is_timed(pair: ModuleType) -> None:
    """As prepared, scikit-learn in float32 at its own tolerance: the sum agrees to 1e-5."""
    values, votes, tree = pair.example(seed=1, galaxies=400, features=8)
    ours, theirs = pair.prepare(1, galaxies=400, features=8)
    sums = [
        pair.objective_of(fit(), values, votes, tree, pair.PENALTY).sum() for fit in (ours, theirs)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert sums[0] < sums[1] * (1 + 1e-6)
