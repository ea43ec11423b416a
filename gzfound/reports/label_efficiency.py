"""Skill against the number of galaxies with labels, with the range over draws."""

from __future__ import annotations

from collections.abc import Sequence

from gzfound.errors import DataError
from gzfound.evaluation.label_efficiency import SharePoint
from gzfound.reports.style import (
    MARKERS,
    SERIES,
    Plot,
    colour,
    needs_matplotlib,
    new_axes,
    new_figure,
)


@needs_matplotlib
def efficiency_plot(points: Sequence[SharePoint], target: str, metric: str) -> Plot:
    """A line a method: the mean at each share of the labels, and a bar from least to most.

    Raises:
        DataError: there are no points of the target.
    """
    lines: dict[str, list[SharePoint]] = {}
    for point in points:
        if point.target == target:
            lines.setdefault(point.method, []).append(point)
    if not lines:
        raise DataError(f"label efficiency: there is nothing to plot of {target!r}")
    figure = new_figure(560, 340)
    axes = new_axes(figure, "galaxies with labels", metric)
    axes.set_xscale("log")
    places = sorted({point.galaxies for line in lines.values() for point in line})
    aside = (places[-1] / places[0]) ** 0.012  # so that bars stand side by side
    words = []
    for number, (method, line) in enumerate(lines.items()):
        role = colour(SERIES[number % len(SERIES)])
        shift = aside ** (number - (len(lines) - 1) / 2)
        x = [point.galaxies * shift for point in line]
        found = [point.metrics[metric] for point in line]
        axes.vlines(x, [v.low for v in found], [v.high for v in found], color=role, alpha=0.5)
        axes.plot(
            x,
            [v.value for v in found],
            color=role,
            marker=MARKERS[number % len(MARKERS)],
            linestyle="-" if number < len(SERIES) else "--",
            markersize=5,
            label=method,
        )
        means = ", ".join(
            f"{value.value:.3f} with {point.galaxies:,}"
            for value, point in zip(found, line, strict=True)
        )
        words.append(f"{method} {means}")
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.margins(x=0.05, y=0.08)
    return Plot(figure, f"{metric} of {target} by galaxies with labels: {'; '.join(words)}", target)
