"""How volunteers of each campaign answer: slopes and shifts fitted to real votes.

One JSON file a campaign, written by ``benchmarks/vote_calibration.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

FALLBACK = "gz2"


@dataclass(frozen=True)
class Calibration:
    """Log-odds ``slope * raw + offset`` by concept and meaning, and how many classify a galaxy.

    ``answers[concept][meaning]`` is ``(slope, offset)``; ``totals`` maps a number of volunteers
    to how often it occurs.
    """

    campaign: str
    totals: Mapping[int, float]
    answers: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    def line(self, concept: str, meaning: str) -> tuple[float, float]:
        """``(slope, offset)`` of an answer; ``(1, 0)`` where none was fitted."""
        return self.answers.get(concept, {}).get(meaning, (1.0, 0.0))


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
            concept: {meaning: (line[0], line[1]) for meaning, line in answers.items()}
            for concept, answers in content["answers"].items()
        },
    )
