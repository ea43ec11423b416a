"""Two numbers that show within minutes whether a pretraining run learns or has collapsed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gzfound.trees import DecisionTree
from gzfound.votes import total_votes, vote_fractions

Floats = npt.NDArray[np.floating]

LEAST_GALAXIES = 8
LEAST_RANK = 1.5
LEAST_SPREAD = 0.01
"""Below these an embedding has collapsed; untrained encoders have a spread of 0.07 and more."""


def effective_rank(embeddings: Floats) -> float:
    """The number of directions that embeddings ``(N, F)`` really use, 1 for a collapsed encoder.

    The exponential of the entropy of the singular values of the centred embeddings (RankMe,
    Garrido et al. 2023, arXiv:2210.02885, eq. 1); values within rounding of zero are left out. NaN
    where an embedding is not finite.
    """
    if not np.isfinite(embeddings).all():
        return float("nan")
    values = np.linalg.svd(embeddings - embeddings.mean(axis=0), compute_uv=False)
    rounding = np.finfo(np.float32).eps * float(np.linalg.norm(embeddings))
    values = values[values > rounding]
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 1.0


def spread(embeddings: Floats) -> float:
    """How far the directions of embeddings ``(N, F)`` differ: 0 if they are one, at most 1.

    The standard deviation of the embeddings at length 1, over all features together (Chen & He
    2021, arXiv:2011.10566, sect. 4.1, take the same one by one to see a collapse).
    """
    values = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return float(np.sqrt((values / np.maximum(norms, 1e-12)).var(axis=0).sum()))


def collapse(embeddings: Floats) -> str:
    """A line that says that embeddings ``(N, F)`` have collapsed, with the remedy, or nothing.

    Embeddings that are not finite have, too.

    Fewer than ``LEAST_GALAXIES`` say nothing of it.
    """
    if len(embeddings) < LEAST_GALAXIES:
        return ""
    rank, width = effective_rank(embeddings), spread(embeddings)
    if rank >= LEAST_RANK and width >= LEAST_SPREAD:
        return ""
    return (
        f"warning: the embedding has collapsed (rank {rank:.2g}, spread {width:.2g}): start again "
        "with a lower optim.learning_rate, a larger batch_size or weaker views"
    )


def knn_score(
    embeddings: Floats,
    votes: npt.NDArray[np.integer],
    tree: DecisionTree,
    *,
    neighbours: int = 15,
    min_votes: int = 10,
) -> float:
    """How well a galaxy's neighbours tell its vote fractions: mean R^2 over the answers.

    Each galaxy's fractions are predicted by the mean of its nearest neighbours (cosine, itself left
    out) among the galaxies with at least ``min_votes`` votes on the question. 0 is no better than
    the mean of all galaxies. Questions with fewer than 4 times ``neighbours`` galaxies are left
    out; NaN if that is all of them.

    Args:
        embeddings: ``(N, F)``.
        votes: ``(N, answers)``.
        tree: the questions.
        neighbours: number of neighbours that predict.
        min_votes: fewest votes on a question.
    """
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = (embeddings / np.maximum(norms, 1e-12)).astype(np.float32)
    fractions = vote_fractions(votes, tree)
    totals = total_votes(votes, tree)
    scores = []
    for number, question in enumerate(tree.questions):
        rows = np.flatnonzero(totals[:, number] >= min_votes)
        if len(rows) < 4 * neighbours:
            continue
        similarity = unit[rows] @ unit[rows].T
        np.fill_diagonal(similarity, -np.inf)
        nearest = np.argpartition(-similarity, neighbours, axis=1)[:, :neighbours]
        truth = fractions[rows, tree.slices[question.name]]
        spread = truth.var(axis=0)
        error = ((truth[nearest].mean(axis=1) - truth) ** 2).mean(axis=0)
        differ = spread > 1e-6
        scores.extend(1.0 - error[differ] / spread[differ])
    return float(np.mean(scores)) if scores else float("nan")
