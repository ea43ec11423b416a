"""The same concentrations and votes for both likelihoods."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def concentrations_and_votes(path: str) -> tuple[list[int], Array, Array]:
    """Answers of each question, float32 concentrations and int32 votes ``(galaxies, answers)``."""
    with np.load(path) as held:
        sizes, votes = held["sizes"].tolist(), held["votes"]
    alpha = np.random.default_rng(0).uniform(1, 50, votes.shape).astype(np.float32)
    return sizes, alpha, votes
