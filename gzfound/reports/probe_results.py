"""Probe results: how well each embedding answers a question it was never taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gzfound.errors import DataError
from gzfound.reports.style import Plot, colour, needs_matplotlib, new_axes, new_figure
from gzfound.reports.tables import Table


@dataclass(frozen=True)
class ProbeResult:
    """One embedding (``method``) on one ``target``: ``value`` with its 95 % interval.

    ``floor`` is the noise floor of the same metric at the same galaxies, ``skill`` the share of
    the way from the constant predictor to the floor; None where there is none. ``galaxies`` is
    the number tested.
    """

    target: str
    method: str
    value: float
    low: float
    high: float
    galaxies: int
    floor: float | None = None
    skill: float | None = None


def probe_table(
    results: Sequence[ProbeResult], metric: str, *, lower_is_better: bool, caption: str = ""
) -> Table:
    """The results grouped by target, in their order; the best of each target is bold."""
    groups = _by_target(results)
    floors = any(result.floor is not None for result in results)
    skills = any(result.skill is not None for result in results)
    columns = ["Target", "Embedding", metric, "95 % interval"]
    columns += ["Noise floor"] * floors + ["Skill"] * skills + ["Galaxies"]
    rows: list[list[str]] = []
    strong, starts = [], []
    for target, group in groups.items():
        best = _best(group, lower_is_better)
        starts.append(len(rows))
        for number, result in enumerate(group):
            if result is best:
                strong.append(len(rows))
            row = [target if number == 0 else "", result.method, f"{result.value:.3f}"]
            row.append(f"{result.low:.3f} to {result.high:.3f}")
            row += [_number(result.floor)] * floors + [_number(result.skill)] * skills
            rows.append([*row, f"{result.galaxies:,}"])
    return Table(columns, rows, caption, range(2, len(columns)), strong, starts)


@needs_matplotlib
def probe_plots(
    results: Sequence[ProbeResult], metric: str, *, lower_is_better: bool
) -> list[Plot]:
    """A plot a target: a dot and a 95 % interval for each embedding, the floor dashed.

    All plots share their horizontal scale; the best embedding is blue.
    """
    if not results:
        raise DataError("probe results: there are none to plot")
    marks = [m for r in results for m in (r.low, r.high, r.floor) if m is not None]
    margin = 0.06 * (max(marks) - min(marks) or 1)
    limits = (min(marks) - margin, max(marks) + margin)
    return [
        _plot(target, group, metric, limits, _best(group, lower_is_better))
        for target, group in _by_target(results).items()
    ]


def _plot(
    target: str,
    group: Sequence[ProbeResult],
    metric: str,
    limits: tuple[float, float],
    best: ProbeResult,
) -> Plot:
    figure = new_figure(480, 92 + 30 * len(group))
    axes = new_axes(figure, metric, "")
    for row, result in enumerate(group):
        role = colour("blue" if result is best else "grey")
        axes.plot([result.low, result.high], [row, row], color=role, linewidth=2.6, alpha=0.55)
        axes.plot(result.value, row, "o", color=role, markersize=8, markeredgewidth=0)
    floor = group[0].floor
    if floor is not None:
        axes.axvline(floor, color=colour("muted"), linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            "noise floor",
            (floor, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, 4),
            textcoords="offset points",
            color=colour("muted"),
            size=8.5,
        )
    axes.set_yticks(range(len(group)), [result.method for result in group])
    axes.tick_params(axis="y", labelcolor=colour("ink"), labelsize=9)
    axes.set(xlim=limits, ylim=(len(group) - 0.5, -0.5))
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    dots = "; ".join(f"{r.method} {r.value:.3f} ({r.low:.3f} to {r.high:.3f})" for r in group)
    floor_words = "" if floor is None else f"; noise floor {floor:.3f}"
    return Plot(figure, f"{metric} on {target}: {dots}{floor_words}", target)


def _by_target(results: Sequence[ProbeResult]) -> dict[str, list[ProbeResult]]:
    groups: dict[str, list[ProbeResult]] = {}
    for result in results:
        groups.setdefault(result.target, []).append(result)
    return groups


def _best(group: Sequence[ProbeResult], lower_is_better: bool) -> ProbeResult:
    choose = min if lower_is_better else max
    return choose(group, key=lambda result: result.value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
