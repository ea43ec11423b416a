"""The commands that search in embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import gzfound
from gzfound.terminal import progress, say


def neighbours(
    embeddings: Annotated[Path, tyro.conf.Positional],
    query: tuple[str, ...],
    k: int = 10,
    weights: str | None = None,
    exact: bool = False,
    images: str | None = None,
    sheet: Path = Path("neighbours.png"),
) -> None:
    """Find the galaxies most similar to others: query, id_str and cosine similarity a line.

    Args:
        embeddings: Parquet file of gzfound embed, or directory of files.
        query: id_str in the embeddings, or image file; or several.
        k: galaxies to find for each.
        weights: those that made the embeddings, if no longer where these say.
        exact: compare with every embedding, even where there is an index.
        images: the data that were embedded: writes thumbnails of what was found.
        sheet: PNG file of the thumbnails.
    """
    found = gzfound.find_neighbours(embeddings, query, k, weights=weights, exact=exact)
    if images is not None:
        from gzfound.reports.search_sheets import neighbours_sheet

        neighbours_sheet(found, images, sheet, **_seen(embeddings))
    for each in found:
        for name, similarity in zip(each.ids, each.similarities, strict=True):
            say(f"{each.query}\t{name}\t{similarity:.4f}")


def index(embeddings: Annotated[Path, tyro.conf.Positional], seed: int = 0) -> None:
    """Make the index that lets neighbours be found without reading all embeddings: beside them.

    Args:
        embeddings: Parquet file of gzfound embed, or directory of files.
        seed: of the sample that the index is fitted to.
    """
    with progress("indexing") as (bar, task):
        made = gzfound.build_index(
            embeddings,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    say(f"{made}: {made.path}")


def anomalies(
    embeddings: Annotated[Path, tyro.conf.Positional],
    method: Literal[
        "isolation_forest", "local_outlier_factor", "neighbour_distance"
    ] = "isolation_forest",
    top: int = 50,
    k: int | None = None,
    seed: int = 0,
    exact: bool = False,
    output: Path = Path("anomalies.parquet"),
    images: str | None = None,
    sheet: Path = Path("anomalies.png"),
) -> None:
    """Rank the galaxies that are most unlike the others: a Parquet file of id_str, score and rank.

    Args:
        embeddings: Parquet file of gzfound embed, or directory of files.
        method: how to tell; docs/search.md says what each finds.
        top: galaxies to list.
        k: neighbours that a galaxy is compared with, 50 by default.
        seed: of the sample that the methods are fitted to.
        exact: find neighbours exactly, even where there is an index.
        output: Parquet file to write.
        images: the data that were embedded: writes thumbnails of what was found.
        sheet: PNG file of the thumbnails.
    """
    with progress("ranking") as (bar, task):
        found = gzfound.rank_anomalies(
            embeddings,
            method,
            top=top,
            k=k,
            seed=seed,
            exact=exact,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if images is not None:
        from gzfound.reports.search_sheets import anomalies_sheet

        anomalies_sheet(found, images, sheet, **_seen(embeddings))
    found.write(output)
    say(f"{len(found.ids)} galaxies: {output}")


def _seen(embeddings: Path) -> dict[str, Any]:
    """What the encoder of some embeddings saw of each image, where they say: crop and bands."""
    from gzfound.embedding.store import encoder_of

    made_by = encoder_of(embeddings)
    return {} if made_by is None else {"crop": made_by.crop, "bands": made_by.bands}
