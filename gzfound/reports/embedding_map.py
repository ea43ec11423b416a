"""A map of the embedding: similar galaxies side by side, one thumbnail a cell, none overlapping."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from gzfound.errors import DataError
from gzfound.neighbours import unit_vectors
from gzfound.reports.pictures import Pixels, data_uri, thumbnail
from gzfound.reports.sheets import Images
from gzfound.reports.style import Plot, colour, needs_matplotlib, new_figure

MOST_GALAXIES = 1_500
SKY = (11, 13, 18)


@dataclass(frozen=True)
class CellMap:
    """Where each galaxy sits: ``cells`` ``(N, 2)`` hold (column, row), all different."""

    cells: npt.NDArray[np.int64]
    columns: int
    rows: int


@dataclass(frozen=True)
class MapPicture:
    """The map with its thumbnails, as one image in the page."""

    pixels: Pixels
    alt: str
    caption: str = ""

    def html(self) -> str:
        """The image with its caption."""
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return (
            '<figure class="map"><div tabindex="0">'
            f'<img src="{data_uri(self.pixels, quality=82)}" alt="{escape(self.alt)}"></div>'
            f"{caption}</figure>"
        )


def positions(
    vectors: npt.NDArray[np.floating], *, method: str = "tsne", seed: int = 0
) -> npt.NDArray[np.float64]:
    """Two coordinates ``(N, 2)`` for each of at most 1,500 embeddings ``(N, F)``.

    Vectors are scaled to length 1, so that the map shows the cosine distances that the neighbour
    search uses, and reduced by PCA to 50 numbers. ``method`` is "tsne" (van der Maaten & Hinton
    2008, started from PCA) or "pca". One thread: the same picture every time, and several threads
    are ten times slower where another process uses the cores. Raises DataError for other methods
    or sizes.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if method not in ("tsne", "pca"):
        raise DataError(f"method is {method!r}: allowed is 'tsne' or 'pca'")
    if not 4 <= len(vectors) <= MOST_GALAXIES:
        raise DataError(f"map of {len(vectors)} galaxies: allowed is 4 to {MOST_GALAXIES}")
    units = unit_vectors(vectors).astype(np.float64)
    size = 2 if method == "pca" else min(50, *units.shape)
    with threadpool_limits(1):
        reduced = PCA(size, random_state=seed).fit_transform(units)
        if method == "tsne":
            spread = min(30.0, (len(units) - 1) / 3)
            tsne = TSNE(perplexity=spread, init="pca", random_state=seed)
            reduced = tsne.fit_transform(reduced.astype(np.float32))
    return np.asarray(reduced, dtype=np.float64)


def assign_cells(
    points: npt.NDArray[np.floating], *, fill: float = 0.8, aspect: float = 1.6
) -> CellMap:
    """Give each of ``points`` ``(N, 2)`` its own cell, moving them as little as possible.

    The grid has about ``N / fill`` cells and is ``aspect`` times as wide as high; the cells are
    those of the least total squared distance (linear assignment).
    """
    from scipy.optimize import linear_sum_assignment

    wanted = len(points) / fill
    columns = max(1, round(np.sqrt(wanted * aspect)))
    rows = int(np.ceil(wanted / columns))
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    scaled = (points - low) / np.where(extent > 0, extent, 1) * [columns - 1, rows - 1]
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    costs = ((scaled[:, None, :] - grid[None, :, :]) ** 2).sum(axis=-1)
    _, chosen = linear_sum_assignment(costs)
    return CellMap(grid[chosen].astype(np.int64), columns, rows)


def map_picture(
    images: Images, cell_map: CellMap, *, crop: float = 0.7, width: int = 2_000
) -> MapPicture:
    """The thumbnails of N ``images`` (uint8 ``(H, W, 3)``) in their cells.

    Shows the central ``crop`` of each side, so that galaxies still show in a small cell; the
    picture is about ``width`` pixels wide.
    """
    cell = max(8, width // cell_map.columns)
    size = (cell_map.rows * cell, cell_map.columns * cell, 3)
    canvas = np.broadcast_to(np.array(SKY, dtype=np.uint8), size).copy()
    for image, (column, row) in zip(images, cell_map.cells, strict=True):
        block = thumbnail(image, cell - 2, "embedding map", crop=crop)
        top, left = row * cell + 1, column * cell + 1
        canvas[top : top + cell - 2, left : left + cell - 2] = block
    alt = f"{len(images)} galaxies placed so that galaxies with similar embeddings are neighbours"
    return MapPicture(canvas, alt)


@needs_matplotlib
def value_panel(cell_map: CellMap, values: npt.NDArray[np.floating], label: str) -> Plot:
    """The same map with each cell coloured by ``values`` ``(N,)``; NaN is left empty.

    Colours span the middle 96 % of the values, so that single outliers do not flatten the rest.
    """
    if len(values) != len(cell_map.cells):
        raise DataError(
            f"map coloured by {label}: {len(values)} values for {len(cell_map.cells)} galaxies"
        )
    grid = np.full((cell_map.rows, cell_map.columns), np.nan)
    grid[cell_map.cells[:, 1], cell_map.cells[:, 0]] = values
    figure = new_figure(320, round(320 * cell_map.rows / cell_map.columns) + 46)
    axes = figure.add_subplot()
    known = np.asarray(values)[np.isfinite(values)]
    low, high = np.percentile(known, [2, 98]) if len(known) else (0.0, 1.0)
    drawn = axes.imshow(
        np.ma.masked_invalid(grid), cmap="cividis", interpolation="nearest", vmin=low, vmax=high
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.9, aspect=40, pad=0.04)
    bar.set_label(label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=colour("muted"))
    limits = f"from {known.min():.3g} to {known.max():.3g}" if len(known) else "none known"
    return Plot(figure, f"The map coloured by {label}, {limits}")
