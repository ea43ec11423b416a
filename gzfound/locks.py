"""One run at a time on an output: a lock that the system takes back when its process dies."""

from __future__ import annotations

import atexit
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gzfound.errors import OutputError

_HELD: dict[Path, int] = {}


def hold(output: str | Path) -> None:
    """Lock an output for this process, until :func:`release` or its end; again is no harm.

    The lock is a file ``.NAME.lock`` beside the output. On a file system that has no locks nothing
    is held.

    Args:
        output: file or folder that this process is going to write, with whoever works for it.

    Raises:
        OutputError: another process holds it.
    """
    target = Path(output).absolute()
    if target in _HELD:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    place = target.with_name(f".{target.name}.lock")
    while True:
        handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise OutputError(
                f"output: {output} is being written by another run; wait for it, or name another"
            ) from None
        except OSError:  # a file system without locks
            pass
        if _still_there(place, handle):
            _HELD[target] = handle
            return
        os.close(handle)  # its holder removed it before this process had it


def release(output: str | Path) -> None:
    """Give up the lock on an output, and remove its file."""
    target = Path(output).absolute()
    handle = _HELD.pop(target, None)
    if handle is not None:
        target.with_name(f".{target.name}.lock").unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def held(output: str | Path, wanted: bool = True) -> Iterator[None]:
    """Hold an output, if ``wanted``, while something is done."""
    if not wanted:
        yield
        return
    hold(output)
    try:
        yield
    finally:
        release(output)


def _still_there(place: Path, handle: int) -> bool:
    try:
        return place.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


@atexit.register
def _release_all() -> None:
    for target in list(_HELD):
        release(target)
