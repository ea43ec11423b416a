"""What every embedding has to beat: a constant, and pixels without any network.

An untrained encoder is a third baseline; its embeddings are made like those of a trained one
and enter the comparison as such.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gzfound.draws import stream_key
from gzfound.errors import DataError
from gzfound.evaluation.metrics import MIN_VOTES
from gzfound.trees import DecisionTree
from gzfound.votes import total_votes, vote_fractions

_BATCH = 512
_POWER_STEPS = 4


def constant_fractions(
    votes: npt.NDArray[Any], tree: DecisionTree, min_votes: int = MIN_VOTES
) -> npt.NDArray[np.float64]:
    """The best constant prediction of each answer's fraction, ``(A,)``.

    The mean over the training galaxies with at least ``min_votes`` votes on the question (all
    that were asked, if none has that many): the constant with the smallest RMSE there.

    Raises:
        DataError: a question has no votes at all.
    """
    fractions, totals = vote_fractions(votes, tree), total_votes(votes, tree)
    result = np.empty(len(tree.columns))
    for number, (name, part) in enumerate(tree.slices.items()):
        rows = totals[:, number] >= min_votes
        rows = rows if rows.any() else totals[:, number] > 0
        if not rows.any():
            raise DataError(f"question {name!r} has no votes in the training galaxies")
        result[part] = fractions[rows, part].mean(axis=0)
    return result


def pixel_pca(
    images: npt.NDArray[np.uint8],
    train_rows: npt.NDArray[np.integer],
    *,
    components: int = 64,
    size: int = 32,
    seed: int = 0,
) -> npt.NDArray[np.float32]:
    """Principal components of the pixels as embeddings, ``(N, components)``.

    The images are averaged down to ``size`` pixels; mean and components are those of
    ``train_rows`` alone, found by randomised subspace iteration (Halko, Martinsson & Tropp 2011,
    SIAM Review 53, 217, algorithm 4.4). At most as many components as there are training images.

    Args:
        images: uint8 ``(N, H, W, C)``, in memory or mapped.
        train_rows: rows to fit on.
        components: how many to keep.
        size: side that the images are averaged down to.
        seed: of the random start.
    """
    pixels = _shrunk(images, size)
    train = torch.as_tensor(np.asarray(train_rows, np.int64))
    if len(train) < 2:
        raise DataError(f"pixel PCA needs at least 2 training images, there are {len(train)}")
    mean = pixels[train].mean(dim=0)
    centred = pixels[train] - mean
    wanted = min(components, len(train) - 1, centred.shape[1])
    width = min(wanted + 16, len(train), centred.shape[1])
    generator = torch.Generator().manual_seed(int(stream_key(seed, "pixel-pca")) >> 1)
    basis = centred.T @ torch.randn(len(train), width, generator=generator)
    for _ in range(_POWER_STEPS):
        basis = centred.T @ (centred @ torch.linalg.qr(basis).Q)
    basis = torch.linalg.qr(basis).Q
    directions = torch.linalg.svd(centred @ basis, full_matrices=False).Vh[:wanted]
    result: npt.NDArray[np.float32] = ((pixels - mean) @ (basis @ directions.T)).numpy()
    return result


def _shrunk(images: npt.NDArray[np.uint8], size: int) -> torch.Tensor:
    """Float32 ``(N, C * size * size)`` between 0 and 1."""
    parts = []
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(np.array(images[start : start + _BATCH]))
        channels = batch.permute(0, 3, 1, 2).float() / 255
        small = torch.nn.functional.adaptive_avg_pool2d(channels, min(size, *batch.shape[1:3]))
        parts.append(small.flatten(1))
    return torch.cat(parts)
