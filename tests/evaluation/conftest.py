"""Galaxies whose vote fractions are a known function of a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import gzfound
from gzfound.trees import DecisionTree


@dataclass(frozen=True)
class World:
    tree: DecisionTree
    embeddings: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float64]
    votes: npt.NDArray[Any]


def make_world(galaxies: int, features: int, seed: int, volunteers: int = 200) -> World:
    """Logits linear in 4 latent numbers; the embeddings mix those with noise of a tenth."""
    draw = np.random.default_rng(seed)
    tree = gzfound.load_tree("gz_hubble")
    latent = draw.normal(size=(galaxies, 4))
    mixed = latent @ draw.normal(size=(4, features)) + 0.1 * draw.normal(size=(galaxies, features))
    logits = latent @ draw.normal(size=(4, len(tree.columns)))
    truth = np.empty_like(logits)
    for part in tree.slices.values():
        powers = np.exp(logits[:, part])
        truth[:, part] = powers / powers.sum(axis=1, keepdims=True)
    totals = np.full(galaxies, volunteers)
    votes = np.zeros(logits.shape, dtype=np.int64)
    for name, part in tree.slices.items():
        parents = [tree.columns.index(column) for column in tree.asked_after[name]]
        asked = votes[:, parents].sum(axis=1) if parents else totals
        votes[:, part] = draw.multinomial(asked, truth[:, part])
    return World(tree, mixed.astype(np.float32), truth, votes)


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(900, 16, seed=0)
