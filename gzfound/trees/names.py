"""What to say about a name that is not known."""

from __future__ import annotations

from collections.abc import Sequence


def unknown_name(kind: str, name: object, allowed: Sequence[str]) -> str:
    """One line that names the unknown value, the closest known ones, and all that is allowed."""
    import difflib

    close = difflib.get_close_matches(str(name), allowed, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    return f"unknown {kind}: {name!r}{hint} Allowed: {', '.join(allowed)}"
