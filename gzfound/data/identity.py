"""What a dataset is: a checksum of its names and of a sample of its images."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from gzfound.data.cache import files_trace, image_trace
from gzfound.data.read import FILES_COLUMN
from gzfound.data.stream import Stream

if TYPE_CHECKING:
    from datasets import Dataset

_SAMPLES = 1024


def dataset_key(files: Dataset) -> str:
    """A hash of the names of all galaxies, in order, and of 1,024 images spread over them.

    Of a stream, the names, and the uncompressed size of the row groups of each file, which takes no
    download of images.
    Of an image file, its size and time of change; of bytes in the dataset, their number and some of
    them. Memory does not grow with the number of galaxies.

    Args:
        files: what :func:`gzfound.data.read.image_files` gives.
    """
    key = hashlib.blake2b(b"%d\0" % len(files), digest_size=12)
    if isinstance(files, Stream):
        for names, size in files.names():
            key.update("\0".join([*names, f"{size};"]).encode())
        return key.hexdigest()
    for batch in files.select_columns("id_str").with_format("arrow").iter(10_000):
        key.update("\0".join(map(str, batch.column("id_str").to_pylist())).encode())
    places = np.linspace(0, max(len(files) - 1, 0), min(_SAMPLES, len(files)))
    plain = files.with_format("arrow")
    for row in sorted({round(place) for place in places}):
        for chunk in plain[row : row + 1].column("image").chunks:
            data, path = chunk.field("bytes")[0], chunk.field("path")[0].as_py()
            key.update(image_trace(data.as_buffer() if data.is_valid else None, path, whole=True))
        if FILES_COLUMN in files.column_names:
            key.update(files_trace(files[row][FILES_COLUMN]))
    return key.hexdigest()
