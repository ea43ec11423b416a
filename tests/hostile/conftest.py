"""How every hostile input has to end, and seeded damage to bytes."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from gzfound.errors import LONGEST, GzfoundError

SECONDS = 20
"""A case that takes longer hangs."""


@contextmanager
def _no_hang(case: str) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{case} hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def refused() -> Callable[..., str | None]:
    """``refused(case, call, name)``: the line that refuses an input, None where it was taken.

    Any other exception, a second line, or a line without ``name`` fails the test.
    """

    def run(case: str, call: Callable[[], object], name: str) -> str | None:
        try:
            with _no_hang(case):
                call()
        except GzfoundError as error:
            said = str(error)
            assert name in said, f"{case}: {said!r} does not name {name}"
            assert said.isprintable(), f"{case}: {said!r} is not one line"
            assert len(said) <= LONGEST + 3, case
            return said
        except Exception as error:
            raise AssertionError(f"{case} ends in {type(error).__name__}: {error}") from error
        return None

    return run


@pytest.fixture(scope="session")
def damaged() -> Callable[[bytes, str, int], bytes]:
    """``damaged(data, way, seed)``: data cut short, bits flipped, bytes lost or zero."""

    def change(data: bytes, way: str, seed: int) -> bytes:
        draw = random.Random(f"{way} {seed}")
        place = draw.randrange(len(data))
        if way == "cut":
            return data[:place]
        changed = bytearray(data)
        length = draw.randrange(1, 40)
        if way == "flip":
            for _ in range(draw.choice((1, 1, 2, 8))):
                changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif way == "drop":
            del changed[place : place + length]
        elif way == "zero":
            changed[place : place + length] = bytes(len(changed[place : place + length]))
        else:
            raise ValueError(way)
        return bytes(changed)

    return change


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that code hidden in an input would make; the test fails if it is there at the end."""
    path = tmp_path / "code-was-run"
    yield path
    assert not path.exists(), "code in an input was run"
