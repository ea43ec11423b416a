"""What commands show: lines on the standard output, and a bar while they work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def progress(title: str) -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar, on terminals alone, that goes away at the end."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        yield bar, bar.add_task(title, total=None)


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")
