"""Observed against predicted vote fractions in bins: whether predictions mean what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gzfound.errors import DataError
from gzfound.reports.style import Plot, colour, needs_matplotlib, new_axes, new_figure
from gzfound.reports.tables import Table

Bins = Sequence[Mapping[str, float]]

FEWEST = 10
"""Bins of fewer galaxies are not drawn: their means are mostly chance."""


@needs_matplotlib
def reliability_plot(overall: Bins, questions: Mapping[str, Bins]) -> Plot:
    """The curve of all answers, blue, over those of the questions, grey; the dashed line is right.

    The bins have ``predicted`` and ``observed`` fractions and the number of ``galaxies``, to which
    the area of a dot is in proportion.

    Raises:
        DataError: no bin has enough galaxies.
    """
    shown = _drawn(overall)
    if not shown:
        raise DataError(f"reliability: no bin has {FEWEST} galaxies")
    figure = new_figure(360, 340)
    axes = new_axes(figure, "predicted fraction", "fraction of the votes")
    axes.plot([0, 1], [0, 1], color=colour("muted"), linewidth=1, linestyle=(0, (4, 3)))
    for number, bins in enumerate(questions.values()):
        x, y = _points(_drawn(bins))
        label = "a question" if number == 0 else None
        axes.plot(x, y, color=colour("grey"), alpha=0.4, linewidth=1, label=label)
    x, y = _points(shown)
    galaxies = np.array([each["galaxies"] for each in shown])
    axes.plot(x, y, color=colour("blue"), label="all answers")
    sizes = 16 + 90 * galaxies / galaxies.max()
    axes.scatter(x, y, s=sizes, color=colour("blue"), linewidth=0, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.legend(loc="upper left", handlelength=1.4)
    pairs = "; ".join(f"{e['predicted']:.2f} and {e['observed']:.2f}" for e in shown)
    return Plot(figure, f"Mean predicted and observed fractions of all answers: {pairs}")


def coverage_table(levels: Sequence[float], coverage: Mapping[str, Any]) -> Table:
    """Coverage in per cent of the intervals of each level, for each question and overall.

    ``coverage`` has ``questions``, name to one share a level (None where unknown), and ``overall``.
    """
    rows = {**coverage["questions"], "all answers": coverage["overall"]}
    heads = ["Votes in the interval of", *(f"{100 * level:g} %" for level in levels)]
    cells = [[name, *(_percent(share) for share in shares)] for name, shares in rows.items()]
    return Table(heads, cells, "", range(1, len(heads)), [len(cells) - 1], [len(cells) - 1])


def _drawn(bins: Bins) -> list[Mapping[str, float]]:
    return [each for each in bins if each["galaxies"] >= FEWEST]


def _points(bins: Bins) -> tuple[list[float], list[float]]:
    return [each["predicted"] for each in bins], [each["observed"] for each in bins]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"
