"""A contender's end of the line: it is told ``measure N`` and answers with one line of JSON.

Standard library only, because the peers' environment has no gzfound.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

Answer = dict[str, float]

MARK = "answer: "
"""Begins every answer; libraries may have printed something as they were imported."""


class Line:
    """Standard input and output of a contender; what libraries print goes to standard error.

    Attributes:
        settings: what the benchmark wants of this contender.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.settings: dict[str, Any] = json.loads(sys.argv[1])

    def serve(self, measure: Callable[[int], Answer], **about: Any) -> None:
        """Say what this contender is, then measure whenever told to, until the line is closed."""
        self._say({"about": about})
        for line in sys.stdin:
            _, count = line.split()
            gc.collect()
            self._say(measure(int(count)))

    def restore_output(self) -> None:
        """Give standard output back, for a process that starts anew."""
        os.dup2(self._out.fileno(), 1)

    def _say(self, what: Any) -> None:
        self._out.write(f"{MARK}{json.dumps(what)}\n")
        self._out.flush()


def timed(work: Callable[[], object], images: int) -> Answer:
    """The seconds that ``work`` takes for so many images."""
    start = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - start, "images": images}


def best_workers(
    line: Line, work: Callable[[int, int], object], images: int
) -> tuple[int, dict[str, float]]:
    """The number of DataLoader workers that is fastest over so many images, best of two runs.

    Args:
        line: with ``quick``, none are tried.
        work: ``work(workers, images)``.
        images: of each trial.
    """
    seconds = {}
    for workers in () if line.settings["quick"] else (0, 1, 2):
        trial = partial(work, workers, images)
        seconds[str(workers)] = min(timed(trial, images)["seconds"] for _ in range(2))
    return int(min(seconds, key=lambda key: seconds[key], default="0")), seconds
