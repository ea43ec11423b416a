"""What the likelihood and its summaries ask of their arrays, and how answers become questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gzfound.errors import DataError

if TYPE_CHECKING:
    from gzfound.trees import DecisionTree


def answer_matrix(tree: DecisionTree, device: torch.device) -> Tensor:
    """The 0/1 matrix, shape ``(answers, questions)``, float64, that sums answers to questions."""
    index = torch.tensor(tree.question_index, device=device)
    return nn.functional.one_hot(index, len(tree.questions)).double()


def check_shapes(tree: DecisionTree, **arrays: Tensor) -> None:
    """Raise ``DataError`` unless every array is ``(galaxies, answers of the tree)``."""
    answers = len(tree.columns)
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != answers:
            raise DataError(
                f"{name} has shape {tuple(array.shape)}, but the tree {tree.name!r} needs "
                f"(galaxies, {answers}): one column an answer"
            )
    if len({len(array) for array in arrays.values()}) > 1:
        rows = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError(f"the number of galaxies differs: {rows}; it must be the same")
