"""Files that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gzfound.errors import ConfigError


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


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
    temporary = _beside(target)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            if file.is_file():
                file.chmod(temporary.stat().st_mode & 0o666)
        retired = _beside(target)
        if target.exists():
            target.replace(retired)
        temporary.replace(target)
        shutil.rmtree(retired, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as a whole."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
