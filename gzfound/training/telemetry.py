"""What a run says while it runs: a progress bar, a line an epoch, a JSONL file, trackers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gzfound.files import one_line_if_full, write_text

WAITS = 0.05
REMEDY = (
    "went by waiting for data: put GZFOUND_CACHE on a faster disk, lower image_size so that the "
    "images fit in memory, or give each process more cores; a streamed source may be slow"
)


class Telemetry:
    """Progress of a run on the main process; silent on the others.

    Args:
        folder: receives ``metrics.jsonl``, one JSON object a line.
        total: number of steps of the whole run.
        main: whether this process speaks.
        tracker: anything with ``log(values, step=...)``, such as an accelerator with trackers; or
            None.
    """

    def __init__(self, folder: Path, total: int, main: bool, tracker: Any) -> None:
        self.path = folder / "metrics.jsonl"
        self.main = main
        self.tracker = tracker
        self.console = Console(stderr=True, quiet=not main, soft_wrap=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("{task.fields[rate]:.0f} galaxies/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not main or not self.console.is_terminal,
        )
        self.file: TextIO | None = None
        self.warned = False
        self.task = self.progress.add_task("training", total=total, rate=0.0)

    def __enter__(self) -> Telemetry:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()
        self._close()

    def advance(self, step: int, rate: float) -> None:
        """Move the bar to a step, at ``rate`` galaxies a second."""
        self.progress.update(self.task, completed=step, rate=rate)

    def record(self, kind: str, step: int, values: Mapping[str, float | int]) -> None:
        """Append one line to ``metrics.jsonl`` and pass the values to the trackers."""
        if not self.main:
            return
        row = {"kind": kind, "step": step, "time": round(time.time(), 3), **values}
        with one_line_if_full(self.path):
            if self.file is None:
                self.file = self.path.open("a", encoding="utf-8", buffering=1)
            self.file.write(json.dumps(row) + "\n")
        if self.tracker is not None:
            self.tracker.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def rewind(self, step: int, epochs: int) -> None:
        """Drop what a killed run recorded after ``step`` and ``epochs``: it is recorded again."""
        if not self.main or not self.path.exists():
            return
        self._close()
        keep_rows(self.path, lambda row: row["step"] <= step and row.get("epoch", 0) <= epochs)

    def epoch(self, epoch: int, epochs: int, values: Mapping[str, float]) -> None:
        """Print the values of an epoch; of a long run, of about ten epochs and the last.

        The first epoch that waited for data more than 5 % of its time is said, with the remedy.
        """
        if values.get("waiting", 0.0) > WAITS and not self.warned:
            self.warned = True
            self.say(f"epoch {epoch}: {100 * values['waiting']:.0f} % of the time {REMEDY}")
        if epoch % max(1, epochs // 10) and epoch != epochs:
            return
        shown = ", ".join(_shown(name, value) for name, value in values.items())
        self.say(f"epoch {epoch}/{epochs}: {shown}")

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        self.console.print(text, highlight=False)

    def _close(self) -> None:
        if self.file is not None:
            with suppress(OSError):  # a line that the disk refused is refused again
                self.file.close()
            self.file = None


def keep_rows(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Drop the other lines of a JSON-lines file, and a last one that was cut short."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and wanted(json.loads(line))]
    write_text(path, "".join(kept))


def _shown(name: str, value: float) -> str:
    """A value with its name and its unit."""
    if name == "galaxies_per_second":
        return f"galaxies/s {value:,.0f}" if value >= 10 else f"galaxies/s {value:.2g}"
    if name == "waiting":
        return f"waiting {100 * value:.1f} %"
    if name == "flops_per_second":
        return f"{value / 1e12:.3g} TFLOP/s" if value >= 1e12 else f"{value / 1e9:.3g} GFLOP/s"
    words = name.replace("_", " ")
    return f"{words} {value:,.0f}" if abs(value) >= 100 else f"{words} {value:.3g}"


def read_metrics(path: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind (``step`` or ``epoch``) in a run's ``metrics.jsonl``."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["kind"] == kind]
