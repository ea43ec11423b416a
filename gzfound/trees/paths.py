"""How volunteers spread over the tree: the probability of each question and answer.

A volunteer follows one path. With f the vote fractions, P(root) = 1, and for any other
question P(question) = sum over the answers that lead to it of P(the answer's question) f(answer).
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from gzfound.errors import DataError

if TYPE_CHECKING:
    from gzfound.trees.tree import DecisionTree


class Walk(NamedTuple):
    """``asked`` (B, Q): probabilities; ``votes`` (B, A): expected votes a galaxy."""

    asked: Any
    votes: Any


def walk(tree: DecisionTree, fractions: Any, total: Any = 1.0) -> Walk:
    """Send ``total`` volunteers a galaxy down the tree, with ``fractions`` (B, A) at each question.

    NumPy in, NumPy out; torch in, torch out, on the same device, with gradients. Half precision
    is computed in float32 and rounded once, at the end. Raises ``DataError`` for a wrong shape.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(fractions, torch.Tensor):
        values = fractions if fractions.is_floating_point() else fractions.double()
        precise = values.float() if values.dtype.itemsize < 4 else values
        asked, votes = _spread(torch, tree, precise)
        crowd = torch.as_tensor(total, dtype=votes.dtype, device=votes.device)
        return Walk(asked.to(values.dtype), (votes * crowd[..., None]).to(values.dtype))

    import numpy as np

    values = np.asarray(fractions)
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    precise = values.astype(np.float32) if values.dtype.itemsize < 4 else values
    asked, votes = _spread(np, tree, precise)
    crowd = np.asarray(total, dtype=votes.dtype)
    result = Walk(asked, votes * crowd[..., None])
    return Walk(*(array.astype(values.dtype, copy=False) for array in result))


def _spread(xp: Any, tree: DecisionTree, fractions: Any) -> tuple[Any, Any]:
    if fractions.ndim == 0 or fractions.shape[-1] != len(tree.columns):
        raise DataError(
            f"fractions have shape {tuple(fractions.shape)}, but tree {tree.name} needs "
            f"(galaxies, {len(tree.columns)})"
        )
    fractions = xp.nan_to_num(fractions, nan=0.0, posinf=math.inf, neginf=-math.inf)
    asked: list[Any] = []
    reached: list[Any] = []
    for where, parents in _plan(tree):
        arriving = [
            reached[question].sum(-1) if answer is None else reached[question][..., answer]
            for question, answer in parents
        ]
        probability = _at_most_one(sum(arriving)) if arriving else xp.ones_like(fractions[..., 0])
        asked.append(probability)
        reached.append(probability[..., None] * fractions[..., where])
    return xp.stack(asked, -1), xp.concatenate(reached, -1)


def _at_most_one(probability: Any) -> Any:
    """Take off what rounding put above one; the gradient passes untouched."""
    excess = (probability - 1).clip(min=0)
    return probability - (excess.detach() if hasattr(excess, "detach") else excess)


@lru_cache(maxsize=64)
def _plan(tree: DecisionTree) -> tuple[tuple[slice, tuple[tuple[int, int | None], ...]], ...]:
    """Per question, its slice and its parents as (question, answer), answer None meaning any."""
    numbers = {question.name: number for number, question in enumerate(tree.questions)}
    plan = []
    for question in tree.questions:
        after = set(question.asked_after)
        parents: list[tuple[int, int | None]] = []
        for name in dict.fromkeys(tree.question_of[column] for column in question.asked_after):
            columns = tree.questions[numbers[name]].columns
            if after.issuperset(columns):
                parents.append((numbers[name], None))
            else:
                chosen = [index for index, column in enumerate(columns) if column in after]
                parents.extend((numbers[name], index) for index in chosen)
        plan.append((tree.slices[question.name], tuple(parents)))
    return tuple(plan)
