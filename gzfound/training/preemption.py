"""SIGTERM: the run stops after the step at hand, and ends with a checkpoint and its own status."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

PREEMPTED = 75
"""Exit status of a run that stopped in order: ``EX_TEMPFAIL``, "try again later"."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send: SIGTERM, or what SLURM's ``--signal`` is told to send."""


class PreemptedError(SystemExit):
    """The run was asked to stop and did; raised once its checkpoint is written."""

    def __init__(self) -> None:
        super().__init__(PREEMPTED)


class _CutError(BaseException):
    """Leaves work that is done again after resuming."""


class Preemption:
    """Notices :data:`SIGNALS` while it is entered; in threads other than the main one, nothing.

    Signals are often sent twice, by the scheduler and by a launcher: the second changes nothing.

    Attributes:
        asked: whether this process was asked to stop.
    """

    def __init__(self) -> None:
        self.asked = False
        self._cut = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            self._before = {kind: signal.signal(kind, self._notice) for kind in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def unless_asked(self, work: Callable[[], T]) -> T | None:
        """What some work gives; None as soon as this process is asked to stop."""
        try:
            self._cut = True
            try:
                return None if self.asked else work()
            finally:
                self._cut = False
        except _CutError:
            return None

    def _notice(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True
        if self._cut:
            self._cut = False
            raise _CutError
