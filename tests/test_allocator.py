"""Freed memory is kept where glibc can, and the user's own settings are respected."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gzfound import allocator

PAGES_AGAIN = """
import resource, sys
from gzfound.allocator import keep_freed_memory
keep = len(sys.argv) > 1
assert "ctypes" not in sys.modules
print(keep_freed_memory() if keep else False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    bytes(64 << 20)
    held = bytearray(b"x") * (64 << 20)
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def is_glibc() -> bool:
    try:
        return "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, OSError, ValueError):
        return False


def run(*arguments: str, **environment: str) -> list[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PAGES_AGAIN, *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(not is_glibc(), reason="the allocator of glibc")
def test_freed_blocks_are_not_cleared_again_and_the_peak_stays() -> None:
    _, plain_faults, plain_peak = run()
    kept, faults, peak = run("keep")
    assert kept == "True"
    assert int(faults) * 4 < int(plain_faults)
    assert int(peak) < int(plain_peak) * 2


@pytest.mark.skipif(not is_glibc(), reason="the allocator of glibc")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "65536"),
        ("MALLOC_TRIM_THRESHOLD_", "65536"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=65536"),
    ],
)
def test_the_users_own_settings_stay(name: str, value: str) -> None:
    assert run("keep", **{name: value})[0] == "False"


def test_does_nothing_with_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise ValueError(name)

    monkeypatch.setattr(os, "confstr", unknown, raising=False)
    assert allocator.keep_freed_memory.__wrapped__() is False
    monkeypatch.delattr(os, "confstr")
    assert allocator.keep_freed_memory.__wrapped__() is False
