"""Work of the scale benchmark: in forks that are watched, killed and asked."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from killing import Ended, Kill, run, use_caches
from scale_parts import watched

from gzfound.errors import GzfoundError
from gzfound.files import write_text


class Work(ABC):
    """Does what one size asks for, in forks, and says what it took."""

    @property
    @abstractmethod
    def home(self) -> Path:
        """Folder of the size."""

    @property
    def note(self) -> Path:
        """Where a process says what its work took; those of other processes are beside it."""
        return self.home / "note-0.json"

    def start(self, work: Callable[[], Any], **how: Any) -> Ended:
        """Run some work in a fork, or in two, with an eye on its memory."""
        self.home.mkdir(parents=True, exist_ok=True)
        for old in self.home.glob("note-*.json"):
            old.unlink()

        def noted() -> None:
            number = os.environ.get("RANK", "0")
            caches = self.use_caches()
            watched(work, self.home / f"note-{number}.json", caches if number == "0" else [])

        return run(noted, self.home / "log.txt", **how)

    def take(
        self, work: Callable[[], Any], output: Path, *, fresh: bool = True, **how: Any
    ) -> dict[str, Any]:
        """Do some work to its end; what an interrupted benchmark left of its output is removed."""
        if fresh:
            remove(output)
        ended = self.start(work, **how)
        if any(ended.statuses):
            lines = (self.home / "log.txt").read_text().splitlines()[-5:]
            raise GzfoundError(f"a stage ended with {ended.statuses}: {' | '.join(lines)}")
        notes = [json.loads(path.read_text()) for path in sorted(self.home.glob("note-*.json"))]
        summed = ("cpu_seconds", "memory_before", "memory_peak", "mapped_peak")
        together = {name: sum(note[name] for note in notes) for name in summed}
        return {**notes[0], "seconds": max(note["seconds"] for note in notes), **together}

    def use_caches(self) -> list[Path]:
        """Keep decoded images and the copies of ``datasets`` in the folder of this size."""
        caches = [self.home / name for name in ("decoded", "datasets")]
        use_caches(*caches)
        return caches

    def answer(self, question: Callable[[], Any]) -> Any:
        """What a function finds out, in a fork: this process stays as small as it is."""
        answer = self.home / "answer.json"
        remove(answer)

        def work() -> None:
            self.use_caches()
            write_text(answer, json.dumps(question()))

        ended = run(work, self.home / "log.txt")
        if any(ended.statuses):
            raise GzfoundError(f"a check ended with {ended.statuses}: {self.home / 'log.txt'}")
        return json.loads(answer.read_text(encoding="utf-8"))

    def killed(self, work: Callable[[], Any], output: Path, after: float, **how: Any) -> float:
        """Kill some work; returns the seconds for which any of its processes ran."""
        remove(output)
        ended = self.start(work, kill=Kill("moment", after), **how)
        if not ended.killed:
            raise GzfoundError(f"killing: {output.name} ended with {ended.statuses} before it was")
        return after + ended.seconds


def remove(path: Path) -> None:
    """Remove a folder or a file, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
