"""What a fine-tuning recipe defines: targets, head, loss and report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gzfound.errors import DataError
from gzfound.models.heads import Head
from gzfound.training.galaxies import Galaxies, Rows


@dataclass(frozen=True, eq=False)
class Task:
    """What is learned of the training galaxies, and how it is scored on others.

    Attributes:
        rows: the galaxies to learn from, as row numbers.
        targets: what to learn of all N galaxies, ``(N, ...)``; the others' are never looked at.
        head: an untrained head for embeddings of that many features.
        loss: ``loss(outputs, targets)`` of what the head gives, a scalar, the mean over galaxies.
        score: ``score(outputs, galaxies)`` of galaxies that were not trained on: a report that
            ``json.dumps`` takes. It may raise ``DataError`` where there is nothing to score.
    """

    rows: Rows
    targets: npt.NDArray[Any]
    head: Callable[[int], Head]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[npt.NDArray[np.float32], Galaxies], dict[str, Any]]


def class_names(values: Sequence[Any]) -> tuple[npt.NDArray[np.str_], Rows]:
    """Labels as names ``(N,)``, and the rows that have one: not None, NaN or empty."""
    missing = [v is None or v == "" or (isinstance(v, float) and math.isnan(v)) for v in values]
    return np.array([str(value) for value in values]), np.flatnonzero(~np.array(missing, bool))


def numbers(values: Sequence[Any], name: str) -> tuple[npt.NDArray[np.float64], Rows]:
    """Labels as numbers ``(N,)``, and the rows that have one: not None, and finite.

    Raises:
        DataError: a value is no number.
    """
    try:
        found = np.array([math.nan if v is None or v == "" else float(v) for v in values])
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: it must hold numbers; {error}") from error
    return found, np.flatnonzero(np.isfinite(found))
