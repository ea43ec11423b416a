"""The benchmark's end of the line: contenders are processes that wait for their turn."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from peers.serve import MARK

from gzfound.errors import GzfoundError

HERE = Path(__file__).parent
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
"""Left to every contender's own defaults, which are all cores."""


class Contender:
    """A process that has imported and loaded all it needs, and measures when told to.

    Args:
        name: what to call it in an error, and its log.
        python: the interpreter of its environment.
        script: its file beside this one.
        settings: what it is to do.
        logs: folder for what it prints.
        environment: variables on top of those of this process.
    """

    def __init__(
        self,
        name: str,
        python: str,
        script: str,
        settings: Mapping[str, Any],
        logs: Path,
        environment: Mapping[str, str],
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.name, self.log = name, logs / f"{name}.txt"
        held = {k: v for k, v in os.environ.items() if k not in THREAD_VARIABLES}
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [python, str(HERE / script), json.dumps(dict(settings))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**held, **environment},
            )

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(10 if kind is None else 0.1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def about(self) -> dict[str, Any]:
        """What it says of itself, once it is ready."""
        about: dict[str, Any] = self._answer()["about"]
        return about

    def measure(self, images: int) -> dict[str, float]:
        """One measurement over so many images."""
        assert self.process.stdin
        try:
            self.process.stdin.write(f"measure {images}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; the answer says so
        return self._answer()

    def cpu_seconds(self) -> float:
        """CPU time that it has used so far, in all threads; 0 where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return answer
        raise GzfoundError(f"contender {self.name}: it ended early; see {self.log}")


def take_turns(
    contenders: Mapping[str, Contender], images: int, repeats: int, warm_up: int
) -> tuple[dict[str, list[dict[str, float]]], float]:
    """Measure every contender once a round, the order turned round each time.

    Returns:
        The measurements of each, and the largest share of a core that the others used meanwhile.
    """
    if warm_up:
        for contender in contenders.values():
            contender.measure(min(warm_up, images))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    busiest = 0.0
    for number in range(repeats):
        order: Sequence[str] = list(contenders)
        for name in order if number % 2 == 0 else order[::-1]:
            others = [c for other, c in contenders.items() if other != name]
            before = sum(c.cpu_seconds() for c in others)
            answer = contenders[name].measure(images)
            idle = sum(c.cpu_seconds() for c in others) - before
            busiest = max(busiest, idle / max(answer.get("seconds", 0.0), 1.0))
            found[name].append(answer)
    return found, busiest
