"""One galaxy with all its answers: what the volunteers said, and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from gzfound.reports.predictions import QuestionPredictions
from gzfound.reports.sheets import image_tag


@dataclass(frozen=True)
class GalaxyPanel:
    """The image of galaxy ``row``, and a bar an answer of every question it may be asked.

    Questions that less than ``min_asked`` of the volunteers are asked, both by the prediction and
    by the votes, are named in one line instead.
    """

    image: npt.NDArray[np.uint8]
    name: str
    predictions: Sequence[QuestionPredictions]
    row: int
    min_asked: float = 0.1
    size: int = 240

    def html(self) -> str:
        """The panel: image at the left, questions at the right, folding on a narrow screen."""
        shown = [question for question in self.predictions if self._shown(question)]
        left_out = [q.question for q in self.predictions if not self._shown(q)]
        note = f'<p class="note">Hardly asked here: {escape(", ".join(left_out))}.</p>'
        image = image_tag(self.image, f"galaxy {self.name}", self.size)
        return (
            f'<article class="galaxy"><div>{image}'
            f"<h3>{escape(self.name)}</h3>{note if left_out else ''}</div>"
            f'<div class="questions">{"".join(self._question(q) for q in shown)}</div></article>'
        )

    def _shown(self, question: QuestionPredictions) -> bool:
        most = max(1, *(int(other.totals[self.row]) for other in self.predictions))
        observed = int(question.totals[self.row]) / most
        return max(float(question.asked[self.row]), observed) >= self.min_asked

    def _question(self, question: QuestionPredictions) -> str:
        total, asked = int(question.totals[self.row]), float(question.asked[self.row])
        bars = "".join(self._bar(question, column) for column in range(len(question.answers)))
        votes = f"{total} vote" if total == 1 else f"{total} votes"
        faint = ' class="faint"' if asked < 0.5 else ""
        return (
            f"<div{faint}><h4>{escape(question.question)}</h4>"
            f"<p>asked with probability {asked:.2f} · {votes}</p>{bars}</div>"
        )

    def _bar(self, question: QuestionPredictions, column: int) -> str:
        expected, low, high = (
            float(np.clip(values[self.row, column], 0, 1))
            for values in (question.expected, question.low, question.high)
        )
        fraction = float(question.fractions[self.row, column])
        known = np.isfinite(fraction)
        votes = f"{fraction:.2f} of the votes" if known else "no votes"
        words = f"{votes}, predicted {expected:.2f}, interval {low:.2f} to {high:.2f}"
        bar = f'<i class="votes" style="width:{fraction:.1%}"></i>' if known else ""
        return (
            f'<div class="bar" title="{words}"><span>{escape(question.answers[column])}</span>'
            f'<span class="track" role="img" aria-label="{words}">{bar}'
            f'<i class="range" style="left:{low:.1%};width:{max(high - low, 0):.1%}"></i>'
            f'<i class="dot" style="left:{expected:.1%}"></i></span></div>'
        )
