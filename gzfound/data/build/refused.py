"""What was refused, one JSON object a line, in a file beside the output."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from gzfound.files import atomic_file


@dataclass(frozen=True)
class Refusal:
    """One value that cannot be used.

    Attributes:
        row: of the table, from 1; None for an image that no row names.
        id_str: of the galaxy, if it has one.
        column: of the table; for a total, the question.
        value: as it stands there.
        reason: why it is refused.
    """

    row: int | None
    id_str: str | None
    column: str
    value: object
    reason: str

    def __str__(self) -> str:
        where = "" if self.row is None else f"row {self.row}, "
        return f"{where}column '{self.column}', {self.value!r}: {self.reason}"


class Refusals:
    """Takes refusals in the order of the rows; made by ``refusals_beside``."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self.first: Refusal | None = None
        self._last: int | None = None

    def add(self, refusal: Refusal, kind: str | None = None) -> None:
        """Write one; ``kind`` is what it counts as in the summary, the reason by default."""
        self.first = self.first or refusal
        self.reasons[kind or refusal.reason] += 1
        if refusal.row is not None and refusal.row != self._last:
            self.rows += 1
            self._last = refusal.row
        self._file.write(json.dumps(asdict(refusal), default=str) + "\n")


def refused_path(output: Path) -> Path:
    """The file of refusals that belongs to the dataset ``output``."""
    return output.with_name(f"{output.name}.refused.jsonl")


@contextmanager
def refusals_beside(output: Path) -> Iterator[Refusals]:
    """The refusals of a dataset: written as they come, there in the end only if there are any."""
    path = refused_path(output)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        refusals = Refusals(file)
        yield refusals
    if not refusals.reasons:
        path.unlink()
