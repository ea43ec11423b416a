"""How many labels a probe needs: the same probes on ever smaller parts of the training galaxies.

The parts are nested: for each draw the training galaxies are put in one random order, and a share
takes the first of them, so a larger share has all labels of a smaller one. Embeddings are made
once; those that are fitted to training images (pixel PCA, the medians of morphology) are fitted to
all of them, since images are not what is scarce. The galaxies tested are the same throughout, and
so is the constant that skill is measured against: that of all labels. A few labels may not reach
it, and skill is then negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.draws import permutation, stream_key
from gzfound.errors import ConfigError, DataError
from gzfound.evaluation.baselines import constant_fractions
from gzfound.evaluation.benchmark import (
    CONSTANT,
    EmbeddingOf,
    Rows,
    Vectors,
    check_disjoint,
    only_questions,
    resolve,
)
from gzfound.evaluation.bootstrap import Interval
from gzfound.evaluation.metrics import MIN_VOTES
from gzfound.evaluation.probes import FEWEST, fit_linear_probe
from gzfound.evaluation.scores import Scores, score_fractions
from gzfound.evaluation.table import MEAN, ResultTable, Row
from gzfound.trees import DecisionTree
from gzfound.votes import total_votes

SHARES = (0.001, 0.01, 0.1, 1.0)
METRICS = ("skill", "RMSE")


@dataclass(frozen=True)
class SharePoint:
    """One method on one target (a question, or their mean) with a share of the labels.

    ``galaxies`` is the number fitted to, ``tested`` the number scored; ``metrics`` maps skill and
    RMSE to the mean over ``draws`` with the smallest and the largest.
    """

    target: str
    method: str
    share: float
    galaxies: int
    tested: int
    draws: int
    metrics: Mapping[str, Interval]


@dataclass(frozen=True)
class LabelEfficiency:
    """What :func:`label_efficiency` found; ``notes`` say what was left out."""

    points: tuple[SharePoint, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """What ``json.dumps`` takes, but for NaN where nothing could be measured."""
        rows = [
            {
                **{name: value for name, value in vars(point).items() if name != "metrics"},
                **{
                    name: {"mean": v.value, "least": v.low, "most": v.high}
                    for name, v in point.metrics.items()
                },
            }
            for point in self.points
        ]
        return {"rows": rows, "notes": list(self.notes)}

    def to_table(self, metric: str) -> ResultTable:
        """A metric with a column a share: the mean, and the range over draws in brackets.

        The largest share has every question that another has, and gives the order of the rows.
        """
        heads = {p.share: f"{100 * p.share:g} % ({p.galaxies:,})" for p in self.points}
        values = {(p.target, p.method, p.share): p.metrics[metric] for p in self.points}
        nothing = Interval(float("nan"), float("nan"), float("nan"))
        rows = [
            Row(
                point.target,
                point.method,
                point.tested,
                {
                    head: values.get((point.target, point.method, share), nothing)
                    for share, head in heads.items()
                },
            )
            for point in self.points
            if point.share == max(heads)
        ]
        return ResultTable(f"{metric} by share of the labels (galaxies)", rows, self.notes)


def label_efficiency(
    embeddings: Mapping[str, EmbeddingOf],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    train_rows: Rows,
    test_rows: Rows,
    questions: Sequence[str] | None = None,
    *,
    shares: Sequence[float] = SHARES,
    draws: int = 5,
    constant: bool = True,
    seed: int = 0,
    min_votes: int = MIN_VOTES,
) -> LabelEfficiency:
    """Probe embeddings on shares of the labels, and score them on the same test galaxies.

    A share of fewer galaxies than a probe needs is left out, and so is, at a share, a question on
    which one of the draws has no votes. Such a share has no mean of answers: over the other
    questions it would be another number.

    Args:
        embeddings: method to embeddings of all N galaxies.
        votes: counts, ``(N, A)``, answers in the order of ``tree``.
        tree: the campaign's questions.
        train_rows: rows to draw from; the penalties are chosen within each draw.
        test_rows: rows to score.
        questions: the ones to probe, by default all.
        shares: of the training galaxies, above 0 and at most 1.
        draws: how many of each share; all labels are drawn once.
        constant: add the constant predictor, the mean fractions of each draw, as the last method.
        seed: of the draws and the validation splits.
        min_votes: fewest votes on a question for a galaxy to count.

    Raises:
        ConfigError: a share or a number of draws that is out of range, or an unknown question.
        DataError: as :func:`gzfound.evaluation.probe_table`; or no share has galaxies enough.
    """
    check_disjoint(train_rows, test_rows)
    if draws < 1 or not all(0 < share <= 1 for share in shares):
        raise ConfigError(
            f"shares {tuple(shares)}, draws {draws}; allowed: shares above 0 and at most 1, "
            "at least 1 draw"
        )
    probed = only_questions(tree, tuple(tree.slices) if questions is None else questions)
    vectors = {
        method: resolve(embedding, train_rows, method, len(votes))
        for method, embedding in embeddings.items()
    }
    counts = votes[:, [tree.columns.index(column) for column in probed.columns]]
    reference = constant_fractions(counts[train_rows], probed, min_votes)
    points: list[SharePoint] = []
    notes = [f"Mean over {draws} draws, and their range; all labels are drawn once."]
    for share in sorted(shares):
        size = round(share * len(train_rows))
        subsets = nested_rows(train_rows, size, 1 if share == 1 else draws, seed)
        kept, note = _answered(counts, probed, subsets)
        if note:
            notes.append(f"{100 * share:g} % ({size:,} galaxies): {note}")
        if kept is None:
            continue
        places = [probed.columns.index(column) for column in kept.columns]
        asked = counts[:, places]
        predictions = _predictions(vectors, asked, kept, subsets, test_rows, seed)
        if constant:
            for draw, rows in enumerate(subsets):
                flat = constant_fractions(asked[rows], kept, min_votes)
                predictions[_name(draw, CONSTANT)] = np.tile(flat, (len(test_rows), 1))
        scores = score_fractions(
            predictions,
            asked[test_rows],
            kept,
            reference[places],
            min_votes=min_votes,
            resamples=1,
        )
        methods = (*vectors, *([CONSTANT] if constant else []))
        found = _points(scores, methods, share, size, len(subsets))
        points += [
            p for p in found if not p.target.startswith(MEAN) or len(places) == len(probed.columns)
        ]
    if not points:
        raise DataError(f"label efficiency of {len(train_rows)} galaxies: {' '.join(notes[1:])}")
    return LabelEfficiency(tuple(points), tuple(notes))


def nested_rows(train_rows: Rows, size: int, draws: int, seed: int) -> list[Rows]:
    """The first ``size`` of the training rows in the random order of each draw, ascending."""
    orders = [
        permutation(stream_key(seed, "label-efficiency", draw), len(train_rows))
        for draw in range(draws)
    ]
    return [np.sort(np.asarray(train_rows)[order[:size]]) for order in orders]


def _answered(
    counts: npt.NDArray[Any], tree: DecisionTree, subsets: Sequence[Rows]
) -> tuple[DecisionTree | None, str]:
    """The questions on which every subset has votes, and what is left out in words."""
    if len(subsets[0]) < FEWEST:
        return None, f"left out, a probe needs {FEWEST}."
    totals = [total_votes(counts[rows], tree).sum(axis=0) for rows in subsets]
    least = np.stack(totals).min(axis=0)
    asked = dict(zip(tree.slices, (least > 0).tolist(), strict=True))
    silent = [name for name, has in asked.items() if not has]
    note = f"without votes, and left out: {', '.join(silent)}." if silent else ""
    kept = [name for name in asked if name not in silent]
    return (only_questions(tree, kept) if kept else None), note


def _predictions(
    vectors: Mapping[str, Vectors],
    counts: npt.NDArray[Any],
    tree: DecisionTree,
    subsets: Sequence[Rows],
    test_rows: Rows,
    seed: int,
) -> dict[str, npt.NDArray[np.float64]]:
    """Fractions of the test galaxies for every draw and method, named by :func:`_name`."""
    return {
        _name(draw, method): fit_linear_probe(values[rows], counts[rows], tree, seed=seed).predict(
            values[test_rows]
        )
        for draw, rows in enumerate(subsets)
        for method, values in vectors.items()
    }


def _name(draw: int, method: str) -> str:
    return f"{draw} {method}"


def _points(
    scores: Scores, methods: Sequence[str], share: float, size: int, draws: int
) -> list[SharePoint]:
    points = []
    for target, tested in scores.galaxies.items():
        for method in methods:
            names = [_name(draw, method) for draw in range(draws)]
            found = {m: [scores.samples[target, name, m][0] for name in names] for m in METRICS}
            metrics = {
                m: Interval(float(np.mean(v)), float(np.min(v)), float(np.max(v)))
                for m, v in found.items()
            }
            points.append(SharePoint(target, method, share, size, tested, draws, metrics))
    return points
