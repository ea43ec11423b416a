"""What volunteers make of what they see: a raw log-odds for every answer to every question.

Questions are recognised by concept, their name without the campaign, and answers by meaning, so
that one set of opinions serves every campaign. Ordered answers (pitch, bulge size, counts) are
points on a line: the log-odds falls with the squared distance from what is perceived, so that
neighbours are confused. Calibration (see ``volunteers``) scales and shifts these log-odds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gzfound.simulation.latents import ALONG_ARMS, ARTIFACT, STAR, Floats, Latents
from gzfound.simulation.visibility import Visibility

Opinion = Callable[[Latents, Visibility], dict[str, Floats]]

_CONCEPTS = {"clumps": "clumpy-appearance", "edge-on-bulge": "bulge-shape"}
_MEANINGS: Mapping[str, Mapping[str, str]] = {
    "smooth-or-featured": {
        "featured-or-disk": "features",
        "problem": "artifact",
        "star-artifact-zoom": "artifact",
    },
    "how-rounded": {"round": "completely", "cigar": "cigar-shaped"},
    "bulge-shape": {"round": "rounded", "yes": "rounded", "no-bulge": "none", "no": "none"},
    "bulge-size": {"no": "none"},
    "spiral-arm-count": {"more-than-4": "5-plus"},
    "merging": {"neither": "none"},
    "problem": {"bad-zoom": "zoom"},
}


def concept_of(question: str) -> str:
    """The concept of a question: ``"clumps-cd"`` is about ``"clumpy-appearance"``."""
    concept = question.rpartition("-")[0]
    return _CONCEPTS.get(concept, concept)


def meaning_of(concept: str, answer: str) -> str:
    """The name under which ``raw_opinions`` knows an answer: ``"more-than-4"`` is ``"5-plus"``."""
    return _MEANINGS.get(concept, {}).get(answer, answer)


def raw_opinions(concept: str, latents: Latents, seen: Visibility) -> dict[str, Floats]:
    """Uncalibrated log-odds ``(N,)`` by meaning; empty for a concept that has no model.

    An answer without an entry is taken to have log-odds 0 for every galaxy.
    """
    model = _OPINIONS.get(concept)
    return model(latents, seen) if model else {}


def _log_odds(strength: Floats) -> Floats:
    """Of a strength in 0 to 1, kept within about plus and minus 3.5."""
    odds: Floats = np.log((strength + 0.03) / (1.03 - strength))
    return odds


def _any_of(*strengths: Floats) -> Floats:
    none: Floats = np.prod([1.0 - np.clip(strength, 0.0, 1.0) for strength in strengths], axis=0)
    return 1.0 - none


def _near(place: Floats, width: Floats | float, **centres: float) -> dict[str, Floats]:
    return {
        name.replace("_", "-"): -0.5 * ((place - centre) / width) ** 2
        for name, centre in centres.items()
    }


def _count(place: Floats, unclear: Floats) -> dict[str, Floats]:
    """Counts of 1 to 5 or more; larger ones and unclear ones are spread wider."""
    width = 0.45 + 0.15 * np.clip(place - 2.0, 0.0, 3.0) + 1.2 * unclear
    opinions = {
        name: -0.5 * ((place - number) / width) ** 2
        for number, name in enumerate(("1", "2", "3", "4", "5-plus"), start=1)
    }
    return {**opinions, "cant-tell": 3.0 * unclear + 0.8 * np.clip(place - 2.0, 0.0, 3.0)}


def _features(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    found = _any_of(
        seen.arms,
        seen.clumps,
        0.7 * seen.bar,
        0.7 * seen.ring,
        0.6 * seen.disturbance,
        0.8 * seen.edge_on,
        0.15 * seen.disk,
        0.2 * seen.companion,
    )
    wrong = 4.0 * (latents.kind == ARTIFACT) + 2.5 * (latents.kind == STAR)
    return {
        "smooth": np.zeros(len(latents)),
        "features": 5.0 * found**1.5,
        "artifact": wrong + 1.5 * (1.0 - seen.sharpness),
    }


def _roundness(_: Latents, seen: Visibility) -> dict[str, Floats]:
    return _near(seen.axis_ratio, 0.18, completely=0.95, in_between=0.62, cigar_shaped=0.28)


def _clumpy(_: Latents, seen: Visibility) -> dict[str, Floats]:
    found = _any_of(seen.clumps, 0.3 * seen.disturbance, 0.3 * seen.companion)
    return {"yes": _log_odds(found)}


def _clump_count(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    true = np.clip(latents.clump_count, 1, 5).astype(np.float64)
    place = 1.0 + (true - 1.0) * np.sqrt(seen.clumps)
    return _count(place, 1.0 - np.sqrt(seen.clumps))


def _symmetrical(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    sign = np.where(latents.clump_symmetric, 1.0, -1.0)
    return {"yes": 3.0 * sign * seen.clumps - 2.0 * seen.disturbance - 1.5 * seen.companion}


def _embedded(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    sign = np.where(latents.clump_embedded, 1.0, -1.0)
    return {"yes": 3.0 * sign * seen.clumps + seen.disk}


def _clumps_along_arms(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    along = (latents.clump_arrangement == ALONG_ARMS) * seen.clumps
    return {"yes": _log_odds(_any_of(along, 0.7 * seen.arms))}


def _edge_on(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    thin = np.clip((0.38 - seen.axis_ratio) / 0.1, -3.5, 2.0)
    return {"yes": thin * np.sqrt(seen.sharpness) + 0.5 * latents.is_disk}


def _bulge_shape(_: Latents, seen: Visibility) -> dict[str, Floats]:
    bulge = 5.0 * (seen.bulge - 0.35)
    return {"rounded": bulge, "boxy": bulge + 1.5 * seen.boxiness, "none": np.zeros(len(bulge))}


def _bar(_: Latents, seen: Visibility) -> dict[str, Floats]:
    return (
        {"yes": _log_odds(seen.bar)}
        | _near(seen.bar, 0.22, strong=0.8, weak=0.35, no=0.0)
        | {"no": np.zeros(len(seen.bar))}
    )


def _spiral(_: Latents, seen: Visibility) -> dict[str, Floats]:
    return {"yes": _log_odds(_any_of(seen.arms, 0.3 * seen.ring))}


def _winding(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    pitch = (latents.pitch_angle - 19.0) / 7.5
    place = np.clip(pitch, -1.6, 2.2) * np.sqrt(seen.arms) + 0.6 * seen.disturbance
    return _near(place, 0.8, tight=-1.0, medium=0.0, loose=1.0)


def _arm_count(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    true = np.clip(latents.arm_count, 1, 5).astype(np.float64)
    place = 2.0 + (true - 2.0) * np.sqrt(seen.arms)
    return _count(place, 1.0 - np.sqrt(seen.arms))


def _bulge_size(_: Latents, seen: Visibility) -> dict[str, Floats]:
    centres = {
        "none": 0.08,
        "small": 0.25,
        "just_noticeable": 0.3,
        "moderate": 0.45,
        "obvious": 0.55,
        "large": 0.65,
        "dominant": 0.9,
    }
    return _near(seen.bulge, 0.16, **centres)


def _odd(_: Latents, seen: Visibility) -> dict[str, Floats]:
    strange = _any_of(seen.ring, seen.disturbance, seen.companion, 0.5 * seen.clumps)
    return {"yes": _log_odds(strange)}


def _merging(_: Latents, seen: Visibility) -> dict[str, Floats]:
    torn, paired = 4.0 * seen.disturbance, 4.0 * seen.companion
    return {
        "none": np.full(len(torn), 2.5),
        "minor-disturbance": -0.5 * ((seen.disturbance - 0.35) / 0.2) ** 2,
        "major-disturbance": torn - 2.0,
        "tidal-debris": torn - 1.5,
        "merger": paired - 1.0,
        "both": np.minimum(torn, paired) - 1.0,
    }


def _problem(latents: Latents, seen: Visibility) -> dict[str, Floats]:
    return {
        "star": 3.0 * (latents.kind == STAR) - seen.sharpness,
        "artifact": 3.0 * (latents.kind == ARTIFACT) - seen.sharpness,
        "zoom": 0.5 - seen.sharpness,
    }


_OPINIONS: Mapping[str, Opinion] = {
    "smooth-or-featured": _features,
    "how-rounded": _roundness,
    "clumpy-appearance": _clumpy,
    "clump-count": _clump_count,
    "clumps-along-arms": _clumps_along_arms,
    "galaxy-symmetrical": _symmetrical,
    "clumps-embedded-larger-object": _embedded,
    "disk-edge-on": _edge_on,
    "bulge-shape": _bulge_shape,
    "bar": _bar,
    "has-spiral-arms": _spiral,
    "spiral-winding": _winding,
    "spiral-arm-count": _arm_count,
    "bulge-size": _bulge_size,
    "something-odd": _odd,
    "merging": _merging,
    "problem": _problem,
}
