"""Fit the simulated volunteers to real votes, and report how close they come.

    python benchmarks/vote_calibration.py $GZFOUND_REAL_DATA             # fit, then report
    python benchmarks/vote_calibration.py $GZFOUND_REAL_DATA --report    # report only

Questions are fitted one by one, parents first. An answer's log-odds are ``slope * raw +
offset + haze * (1 - sharpness)``. The offsets set the mean fractions, the slopes the spread of the
true fractions between galaxies, so that what is visible decides the votes as much as it does in
reality, and the haze the difference between galaxies that are clear and those that are not. Writes ``gzfound/simulation/calibration/*.json`` and the tables of
``docs/volunteers.md``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares
from scipy.special import expit, softmax
from scipy.stats import binom

from gzfound.files import write_text
from gzfound.simulation.calibration import Calibration, Line, load_calibration
from gzfound.simulation.latents import Latents
from gzfound.simulation.opinions import concept_of, meaning_of, raw_opinions
from gzfound.simulation.population import sample_population
from gzfound.simulation.telescope import telescope_for
from gzfound.simulation.visibility import visible
from gzfound.simulation.volunteers import (
    SKIPPED,
    SKIPS_BECAUSE,
    answer_probabilities,
    skip_probability,
    vote,
)
from gzfound.trees import DecisionTree, Question, load_tree
from gzfound.votes import total_votes, vote_fractions

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Votes = npt.NDArray[np.int32]

ROOT = Path(__file__).resolve().parent.parent
FIT_SEED, REPORT_SEED = 1_000, 2_000
GALAXIES = 20_000
LEAST = 5
"""The spread between galaxies is measured where a question has this many votes."""
OWN_SLOPE = ("artifact", "cant-tell")
"""Meanings that are not points on the line of the question's other answers, and whose raw log-odds
say what happens when a galaxy is not clear."""

TABLES = {
    "gz_hubble": "votes/gz_hubble_ferengi.csv.gz",
    "gz2": "votes/gz2_stripe82_coadd.csv.gz",
}
TASKS = {
    "smooth-or-featured": "a01 a02 a03",
    "how-rounded": "a16 a17 a18",
    "clumpy-appearance": "a39 a40",
    "clump-count": "a60 a50 a51 a52 a53 a54",
    "galaxy-symmetrical": "a55 a56",
    "clumps-embedded-larger-object": "a57 a58",
    "disk-edge-on": "a04 a05",
    "bulge-shape": "a25 a26 a27",
    "bar": "a06 a07",
    "has-spiral-arms": "a08 a09",
    "spiral-winding": "a28 a29 a30",
    "spiral-arm-count": "a31 a32 a33 a34 a36 a37",
    "bulge-size": "a10 a11 a12 a13",
    "something-odd": "a14 a15",
}
"""The answers of the tables, in the order of the Hubble tree."""
REVERSED = {"gz2": ("bulge-size",)}


def real_votes(folder: Path, campaign: str) -> Votes:
    """The votes of a real table, galaxies that nobody classified left out; ``(N, A)`` int32.

    The GZ2 table counts votes. The Hubble table gives the fraction of each answer and the count of
    each task's classifications, and their product is whole.
    """
    table = pd.read_csv(folder / TABLES[campaign])
    columns = [
        column for q in load_tree(campaign).questions for column in _real(table, q, campaign)
    ]
    votes = np.stack(columns, axis=1)
    return votes[votes[:, :3].sum(axis=1) > 0]


def _real(table: pd.DataFrame, question: Question, campaign: str) -> list[Votes]:
    concept = concept_of(question.name)
    answers = TASKS[concept].split()
    if concept in REVERSED.get(campaign, ()):
        answers.reverse()
    if campaign == "gz2":
        names = [next(c for c in table if f"_{a}_" in c and c.endswith("_count")) for a in answers]
        return [table[name].to_numpy(np.int32) for name in names]
    names = [next(c for c in table if f"_{a}_" in c and c.endswith("_frac")) for a in answers]
    task = names[0].split("_")[0]
    count = next(c for c in table if c.startswith(task) and c.endswith("_count"))
    total = table[count].to_numpy(float)
    return [np.rint(np.nan_to_num(table[n].to_numpy()) * total).astype(np.int32) for n in names]


@dataclass(frozen=True)
class Summary:
    """Votes summed up by answer, each ``(A,)``.

    ``fraction`` is the mean over galaxies with a vote on the question, ``pooled`` all votes
    together, ``total`` the mean number of votes on the question over all galaxies, ``spread`` the
    standard deviation between galaxies with ``LEAST`` votes, less the scatter of finite votes.
    """

    fraction: Floats
    pooled: Floats
    total: Floats
    spread: Floats


def summarise(votes: Votes, tree: DecisionTree) -> Summary:
    """See ``Summary``. E[f^2 - f (1 - f) / (n - 1)] = p^2 for a binomial fraction f of n."""
    totals = total_votes(votes, tree)[:, tree.question_index]
    fractions = vote_fractions(votes, tree)
    enough = totals >= LEAST
    rough = np.where(enough, fractions, np.nan)
    square = np.nanmean(rough**2 - rough * (1 - rough) / np.maximum(totals - 1, 1), axis=0)
    spread = np.sqrt(np.clip(square - np.nanmean(rough, axis=0) ** 2, 0.0, None))
    return Summary(
        np.nanmean(fractions, axis=0),
        votes.sum(axis=0) / totals.sum(axis=0),
        totals.mean(axis=0),
        spread,
    )


def fit_lines(
    raw: Floats, sharpness: Floats, own: Flags, chance: Floats, people: int, goal: Floats
) -> Floats:
    """Slopes, offsets and hazes ``(K, 3)`` of a question's K answers.

    ``raw`` is ``(N, K)``, ``sharpness`` ``(N,)``, ``own`` marks answers with a slope of their own
    (and no haze),
    ``chance`` ``(N,)`` is the probability of being asked, ``goal`` ``(3, K)`` the fraction, pooled
    fraction and spread.
    """
    answers = raw.shape[1]
    voted = 1.0 - (1.0 - chance) ** people
    enough = binom.sf(LEAST - 1, people, np.clip(chance, 0.0, 1.0))

    def lines(values: Floats) -> Floats:
        slopes = np.where(own, np.exp(values[1]), np.exp(values[0]))
        offset, haze = np.split(values[2:], 2)
        hazes = np.where(own, 0.0, np.append(0.0, haze))
        return np.stack([slopes, np.append(0.0, offset), hazes], axis=1)

    def misfit(values: Floats) -> Floats:
        slope, offset, haze = lines(values).T
        p = softmax(slope * raw + offset + haze * (1.0 - sharpness[:, None]), axis=1)
        mean = np.average(p, axis=0, weights=enough)
        spread = np.sqrt(np.average((p - mean) ** 2, axis=0, weights=enough))
        found = [np.average(p, axis=0, weights=w) for w in (voted, chance)]
        errors = (np.stack([*found, spread]) - goal) * np.array([[1.0], [0.7], [0.7]])
        return np.concatenate([errors.ravel(), 0.01 * values[:2], 0.01 * values[1 + answers :]])

    start = np.zeros(2 * answers)
    limit = np.array([1.6, 1.6] + [12.0] * (answers - 1) + [3.0] * (answers - 1))
    return lines(least_squares(misfit, start, bounds=(-limit, limit)).x)


def fit(campaign: str, real: Votes) -> Calibration:
    """The calibration of a campaign that brings its simulated votes close to ``real``."""
    tree, telescope = load_tree(campaign), telescope_for(campaign)
    latents = sample_population(np.arange(GALAXIES), FIT_SEED, campaign)
    seen = visible(latents, telescope)
    totals = Counter(total_votes(real, tree)[:, 0].tolist())
    people = round(sum(n * k for n, k in totals.items()) / sum(totals.values()))
    calibration = Calibration(campaign, {n: totals[n] for n in sorted(totals)})
    goals = summarise(real, tree)
    for number, question in enumerate(tree.questions):
        concept = concept_of(question.name)
        if concept == SKIPPED:
            skip = _fit_skip(real, tree, latents, calibration)
            calibration = _with(calibration, SKIPS_BECAUSE, {"yes": skip})
        chance = _chance_asked(calibration, latents, tree)[:, number]
        where = tree.slices[question.name]
        goal = np.stack([goals.fraction, goals.pooled, goals.spread])[:, where]
        meanings = [meaning_of(concept, answer) for answer in question.answers]
        opinions = raw_opinions(concept, latents, seen)
        raw = np.stack([opinions.get(m, np.zeros(GALAXIES)) for m in meanings], axis=1)
        own = np.isin(meanings, OWN_SLOPE)
        lines = fit_lines(raw, seen.sharpness, own, chance, people, goal)
        fitted = {m: tuple(row) for m, row in zip(meanings, lines.round(4).tolist(), strict=True)}
        calibration = _with(calibration, concept, fitted)
    return calibration


def _with(calibration: Calibration, concept: str, lines: dict[str, Line]) -> Calibration:
    return replace(calibration, answers={**calibration.answers, concept: lines})


def _chance_asked(calibration: Calibration, latents: Latents, tree: DecisionTree) -> Floats:
    """The probability of being asked each question, ``(N, Q)``, skips included."""
    telescope = telescope_for(calibration.campaign)
    chance = tree.probability_asked(answer_probabilities(latents, telescope, tree, calibration))
    skippable = [n for n, q in enumerate(tree.questions) if concept_of(q.name) == SKIPPED]
    for number in skippable:
        name = tree.questions[number].name
        after = [n for n, q in enumerate(tree.questions) if q.name in (name, *tree.below(name))]
        chance[:, after] *= 1.0 - skip_probability(latents, telescope, calibration)[:, None]
    return chance


def _fit_skip(real: Votes, tree: DecisionTree, latents: Latents, calibration: Calibration) -> Line:
    """The line of the skip: its share of all volunteers, and its spread."""
    names = [concept_of(q.name) for q in tree.questions]
    totals = total_votes(real, tree).astype(float)
    asked, kept = totals[:, names.index("clump-count")], totals[:, names.index(SKIPPED)]
    share = 1.0 - kept.sum() / asked.sum()
    many = asked >= LEAST
    f = 1.0 - kept[many] / asked[many]
    spread = np.sqrt(np.mean(f**2 - f * (1 - f) / (asked[many] - 1)) - np.mean(f) ** 2)
    telescope = telescope_for(calibration.campaign)
    raw = raw_opinions(SKIPS_BECAUSE, latents, visible(latents, telescope))["yes"]
    chance = _chance_asked(calibration, latents, tree)[:, names.index("clump-count")]

    def misfit(values: Floats) -> Floats:
        p = expit(np.exp(values[0]) * raw + values[1])
        mean = np.average(p, weights=chance)
        return np.array(
            [mean - share, np.sqrt(np.average((p - mean) ** 2, weights=chance)) - spread]
        )

    slope, offset = least_squares(misfit, [0.0, 0.0], bounds=([-1.6, -12.0], [1.6, 12.0])).x
    return round(float(np.exp(slope)), 4), round(float(offset), 4), 0.0


def save(calibration: Calibration, goals: Summary) -> None:
    """Write the calibration where the package reads it."""
    path = ROOT / "gzfound/simulation/calibration" / f"{calibration.campaign}.json"
    content = {
        "campaign": calibration.campaign,
        "source": f"benchmarks/vote_calibration.py on {TABLES[calibration.campaign]}",
        "totals": {str(number): share for number, share in calibration.totals.items()},
        "answers": calibration.answers,
        "real": {
            column: {"fraction": fraction, "total": total}
            for column, fraction, total in zip(
                load_tree(calibration.campaign).columns,
                goals.fraction.round(4).tolist(),
                goals.total.round(4).tolist(),
                strict=True,
            )
        },
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def report(calibration: Calibration, real: Votes) -> str:
    """A Markdown table of simulated and real votes, and the mean differences, on a fresh seed."""
    campaign = calibration.campaign
    tree, telescope = load_tree(campaign), telescope_for(campaign)
    latents = sample_population(np.arange(GALAXIES), REPORT_SEED, campaign)
    simulated = summarise(vote(latents, telescope, tree, REPORT_SEED, calibration), tree)
    truth = summarise(real, tree)
    lines = [
        "| answer | mean fraction, simulated | real | pooled, simulated | real "
        "| spread, simulated | real | mean total, simulated | real |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for index, column in enumerate(tree.columns):
        pairs = [
            f"{getattr(simulated, name)[index]:.{digits}f} | {getattr(truth, name)[index]:.{digits}f}"
            for name, digits in (("fraction", 3), ("pooled", 3), ("spread", 3), ("total", 2))
        ]
        lines.append(f"| {column} | {' | '.join(pairs)} |")
    gaps = {n: np.abs(getattr(simulated, n) - getattr(truth, n)) for n in vars(truth)}
    totals = gaps["total"] / truth.total
    lines += [
        "",
        f"Mean absolute difference: fractions {gaps['fraction'].mean():.4f} "
        f"(worst {gaps['fraction'].max():.3f}), pooled {gaps['pooled'].mean():.4f}, "
        f"spread {gaps['spread'].mean():.4f}, totals {totals.mean():.1%}.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Fit (unless told not to), report, and put the tables into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of real data")
    parser.add_argument("--report", action="store_true", help="report only, do not fit")
    options = parser.parse_args()
    page = ROOT / "docs/volunteers.md"
    for campaign in TABLES:
        real = real_votes(options.folder, campaign)
        if not options.report:
            save(fit(campaign, real), summarise(real, load_tree(campaign)))
        load_calibration.cache_clear()
        table = report(load_calibration(campaign), real)
        print(f"{campaign}\n{table}\n")


if __name__ == "__main__":
    main()
