"""The benchmarks as functions: held-out questions, and any column of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gzfound.errors import ConfigError, DataError
from gzfound.evaluation.baselines import constant_fractions
from gzfound.evaluation.bootstrap import RESAMPLES
from gzfound.evaluation.metrics import MIN_VOTES
from gzfound.evaluation.probes import fit_linear_probe
from gzfound.evaluation.scores import Scores, score_fractions
from gzfound.evaluation.table import ResultTable
from gzfound.trees import DecisionTree

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.integer]
Vectors: TypeAlias = npt.NDArray[np.floating]
EmbeddingOf: TypeAlias = Vectors | Callable[[Rows], Vectors]
"""Embeddings ``(N, F)``, or a function that makes them from the training rows (pixel PCA)."""

CONSTANT = "constant"


@dataclass(frozen=True)
class ProbeResults:
    """What :func:`probe_table` found.

    ``tree`` has only the questions probed, ``predictions`` maps each method to the fractions of
    the test galaxies ``(N, A)`` in the order of its columns, ``penalties`` the chosen penalty of
    each method and question. ``scores`` gives paired differences.
    """

    table: ResultTable
    tree: DecisionTree
    scores: Scores
    predictions: Mapping[str, Floats]
    penalties: Mapping[str, Mapping[str, float]]


def only_questions(tree: DecisionTree, questions: Sequence[str]) -> DecisionTree:
    """A flat tree of the named questions, in tree order.

    Raises:
        ConfigError: a name that is not in the tree, or none.
    """
    unknown = [name for name in questions if name not in tree.slices]
    if unknown or not questions:
        named = f"{unknown[0]!r} is not a question of {tree.name}" if unknown else "none is named"
        raise ConfigError(f"questions: {named}; allowed: {', '.join(tree.slices)}")
    kept = tuple(replace(q, asked_after=()) for q in tree.questions if q.name in questions)
    return DecisionTree(tree.name, kept)


def probe_table(
    embeddings: Mapping[str, EmbeddingOf],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    train_rows: Rows,
    test_rows: Rows,
    questions: Sequence[str] | None = None,
    *,
    constant: bool = True,
    seed: int = 0,
    min_votes: int = MIN_VOTES,
    resamples: int = RESAMPLES,
) -> ProbeResults:
    """Probe embeddings on (held-out) questions and compare them.

    Args:
        embeddings: method to embeddings of all N galaxies; the first is what the paired
            differences are about.
        votes: counts, ``(N, A)``, answers in the order of ``tree``.
        tree: the campaign's questions.
        train_rows: rows to fit on; the penalties are chosen within them.
        test_rows: rows to score.
        questions: the ones to probe, by default all.
        constant: add the constant predictor as the last method; skill is against it either way.
        seed: of the validation split and the bootstrap.
        min_votes: fewest votes on a question for a galaxy to count.
        resamples: of the bootstrap.

    Raises:
        ConfigError: an unknown question.
        DataError: rows in both sets, embeddings of another length, or a question without votes.
    """
    check_disjoint(train_rows, test_rows)
    probed = only_questions(tree, tuple(tree.slices) if questions is None else questions)
    columns = [tree.columns.index(column) for column in probed.columns]
    train, test = votes[train_rows][:, columns], votes[test_rows][:, columns]
    reference = constant_fractions(train, probed, min_votes)
    predictions: dict[str, Floats] = {}
    penalties = {}
    for method, embedding in embeddings.items():
        vectors = resolve(embedding, train_rows, method, len(votes))
        probe = fit_linear_probe(vectors[train_rows], train, probed, seed=seed)
        predictions[method] = probe.predict(vectors[test_rows])
        penalties[method] = probe.penalties
    if constant:
        predictions[CONSTANT] = np.tile(reference, (len(test), 1))
    scores = score_fractions(
        predictions, test, probed, reference, min_votes=min_votes, resamples=resamples, seed=seed
    )
    notes = (
        f"Linear probes fitted to the votes of {len(train_rows):,} galaxies, scored on "
        f"{len(test_rows):,} others: those with at least {min_votes} votes on the question.",
        f"95 % intervals from {resamples:,} resamples of the test galaxies; floor: the error of "
        "a perfect predictor; skill: 0 constant, 1 perfect.",
    )
    headline = ("RMSE", "skill")
    rows = tuple(scores.rows())
    table = ResultTable("Linear probes of held-out questions", rows, notes, headline)
    return ProbeResults(table, probed, scores, predictions, penalties)


def check_disjoint(train_rows: Rows, test_rows: Rows) -> None:
    """Raise ``DataError`` if a row is in both sets, or one of them is empty."""
    both = np.intersect1d(train_rows, test_rows)
    if len(both):
        raise DataError(f"{len(both)} galaxies are in train and in test, such as row {both[0]}")
    if not len(train_rows) or not len(test_rows):
        raise DataError(f"{len(train_rows)} train and {len(test_rows)} test galaxies; need both")


def resolve(embedding: EmbeddingOf, train_rows: Rows, method: str, galaxies: int) -> Vectors:
    """The embeddings of all galaxies, made from the training rows where they have to be."""
    vectors = embedding(train_rows) if callable(embedding) else embedding
    if len(vectors) != galaxies:
        raise DataError(f"{method}: {len(vectors)} embeddings for {galaxies} galaxies")
    return vectors
