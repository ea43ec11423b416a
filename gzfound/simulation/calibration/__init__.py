"""How volunteers of each campaign answer: slopes and shifts fitted to real votes.

One JSON file a campaign, written by ``benchmarks/vote_calibration.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Line = tuple[float, float, float]
FALLBACK = "gz2"


@dataclass(frozen=True)
class Calibration:
    """How to turn raw log-odds into a campaign's, and how many volunteers see a galaxy.

    ``answers[concept][meaning]`` is ``(slope, offset, haze)``: the log-odds of the answer are
    ``slope * raw + offset + haze * (1 - sharpness)``, so ``haze`` says what volunteers answer when
    they cannot see. ``totals`` maps a number of volunteers to how often it occurs.
    """

    campaign: str
    totals: Mapping[int, float]
    answers: Mapping[str, Mapping[str, Line]] = field(default_factory=dict)

    def log_odds(self, concept: str, meaning: str, raw: Floats, sharpness: Floats) -> Floats:
        """Calibrated log-odds ``(N,)``; ``raw`` itself where nothing was fitted."""
        slope, offset, haze = self.answers.get(concept, {}).get(meaning, (1.0, 0.0, 0.0))
        return slope * raw + offset + haze * (1.0 - sharpness)


@cache
def load_calibration(campaign: str) -> Calibration:
    """The calibration of ``campaign``, or that of GZ2 for a campaign without one."""
    folder = files(__name__)
    path = folder / f"{campaign}.json"
    if not path.is_file():
        path = folder / f"{FALLBACK}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    return Calibration(
        campaign=content["campaign"],
        totals={int(number): float(share) for number, share in content["totals"].items()},
        answers={
            concept: {meaning: (line[0], line[1], line[2]) for meaning, line in answers.items()}
            for concept, answers in content["answers"].items()
        },
    )
