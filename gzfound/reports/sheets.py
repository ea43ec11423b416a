"""Sheets of galaxy images: contact sheets, augmented views, nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gzfound.errors import DataError
from gzfound.neighbours import nearest, representatives
from gzfound.reports.pictures import Pixels, data_uri, thumbnail
from gzfound.reports.style import PIXELS_PER_INCH, colour, needs_matplotlib, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]

CAPTION = 20
"""Most characters under the image of a query, which is as wide as that."""
_CHARACTER = 7
"""Pixels that a character of a caption takes in a figure, at most."""


@dataclass(frozen=True)
class Tile:
    """One image with what to call it (``alt``) and, if any, the line under it."""

    image: npt.NDArray[np.uint8]
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Wall:
    """Tiles in reading order, as many to a row as the screen has room for."""

    tiles: Sequence[Tile]
    size: int = 128

    def html(self) -> str:
        """The tiles in a grid that folds."""
        return f'<div class="wall">{"".join(_figure(t, self.size) for t in self.tiles)}</div>'

    @needs_matplotlib
    def figure(self, *, columns: int = 10, tile: int = 112, gap: int = 6) -> Figure:
        """The same picture as a matplotlib figure, for ``save_png``; sizes in pixels."""
        columns = min(columns, len(self.tiles))
        captions = 20 if any(t.caption for t in self.tiles) else 0
        rows = -(-len(self.tiles) // columns)
        height = gap + rows * (tile + gap + captions)
        figure = new_figure(columns * (tile + gap) + gap, height, constrained=False)
        for number, item in enumerate(self.tiles):
            row, column = divmod(number, columns)
            left, top = gap + column * (tile + gap), gap + row * (tile + gap + captions)
            _draw(figure, item, left, top, tile)
        return figure


@dataclass(frozen=True)
class Rows:
    """Rows of tiles, all of one length; the first tile of each row stands apart.

    ``heads`` are the words above the first column and above the others.
    """

    rows: Sequence[Sequence[Tile]]
    heads: tuple[str, str]
    size: int = 144

    def __post_init__(self) -> None:
        """Check that there are rows, all of one length of at least 2."""
        lengths = sorted({len(row) for row in self.rows})
        if len(lengths) != 1 or lengths[0] < 2:
            raise DataError(f"rows of {lengths} tiles: allowed is one length of at least 2")

    def html(self) -> str:
        """The rows in a grid that a narrow screen scrolls sideways."""
        first, rest = (escape(head) for head in self.heads)
        lines = (
            f"{_figure(row[0], self.size)}<span></span>"
            + "".join(_figure(tile, self.size) for tile in row[1:])
            for row in self.rows
        )
        return (
            f'<div class="rows" tabindex="0" style="--rest:{len(self.rows[0]) - 1}">'
            f"<b>{first}</b><b>{rest}</b>{''.join(lines)}</div>"
        )

    @needs_matplotlib
    def figure(self, *, tile: int = 112, gap: int = 6) -> Figure:
        """The same picture as a matplotlib figure, for ``save_png``; sizes in pixels."""
        captions = 20 if any(t.caption for row in self.rows for t in row) else 0
        columns, apart, head = len(self.rows[0]), 3 * gap, 28
        width = columns * (tile + gap) + apart + gap
        height = head + len(self.rows) * (tile + gap + captions) + gap
        figure = new_figure(width, height, constrained=False)
        for number, words in enumerate(self.heads):
            left = gap + number * (tile + gap + apart)
            figure.text(left / width, 1 - 8 / height, words, va="top", weight="bold", size=9)
        for r, row in enumerate(self.rows):
            top = head + r * (tile + gap + captions)
            for c, item in enumerate(row):
                left = gap + c * (tile + gap) + (apart if c else 0)
                _draw(figure, item, left, top, tile)
        return figure


def contact_sheet(
    images: Images, ids: Sequence[str], *, captions: Sequence[str] = (), size: int = 128
) -> Wall:
    """A wall of ``images`` (each uint8 ``(H, W, 3)``), named by ``ids``."""
    words = captions or [""] * len(ids)
    tiles = [Tile(i, f"galaxy {n}", c) for i, n, c in zip(images, ids, words, strict=True)]
    return Wall(tiles, size)


def view_rows(originals: Images, views: Sequence[Images], ids: Sequence[str]) -> Rows:
    """A row a galaxy: the original, then its augmented views ``(V, H, W, 3)`` uint8."""
    rows = [
        [
            Tile(original, f"galaxy {name}, original"),
            *(Tile(view, f"galaxy {name}, view {n}") for n, view in enumerate(several, start=1)),
        ]
        for original, several, name in zip(originals, views, ids, strict=True)
    ]
    return Rows(rows, ("Original", "Augmented views"))


def neighbour_rows(
    images: Images,
    ids: Sequence[str],
    vectors: npt.NDArray[np.floating],
    *,
    queries: Sequence[int] | npt.NDArray[np.int64] | None = None,
    k: int = 7,
) -> Rows:
    """A row a query: the galaxy, then its ``k`` nearest with their cosine similarity.

    Args:
        images: N images, uint8 ``(H, W, 3)``.
        ids: N names; images of one name are never one another's neighbours.
        vectors: ``(N, F)`` embeddings.
        queries: rows to search for; by default six typical, different ones.
        k: neighbours a query.
    """
    chosen = np.asarray(representatives(vectors, 6) if queries is None else queries)
    names = np.asarray(ids).astype(str)
    found, similarities = nearest(vectors, vectors[chosen], k, ids=names, query_ids=names[chosen])
    rows = []
    for query, line, scores in zip(chosen, found, similarities, strict=True):
        caption = shorten_middle(names[query], CAPTION)
        tiles = [Tile(images[query], f"query galaxy {names[query]}", caption)]
        for row, score in zip(line, scores, strict=True):
            alt = f"galaxy {names[row]}, similarity {score:.2f} to {names[query]}"
            tiles.append(Tile(images[row], alt, f"{score:.2f}"))
        rows.append(tiles)
    return Rows(rows, ("Query", "Nearest galaxies, with cosine similarity"))


def shorten_middle(text: str, most: int) -> str:
    """The text, or its two ends with an ellipsis between, of ``most`` characters together."""
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def image_tag(image: npt.NDArray[np.uint8], alt: str, size: int) -> str:
    """An ``<img>`` of the central square of ``image`` at ``size`` pixels, held in the page."""
    pixels: Pixels = thumbnail(image, size, alt)
    return f'<img src="{data_uri(pixels)}" alt="{escape(alt)}" width="{size}" height="{size}">'


def _draw(figure: Figure, item: Tile, left: float, top: float, tile: int) -> None:
    """Draw a tile and its caption; sizes in pixels, from the upper left corner of the figure."""
    width, height = figure.get_size_inches() * PIXELS_PER_INCH
    box = (left / width, 1 - (top + tile) / height, tile / width, tile / height)
    axes = figure.add_axes(box)
    axes.imshow(thumbnail(item.image, 2 * tile, item.alt))
    axes.set_axis_off()
    figure.text(
        (left + tile / 2) / width,
        1 - (top + tile + 3) / height,
        shorten_middle(item.caption, tile // _CHARACTER),
        ha="center",
        va="top",
        size=8,
        color=colour("muted"),
    )


def _figure(tile: Tile, size: int) -> str:
    caption = f"<figcaption>{escape(tile.caption)}</figcaption>" if tile.caption else ""
    return f"<figure>{image_tag(tile.image, tile.alt, size)}{caption}</figure>"
