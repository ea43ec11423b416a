"""Any column as the target of a linear probe: a number or a class, by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from gzfound.draws import permutation, stream_key
from gzfound.errors import ConfigError, DataError
from gzfound.evaluation.benchmark import CONSTANT, EmbeddingOf, Rows, check_disjoint, resolve
from gzfound.evaluation.bootstrap import RESAMPLES, Interval, bootstrap_rows, interval
from gzfound.evaluation.table import ResultTable, Row
from gzfound.evaluation.targets import fit_class_probe, fit_number_probe

Floats = npt.NDArray[np.float64]
Metric = Callable[[npt.NDArray[Any], npt.NDArray[Any]], Floats]

KINDS = ("auto", "number", "class")
_FEW = 20


@dataclass(frozen=True)
class TargetResults:
    """What :func:`target_table` found.

    ``rows`` are the galaxies tested, ``predictions`` maps each method to what it predicts for
    them (numbers, or class names), ``folds`` maps method and metric to its value in each fold.
    """

    table: ResultTable
    rows: Rows
    predictions: Mapping[str, npt.NDArray[Any]]
    folds: Mapping[str, Mapping[str, list[float]]]


def cross_validation(galaxies: int, folds: int = 5, seed: int = 0) -> list[tuple[Rows, Rows]]:
    """(training rows, test rows) of each fold; every galaxy is tested once.

    Raises:
        ConfigError: fewer than 2 folds, or fewer than 2 galaxies a fold.
    """
    if not 2 <= folds <= galaxies // 2:
        most = galaxies // 2
        raise ConfigError(f"folds is {folds}; allowed for {galaxies} galaxies: 2 to {most}")
    order = permutation(stream_key(seed, "cross-validation"), galaxies)
    parts = np.array_split(order, folds)
    return [(np.sort(np.setdiff1d(order, part)), np.sort(part)) for part in parts]


def target_kind(target: npt.NDArray[Any], kind: str = "auto") -> str:
    """``"number"`` or ``"class"``; by default words, truth values and few integers are classes.

    Few means up to 20 different ones.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
    if kind != "auto":
        return kind
    if target.dtype.kind == "f" or (target.dtype.kind in "iu" and len(np.unique(target)) > _FEW):
        return "number"
    return "class"


def target_table(
    embeddings: Mapping[str, EmbeddingOf],
    target: npt.NDArray[Any],
    splits: Sequence[tuple[Rows, Rows]],
    *,
    name: str = "target",
    kind: str = "auto",
    constant: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> TargetResults:
    """Probe a column that is no vote count.

    Numbers: ridge regression, scored by Spearman correlation and mean absolute error; the
    constant is the training median. Classes: softmax regression, scored by accuracy and by the
    mean recall of the classes; the constant is the most frequent class. Predictions of all folds
    are scored together, but correlations within each fold and averaged: the folds have training
    sets of different means, which alone would make the correlation of all together negative.
    Intervals resample the galaxies of each fold.

    Args:
        embeddings: method to embeddings of all N galaxies.
        target: ``(N,)``.
        splits: (training rows, test rows), as of :func:`cross_validation`.
        name: of the target, for the table.
        kind: ``number``, ``class`` or ``auto``.
        constant: add the constant predictor as the last method.
        seed: of validation splits and bootstrap.
        resamples: of the bootstrap.
    """
    numeric = target_kind(target, kind) == "number"
    truth = target.astype(np.float64) if numeric else target.astype(str)
    for train_rows, test_rows in splits:
        check_disjoint(train_rows, test_rows)
    predictor = _number_predictions if numeric else _class_predictions
    methods = (*embeddings, *([CONSTANT] if constant else []))
    parts: dict[str, list[npt.NDArray[Any]]] = {method: [] for method in methods}
    for train_rows, test_rows in splits:
        for method, embedding in embeddings.items():
            vectors = resolve(embedding, train_rows, method, len(truth))
            parts[method].append(predictor(vectors, truth, train_rows, test_rows, seed))
        if constant:
            parts[CONSTANT].append(_constant(truth[train_rows], len(test_rows), numeric))
    tested = np.concatenate([test_rows for _, test_rows in splits])
    sizes = [len(test_rows) for _, test_rows in splits]
    metrics = _metrics(numeric, sizes)
    answers = [truth[test_rows] for _, test_rows in splits]
    rows = [
        Row(name, method, len(tested), _intervals(found, answers, metrics, resamples, seed))
        for method, found in parts.items()
    ]
    by_fold = {**metrics, "Spearman": spearman}
    folds = {
        method: {m: _by_fold(by_fold[m], found, answers) for m in metrics}
        for method, found in parts.items()
    }
    notes = (f"{len(splits)} folds, 95 % intervals from {resamples:,} resamples of the galaxies.",)
    table = ResultTable(f"Linear probes of {name}", tuple(rows), notes)
    predictions = {method: np.concatenate(found) for method, found in parts.items()}
    return TargetResults(table, tested, predictions, folds)


def score_target(
    predicted: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    train_truth: npt.NDArray[Any],
    *,
    name: str,
    kind: str,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ResultTable:
    """Score predictions of a column beside the constant, by the metrics of :func:`target_table`.

    Args:
        predicted: numbers or class names, ``(N,)``.
        truth: the same for the galaxies tested, ``(N,)``.
        train_truth: of the galaxies trained on; the constant is their median or commonest class.
        name: of the target, for the table.
        kind: ``number`` or ``class``.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        DataError: there are no galaxies to score.
    """
    if not len(truth):
        raise DataError(f"{name}: none of the galaxies tested has a value")
    numeric = target_kind(truth, kind) == "number"
    methods = {"model": predicted, CONSTANT: _constant(train_truth, len(truth), numeric)}
    metrics = _metrics(numeric, [len(truth)])
    rows = [
        Row(name, method, len(truth), _intervals([found], [truth], metrics, resamples, seed))
        for method, found in methods.items()
    ]
    notes = (f"95 % intervals from {resamples:,} resamples of the galaxies.",)
    return ResultTable(f"Predictions of {name}", tuple(rows), notes)


def spearman(predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Floats:
    """Rank correlation along the last axis; NaN where either side does not vary."""
    ranks = [stats.rankdata(values, axis=-1) for values in (predicted, truth)]
    a, b = (rank - rank.mean(axis=-1, keepdims=True) for rank in ranks)
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Floats = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return value


def spearman_within(
    sizes: Sequence[int], predicted: npt.NDArray[Any], truth: npt.NDArray[Any]
) -> Floats:
    """Rank correlation within consecutive groups of the last axis, averaged by their sizes."""
    edges = np.cumsum(sizes)[:-1]
    pairs = zip(np.split(predicted, edges, -1), np.split(truth, edges, -1), strict=True)
    value: Floats = np.average([spearman(p, t) for p, t in pairs], axis=0, weights=sizes)
    return value


def mean_absolute_error(predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Floats:
    """Along the last axis."""
    value: Floats = np.abs(predicted - truth).mean(axis=-1)
    return value


def accuracy(predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Floats:
    """Share of galaxies whose class is right, along the last axis."""
    return np.asarray((predicted == truth).mean(axis=-1), np.float64)


def mean_recall(predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Floats:
    """Share of each class that is found, averaged over the classes present (last axis)."""
    recalls = []
    for name in np.unique(truth):
        of_class = truth == name
        with np.errstate(invalid="ignore"):
            recalls.append((of_class & (predicted == name)).sum(-1) / of_class.sum(-1))
    return np.asarray(np.nanmean(np.stack(recalls), axis=0), np.float64)


def _metrics(numeric: bool, sizes: Sequence[int]) -> dict[str, Metric]:
    if numeric:
        return {"Spearman": partial(spearman_within, sizes), "MAE": mean_absolute_error}
    return {"accuracy": accuracy, "mean recall": mean_recall}


def _number_predictions(
    vectors: npt.NDArray[np.floating], truth: npt.NDArray[Any], train: Rows, test: Rows, seed: int
) -> npt.NDArray[Any]:
    del seed  # leave-one-out needs no draws
    return fit_number_probe(vectors[train], truth[train]).predict(vectors[test])


def _class_predictions(
    vectors: npt.NDArray[np.floating], truth: npt.NDArray[Any], train: Rows, test: Rows, seed: int
) -> npt.NDArray[Any]:
    probe = fit_class_probe(vectors[train], truth[train], seed=seed)
    named: npt.NDArray[Any] = np.array(probe.classes)[probe.predict(vectors[test]).argmax(axis=1)]
    return named


def _constant(truth: npt.NDArray[Any], count: int, numeric: bool) -> npt.NDArray[Any]:
    if numeric:
        return np.full(count, np.median(truth))
    names, counts = np.unique(truth, return_counts=True)
    return np.full(count, names[np.argmax(counts)])


def _intervals(
    predicted: Sequence[npt.NDArray[Any]],
    truth: Sequence[npt.NDArray[Any]],
    metrics: Mapping[str, Metric],
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    found, right = np.concatenate(predicted), np.concatenate(truth)
    sizes = [len(part) for part in truth]

    def resampled(metric: Metric) -> Floats:
        return bootstrap_rows(lambda rows: metric(found[rows], right[rows]), sizes, resamples, seed)

    return {m: interval(float(f(found, right)), resampled(f)) for m, f in metrics.items()}


def _by_fold(
    metric: Metric, predicted: Sequence[npt.NDArray[Any]], truth: Sequence[npt.NDArray[Any]]
) -> list[float]:
    return [float(metric(p, t)) for p, t in zip(predicted, truth, strict=True)]
