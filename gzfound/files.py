"""Files that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gzfound.errors import ConfigError, OutputError

_LEFT_OVER = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)")


def _beside(path: Path, kind: str = "tmp") -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{kind}")


def remove_left_overs(folder: str | Path) -> None:
    """Remove what a killed process was writing to a folder; nobody may be writing to it now.

    A directory that was about to be replaced, and was not, is put back.
    """
    for path in Path(folder).glob(".*"):
        found = _LEFT_OVER.fullmatch(path.name)
        if found is None:
            continue
        target = path.with_name(found["name"])
        if found["kind"] == "old" and not target.exists():
            path.replace(target)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def digest_of(path: str | Path) -> str:
    """A checksum of a file's bytes."""
    found = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()


@contextmanager
def one_line_if_full(path: str | Path) -> Iterator[None]:
    """Turn an error of the disk, such as a full one, into one line that names ``path``.

    Raises:
        OutputError: the disk refused.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())[:200]
        raise OutputError(f"output: cannot write {path}: {reason}") from error


def _to_disk(path: Path) -> None:
    """Have the disk hold what was written, so that a machine that fails keeps it too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_file(path: str | Path) -> None:
    """Raise ``ConfigError`` if a file cannot be written there: before the work, not after it."""
    target = Path(path)
    if target.is_dir():
        raise ConfigError(f"output: {target} is a directory; name a file")
    above = next(parent for parent in target.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ConfigError(f"output: {target} cannot be written: {above} is not a directory")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it is renamed to ``path``."""
    check_file(path)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        yield temporary
        with one_line_if_full(target):
            _to_disk(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Give a temporary directory to fill; on success it takes the place of ``path``.

    Whoever may read the directory may read its files: safetensors writes them for the owner alone.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, retired = _beside(target), _beside(target, "old")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            if file.is_file():
                file.chmod(temporary.stat().st_mode & 0o666)
                _to_disk(file)
        if target.exists():
            target.replace(retired)
        temporary.replace(target)
        shutil.rmtree(retired, ignore_errors=True)
    finally:
        if retired.exists() and not target.exists():
            retired.replace(target)
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as a whole."""
    with atomic_file(path) as temporary, one_line_if_full(path):
        temporary.write_text(text, encoding="utf-8")
