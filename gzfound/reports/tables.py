"""Tables for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

from gzfound.errors import DataError


@dataclass(frozen=True)
class Table:
    """Rows of text under named columns.

    ``numeric`` columns (their positions) are set to the right in figures of equal width,
    ``strong`` rows are bold, and a row in ``starts`` begins a group with a rule above it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: Collection[int] = ()
    strong: Collection[int] = ()
    starts: Collection[int] = ()

    def __post_init__(self) -> None:
        """Check that every row has one cell a column."""
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise DataError(
                    f"table row {number} has {len(row)} cells; allowed is {len(self.columns)}"
                )

    def html(self) -> str:
        """The table, in a box that a narrow screen scrolls sideways."""
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        head = "".join(
            f'<th scope="col"{self._align(column)}>{escape(name)}</th>'
            for column, name in enumerate(self.columns)
        )
        body = "".join(self._row(number, row) for number, row in enumerate(self.rows))
        return (
            f'<div class="table" tabindex="0"><table>{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def text(self) -> str:
        """The same table as plain lines of equal width, for a terminal."""
        widths = [
            max(len(cell) for cell in column)
            for column in zip(self.columns, *self.rows, strict=True)
        ]
        lines = [self._line(self.columns, widths), "  ".join("─" * width for width in widths)]
        for number, row in enumerate(self.rows):
            if number in self.starts and number > 0:
                lines.append("")
            lines.append(self._line(row, widths))
        return "\n".join([self.caption, "", *lines] if self.caption else lines)

    def _row(self, number: int, row: Sequence[str]) -> str:
        kinds = [name for name in ("strong", "starts") if number in getattr(self, name)]
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        first, *rest = row
        cells = "".join(
            f"<td{self._align(column)}>{escape(cell)}</td>"
            for column, cell in enumerate(rest, start=1)
        )
        return f'<tr{kind}><th scope="row"{self._align(0)}>{escape(first)}</th>{cells}</tr>'

    def _align(self, column: int) -> str:
        return ' class="number"' if column in self.numeric else ""

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = (
            cell.rjust(width) if column in self.numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()
