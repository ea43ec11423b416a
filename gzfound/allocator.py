"""Memory that is freed stays with the process, for the next step to use again."""

from __future__ import annotations

import functools
import os

# Names of malloc.h of glibc, and values of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_LARGEST_BLOCK, _NEVER = 1 << 30, 2**31 - 1
_USERS_OWN = ("MALLOC_MMAP_", "MALLOC_TRIM_", "MALLOC_TOP_PAD_")


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks up to 1 GiB; returns whether it does so from now on.

    Otherwise each large tensor is given back to the system when freed, and the next one is cleared
    page by page. What was used at the peak is kept to the end. The peak of a training step grows by
    up to a third; it does not go on growing.
    Does nothing with another C library, or where the user set malloc's options in the environment.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc" in tunables or any(name.startswith(_USERS_OWN) for name in os.environ):
        return False
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, ImportError, OSError, ValueError):
        return False
    # glibc before 2.35 refuses thresholds above 32 MiB, but not to do without mmap.
    kept = mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK) or mallopt(_M_MMAP_MAX, 0)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, _NEVER))
