"""The same concentrations and votes for both likelihoods."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def concentrations_and_votes(questions: int, answers: int, galaxies: int) -> tuple[Array, Array]:
    """Float32 concentrations and int32 votes, ``(galaxies, questions * answers)`` each.

    A question has up to 40 votes; 3 in 10 were not asked.
    """
    draw = np.random.default_rng(0)
    alpha = draw.uniform(1, 50, (galaxies, questions * answers)).astype(np.float32)
    totals = draw.integers(0, 41, (galaxies, questions)) * (
        draw.random((galaxies, questions)) > 0.3
    )
    votes = draw.multinomial(totals, np.full(answers, 1 / answers))
    return alpha, votes.reshape(galaxies, -1).astype(np.int32)
