"""The image of each row: found in a folder, read as it is, and decoded once to see that it can."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np

from gzfound.data.decode import decode_image
from gzfound.data.folder import IMAGE_ENDINGS, list_images
from gzfound.data.image_index import ImageIndex
from gzfound.data.names import Names
from gzfound.data.read import file_bytes
from gzfound.data.skipped import BadInput
from gzfound.data.table import FITS_ENDINGS
from gzfound.errors import DataError, ImageError


class Pictures:
    """The images of a folder, flat or nested, by every name that a table may call them.

    FITS is passed over: to become a picture it needs a stretch.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises ``DataError`` if the folder has no images."""
        self._folder = Path(folder).expanduser()
        if not self._folder.is_dir():
            raise DataError(f"images '{folder}': no such folder")
        found = list_images(self._folder, BadInput("raise", None))
        pictures = (path for path in found if not path.lower().endswith(FITS_ENDINGS))
        self._paths = Names.packed(pictures)
        if not self._paths:
            taken = f"build takes {', '.join(IMAGE_ENDINGS)}, not FITS"
            raise DataError(f"images '{folder}': no images in it; {taken}")
        self._index = ImageIndex(self._paths)
        self._used = np.zeros(len(self._paths), bool)

    def find(self, name: str) -> str:
        """The path, inside the folder, of the image that a row calls ``name``.

        Raises:
            ImageError: there is none, or more than one.
        """
        found = self._index.places(name) or self._index.places(PurePath(name).name)
        if not found:
            raise ImageError(f"no such image in {self._folder.name}")
        if len(found) > 1:
            raise ImageError(f"fits {self._paths[found[0]]} and {self._paths[found[1]]}")
        self._used[found[0]] = True
        return self._paths[found[0]]

    def read(self, path: str) -> bytes:
        """The bytes of an image that can be decoded.

        Raises:
            ImageError: it cannot be read or decoded.
        """
        data, _ = file_bytes({"path": str(self._folder / path)}, path)
        decode_image(data, path)
        return data

    def unused(self) -> list[str]:
        """The images that no row has called for."""
        return [self._paths[place] for place in np.flatnonzero(~self._used).tolist()]
