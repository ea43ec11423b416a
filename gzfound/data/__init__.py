"""Data in: datasets, decoded images, splits; and data out in the layout of the hub.

The names are imported on first use: ``import gzfound.data`` loads neither torch nor datasets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gzfound.data.cache import DecodedImages, decoded_images
    from gzfound.data.decode import decode_image, square_resize
    from gzfound.data.load import load_dataset
    from gzfound.data.read import read_images
    from gzfound.data.splits import split_by_id

_HOME = {
    "DecodedImages": "gzfound.data.cache",
    "decode_image": "gzfound.data.decode",
    "decoded_images": "gzfound.data.cache",
    "load_dataset": "gzfound.data.load",
    "read_images": "gzfound.data.read",
    "split_by_id": "gzfound.data.splits",
    "square_resize": "gzfound.data.decode",
}

__all__ = [
    "DecodedImages",
    "decode_image",
    "decoded_images",
    "load_dataset",
    "read_images",
    "split_by_id",
    "square_resize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gzfound.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
