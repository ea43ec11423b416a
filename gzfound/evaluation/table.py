"""A table of results: the same numbers for the terminal, for Markdown and for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gzfound.evaluation.bootstrap import Interval

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

MEAN = "mean of answers"


@dataclass(frozen=True)
class Row:
    """One method on one target.

    Attributes:
        target: a question, ``MEAN``, or the name of a column.
        method: the embedding or baseline.
        galaxies: the number tested.
        metrics: metric to value with its interval; NaN where there is none.
    """

    target: str
    method: str
    galaxies: int
    metrics: Mapping[str, Interval]


@dataclass(frozen=True)
class ResultTable:
    """Rows grouped by target, in their order.

    Attributes:
        title: what was measured.
        rows: one a target and method.
        notes: what a reader has to know: protocol, intervals.
        headline: the metrics that fit a terminal, by default all.
    """

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    headline: Sequence[str] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ResultTable:
        """The table that :meth:`to_dict` made, read back from JSON; null becomes NaN."""
        named = ("target", "method", "galaxies")
        rows = [
            Row(
                row["target"],
                row["method"],
                row["galaxies"],
                {name: _interval(value) for name, value in row.items() if name not in named},
            )
            for row in values["rows"]
        ]
        return cls(values["title"], rows, values["notes"])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of all rows, in order."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.metrics))

    def find(self, target: str, method: str) -> Row:
        """The row of a method on a target; ``KeyError`` if there is none."""
        for row in self.rows:
            if (row.target, row.method) == (target, method):
                return row
        raise KeyError((target, method))

    def to_markdown(self) -> str:
        """A Markdown table, with the title above it and the notes below."""
        heads = ("target", "method", "galaxies", *self.metrics)
        lines = [f"**{self.title}**", "", "| " + " | ".join(heads) + " |"]
        lines.append("|---|---|" + "---:|" * (len(self.metrics) + 1))
        lines += ["| " + " | ".join(cells) + " |" for cells in self._cells()]
        return "\n".join([*lines, "", *self.notes]).rstrip() + "\n"

    def to_dict(self) -> dict[str, Any]:
        """What ``json.dumps`` takes; missing numbers are null."""
        return {
            "title": self.title,
            "notes": list(self.notes),
            "rows": [
                {
                    "target": row.target,
                    "method": row.method,
                    "galaxies": row.galaxies,
                    **{name: _plain(value) for name, value in row.metrics.items()},
                }
                for row in self.rows
            ],
        }

    def to_rich(self) -> Group:
        """What ``rich.print`` shows in a terminal: a small table a target, then the notes."""
        from rich.console import Group
        from rich.text import Text

        targets = tuple(dict.fromkeys(row.target for row in self.rows))
        tables = [self._one_target(target) for target in targets]
        return Group(*tables, Text(" ".join(self.notes), style="dim"))

    def _one_target(self, target: str) -> Table:
        from rich import box
        from rich.table import Table

        rows = [row for row in self.rows if row.target == target]
        shown = self.headline or self.metrics
        title = f"{target}: {rows[0].galaxies:,} galaxies"
        if "RMSE floor" in rows[0].metrics:
            title += f", noise floor {rows[0].metrics['RMSE floor'].value:.3f}"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("method", min_width=18)
        for head in shown:
            table.add_column(head, justify="right")
        for row in rows:
            values = [row.metrics[m].line() if m in row.metrics else "–" for m in shown]
            table.add_row(row.method, *values)
        return table

    def _cells(self) -> list[list[str]]:
        cells, before = [], None
        for row in self.rows:
            target = "" if row.target == before else row.target
            before = row.target
            values = [str(row.metrics[m]) if m in row.metrics else "–" for m in self.metrics]
            cells.append([target, row.method, f"{row.galaxies:,}", *values])
        return cells


def _interval(value: Mapping[str, float | None]) -> Interval:
    numbers = (value[name] for name in ("value", "low", "high"))
    return Interval(*(np.nan if number is None else number for number in numbers))


def _plain(value: Interval) -> dict[str, float | None]:
    numbers = {"value": value.value, "low": value.low, "high": value.high}
    return {name: number if np.isfinite(number) else None for name, number in numbers.items()}
