"""Data in: datasets, decoded images, splits; and data out in the layout of the hub.

The names are imported on first use: ``import gzfound.data`` loads neither torch nor datasets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gzfound.lazy import lazy_names

if TYPE_CHECKING:
    from gzfound.data.bands import Bands, decode_bands
    from gzfound.data.cache import DecodedImages, decoded_images
    from gzfound.data.decode import decode_image, square_resize
    from gzfound.data.fits_config import FitsConfig
    from gzfound.data.load import load_dataset
    from gzfound.data.read import read_images
    from gzfound.data.splits import split_by_id
    from gzfound.data.stretch import Stretch

_HOME = {
    "Bands": "gzfound.data.bands",
    "DecodedImages": "gzfound.data.cache",
    "FitsConfig": "gzfound.data.fits_config",
    "Stretch": "gzfound.data.stretch",
    "decode_bands": "gzfound.data.bands",
    "decode_image": "gzfound.data.decode",
    "decoded_images": "gzfound.data.cache",
    "load_dataset": "gzfound.data.load",
    "read_images": "gzfound.data.read",
    "split_by_id": "gzfound.data.splits",
    "square_resize": "gzfound.data.decode",
}

__all__ = [
    "Bands",
    "DecodedImages",
    "FitsConfig",
    "Stretch",
    "decode_bands",
    "decode_image",
    "decoded_images",
    "load_dataset",
    "read_images",
    "split_by_id",
    "square_resize",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
