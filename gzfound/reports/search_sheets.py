"""Sheets of thumbnails of what a search found, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gzfound.data.bands import RGB, Bands, decode_bands
from gzfound.data.decode import square_resize
from gzfound.data.fits import FitsFile
from gzfound.data.read import read_images
from gzfound.embedding.calls import whole_dataset
from gzfound.errors import DataError
from gzfound.reports.pictures import Pixels
from gzfound.reports.sheets import CAPTION, Rows, Tile, contact_sheet, shorten_middle
from gzfound.reports.style import save_png
from gzfound.search import Anomalies, Neighbours

SIZE = 224
"""Side in pixels of what is drawn: twice that of a thumbnail on the sheet."""
_CAPTION = 15
"""Characters of rank and name that a thumbnail has room for."""


def neighbours_sheet(
    found: Sequence[Neighbours],
    images: str | Path,
    path: str | Path,
    *,
    crop: float = 1.0,
    bands: Bands = RGB,
) -> Path:
    """Write a row a query: its image, then its neighbours with their cosine similarity.

    Args:
        found: of :func:`gzfound.find_neighbours`.
        images: the dataset, or the folder of images, that the embeddings were made of.
        path: PNG file to write.
        crop: linear fraction of each image to show, around its centre.
        bands: what the encoder saw of each image; its first three channels are shown.

    Raises:
        DataError: an image is missing or cannot be read.
    """
    names = [name for each in found for name in each.ids]
    names += [each.query for each in found if not each.image]
    pictures = pictures_of(images, names, crop, bands)
    for each in found:
        if each.image:
            file = FitsFile(Path(each.query).read_bytes(), each.query)
            pictures[each.query] = _shown(square_resize(decode_bands([file], bands), SIZE, crop))
    rows = []
    for each in found:
        name = Path(each.query).name if each.image else each.query
        head = Tile(pictures[each.query], f"query {name}", shorten_middle(name, CAPTION))
        scored = zip(each.ids, each.similarities, strict=True)
        rows.append([head, *(Tile(pictures[i], f"galaxy {i}", f"{s:.2f}") for i, s in scored)])
    sheet = Rows(rows, ("Query", "Most similar galaxies, with cosine similarity"))
    return save_png(sheet.figure(), path, dpi=100)


def anomalies_sheet(
    found: Anomalies,
    images: str | Path,
    path: str | Path,
    *,
    crop: float = 1.0,
    bands: Bands = RGB,
) -> Path:
    """Write the anomalies in reading order, strangest first, with rank and name.

    The arguments and errors are those of :func:`neighbours_sheet`.
    """
    pictures = pictures_of(images, found.ids, crop, bands)
    captions = [
        f"{rank} {shorten_middle(name, _CAPTION - len(str(rank)))}"
        for rank, name in enumerate(found.ids, start=1)
    ]
    wall = contact_sheet([pictures[name] for name in found.ids], found.ids, captions=captions)
    return save_png(wall.figure(), path, dpi=100)


def pictures_of(
    images: str | Path, names: Sequence[str], crop: float, bands: Bands
) -> dict[str, Pixels]:
    """The images of some galaxies by name, ``SIZE`` pixels wide.

    Raises:
        DataError: the dataset has no image of that name, or it cannot be read.
    """
    dataset = whole_dataset(images, None, None)
    wanted = set(names)
    rows = {name: row for row, name in enumerate(dataset["id_str"]) if name in wanted}
    missing = sorted(wanted - set(rows))
    if missing:
        raise DataError(
            f"images: {images} has no image of '{missing[0]}' ({len(missing)} of {len(wanted)} are "
            "missing); name the data that were embedded"
        )
    found = read_images(dataset, SIZE, crop=crop, rows=list(rows.values()), bands=bands)
    ordered = (_shown(picture) for _, pictures in found for picture in pictures)
    return dict(zip(rows, ordered, strict=True))


def _shown(pixels: Pixels) -> Pixels:
    """The first three channels as colours; the last one again where there are fewer."""
    last = pixels.shape[-1] - 1
    return pixels[..., [min(channel, last) for channel in range(3)]]
