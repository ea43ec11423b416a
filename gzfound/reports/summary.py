"""The run's summary: what was run, how long it took, on what, with which versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Stages:
    """Seconds spent in each named stage, as bars to one scale."""

    seconds: Mapping[str, float]

    def html(self) -> str:
        """A bar a stage, with its time, and the total."""
        longest = max(self.seconds.values(), default=1.0) or 1.0
        lines = {**self.seconds, "total": sum(self.seconds.values())}
        bars = "".join(
            f'<div class="{"total" if name == "total" else "stage"}"><span>{escape(name)}</span>'
            + self._track(name, seconds / longest)
            + f"<span>{duration(seconds)}</span></div>"
            for name, seconds in lines.items()
        )
        return f'<div class="stages">{bars}</div>'

    @staticmethod
    def _track(name: str, share: float) -> str:
        bar = "" if name == "total" else f'<i style="width:{share:.1%}"></i>'
        return f'<span class="track">{bar}</span>'


@dataclass(frozen=True)
class Pairs:
    """Names and values, such as packages and versions, in a quiet two-column list."""

    pairs: Mapping[str, str]

    def html(self) -> str:
        """The escaped list."""
        items = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
            for name, value in self.pairs.items()
        )
        return f'<dl class="pairs">{items}</dl>'


def duration(seconds: float) -> str:
    """Seconds in words a person reads: "8.4 s", "3 min 05 s", "2 h 04 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
