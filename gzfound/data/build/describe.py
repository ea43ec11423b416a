"""The card of a dataset that was built from a released table."""

from __future__ import annotations

from gzfound.data.card import DatasetCard, citations_of
from gzfound.trees.loading import tree_title


def describe(table: str, campaign: str, licence: str, *, votes: bool, images: bool) -> DatasetCard:
    """The card: campaign, licence, citations, and how the votes are to be read.

    Args:
        table: name of the file.
        campaign: whose votes they are.
        licence: as the hub names it.
        votes: whether there are any.
        images: whether there are any.
    """
    title = tree_title(campaign)
    parts = [f"Galaxies of {title}, built from `{table}` by gzfound."]
    if votes:
        parts.append(
            "Columns `<question>_<answer>` count the volunteers who gave that answer. A question "
            'that no one was asked has no votes: that is missing, not "no".'
        )
    if not images:
        parts.append("There are no images: the column `image` is empty in every row.")
    parts.append("`train` and `test` are divided 80 to 20 by a hash of `id_str`.")
    return DatasetCard(
        name=campaign,
        title=title,
        licence=licence,
        body="\n\n".join(parts),
        citations=citations_of(campaign),
        from_galaxy_zoo=True,
    )
