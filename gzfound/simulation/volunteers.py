"""Simulated volunteers: each walks the decision tree and answers by what can be seen.

The votes of a galaxy are those of a number of volunteers, who all answer independently with the
galaxy's own probabilities. A volunteer meets a question after any of the answers that lead to it,
so totals branch as real ones do. One exception is real too: in Hubble, volunteers who saw the
clumps lie along spiral arms were not asked whether the clumps are symmetrical.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from gzfound.draws import stream_key, uniforms
from gzfound.simulation.calibration import Calibration, load_calibration
from gzfound.simulation.latents import Flags, Floats, Integers, Latents
from gzfound.simulation.opinions import concept_of, meaning_of, raw_opinions
from gzfound.simulation.telescope import Telescope
from gzfound.simulation.visibility import Visibility, visible
from gzfound.trees import DecisionTree, Question

__all__ = [
    "Visibility",
    "answer_probabilities",
    "skip_probability",
    "total_classifications",
    "visible",
    "vote",
]

SKIPPED = "galaxy-symmetrical"
"""The concept that volunteers skip if they saw the clumps along spiral arms ..."""
SKIPS_BECAUSE = "clumps-along-arms"
"""... and the concept of the answer, not published as a column, that makes them."""
_ROWS = 2048


def answer_probabilities(
    latents: Latents,
    telescope: Telescope,
    tree: DecisionTree,
    calibration: Calibration | None = None,
) -> Floats:
    """The probability ``(N, A)`` of each answer, given that its question is asked.

    Sums to 1 over the answers of a question. A question of an unknown concept has equally likely
    answers. ``calibration`` is that of the tree's campaign unless given.
    """
    calibration = calibration or load_calibration(tree.name)
    seen = visible(latents, telescope)
    blocks = [_answers(question, latents, seen, calibration) for question in tree.questions]
    return np.concatenate(blocks, axis=1)


def skip_probability(latents: Latents, telescope: Telescope, calibration: Calibration) -> Floats:
    """The probability ``(N,)`` that a volunteer who counted clumps skips their symmetry."""
    seen = visible(latents, telescope)
    raw = raw_opinions(SKIPS_BECAUSE, latents, seen)["yes"]
    chance: Floats = expit(calibration.log_odds(SKIPS_BECAUSE, "yes", raw, seen.sharpness))
    return chance


def total_classifications(
    galaxy_ids: npt.ArrayLike, seed: int, calibration: Calibration
) -> Integers:
    """How many volunteers classify each galaxy, ``(N,)`` int64."""
    numbers = np.array(sorted(calibration.totals), np.int64)
    shares = np.array([calibration.totals[number] for number in numbers.tolist()])
    edges = np.cumsum(shares)[:-1] / shares.sum()
    draws = uniforms(stream_key(seed, "volunteers"), galaxy_ids, 1)[:, 0]
    chosen: Integers = numbers[np.searchsorted(edges, draws, side="right")]
    return chosen


def vote(
    latents: Latents,
    telescope: Telescope,
    tree: DecisionTree,
    seed: int,
    calibration: Calibration | None = None,
) -> npt.NDArray[np.int32]:
    """The votes ``(N, A)`` of one survey; a galaxy's depend only on its latents, id and ``seed``.

    Where a union tree has several campaigns, each galaxy is classified in all of them.
    """
    calibration = calibration or load_calibration(tree.name)
    chunks = [
        _vote_chunk(latents[start : start + _ROWS], telescope, tree, seed, calibration)
        for start in range(0, len(latents), _ROWS)
    ]
    return np.concatenate(chunks) if chunks else np.zeros((0, len(tree.columns)), np.int32)


def _answers(
    question: Question, latents: Latents, seen: Visibility, calibration: Calibration
) -> Floats:
    concept = concept_of(question.name)
    raw = raw_opinions(concept, latents, seen)
    nothing = np.zeros(len(latents))
    log_odds = np.empty((len(latents), len(question.answers)))
    for column, answer in enumerate(question.answers):
        meaning = meaning_of(concept, answer)
        opinion = raw.get(meaning, nothing)
        log_odds[:, column] = calibration.log_odds(concept, meaning, opinion, seen.sharpness)
    probabilities: Floats = softmax(log_odds, axis=1)
    return probabilities


def _vote_chunk(
    latents: Latents,
    telescope: Telescope,
    tree: DecisionTree,
    seed: int,
    calibration: Calibration,
) -> npt.NDArray[np.int32]:
    probabilities = answer_probabilities(latents, telescope, tree, calibration)
    ids = latents.galaxy_id
    totals = total_classifications(ids, seed, calibration)
    people = max(calibration.totals)
    present = np.arange(people) < totals[:, None]
    votes = np.zeros((len(latents), len(tree.columns)), np.int32)
    gave: dict[str, Flags] = {}
    for question in tree.questions:
        asked = present
        if question.asked_after:
            asked = np.logical_or.reduce([gave[parent] for parent in question.asked_after])
        if concept_of(question.name) == SKIPPED:
            skip = skip_probability(latents, telescope, calibration)
            asked = asked & (
                uniforms(stream_key(seed, "skip", question.name), ids, people) >= skip[:, None]
            )
        where = tree.slices[question.name]
        draws = uniforms(stream_key(seed, "votes", question.name), ids, people)
        edges = np.cumsum(probabilities[:, where], axis=1)
        below = np.zeros_like(asked)
        for number, column in enumerate(question.columns):
            last = number == len(question.answers) - 1
            under = np.ones_like(asked) if last else draws < edges[:, number, None]
            gave[column] = asked & under & ~below
            votes[:, where.start + number] = gave[column].sum(axis=1)
            below = under
    return votes
