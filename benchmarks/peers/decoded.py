"""The same decoded images for every maker of views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

COUNT = 256


def decoded(folder: str) -> list[npt.NDArray[Any]]:
    """The first images of a folder, repeated up to ``COUNT``: uint8 ``(H, W, 3)``."""
    files = sorted(Path(folder).iterdir())[:COUNT]
    images = [np.array(Image.open(path).convert("RGB")) for path in files]
    return [images[number % len(images)] for number in range(COUNT)]
