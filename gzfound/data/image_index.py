"""Images by everything that a table may call them, with one hash an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from gzfound.data.table import FITS_ENDINGS


class ImageIndex:
    """Finds images by relative path or by name, each with its ending or without.

    A full relative path wins over the rest. Beside the paths, an image takes 16 bytes.

    Args:
        images: paths relative to their folder, each once; kept as they are.
    """

    def __init__(self, images: Sequence[str]) -> None:
        self._images = images
        hashes = np.fromiter((hash(_bare(path)) for path in images), np.int64, len(images))
        self._places = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._places]

    def get(self, name: str) -> list[str]:
        """The images that ``name`` fits, in the order in which they came."""
        return [self._images[place] for place in self.places(name)]

    def places(self, name: str) -> list[int]:
        """The places of the images that ``name`` fits."""
        last = _last_part(name)
        bare = id_of(last) if PurePath(last).suffix else last
        found: dict[int, str] = {}
        for key in dict.fromkeys((last, bare)):
            found |= self._named(key)
        if whole := [place for place, path in found.items() if path == name]:
            return whole
        return [
            place
            for place, path in found.items()
            if name in (id_of(path), _last_part(path), _bare(path))
        ]

    def _named(self, key: str) -> dict[int, str]:
        """The images whose name without its folder and ending is ``key``, by place."""
        first, end = (np.searchsorted(self._hashes, hash(key), side) for side in ("left", "right"))
        paths = {place: self._images[place] for place in self._places[first:end].tolist()}
        return {place: path for place, path in paths.items() if _bare(path) == key}


def id_of(path: str) -> str:
    """The ``id_str`` of an image without a table: its relative path without the suffix."""
    ending = next(e for e in (*FITS_ENDINGS, PurePath(path).suffix) if path.endswith(e))
    return path[: -len(ending)]


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


def _bare(path: str) -> str:
    return _last_part(id_of(path))
