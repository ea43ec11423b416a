"""Predicted fractions against votes: every metric of every question, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.evaluation.bootstrap import RESAMPLES, Interval, interval, resampled_sums
from gzfound.evaluation.metrics import (
    MIN_VOTES,
    counted_galaxies,
    fraction_residuals,
    vote_log_likelihoods,
)
from gzfound.evaluation.noise_floor import noise_floor
from gzfound.evaluation.table import MEAN, Row
from gzfound.trees import DecisionTree
from gzfound.trees.loading import campaign_of
from gzfound.votes import total_votes

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

METRICS = ("RMSE", "RMSE floor", "MAD", "MAD floor", "skill", "log likelihood per vote")


@dataclass(frozen=True)
class Scores:
    """Metrics of several methods at the same galaxies, with paired resamples.

    ``samples`` maps (target, method, metric) to ``(1 + resamples,)``: first the value at the
    galaxies themselves, then at each resample; a target is a question, the mean over the answers of
    a campaign where there are several, or ``MEAN``.
    ``galaxies`` maps each target to the number of galaxies counted.
    """

    methods: tuple[str, ...]
    galaxies: Mapping[str, int]
    samples: Mapping[tuple[str, str, str], Floats]

    def interval(self, target: str, method: str, metric: str) -> Interval:
        """A metric with its 95 % interval."""
        values = self.samples[target, method, metric]
        return interval(float(values[0]), values[1:])

    def difference(self, target: str, metric: str, first: str, second: str) -> Interval:
        """``first`` less ``second``, at the same galaxies in every resample."""
        values = self.samples[target, first, metric] - self.samples[target, second, metric]
        return interval(float(values[0]), values[1:])

    def rows(self) -> list[Row]:
        """One row a target and method; the mean comes last."""
        return [
            Row(target, method, number, {m: self.interval(target, method, m) for m in METRICS})
            for target, number in self.galaxies.items()
            for method in self.methods
        ]

    def differences(self, against: str) -> list[dict[str, Any]]:
        """``against`` less every other method, for each target and each metric that has both."""
        found = []
        for target in self.galaxies:
            for method in self.methods:
                for metric in ("RMSE", "MAD", "skill", "log likelihood per vote"):
                    value = self.difference(target, metric, against, method)
                    if method != against and np.isfinite(value.value):
                        names = {"target": target, "metric": metric, "of": against, "less": method}
                        numbers = {"value": value.value, "low": value.low, "high": value.high}
                        found.append({**names, **numbers})
        return found


def score_fractions(
    predicted: Mapping[str, npt.NDArray[np.floating]],
    votes: npt.NDArray[Any],
    tree: DecisionTree,
    constant: Floats,
    *,
    log_likelihoods: Mapping[str, Floats] | None = None,
    min_votes: int = MIN_VOTES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Score predicted fractions by the GZ Evo protocol, beside the floor and the constant.

    Where the tree has several campaigns, the mean of each comes beside the mean of all.

    The skill of a question is that of the mean squares over its answers (of ``MEAN``, over all
    answers): 1 - sum(err^2 - floor^2) / sum(const^2 - floor^2).

    Args:
        predicted: method to fractions ``(N, A)``.
        votes: counts of the test galaxies, ``(N, A)``.
        tree: the questions.
        constant: the constant predictor, ``(A,)``, from the training galaxies.
        log_likelihoods: method to ordered log likelihoods ``(N, Q)``, for methods that predict
            more than fractions.
        min_votes: fewest votes on a question for its errors; the likelihood takes all votes.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    counted = counted_galaxies(votes, tree, min_votes)
    floor = noise_floor(votes, tree, min_votes)
    totals = total_votes(votes, tree).astype(np.float64)
    spread = np.broadcast_to(constant, votes.shape)
    parts: dict[tuple[str, str], Floats] = {
        ("", "counted"): counted.astype(np.float64),
        ("", "floor squared"): np.nan_to_num(floor.squared),
        ("", "floor absolute"): np.nan_to_num(floor.absolute),
        ("", "constant squared"): np.nan_to_num(
            fraction_residuals(spread, votes, tree, min_votes) ** 2
        ),
        ("", "votes"): totals,
    }
    for method, fractions in predicted.items():
        residuals = np.nan_to_num(fraction_residuals(fractions, votes, tree, min_votes))
        parts[method, "squared"], parts[method, "absolute"] = residuals**2, np.abs(residuals)
        given = (log_likelihoods or {}).get(method)
        plain = vote_log_likelihoods(fractions, votes, tree)
        parts[method, "log"] = plain if given is None else given
    table = np.concatenate(list(parts.values()), axis=1)
    sums = np.concatenate([table.sum(0)[None], resampled_sums(table, resamples, seed)])
    edges = np.cumsum([part.shape[1] for part in parts.values()])[:-1]
    found = dict(zip(parts, np.split(sums, edges, axis=1), strict=True))
    targets = _targets(tree)
    galaxies = {
        target: int(counted[:, _columns(tree, questions)].any(axis=1).sum())
        for target, questions in targets.items()
    }
    samples = {}
    for target, questions in targets.items():
        for method in predicted:
            values = _metrics(found, method, questions, tree)
            samples.update({(target, method, name): values[name] for name in METRICS})
    return Scores(tuple(predicted), galaxies, samples)


def _targets(tree: DecisionTree) -> dict[str, Indices]:
    """What is scored: each question, and the mean over those of each campaign and over all."""
    names = list(tree.slices)
    targets: dict[str, Indices] = {name: np.array([k]) for k, name in enumerate(names)}
    campaigns = [campaign_of(name) for name in names]
    for campaign in dict.fromkeys(campaigns) if len(set(campaigns)) > 1 else ():
        own = [k for k, each in enumerate(campaigns) if each == campaign]
        targets[mean_of(campaign)] = np.array(own)
    if len(names) > 1:
        targets[MEAN] = np.arange(len(names))
    return targets


def mean_of(campaign: str | None) -> str:
    """The name of the mean over a campaign's answers; other questions are together."""
    return f"{MEAN}, {campaign or 'other'}"


def _columns(tree: DecisionTree, questions: Indices) -> Indices:
    """The columns of some questions."""
    return np.flatnonzero(np.isin(tree.question_index, questions))


def _metrics(
    sums: Mapping[tuple[str, str], Floats], method: str, questions: Indices, tree: DecisionTree
) -> dict[str, Floats]:
    """The metrics of some questions, ``(1 + resamples,)`` each, from sums over galaxies."""
    answers = _columns(tree, questions)
    if len(questions) > 1:
        answers = answers[sums["", "counted"][0][answers] > 0]
    with np.errstate(divide="ignore", invalid="ignore"):

        def mean(owner: str, name: str) -> Floats:
            result: Floats = sums[owner, name][:, answers] / sums["", "counted"][:, answers]
            return result

        squared, floor = mean(method, "squared"), mean("", "floor squared")
        room = (mean("", "constant squared") - floor).mean(axis=1)
        excess = (squared - floor).mean(axis=1)
        log_sum = sums[method, "log"][:, questions].sum(axis=1)
        votes = sums["", "votes"][:, questions].sum(axis=1)
        return {
            "RMSE": np.sqrt(squared).mean(axis=1),
            "RMSE floor": np.sqrt(floor).mean(axis=1),
            "MAD": mean(method, "absolute").mean(axis=1),
            "MAD floor": mean("", "floor absolute").mean(axis=1),
            "skill": np.where(room > 0, 1 - excess / room, np.nan),
            "log likelihood per vote": log_sum / votes,
        }
