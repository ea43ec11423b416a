"""What an index says of the embeddings it was made of, so that it never answers for others."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SETTLED = 2.0
"""Seconds: a file that changed so shortly ago may change again without a trace in its times."""

_PIECE = 2**22


@dataclass(frozen=True)
class Content:
    """The files of a table of embeddings at one time.

    Attributes:
        digest: SHA-256 of the bytes of the files, in order.
        stamps: of each file: size, inode, and times of its last change, in nanoseconds.
        settled: whether every file had been left alone for a while when it was looked at.
    """

    digest: str
    stamps: tuple[tuple[int, ...], ...]
    settled: bool

    @classmethod
    def of(cls, files: Sequence[Path]) -> Content:
        """Read the files through; a change meanwhile makes ``settled`` false."""
        now = time.time()
        before = stamps_of(files)
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as opened:
                while piece := opened.read(_PIECE):
                    digest.update(piece)
            digest.update(b"end of file")
        settled = before == stamps_of(files) and now - _newest(before) > _SETTLED
        return cls(digest.hexdigest(), before, settled)

    def holds(self, files: Sequence[Path]) -> bool:
        """Whether the files still have this content; they are read only where that is in doubt."""
        if self.settled and self.stamps == stamps_of(files):
            return True
        return self.digest == Content.of(files).digest


def stamps_of(files: Sequence[Path]) -> tuple[tuple[int, ...], ...]:
    """Size, inode and times of change: a write changes the last, and no program can set it."""
    found = (file.stat() for file in files)
    return tuple((s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for s in found)


def _newest(stamps: tuple[tuple[int, ...], ...]) -> float:
    return max(stamp[-1] for stamp in stamps) / 1e9
