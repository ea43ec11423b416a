"""Write a file so that nobody ever sees half of it."""

from __future__ import annotations

import uuid
from pathlib import Path


def write_whole(path: str | Path, content: bytes) -> Path:
    """Write ``content`` to a temporary name beside ``path``, then rename it; returns the path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
