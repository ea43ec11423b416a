"""Fit the simulated volunteers to real votes, and report how close they come.

    python benchmarks/vote_calibration.py $GZFOUND_REAL_DATA             # fit, then report
    python benchmarks/vote_calibration.py $GZFOUND_REAL_DATA --report    # report only

Questions are fitted one by one, parents first. An answer's log-odds are

    slope * raw + offset + haze * (1 - sharpness)

The offsets set the mean fractions; the slopes the spread of the true fractions between galaxies, so
that what is visible decides the votes as much as it does in reality; the haze the difference
between galaxies that are clear and those that are not. Writes
``gzfound/simulation/calibration/*.json`` and the tables of ``docs/volunteers.md``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from real_votes import LEAST, TABLES, Summary, Votes, real_votes, summarise
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
from gzfound.trees import DecisionTree, load_tree
from gzfound.votes import total_votes

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ROOT = Path(__file__).resolve().parent.parent
FIT_SEED, REPORT_SEED = 1_000, 2_000
GALAXIES = 20_000
OWN_SLOPE = ("artifact", "cant-tell")
"""Meanings that are not points on the line of the question's other answers, and whose raw log-odds
say what happens when a galaxy is not clear."""


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
    digits = {"fraction": 3, "pooled": 3, "spread": 3, "total": 2}
    for index, column in enumerate(tree.columns):
        cells = [
            f"{getattr(side, name)[index]:.{places}f}"
            for name, places in digits.items()
            for side in (simulated, truth)
        ]
        lines.append(f"| {column} | {' | '.join(cells)} |")
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
    parser = argparse.ArgumentParser(description="Fit the simulated volunteers to real votes.")
    parser.add_argument("folder", type=Path, help="the folder of real data")
    parser.add_argument("--report", action="store_true", help="report only, do not fit")
    options = parser.parse_args()
    page = ROOT / "docs/volunteers.md"
    text = page.read_text(encoding="utf-8")
    for campaign in TABLES:
        real = real_votes(options.folder, campaign)
        if not options.report:
            save(fit(campaign, real), summarise(real, load_tree(campaign)))
        load_calibration.cache_clear()
        table = report(load_calibration(campaign), real)
        print(f"{campaign}\n{table}\n")
        start, end = f"<!-- {campaign} -->\n", f"<!-- end of {campaign} -->"
        before, rest = text.split(start)
        text = f"{before}{start}\n{table}\n\n{end}{rest.split(end)[1]}"
    write_text(page, text)


if __name__ == "__main__":
    main()
