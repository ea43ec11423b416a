"""Measurements to rows, rows to a table and to one JSON file that grows group by group."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import rich
from peers.groups import Group, Row
from rich.table import Table

from gzfound.errors import ConfigError
from gzfound.files import write_text

Measurements = Mapping[str, Sequence[Mapping[str, float]]]
UNITS = {"rate": "x", "seconds": "s", "longer": "times", "growth": "MB"}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, range, and the values themselves."""
    ends = {"median": median(values), "least": min(values), "greatest": max(values)}
    return {**ends, "values": list(values)}


def evaluate(row: Row, found: Measurements, precision: str) -> dict[str, Any]:
    """A row from measurements that took turns: one value a round, and whether the goal is met."""
    ours = found[row.ours]
    theirs = found[row.theirs] if row.theirs else ours
    pairs = zip(ours, theirs, strict=True)
    if row.kind == "rate":
        values = [rate(a) / rate(b) for a, b in pairs]
    elif row.kind == "longer":
        values = [a["seconds"] / b["seconds"] for a, b in pairs]
    elif row.kind == "growth":
        values = [a["megabytes"] - b["megabytes"] for a, b in pairs]
    else:
        values = [a["seconds"] for a in ours]
    held = precision == "no" and row.fp32_goal is not None
    goal = row.fp32_goal if held else row.goal
    result = {"name": row.name, "unit": UNITS[row.kind], "goal": goal, **spread(values)}
    result["goal_with_bf16"] = row.goal
    reached = result["median"] >= goal if row.kind == "rate" else result["median"] <= goal
    return {**result, "met": bool(reached)}


def rate(measurement: Mapping[str, float]) -> float:
    """Images a second."""
    return measurement["images"] / measurement["seconds"]


def rows_of(group: Group, found: Measurements, precision: str) -> list[dict[str, Any]]:
    """The rows whose contenders were all measured."""
    wanted = [r for r in group.rows if {r.ours, r.theirs} - {None} <= set(found)]
    return [evaluate(row, found, precision) for row in wanted]


def described(found: Measurements, about: Mapping[str, Any]) -> dict[str, Any]:
    """Every contender with every measurement, and its rate where it has one."""
    result = {}
    for name, values in found.items():
        entry: dict[str, Any] = {"about": about[name], "measurements": list(values)}
        if all("images" in value for value in values):
            entry["images_per_second"] = spread([rate(value) for value in values])
        result[name] = entry
    return result


def merge(path: Path, name: str, group: Mapping[str, Any], common: Mapping[str, Any]) -> None:
    """Put a group in the place of its last result, as a whole; the other groups stay.

    Raises:
        ConfigError: the file there is of another kind.
    """
    held: dict[str, Any] = {}
    if path.exists():
        try:
            held = json.loads(path.read_text(encoding="utf-8"))["groups"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"output: {path} holds no results of this benchmark") from error
    result = {**common, "groups": {**held, name: group}}
    write_text(path, json.dumps(result, indent=1, allow_nan=False) + "\n")


def markdown(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows of every group as the table of docs/performance.md."""
    lines = ["| what | median | range | goal | |", "| --- | ---: | ---: | ---: | --- |"]
    for group in groups.values():
        for row in group["rows"]:
            cells = (row["name"], *_words(row), "met" if row["met"] else "**not met**")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _words(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Median, range and goal."""
    unit = row["unit"]
    sign = ">=" if unit == "x" else "<="
    ends = f"{row['least']:.3g} to {row['greatest']:.3g}"
    return f"{row['median']:.3g} {unit}", ends, f"{sign} {row['goal']:g} {unit}"


def show(groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the rows of every group."""
    table = Table("what", "median", "range", "goal", "", title="Ours over limit or peer")
    for group in groups.values():
        for row in group["rows"]:
            table.add_row(
                row["name"], *_words(row), "met" if row["met"] else "[bold red]not met[/]"
            )
    rich.print(table)
