"""Real Galaxy Zoo votes, in the columns of their decision trees, and their means and spreads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from gzfound.simulation.opinions import concept_of
from gzfound.trees import DecisionTree, Question, load_tree
from gzfound.votes import total_votes, vote_fractions

Floats = npt.NDArray[np.float64]
Votes = npt.NDArray[np.int32]

LEAST = 5
"""The spread between galaxies is measured where a question has this many votes."""
TABLES = {
    "gz_hubble": "votes/gz_hubble_ferengi.csv.gz",
    "gz2": "votes/gz2_stripe82_coadd.csv.gz",
}
TASKS = {
    "smooth-or-featured": "a01 a02 a03",
    "how-rounded": "a16 a17 a18",
    "clumpy-appearance": "a39 a40",
    "clump-count": "a50 a51 a52 a53 a54 a60",
    "galaxy-symmetrical": "a55 a56",
    "clumps-embedded-larger-object": "a57 a58",
    "disk-edge-on": "a04 a05",
    "bulge-shape": "a25 a26 a27",
    "bar": "a06 a07",
    "has-spiral-arms": "a08 a09",
    "spiral-winding": "a28 a29 a30",
    "spiral-arm-count": "a31 a32 a33 a34 a36 a37",
    "bulge-size": "a10 a11 a12 a13",
    "something-odd": "a14 a15",
}
"""The answers of the tables, in the order of the Hubble tree.

The Hubble table names clump counts one too high: ``a50_2`` is one clump (``docs/trees.md``).
"""
REVERSED = {"gz2": ("bulge-size",)}


def real_votes(folder: Path, campaign: str) -> Votes:
    """The votes of a real table, galaxies that nobody classified left out; ``(N, A)`` int32.

    The GZ2 table counts votes. The Hubble table gives the fraction of each answer and the count of
    each task's classifications, and their product is whole.
    """
    table = pd.read_csv(folder / TABLES[campaign])
    columns = [
        column for q in load_tree(campaign).questions for column in _real(table, q, campaign)
    ]
    votes = np.stack(columns, axis=1)
    return votes[votes[:, :3].sum(axis=1) > 0]


def _real(table: pd.DataFrame, question: Question, campaign: str) -> list[Votes]:
    concept = concept_of(question.name)
    answers = TASKS[concept].split()
    if concept in REVERSED.get(campaign, ()):
        answers.reverse()
    if campaign == "gz2":
        names = [next(c for c in table if f"_{a}_" in c and c.endswith("_count")) for a in answers]
        return [table[name].to_numpy(np.int32) for name in names]
    names = [next(c for c in table if f"_{a}_" in c and c.endswith("_frac")) for a in answers]
    task = names[0].split("_")[0]
    count = next(c for c in table if c.startswith(task) and c.endswith("_count"))
    total = table[count].to_numpy(float)
    return [np.rint(np.nan_to_num(table[n].to_numpy()) * total).astype(np.int32) for n in names]


@dataclass(frozen=True)
class Summary:
    """Votes summed up by answer, each ``(A,)``.

    ``fraction`` is the mean over galaxies with a vote on the question, ``pooled`` all votes
    together, ``total`` the mean number of votes on the question over all galaxies, ``spread`` the
    standard deviation between galaxies with ``LEAST`` votes, less the scatter of finite votes.
    """

    fraction: Floats
    pooled: Floats
    total: Floats
    spread: Floats


def summarise(votes: Votes, tree: DecisionTree) -> Summary:
    """See ``Summary``. E[f^2 - f (1 - f) / (n - 1)] = p^2 for a binomial fraction f of n."""
    totals = total_votes(votes, tree)[:, tree.question_index]
    fractions = vote_fractions(votes, tree)
    enough = totals >= LEAST
    rough = np.where(enough, fractions, np.nan)
    square = np.nanmean(rough**2 - rough * (1 - rough) / np.maximum(totals - 1, 1), axis=0)
    spread = np.sqrt(np.clip(square - np.nanmean(rough, axis=0) ** 2, 0.0, None))
    return Summary(
        np.nanmean(fractions, axis=0),
        votes.sum(axis=0) / totals.sum(axis=0),
        totals.mean(axis=0),
        spread,
    )
