"""Training curves: the loss, and the online metric that shows a collapse early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gzfound.errors import DataError
from gzfound.reports.style import SERIES, Plot, colour, needs_matplotlib, new_axes, new_figure

Values = Sequence[float] | npt.NDArray[np.floating] | npt.NDArray[np.integer]


@dataclass(frozen=True)
class Curve:
    """A named line: ``y`` at each ``x`` (steps or epochs), both of length n."""

    name: str
    x: Values
    y: Values

    def __post_init__(self) -> None:
        """Check that there are points, and as many ``y`` as ``x``."""
        if len(self.x) != len(self.y) or len(self.x) == 0:
            raise DataError(
                f"curve {self.name}: {len(self.x)} x and {len(self.y)} y values; "
                "allowed is the same number of each, at least one"
            )


@needs_matplotlib
def curve_plot(
    curves: Sequence[Curve],
    *,
    xlabel: str,
    ylabel: str,
    references: Mapping[str, float] | None = None,
) -> Plot:
    """The curves, and each of ``references`` (name to height) as a dashed line.

    A curve of more than 60 points is drawn faintly, with its running mean over 1/30 of its
    length on top.
    """
    figure = new_figure(480, 300)
    axes = new_axes(figure, xlabel, ylabel)
    for curve, role in zip(curves, SERIES * len(curves), strict=False):
        x, y = np.asarray(curve.x, dtype=float), np.asarray(curve.y, dtype=float)
        label = curve.name if len(curves) > 1 else None
        if len(x) > 60:
            axes.plot(x, y, color=colour(role), alpha=0.25, linewidth=0.8)
            axes.plot(x, _running_mean(y, len(y) // 30), color=colour(role), label=label)
        else:
            marker = "o" if len(x) <= 30 else None
            axes.plot(x, y, color=colour(role), label=label, marker=marker, markersize=4)
    for name, height in (references or {}).items():
        axes.axhline(height, color=colour("muted"), linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            name,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=colour("muted"),
            size=8.5,
        )
    if len(curves) > 1:
        axes.legend(loc="best")
    axes.margins(x=0.02, y=0.12)
    return Plot(figure, _alt(curves, ylabel, xlabel))


def _running_mean(y: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """The mean over ``width`` points to each side, fewer at the ends; NaN is left out."""
    valid = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(valid, y, 0.0))])
    counts = np.concatenate([[0], np.cumsum(valid)])
    index = np.arange(len(y))
    low, high = np.maximum(index - width, 0), np.minimum(index + width + 1, len(y))
    means = np.full(len(y), np.nan)
    many = counts[high] - counts[low]
    np.divide(sums[high] - sums[low], many, out=means, where=many > 0)
    return means


def _alt(curves: Sequence[Curve], ylabel: str, xlabel: str) -> str:
    parts = [
        f"{curve.name} from {curve.y[0]:.3g} to {curve.y[-1]:.3g}"
        f" (lowest {np.nanmin(np.asarray(curve.y, dtype=float)):.3g},"
        f" highest {np.nanmax(np.asarray(curve.y, dtype=float)):.3g})"
        for curve in curves
    ]
    return f"{ylabel} against {xlabel}: " + "; ".join(parts)
