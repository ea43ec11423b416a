"""Made-up galaxies and predictions for the reports' tests."""

from __future__ import annotations

import numpy as np
import pytest

from gzfound.reports import QuestionPredictions

HOSTILE = '<script>alert("1")</script> & $x_1$ --'


@pytest.fixture
def images():
    """Twenty images of noise, uint8 (20, 24, 24, 3)."""
    return np.random.default_rng(0).integers(0, 256, size=(20, 24, 24, 3), dtype=np.uint8)


@pytest.fixture
def ids():
    return [HOSTILE, *(f"galaxy-{number}" for number in range(1, 20))]


@pytest.fixture
def vectors():
    return np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)


def question(name: str, *, votes: int = 40, asked: float = 1.0) -> QuestionPredictions:
    """Twenty galaxies with ``votes`` votes each, a quarter of them for the first answer."""
    first = np.full(20, votes // 4)
    counts = np.stack([first, votes - first], axis=1)
    expected = np.tile([0.3, 0.7], (20, 1))
    return QuestionPredictions(
        name, ("yes", HOSTILE), counts, expected, expected - 0.1, expected + 0.1, np.full(20, asked)
    )


@pytest.fixture
def predictions():
    return [question("root"), question("rare", votes=4, asked=0.1), question(HOSTILE, asked=0.4)]
