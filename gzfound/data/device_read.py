"""Images of a dataset, decoded and resized on the device of the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gzfound.data.device_decode import decode_on
from gzfound.data.read import Part, Rows, file_bytes
from gzfound.errors import ImageError

if TYPE_CHECKING:
    from datasets import Dataset


def read_part_on(
    device: torch.device, files: Dataset, rows: Rows, size: int, crop: float
) -> Part[torch.Tensor]:
    """What :func:`gzfound.data.read.read_part` does, on a device: see :func:`decode_on`."""
    part = files[rows.tolist()]
    names = [str(name) for name in part["id_str"]]
    data: list[bytes] = []
    called: list[str] = []
    places: list[int] = []
    errors: dict[int, ImageError] = {}
    for place, (file, name) in enumerate(zip(part["image"], names, strict=True)):
        try:
            found, known_as = file_bytes(file, name)
        except ImageError as error:
            errors[place] = error
        else:
            data.append(found)
            called.append(known_as)
            places.append(place)
    batch = decode_on(device, data, called, size, crop)
    errors |= {places[number]: error for number, error in batch.errors.items()}
    kept = [places[number] for number in batch.places]
    failures = [(names[place], errors[place]) for place in sorted(errors)]
    return Part(rows[kept], [names[place] for place in kept], batch.images, failures)
