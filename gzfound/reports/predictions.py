"""Predicted vote fractions against the votes, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gzfound.errors import DataError
from gzfound.reports.style import MARKERS, SERIES, Plot, colour, needs_matplotlib, new_figure

if TYPE_CHECKING:
    from gzfound.trees import DecisionTree

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class QuestionPredictions:
    """One question over N galaxies: arrays ``(N, K)`` for K answers, ``asked`` ``(N,)``.

    ``expected``, ``low`` and ``high`` are vote fractions, ``asked`` the predicted probability
    that a volunteer is asked the question, ``votes`` the counts.
    """

    question: str
    answers: tuple[str, ...]
    votes: npt.NDArray[np.integer]
    expected: Floats
    low: Floats
    high: Floats
    asked: Floats

    def __post_init__(self) -> None:
        """Check that all shapes agree."""
        shape = (len(self.asked), len(self.answers))
        for name in ("votes", "expected", "low", "high"):
            if getattr(self, name).shape != shape:
                raise DataError(
                    f"question {self.question}: {name} has shape {getattr(self, name).shape}; "
                    f"allowed is {shape}, galaxies by answers"
                )

    @property
    def totals(self) -> npt.NDArray[np.int64]:
        """Votes on the question, ``(N,)``."""
        return np.asarray(self.votes.sum(axis=1), dtype=np.int64)

    @property
    def fractions(self) -> npt.NDArray[np.float64]:
        """Vote fractions ``(N, K)``; NaN where the question has no votes."""
        totals = self.totals[:, None].astype(np.float64)
        fractions = np.full(self.votes.shape, np.nan)
        np.divide(self.votes, totals, out=fractions, where=totals > 0)
        return fractions


def by_question(
    tree: DecisionTree,
    votes: npt.NDArray[np.integer],
    expected: Floats,
    low: Floats,
    high: Floats,
    asked: Floats,
) -> list[QuestionPredictions]:
    """Split arrays ``(N, A)`` (and ``asked`` ``(N, Q)``) into one object a question of ``tree``."""
    return [
        QuestionPredictions(
            question.name,
            tuple(question.answers),
            votes[:, tree.slices[question.name]],
            expected[:, tree.slices[question.name]],
            low[:, tree.slices[question.name]],
            high[:, tree.slices[question.name]],
            asked[:, number],
        )
        for number, question in enumerate(tree.questions)
    ]


@needs_matplotlib
def question_plot(
    predictions: QuestionPredictions, *, min_votes: int = 20, at_most: int = 40
) -> Plot | None:
    """Expected against observed vote fractions, a colour and a marker an answer.

    Draws ``at_most`` galaxies, evenly spaced in the data, of those with ``min_votes`` votes on
    the question; None where there is no such galaxy. The caption's error and coverage are over
    all of those galaxies.
    """
    rows = np.flatnonzero(predictions.totals >= min_votes)
    if len(rows) == 0:
        return None
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(at_most, len(rows))).astype(int))]
    columns = 3 if max(len(answer) for answer in predictions.answers) <= 13 else 2
    foot = 56 + 22 * -(-len(predictions.answers) // columns)
    height = foot + 266
    figure = new_figure(320, height, constrained=False)
    axes = figure.add_axes((48 / 320, foot / height, 262 / 320, 262 / height))
    axes.plot([0, 1], [0, 1], color=colour("muted"), linewidth=1, linestyle=(0, (4, 3)))
    for column, answer in enumerate(predictions.answers):
        x = predictions.fractions[shown, column]
        low, high = predictions.low[shown, column], predictions.high[shown, column]
        role = colour(SERIES[column % len(SERIES)])
        axes.vlines(x, low, high, color=role, alpha=0.3, linewidth=1.2)
        axes.plot(
            x,
            predictions.expected[shown, column],
            linestyle="none",
            marker=MARKERS[column % len(MARKERS)],
            markersize=4.5,
            markeredgewidth=0,
            color=role,
            alpha=0.85,
            label=answer,
            clip_on=False,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="fraction of the votes", ylabel="predicted fraction")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.tick_params(length=0)
    figure.legend(
        loc="upper left",
        bbox_to_anchor=(10 / 320, (foot - 40) / height),
        borderaxespad=0,
        ncols=columns,
        columnspacing=1.2,
        handletextpad=0.1,
    )
    words = _words(predictions, rows, len(shown), min_votes)
    return Plot(figure, f"{predictions.question}: {words}", predictions.question, words)


def coverage(predictions: QuestionPredictions, *, min_votes: int = 20) -> float:
    """The share of vote fractions inside their interval, over galaxies with ``min_votes`` votes."""
    rows = predictions.totals >= min_votes
    fractions = predictions.fractions[rows]
    inside = (fractions >= predictions.low[rows]) & (fractions <= predictions.high[rows])
    return float(inside.mean()) if inside.size else float("nan")


def typical_galaxies(predictions: Sequence[QuestionPredictions], count: int) -> list[int]:
    """Rows of ``count`` galaxies that differ: spread evenly along the first question's answers.

    Sorts the galaxies that have votes by the expected fraction of the root question's first
    answer and takes them at even steps.
    """
    root = predictions[0]
    rows = np.flatnonzero(root.totals > 0)
    if len(rows) < count:
        raise DataError(f"{count} galaxies wanted, but only {len(rows)} have votes on the root")
    order = rows[np.argsort(root.expected[rows, 0], kind="stable")]
    return [int(order[int((step + 0.5) * len(order) / count)]) for step in range(count)]


def _words(
    predictions: QuestionPredictions, rows: npt.NDArray[np.intp], shown: int, min_votes: int
) -> str:
    error = predictions.expected[rows] - predictions.fractions[rows]
    rmse = float(np.sqrt((error**2).mean(axis=0)).mean())
    inside = 100 * coverage(predictions, min_votes=min_votes)
    drawn = f", {shown} drawn" if shown < len(rows) else ""
    return (
        f"RMSE {rmse:.3f} over {len(rows)} galaxies{drawn}; {inside:.0f}\N{NO-BREAK SPACE}% "
        "of the vote fractions lie in their interval"
    )
