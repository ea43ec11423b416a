"""One run at a time on an output, for as long as its process lives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gzfound.errors import OutputError
from gzfound.locks import held, hold, release

TAKE = "import sys, time; from gzfound.locks import hold; hold(sys.argv[1]); print()"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the output."""
    started = subprocess.Popen(
        [sys.executable, "-uc", f"{TAKE}; time.sleep(60)", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    with started:
        started.stdout.readline()
        yield started
        started.kill()


def test_a_second_run_is_refused_until_the_first_is_killed(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="out is being written by another run; wait for it"):
        hold(tmp_path / "out")
    with held(tmp_path / "other"):
        pass
    other.kill()
    other.wait()
    assert (tmp_path / ".out.lock").exists(), "what a killed run leaves is no lock"
    with held(tmp_path / "out"):
        hold(tmp_path / "out")  # the same process again
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_given_up_can_be_taken(tmp_path: Path) -> None:
    hold(tmp_path / "out")
    release(tmp_path / "out")
    release(tmp_path / "out")
    ended = subprocess.run([sys.executable, "-c", TAKE, str(tmp_path / "out")], check=False)
    assert ended.returncode == 0
    assert list(tmp_path.iterdir()) == [], "removed at the end of its process"
