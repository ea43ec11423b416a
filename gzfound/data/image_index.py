"""Images by everything that a table may call them, with one entry an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from gzfound.data.table import FITS_ENDINGS


class ImageIndex:
    """Finds images by relative path or by name, each with its ending or without.

    A full relative path wins over the rest. Beside the paths, an image takes some 130 bytes.

    Args:
        images: paths relative to their folder.
    """

    def __init__(self, images: Sequence[str]) -> None:
        self._named: dict[str, str | list[str]] = {}
        for path in images:
            key = _bare(path)
            before = self._named.setdefault(key, path)
            if isinstance(before, list):
                before.append(path)
            elif before is not path:
                self._named[key] = [before, path]

    def get(self, name: str) -> list[str]:
        """The images that ``name`` fits, in the order in which they came."""
        last = _last_part(name)
        bare = id_of(last) if PurePath(last).suffix else last
        found: list[str] = []
        for key in dict.fromkeys((last, bare)):
            held = self._named.get(key, [])
            found += [held] if isinstance(held, str) else held
        if name in found:
            return [name]
        return [path for path in found if name in (id_of(path), _last_part(path), _bare(path))]


def id_of(path: str) -> str:
    """The ``id_str`` of an image without a table: its relative path without the suffix."""
    ending = next(e for e in (*FITS_ENDINGS, PurePath(path).suffix) if path.endswith(e))
    return path[: -len(ending)]


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


def _bare(path: str) -> str:
    return _last_part(id_of(path))
